"""A node that receives in a thread of its own goes on, whatever rclpy stumbles over."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from ros_harness import next_domain
from std_msgs.msg import String

from dfanet_ros.running import receiving


def test_after_an_error_in_taking_a_message_all_others_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    rclpy.init(context=context, domain_id=next_domain())
    monkeypatch.setattr(rclpy, "ok", context.ok)  # which asks about the default context
    node = rclpy.create_node("listener", context=context)
    heard: dict[str, list[str]] = {"first": [], "second": []}

    def hears(topic: str) -> Any:
        return node.create_subscription(String, topic, lambda message: heard[topic].append(message.data), 10)

    subscriptions = {topic: hears(topic) for topic in heard}
    publishers = {topic: node.create_publisher(String, topic, 10) for topic in heard}
    errors: list[str] = []
    monkeypatch.setattr(node.get_logger(), "error", lambda text, **_: errors.append(text), raising=False)
    thread = receiving(node, SingleThreadedExecutor(context=context), Event())
    try:
        subscriptions["first"].msg_type = int  # what arrives cannot be made one
        until(lambda: publishers["first"].publish(String(data="lost")) or errors)
        assert "a message was dropped" in errors[0]
        subscriptions["first"].msg_type = String
        for topic in ("second", "first"):
            until(lambda topic=topic: publishers[topic].publish(String(data="heard")) or "heard" in heard[topic])
    finally:
        rclpy.shutdown(context=context)
        thread.join()
        node.destroy_node()


def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Ask until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.1)
