"""The ROS side: a node in a thread of its own that receives the cameras that somebody looks at, and nothing else."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Collection
from functools import partial
from threading import Event
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from dfanet_ros.interruption import taking_down
from dfanet_ros.live.cameras import CONFIDENCE, LABELS, MASK, Camera, find_cameras, qos_for
from dfanet_ros.live.matching import Matcher
from dfanet_ros.live.packets import Matched
from dfanet_ros.qos import LATCHED
from dfanet_ros.running import receiving
from dfanet_ros.serialized import stamp_of

PERIOD = 1.0  # seconds between two looks at the graph
PATIENCE = 4.0  # seconds without a frame after which the page says why

Labels = dict[str, Any]


class Receiver:
    """Runs from `with` on. What it calls is called in its thread.

    Args:
        names: of the cameras; none means all that are segmented.
        arguments: of ROS, from the command line.
        on_cameras: gets the cameras and why each of them has no frames (empty: it has, or nobody looks), every second.
        on_frame: gets a camera's name and what belongs together.
        on_labels: gets a camera's name and what its `label_info_json` says.
    """

    def __init__(
        self,
        names: Collection[str],
        arguments: list[str],
        on_cameras: Callable[[dict[str, str]], None],
        on_frame: Callable[[str, Matched], None],
        on_labels: Callable[[str, Labels], None],
    ) -> None:
        self._names = names
        self._arguments = arguments
        self._on_cameras = on_cameras
        self._on_frame = on_frame
        self._on_labels = on_labels
        self._wanted: frozenset[str] = frozenset()
        self._watches: dict[str, Watch] = {}
        self._ended = Event()

    def __enter__(self) -> Receiver:
        # Not rclpy's signal handlers: who ends us does so in order.
        rclpy.init(args=self._arguments, signal_handler_options=SignalHandlerOptions.NO)
        self.node = rclpy.create_node("live_view")
        self._executor = SingleThreadedExecutor()
        # A steady clock, for simulated time may stand still.
        self.node.create_timer(PERIOD, self._update, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._thread = receiving(self.node, self._executor, self._ended)
        return self

    def __exit__(self, *_: object) -> None:
        rclpy.try_shutdown()
        self._thread.join()
        with taking_down():
            self.node.destroy_node()

    @property
    def ended(self) -> bool:
        """Whether it receives nothing any more: ROS was shut down, or its thread has failed."""
        return self._ended.is_set()

    def look_at(self, names: frozenset[str]) -> None:
        """Receive these cameras and no others; from any thread."""
        if names != self._wanted:
            self._wanted = names
            self._executor.create_task(self._update)

    def _update(self) -> None:
        try:
            self._look_around()
        except Exception:  # the graph may change under its hands; the next look finds what is true then
            self.node.get_logger().warning(traceback.format_exc(), throttle_duration_sec=5.0)

    def _look_around(self) -> None:
        """Have a watch of each camera that is wanted and can be watched."""
        cameras = {camera.name: camera for camera in find_cameras(self.node, self._names)}
        for name, watch in [*self._watches.items()]:
            if name not in self._wanted or not watch.fits(cameras.get(name)):
                self._watches.pop(name).end()
        for name in self._wanted & cameras.keys() - self._watches.keys():
            camera = cameras[name]
            if camera.segmented and camera.images:
                self._watches[name] = Watch(
                    self.node, camera, partial(self._on_frame, name), partial(self._on_labels, name)
                )
        problems = {}
        for name, camera in cameras.items():
            watched = self._watches.get(name)
            if watched is not None:
                watched.camera = camera
            problems[name] = camera.problem or (watched.problem if watched else "")
        self._on_cameras(problems)


class Watch:
    """The subscriptions to a camera's images, masks, confidences and classes, until `end`.

    Nothing is deserialized here but stamps and classes: most images of a fast camera are never shown.
    """

    def __init__(
        self, node: Node, camera: Camera, on_frame: Callable[[Matched], None], on_labels: Callable[[Labels], None]
    ) -> None:
        self.camera = camera
        self._node = node
        self._on_frame = on_frame
        self._on_labels = on_labels
        self._matcher = Matcher()
        start = time.monotonic()
        self._last = {"image": start, "mask": start, "frame": start}  # when one came
        topics = {
            "image": camera.images,
            "mask": camera.namespace + MASK,
            "confidence": camera.namespace + CONFIDENCE,
        }
        self._qos = {topic: qos_for(node, topic) for topic in topics.values()}
        self._subscriptions = [
            node.create_subscription(
                CompressedImage if kind == "image" and camera.compressed else Image,
                topic,
                partial(self._receive, kind),
                self._qos[topic],
                raw=True,
            )
            for kind, topic in topics.items()
        ]
        self._subscriptions.append(
            node.create_subscription(String, camera.namespace + LABELS, self._receive_labels, LATCHED)
        )

    def fits(self, camera: Camera | None) -> bool:
        """Whether this is still what there is to subscribe to, and how: a driver may come back with another QoS."""
        return (
            camera is not None
            and camera.segmented
            and camera.images == self.camera.images
            and all(qos_for(self._node, topic).reliability == qos.reliability for topic, qos in self._qos.items())
        )

    def end(self) -> None:
        """Take the subscriptions back."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    @property
    def problem(self) -> str:
        """Why no frames have come for a while, in a sentence; empty if they have."""
        now, camera = time.monotonic(), self.camera
        silent = {kind for kind, when in self._last.items() if now - when > PATIENCE}
        if "frame" not in silent:
            return ""
        mask = camera.namespace + MASK
        if "image" in silent:
            return (
                f"No image arrives on {camera.images}, though somebody publishes there. Large images may get lost on "
                "the way: the README of dfanet_ros says under Large images what helps."
            )
        if "mask" in silent:
            return f"Images arrive on {camera.images}, but no masks on {mask}: the node's log may say why."
        return f"What arrives on {camera.images} and {mask} never has the same stamp."

    def _receive(self, kind: str, message: bytes) -> None:
        camera = self.camera
        needed = ("image", "mask", "confidence") if camera.confident else ("image", "mask")
        stamp = stamp_of(message)
        self._last[kind] = time.monotonic()
        whole = self._matcher.put(stamp, kind, message, needed)
        if whole is None:
            return
        self._last["frame"] = time.monotonic()
        latency = (self._node.get_clock().now().nanoseconds - stamp) / 1e6 if stamp else None
        self._on_frame(
            Matched(stamp, latency, whole["image"], camera.compressed, whole["mask"], whole.get("confidence"))
        )

    def _receive_labels(self, message: String) -> None:
        try:
            labels = json.loads(message.data)
        except ValueError as error:
            self._node.get_logger().warning(f"{self.camera.namespace}{LABELS} is no JSON: {error}")
            return
        self._on_labels(labels)
