"""launch/demo.launch.py: what it starts, and with what."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

launch = pytest.importorskip("launch", reason="launch is not installed")
pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")

FILE = Path(__file__).parents[1] / "launch/demo.launch.py"


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_launch", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def started(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, has_rviz: bool, /, **given: str
) -> dict[str, dict[str, Any]]:
    """The options of each node by its executable, and the arguments of the included file as `included`."""
    monkeypatch.setattr(demo, "Node", lambda **options: options)
    monkeypatch.setattr(demo, "has_rviz", lambda: has_rviz)
    context = launch.LaunchContext()
    context.launch_configurations.update(given)
    for argument in demo.ARGUMENTS:
        argument.visit(context)
    chosen = {}
    for action in demo.choose(context):
        action.visit(context)
        name = launch.utilities.perform_substitutions(context, action.name)
        chosen[name] = context.launch_configurations[name]
    chosen.pop("live")
    return {"included": chosen, **{options["executable"]: options for options in demo.start(context)}}


def test_nodes_start_after_the_included_file_which_chooses_their_transports(demo: ModuleType) -> None:
    kinds = [type(entity).__name__ for entity in demo.generate_launch_description().entities]
    assert kinds[len(demo.ARGUMENTS) :] == ["OpaqueFunction", "IncludeLaunchDescription", "OpaqueFunction"]


def test_scenes_are_shown_in_rviz_where_there_is_one(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = started(demo, monkeypatch, True)
    assert [*nodes] == ["included", "camera_source"]
    assert nodes["included"] == {
        "image_topics": "[/camera/image_raw]",
        "rviz": "true",
        "weights": "street_scenes",
    }
    assert nodes["camera_source"]["namespace"] == "/camera"


def test_a_webcam_is_shown_in_a_browser_where_there_is_no_rviz(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = started(demo, monkeypatch, False, source="0", port="9000")
    assert [*nodes] == ["included", "camera_source", "live_view"]
    assert nodes["included"] == {"image_topics": "[/camera/image_raw]", "rviz": "false"}
    assert nodes["live_view"]["arguments"] == ["--host", "127.0.0.1", "--port", "9000"]
    context = launch.LaunchContext()
    context.launch_configurations.update(source="0", rate="5")
    (parameters,) = nodes["camera_source"]["parameters"]
    assert {name: value.evaluate(context) for name, value in parameters.items()} == {"source": "0", "rate": 5.0}


@pytest.mark.parametrize(
    ("rviz", "live", "shown"),
    [
        ("true", "auto", {"rviz"}),
        ("false", "auto", {"live"}),
        ("true", "true", {"rviz", "live"}),
        ("false", "false", set()),
    ],
)
def test_what_shows_it_can_be_chosen(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, rviz: str, live: str, shown: set[str]
) -> None:
    nodes = started(demo, monkeypatch, False, rviz=rviz, live=live)
    assert ("live_view" in nodes) == ("live" in shown)
    assert (nodes["included"]["rviz"] == "true") == ("rviz" in shown)


@pytest.mark.parametrize(
    "given", [{"weights": "camvid"}, {"backbone": "xception_a"}, {"weights": ""}, {"params_file": "mine.yaml"}]
)
def test_a_network_that_was_asked_for_is_taken(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    assert not {"weights", "backbone"} & started(demo, monkeypatch, False, **given)["included"].keys()
