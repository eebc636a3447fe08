"""launch/evaluate.launch.py: what it starts, when, with what, and when it ends."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

launch = pytest.importorskip("launch", reason="launch is not installed")
actions = pytest.importorskip("launch.actions", reason="launch is not installed")
handlers = pytest.importorskip("launch.event_handlers")
events = pytest.importorskip("launch.events")
pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")

FILE = Path(__file__).parents[1] / "launch/evaluate.launch.py"
TOPICS = ["/camera/image_raw", "/camera/label"]


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The launch file, whose nodes are their options."""
    spec = importlib.util.spec_from_file_location("evaluate_launch", FILE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "Node", lambda **options: options)
    monkeypatch.setattr(module, "ExecuteProcess", lambda **options: options)
    return module


def started(module: ModuleType, **given: str) -> tuple[list[Any], dict[str, str], dict[str, Any]]:
    """The handlers of events, the arguments of the included file, and the options of the evaluation node."""
    context = launch.LaunchContext()
    context.launch_configurations.update(given)
    for argument in module.ARGUMENTS:
        argument.visit(context)
    prepared = module.prepare(context)
    registered = [action.event_handler for action in prepared if isinstance(action, actions.RegisterEventHandler)]
    before = dict(context.launch_configurations)
    for action in prepared[len(registered) :]:
        action.visit(context)
    included = {name: value for name, value in context.launch_configurations.items() if before.get(name) != value}
    (evaluation,) = module.evaluation(context)
    return registered, included, evaluation


def test_nodes_get_topics_and_simulated_time(evaluate: ModuleType, tmp_path: Path) -> None:
    _, included, evaluation = started(evaluate, bag=str(tmp_path), image_topic="/front/image_raw", label_topic="/l")
    assert included == {"image_topics": "[/front/image_raw]", "use_sim_time": "true"}
    (parameters,) = evaluation["parameters"]
    assert (parameters["mask_topic"], parameters["label_topic"]) == ("/front/segmentation/mask", "/l")
    assert parameters["use_sim_time"] is True
    assert parameters["reliability"] == "reliable"


def test_labels_that_were_recorded_best_effort_are_received(evaluate: ModuleType, tmp_path: Path) -> None:
    """rosbag2 plays them so, and a reliable subscription would get nothing."""
    *_, evaluation = started(evaluate, bag=str(tmp_path), label_reliability="best_effort")
    assert evaluation["parameters"][0]["reliability"] == "best_effort"
    (argument,) = (argument for argument in evaluate.ARGUMENTS if argument.name == "label_reliability")
    assert {*argument.choices} == {"best_effort", "reliable"}


@pytest.mark.parametrize("rosbag2", [True, False])
def test_bag_is_played_once_the_node_has_subscribed(
    evaluate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rosbag2: bool
) -> None:
    monkeypatch.setattr(evaluate, "has_rosbag2", lambda: rosbag2)
    (output, exited), *_ = started(evaluate, bag=str(tmp_path), rate="0.5")
    assert isinstance(output, handlers.OnProcessIO) and isinstance(exited, handlers.OnProcessExit)

    assert printed(output, b"[INFO] something else") == []
    (play,) = printed(output, b"[INFO] [1.2] [segmentation_node]: dfanet with ...; images from /camera/image_raw\n")
    assert printed(output, b"...; images from /camera/image_raw\n") == [], "not a second time"
    if rosbag2:
        assert play["cmd"][:4] == ["ros2", "bag", "play", str(tmp_path)]
        words = play["cmd"]
    else:
        assert (play["executable"], play["arguments"][0]) == ("play_bag", str(tmp_path))
        words = play["arguments"]
    assert "--clock" in words
    assert words[words.index("--rate") + 1] == "0.5"
    assert words[words.index("--topics") + 1 :] == TOPICS


def test_node_that_cannot_be_configured_ends_it(evaluate: ModuleType, tmp_path: Path) -> None:
    (output, _), *_ = started(evaluate, bag=str(tmp_path))
    (action,) = printed(output, b"[ERROR] [segmentation_node]: cannot configure: there is no file /none")
    assert isinstance(action, actions.EmitEvent) and isinstance(action.event, events.Shutdown)


def test_missing_bag_is_said(evaluate: ModuleType) -> None:
    with pytest.raises(FileNotFoundError, match="bag is '/none', but there is no such file or folder"):
        started(evaluate, bag="/none")


def test_log_level_that_hides_when_the_node_is_ready_is_refused(evaluate: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"log_level is 'warn', but .* give info or debug"):
        started(evaluate, bag=str(tmp_path), log_level="warn")


def test_end_of_a_process_ends_all_once_the_last_mask_has_come(evaluate: ModuleType, tmp_path: Path) -> None:
    (_, exited), *_ = started(evaluate, bag=str(tmp_path))
    context = launch.LaunchContext()
    event = SimpleNamespace(process_name="play_bag-3", action=None)
    (timer,) = exited.handle(event, context)
    assert isinstance(timer, actions.TimerAction)
    (action,) = timer.actions
    assert isinstance(action.event, events.Shutdown) and action.event.reason == "play_bag-3 has ended"
    context._set_is_shutdown(True)
    assert exited.handle(event, context) == [], "what ends with the others does not end them again"


def printed(handler: Any, text: bytes) -> list[Any]:
    """What the handler starts when a process prints the text."""
    event = SimpleNamespace(text=text, from_stdout=False, from_stderr=True)
    return handler.handle(event, launch.LaunchContext())
