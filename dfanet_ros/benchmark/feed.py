"""Several cameras over DDS, and who receives their masks."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from dfanet_ros.demo.session import RESEND_AFTER
from dfanet_ros.serialized import stamp_of, with_stamp
from dfanet_ros.topics import output_namespace

IN_FLIGHT = 2  # frames of a camera at full load: one that is segmented, and the next
LOST_AFTER = 10.0  # seconds after which a frame without a mask is no longer waited for
PAUSE = 0.3  # seconds after a load, so that the next one finds idle nodes


class Camera:
    """One camera; times in ns since the epoch."""

    def __init__(self, node: Node, topic: str, frame: bytes) -> None:
        self._frame = frame
        self._waiting: list[int] = []  # stamps of the frames without a mask
        self.latencies: list[float] = []  # from a stamp to the mask's publication, in ms
        qos = QoSProfile(depth=10)  # and reliable
        self._publisher = node.create_publisher(Image, topic, qos)
        mask = f"{output_namespace(topic)}/mask"
        self._subscription = node.create_subscription(Image, mask, self._receive, qos, raw=True)

    @property
    def matched(self) -> bool:
        """Whether the node is there."""
        return bool(self._publisher.get_subscription_count() and self._subscription.get_publisher_count())

    @property
    def ready(self) -> bool:
        """Whether the next frame can come, at full load."""
        return len(self._waiting) < IN_FLIGHT or time.time_ns() - self._waiting[-1] > LOST_AFTER * 1e9

    @property
    def silent(self) -> bool:
        """Whether no mask has come for some time since the last frame."""
        return bool(self._waiting) and time.time_ns() - self._waiting[-1] > RESEND_AFTER * 1e9

    @property
    def idle(self) -> bool:
        """Whether all frames have been answered, be it by the mask of a newer one."""
        return not self._waiting

    def send(self) -> None:
        """Publish the frame with the time as its stamp."""
        self._waiting.append(time.time_ns())
        self._publisher.publish(with_stamp(self._frame, self._waiting[-1]))

    def reset(self) -> None:
        """Forget what was sent and received."""
        self._waiting, self.latencies = [], []

    def _receive(self, message: bytes, info: Any) -> None:
        stamp = stamp_of(message)
        if stamp in self._waiting:  # else it is of the time before
            self.latencies.append((info["source_timestamp"] - stamp) / 1e6)
            # Masks come in the frames' order: an earlier frame without one was dropped for a newer.
            self._waiting = [other for other in self._waiting if other > stamp]


class Feed:
    """Sends as cameras do and receives the masks; to be used with `with`."""

    def __enter__(self) -> Feed:
        # Without rclpy's own signal handlers, so that Ctrl-C is the exception that unwinds all of this.
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("dfanet_benchmark")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown()

    def cameras(self, topics: Sequence[str], frame: bytes) -> list[Camera]:
        """A camera for each topic, that sends always the same serialized image."""
        return [Camera(self._node, topic, frame) for topic in topics]

    def connect(self, cameras: Sequence[Camera], timeout: float, check: Callable[[], None]) -> bool:
        """Wait until each camera has got a mask; says whether that was within so many seconds.

        Args:
            check: called while waiting; it raises if there is no use in that.
        """
        end = time.monotonic() + timeout
        while not all(camera.latencies for camera in cameras) and time.monotonic() < end:
            check()
            for camera in cameras:
                if camera.latencies:
                    continue
                if camera.silent:
                    camera.reset()
                if camera.matched and camera.ready:
                    camera.send()
            self._receive_until(lambda: False, time.monotonic() + 0.2)
        return all(camera.latencies for camera in cameras)

    def first_mask(self, camera: Camera, rate: float, timeout: float, check: Callable[[], None]) -> bool:
        """Send at a rate, whether or not anybody receives, until a mask comes; says whether one came in that time.

        Args:
            check: called while waiting; it raises if there is no use in that.
        """
        camera.reset()
        due = time.monotonic()
        end = due + timeout
        while not camera.latencies and due < end:
            check()
            camera.send()
            due += 1 / rate
            self._receive_until(lambda: bool(camera.latencies), due)
        return bool(camera.latencies)

    def play(self, cameras: Sequence[Camera], seconds: float, rate: float | None = None) -> tuple[list[float], float]:
        """Send for some time and wait for the masks; gives their latencies in ms, and how long all took in seconds.

        Args:
            rate: frames a second of each camera; None: always a next one, as the masks come back.
        """
        for camera in cameras:
            camera.reset()
        begin = time.monotonic()
        end = begin + seconds
        if rate is None:
            while time.monotonic() < end:
                for camera in cameras:
                    while camera.ready:
                        camera.send()
                self._receive_until(lambda: any(camera.ready for camera in cameras), end)
        else:
            for number in range(round(seconds * rate)):
                for camera in cameras:
                    camera.send()
                self._receive_until(lambda: False, begin + (number + 1) / rate)
        self._receive_until(lambda: all(camera.idle for camera in cameras), time.monotonic() + LOST_AFTER)
        elapsed = time.monotonic() - begin
        self._receive_until(lambda: False, time.monotonic() + PAUSE)
        return [latency for camera in cameras for latency in camera.latencies], elapsed

    def _receive_until(self, done: Callable[[], bool], end: float) -> None:
        while not done() and (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.1))
