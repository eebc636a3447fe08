"""Which camera each viewer of the live view sees, and what it is told of it: without DDS and without browsers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from dfanet_ros.live.viewers import Viewer, Viewers

CLASSES = {"classes": ["road", "sky"]}


@pytest.fixture
def looked() -> list[frozenset[str]]:
    """What the receiver was told to look at, one after the other."""
    return []


@pytest.fixture
def viewers(looked: list[frozenset[str]]) -> Viewers:
    return Viewers(ThreadPoolExecutor(1), looked.append, lambda *_: None)


def joined(viewers: Viewers) -> Viewer:
    viewer = Viewer()
    viewers.join(viewer)
    viewers.ask(viewer)
    return viewer


def test_a_viewer_that_has_not_chosen_stays_where_it_is_while_that_is_there(
    viewers: Viewers, looked: list[frozenset[str]]
) -> None:
    viewers.cameras({"/front": ""})
    viewer = joined(viewers)
    viewers.cameras({"/back": "", "/front": ""})
    assert viewers.state(viewer)["camera"] == "/front"
    assert looked[-1] == {"/front"}
    viewers.cameras({"/back": ""})
    assert viewers.state(viewer)["camera"] == "/back"
    assert looked[-1] == {"/back"}


def test_the_classes_outlive_a_reload_that_the_receiver_does_not_notice(viewers: Viewers) -> None:
    viewers.cameras({"/a": "", "/b": ""})
    first = joined(viewers)
    viewers.labels("/a", CLASSES)
    viewers.leave(first)
    second = joined(viewers)
    assert viewers.state(second)["labels"] == CLASSES
    viewers.choose(second, "/b")
    assert viewers.state(second)["labels"] is None
    viewers.choose(second, "/a")
    assert viewers.state(second)["labels"] == CLASSES


def test_the_classes_of_a_camera_that_has_gone_are_forgotten(viewers: Viewers) -> None:
    viewers.cameras({"/a": ""})
    viewers.labels("/a", CLASSES)
    viewers.cameras({})
    viewers.cameras({"/a": ""})
    assert viewers.state(joined(viewers))["labels"] is None
