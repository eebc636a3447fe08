"""What takes long at the first start is done before anything is started."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from dfanet_ros.live import __main__ as live
from dfanet_ros.segmenter import find_weights


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the live view does, with nothing behind it."""
    done: list[str] = []
    monkeypatch.setattr(live, "prepare_process", lambda: None)
    monkeypatch.setattr(live, "prepare", lambda weights: done.append(f"prepare {weights.name}"))
    monkeypatch.setattr(live, "run", lambda *_: done.append("run"))
    return done


def test_the_live_view_prepares_the_network_that_its_node_gets(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["live"])
    live.main()
    assert done == [f"prepare {find_weights('street_scenes').name}", "run"]


def test_nothing_is_prepared_for_nodes_that_run_already(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["live", "--attach"])
    live.main()
    assert done == ["run"]
