"""Files of the package that no code reads here: configurations of viewers, workflows and documents."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import setuptools
import yaml

from dfanet_ros.parameters import OUTPUTS
from dfanet_ros.topics import output_namespace

ROOT = Path(__file__).parents[1]
CAMERA = "/camera/image_raw"
SHOWN = ("overlay", "color_mask", "mask")
RESULTS = {name: f"{output_namespace(CAMERA)}/{name}" for name in SHOWN}
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_shown_results_are_published() -> None:
    assert set(SHOWN) <= set(OUTPUTS)


# Viewers


@pytest.fixture(scope="module")
def rviz() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config/segmentation.rviz").read_text())


def test_rviz_shows_camera_and_results_with_fitting_qos(rviz: dict[str, Any]) -> None:
    displays = rviz["Visualization Manager"]["Displays"]
    assert {display["Class"] for display in displays} == {"rviz_default_plugins/Image"}
    topics = {display["Topic"]["Value"]: display["Topic"] for display in displays}
    reliability = {topic: settings["Reliability Policy"] for topic, settings in topics.items()}
    assert reliability == {CAMERA: "Best Effort"} | dict.fromkeys(RESULTS.values(), "Reliable")
    for settings in topics.values():
        assert (settings["Depth"], settings["History Policy"]) == (1, "Keep Last")
        assert settings["Durability Policy"] == "Volatile"


def test_rviz_shows_no_ids_unasked(rviz: dict[str, Any]) -> None:
    for display in rviz["Visualization Manager"]["Displays"]:
        assert display["Enabled"] == display["Value"] == (display["Topic"]["Value"] != RESULTS["mask"])


def test_rviz_classes_are_those_of_ros_2(rviz: dict[str, Any]) -> None:
    manager = rviz["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "camera"
    assert manager["Views"]["Current"]["Class"] == "rviz_default_plugins/Orbit"
    for part in [*rviz["Panels"], *manager["Displays"], *manager["Tools"]]:
        assert part["Class"].split("/")[0] in ("rviz_common", "rviz_default_plugins")


def test_rviz_window_has_a_place_for_every_dock(rviz: dict[str, Any]) -> None:
    window = rviz["Window Geometry"]
    state = bytes.fromhex(window["QMainWindow State"])
    assert state.startswith(bytes.fromhex("000000ff00000000fd")), "Qt would not restore this"
    for dock in [*rviz["Panels"], *rviz["Visualization Manager"]["Displays"]]:
        name = dock["Name"].encode("utf-16-be")
        assert len(name).to_bytes(4, "big") + name in state, f"the window's state does not know {dock['Name']}"
        assert window[dock["Name"]] == {"collapsed": False}


def panels(layout: str | dict[str, Any], configs: dict[str, Any]) -> Iterator[str]:
    """The panels of a Foxglove layout, those in tabs too."""
    if isinstance(layout, str):
        yield layout
        for tab in configs[layout].get("tabs", []):
            yield from panels(tab["layout"], configs)
    else:
        assert layout["direction"] in ("row", "column")
        assert 0 < layout["splitPercentage"] < 100
        yield from panels(layout["first"], configs)
        yield from panels(layout["second"], configs)


def test_foxglove_shows_camera_results_diagnostics_and_classes() -> None:
    layout = json.loads((ROOT / "config/foxglove_layout.json").read_text())
    configs = layout["configById"]
    assert sorted(panels(layout["layout"], configs)) == sorted(configs), "each panel has a place, and just one"

    def of_kind(kind: str) -> list[dict[str, Any]]:
        return [config for name, config in configs.items() if name.partition("!")[0] == kind]

    assert {panel["imageMode"]["imageTopic"] for panel in of_kind("Image")} == {CAMERA, *RESULTS.values()}
    assert [panel["topicToRender"] for panel in of_kind("DiagnosticSummary")] == ["/diagnostics"]
    assert [panel["topicPath"] for panel in of_kind("RawMessages")] == [f"{output_namespace(CAMERA)}/label_info_json"]


def test_setup_installs_all_of_config(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: arguments.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path("setup.py")
    installed = dict(arguments["data_files"])["share/dfanet_ros/config"]
    assert {Path(file) for file in installed} == {Path("config", file) for file in os.listdir("config")}


# What the oldest Fast DDS that we run with (2.6, Humble's) knows of a transport, by its XMLParser.cpp.
KNOWN = {
    "SHM": {"transport_id", "type", "segment_size", "port_queue_capacity"},
    "UDPv4": {"transport_id", "type", "receiveBufferSize"},
    "TCPv4": {"transport_id", "type", "listening_ports", "calculate_crc", "check_crc"},
}


def test_profiles_of_fast_dds_have_nothing_that_humble_does_not_know() -> None:
    """One unknown element, and it reads nothing of the file."""
    root = ElementTree.parse(ROOT / "config/fastdds.xml").getroot()
    found = {
        transport.findtext("{*}type"): {element.tag.rpartition("}")[2] for element in transport}
        for transport in root.iterfind(".//{*}transport_descriptor")
    }
    assert found.keys() == KNOWN.keys()
    for kind, elements in found.items():
        assert elements <= KNOWN[kind], f"{kind}: {elements - KNOWN[kind]}"


# Dependencies

# By the module's name, where rosdep has another one for it.
KEYS = {
    "aiohttp": "python3-aiohttp",
    "cv2": "python3-opencv",
    "numpy": "python3-numpy",
    "torch": "python3-pytorch-pip",
    "yaml": "python3-yaml",
}


def test_package_names_what_is_imported_on_a_robot() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    named = {entry.text for entry in package.iterfind("exec_depend")}
    sources = [*ROOT.glob("launch/*.py"), *ROOT.glob("dfanet_ros/**/*.py")]
    texts = "\n".join(path.read_text() for path in sources)
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", texts, re.MULTILINE))
    of_ros = {name for name in imported if re.fullmatch(r"\w+_(msgs|srvs|interfaces|python|ros)|rclpy|launch", name)}
    assert named >= of_ros - {"dfanet_ros"} | {key for name, key in KEYS.items() if name in imported}


# Workflows


def jobs(workflow: Path) -> dict[str, Any]:
    return yaml.safe_load(workflow.read_text())["jobs"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_runs_on_changes_and_may_only_read(workflow: Path) -> None:
    contents = yaml.safe_load(workflow.read_text())
    assert contents[True].keys() == {"push", "pull_request"}  # YAML 1.1 reads `on` as true
    assert contents["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_steps_are_complete(workflow: Path) -> None:
    for job in jobs(workflow).values():
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]), "actions are pinned by major version"
            else:
                assert step["run"].strip(), step
                subprocess.run(["bash", "-n", "-c", step["run"]], check=True)


def test_workflows_cover_what_is_supported() -> None:
    assert [path.name for path in WORKFLOWS] == ["pip.yml", "ros.yml"]
    pip, ros = map(jobs, WORKFLOWS)
    assert pip["ci"]["strategy"]["matrix"] == {"python": ["3.10", "3.11", "3.12", "3.13"]}
    assert ros["colcon"]["strategy"]["matrix"] == {"distribution": ["humble", "jazzy", "kilted", "lyrical"]}
    assert [step["run"] for step in pip["ci"]["steps"] if "run" in step] == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


# Documents


@pytest.mark.parametrize("name", ["CHANGELOG.rst", "CONTRIBUTING.md", "LICENSE", "QUALITY_DECLARATION.md", "README.md"])
def test_document_is_there(name: str) -> None:
    assert (ROOT / name).read_text().strip()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(document: Path) -> None:
    text = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^()\s]+)\)", text)
    files = [target.partition("#")[0] for target in targets if not re.match(r"[a-z]+:|#", target)]
    missing = [file for file in files if not (document.parent / file).exists()]
    assert not missing
