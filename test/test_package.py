"""The package as it is installed, and the files that have to agree with the table of parameters."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

import dfanet_ros
from dfanet_ros.parameters import PARAMETERS, Parameter

ROOT = Path(__file__).parents[1]
OTHER_ARGUMENTS = ["namespace", "params_file", "respawn", "large_data", "rviz", "use_sim_time", "log_level"]
NAMES = [parameter.name for parameter in PARAMETERS]


@pytest.mark.parametrize(("chosen", "value"), [(None, "1"), ("500", "500")], ids=["by default", "the user's"])
def test_opencv_is_told_not_to_spin_before_it_is_loaded(chosen: str | None, value: str) -> None:
    variable = "OPENCV_THREAD_POOL_ACTIVE_WAIT_WORKER"
    environment = {name: text for name, text in os.environ.items() if name != variable}
    if chosen is not None:
        environment[variable] = chosen
    program = f"import sys, os, dfanet_ros; print('cv2' in sys.modules, os.environ['{variable}'])"
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert run.stdout.split() == ["False", value]


# What is installed


@pytest.fixture(scope="module", params=["build", "build --symlink-install"])
def workspace(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a copy of this checkout in src, built by colcon."""
    pytest.importorskip("colcon_core", reason="colcon is not installed")
    folder = tmp_path_factory.mktemp("workspace")
    others = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "install", "log", "runs")
    shutil.copytree(ROOT, folder / "src" / "dfanet_ros", ignore=others)
    colcon = "import sys; from colcon_core.command import main; sys.exit(main())"
    built = run(sys.executable, "-c", colcon, *request.param.split(), cwd=folder)
    assert built.returncode == 0, built.stdout
    return folder


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command that does not see this checkout (unless it is in it); its two outputs come as one."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and Path(path) != ROOT]
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
    )


def run_installed(workspace: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does in whose shell the workspace was sourced."""
    words = shlex.join(map(str, command))
    return run("bash", "-c", f"source {workspace}/install/setup.bash && exec {words}", cwd=workspace / "log")


def test_installed_node_starts_and_refuses_wrong_parameters(workspace: Path) -> None:
    node = workspace / "install/dfanet_ros/lib/dfanet_ros/segmentation_node"
    stopped = run_installed(workspace, node, "--ros-args", "-p", "precision:=fp17")
    assert stopped.returncode == 1, stopped.stdout
    assert "parameter precision is 'fp17', but has to be one of auto, fp32, fp16, bf16" in stopped.stdout
    assert "Traceback" not in stopped.stdout


def test_installed_package_finds_its_weights(workspace: Path) -> None:
    code = "from dfanet_ros import checkpoint; print(checkpoint.__file__, *checkpoint.shipped_weights())"
    listed = run_installed(workspace, sys.executable, "-c", code)
    file, *weights = listed.stdout.split()
    assert workspace in Path(file).parents
    assert weights == sorted(path.stem for path in (ROOT / "dfanet_ros/weights").glob("*.safetensors"))


def test_installed_files(workspace: Path) -> None:
    share = workspace / "install/dfanet_ros/share"
    for folder in ("launch", "config"):
        source = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert {path.name for path in (share / "dfanet_ros" / folder).iterdir()} == source
    assert (share / "dfanet_ros/package.xml").is_file()
    assert (share / "ament_index/resource_index/packages/dfanet_ros").is_file()


def test_training_is_not_installed(workspace: Path) -> None:
    imported = run_installed(workspace, sys.executable, "-c", "import training")
    assert "No module named 'training'" in imported.stdout


# What agrees with the table


def test_config_has_every_parameter_and_its_default() -> None:
    text = (ROOT / "config/segmentation.yaml").read_text()
    assert yaml.safe_load(text) == {"/**": {"ros__parameters": {p.name: p.default for p in PARAMETERS}}}
    comments = " ".join(re.sub(r"^ *#", "", text, flags=re.MULTILINE).split())
    for parameter in PARAMETERS:
        assert f"{parameter.description} Allowed: {parameter.allowed}." in comments


def test_launch_file_has_every_parameter_and_its_default() -> None:
    launch_file = load_launch_file()
    arguments = {
        entity.name: entity
        for entity in launch_file.generate_launch_description().entities
        if hasattr(entity, "default_value")
    }
    assert list(arguments) == [*NAMES, *OTHER_ARGUMENTS]
    for parameter in PARAMETERS:
        argument = arguments[parameter.name]
        default = "".join(part.perform(None) for part in argument.default_value)
        assert (default if isinstance(parameter.default, str) else yaml.safe_load(default)) == parameter.default
        assert argument.description.startswith(parameter.description)
        choices = ("true", "false") if isinstance(parameter.default, bool) else parameter.choices
        assert tuple(argument.choices or ()) == (() if isinstance(parameter.default, list) else choices)
        assert argument.choices or parameter.allowed in argument.description


def test_launch_file_passes_on_only_what_was_given() -> None:
    launch_file = load_launch_file()
    launch = pytest.importorskip("launch")
    context = launch.LaunchContext()
    context.launch_configurations.update({"weights": "123", "overlay_opacity": "0.5", "namespace": "front"})
    passed = []

    def node(**options: Any) -> Any:
        passed.extend(options.get("parameters", []))
        return launch.LaunchDescription()

    launch_file.Node = node
    for entity in launch_file.generate_launch_description().entities:
        entity.visit(context)
    (parameters,) = passed
    assert {name: value.evaluate(context) for name, value in parameters.items()} == {
        "weights": "123",
        "overlay_opacity": 0.5,
    }


@pytest.mark.parametrize(
    ("given", "image", "mask"),
    [
        ({}, "/image_raw", "/segmentation/mask"),
        ({"image_topics": "[/front/image_raw, /left/image_raw]"}, "/front/image_raw", "/front/segmentation/mask"),
        (
            {"image_topics": "[cam/image_raw/compressed]", "namespace": "bot"},
            "/bot/cam/image_raw",
            "/bot/cam/segmentation/mask",
        ),
        ({"params_file": __file__}, None, None),
    ],
)
def test_rviz_shows_the_first_camera(given: dict[str, str], image: str | None, mask: str | None) -> None:
    launch_file = load_launch_file()
    launch = pytest.importorskip("launch")
    context = launch.LaunchContext()
    context.launch_configurations.update(given, rviz="true")
    started = []
    launch_file.Node = lambda **options: started.append(options) or launch.LaunchDescription()
    for entity in launch_file.generate_launch_description().entities:
        for sub_entity in entity.visit(context) or []:
            sub_entity.visit(context)
    (rviz,) = [options for options in started if options["package"] == "rviz2"]
    remappings = dict(rviz["remappings"])
    assert remappings.get("/camera/image_raw") == image
    assert remappings.get("/camera/segmentation/mask") == mask


def load_launch_file() -> ModuleType:
    pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")
    path = ROOT / "launch/segmentation.launch.py"
    spec = importlib.util.spec_from_file_location("segmentation_launch", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def readme_row(parameter: Parameter) -> str:
    """The parameter's row of the table in the README."""
    default = yaml.safe_dump(parameter.default, default_flow_style=True).removesuffix("\n").removesuffix("\n...")
    live = " May change while the node runs." if parameter.live else ""
    return f"| `{parameter.name}` | `{default}` | {parameter.allowed} | {parameter.description}{live} |"


def readme_table(parameters: Iterable[Parameter]) -> str:
    header = "| parameter | default | allowed | description |"
    return "\n".join([header, "|---|---|---|---|", *map(readme_row, parameters)])


def test_readme_has_every_parameter() -> None:
    table = readme_table(PARAMETERS)
    readme = (ROOT / "README.md").read_text()
    assert f"{table}\n" in readme, f"the README's table of parameters has to be\n{table}\n"


@pytest.mark.parametrize("name", ["camera_source", "evaluation_node"])
def test_parameters_of_the_smaller_nodes_are_documented(name: str) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    table = readme_table(importlib.import_module(f"dfanet_ros.{name}").PARAMETERS)
    assert f"{table}\n" in (ROOT / "docs/nodes.md").read_text(), f"the table of {name} has to be\n{table}\n"


@pytest.mark.parametrize("name", ["segmentation_node", "camera_source", "evaluation_node"])
def test_help_of_a_node_has_its_parameters(name: str) -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    command = [sys.executable, "-m", f"dfanet_ros.{name}", "--help", "--ros-args", "-p", "x:=1"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0 and shown.stdout.startswith(f"usage: {name} [--ros-args -p PARAMETER:=VALUE")
    for parameter in importlib.import_module(f"dfanet_ros.{name}").PARAMETERS:
        assert f"\n  {parameter.name}\n" in shown.stdout


def test_version_is_the_same_everywhere() -> None:
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.keyword)]
    (version,) = [ast.literal_eval(call.value) for call in calls if call.arg == "version"]
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    assert package.findtext("version") == version == dfanet_ros.__version__
    assert package.findtext("export/build_type") == "ament_python"


# What can be imported without what


@pytest.mark.parametrize(
    ("modules", "missing"),
    [
        ("dfanet_ros.parameters", "torch cv2 rclpy"),  # `ros2 launch` may run in another Python than the node
        ("dfanet_ros.network dfanet_ros.checkpoint training.train", "rclpy sensor_msgs"),
        ("dfanet_ros.segmentation_node", "lightning matplotlib jinja2 rosbags tqdm training"),
    ],
)
def test_import_without(modules: str, missing: str) -> None:
    block = "; ".join(f"sys.modules[{name!r}] = None" for name in missing.split())
    code = f"import sys; {block}; import {', '.join(modules.split())}"
    imported = run(sys.executable, "-c", code, cwd=ROOT)
    assert imported.returncode == 0, imported.stdout
