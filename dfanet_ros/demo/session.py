"""A camera and a recorder that talk to the node over DDS."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from dfanet_ros.node_process import CAMERA, NodeProcess
from dfanet_ros.serialized import stamp_of, with_stamp
from dfanet_ros.topics import output_namespace

MASK, COLOR_MASK, OVERLAY = (f"{output_namespace(CAMERA)}/{name}" for name in ("mask", "color_mask", "overlay"))

# Seconds that the node has for loading, for discovery and for its first mask. The first start on a GPU compiles some 60
# kernels and measures them.
READY_WITHIN = 180.0
RESEND_AFTER = 2.0  # seconds; the first frames may get lost while the two sides are finding one another
ANSWER_WITHIN = 10.0  # seconds after which a frame without a mask counts as lost
COMPLETE_WITHIN = 2.0  # seconds that the last frame's other pictures have to arrive after its mask

Record = Callable[[str, int, bytes], None]  # gets the topic, when it was received (ns) and the serialized image


@dataclass
class Exchange:
    """A frame's way to the node and back; times in ns since the epoch."""

    number: int
    sent: int  # also its header's stamp
    published: int | None = None  # its mask, by the node
    received: int | None = None  # its mask, by us


class Session:
    """Sends frames as a camera does and receives what the node publishes; to be used with `with`.

    It has to end after the node: taking ROS down may wait for ever for another process that is there and says nothing
    (eProsima/Fast-DDS#6066).

    Args:
        process: the node, which has to run by the time of `connect`.
        topics: what to subscribe to, `MASK` among them.
    """

    def __init__(self, process: NodeProcess, topics: Sequence[str] = (MASK, COLOR_MASK, OVERLAY)) -> None:
        self._process = process
        self._topics = topics
        self._start(None)

    def __enter__(self) -> Session:
        # Without rclpy's own signal handlers, so that Ctrl-C is the exception that unwinds all of this.
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node("dfanet_demo")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        qos = QoSProfile(depth=10)  # and reliable
        self._publisher = self._node.create_publisher(Image, CAMERA, qos)
        self._subscriptions = [
            self._node.create_subscription(Image, topic, partial(self._receive, topic), qos, raw=True)
            for topic in self._topics
        ]
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown()

    def connect(self, frame: bytes) -> None:
        """Wait until the node answers this serialized image on all topics.

        Raises:
            NodeError: it does not, or it has stopped.
        """
        self._start(None)
        end = time.monotonic() + READY_WITHIN

        def matched() -> bool:
            counts = [self._publisher.get_subscription_count()]
            counts += [subscription.get_publisher_count() for subscription in self._subscriptions]
            return all(counts)

        answered = False
        if self._wait(matched, READY_WITHIN):
            while not answered and time.monotonic() < end:
                self._send(frame)
                answered = self._wait(lambda: all(self._received[topic] for topic in self._topics), RESEND_AFTER)
        if not answered:
            raise self._process.error(f"the node was not ready within {READY_WITHIN:.0f} s")
        self._wait(lambda: not self._in_flight, RESEND_AFTER)

    def play(
        self, frames: Iterable[bytes], rate: float | None = None, most_in_flight: int = 1, record: Record | None = None
    ) -> list[Exchange]:
        """Send serialized images, with the time as their stamps, and wait for the masks.

        Args:
            frames: the images.
            rate: so many a second, whatever comes back; None: as fast as the node answers.
            most_in_flight: how many may be under way at a time if there is no rate.
            record: called with every message that the node publishes of these frames.
        """
        self._start(record)
        begin = time.monotonic()
        for number, frame in enumerate(frames):
            if rate is not None:
                self._wait(lambda: False, begin + number / rate - time.monotonic())
            elif not self._wait(lambda: self._in_flight < most_in_flight, ANSWER_WITHIN):
                self._settled = len(self._exchanges)  # these are lost
            self._send(frame)
        self._wait(lambda: not self._in_flight, ANSWER_WITHIN)
        self._wait(lambda: len({self._received[topic] for topic in self._topics}) == 1, COMPLETE_WITHIN)
        return list(self._exchanges.values())

    def _start(self, record: Record | None) -> None:
        self._record = record
        self._exchanges: dict[int, Exchange] = {}  # by stamp; what has another stamp is of the time before
        self._received: Counter[str] = Counter()  # messages by topic
        self._idle = True
        self._settled = 0  # the masks of the frames before this one have arrived or will never

    @property
    def _in_flight(self) -> int:
        return len(self._exchanges) - self._settled

    def _send(self, frame: bytes) -> None:
        stamp = time.time_ns()
        self._exchanges[stamp] = Exchange(len(self._exchanges), stamp)
        self._publisher.publish(with_stamp(frame, stamp))

    def _receive(self, topic: str, message: bytes, info: dict[str, Any]) -> None:
        now = time.time_ns()
        self._idle = False
        exchange = self._exchanges.get(stamp_of(message))
        if exchange is None:
            return
        self._received[topic] += 1
        if topic == MASK:
            exchange.published, exchange.received = info["source_timestamp"], now
            # Masks come in the frames' order: an earlier frame without one was dropped for a newer.
            self._settled = max(self._settled, exchange.number + 1)
        if self._record:
            self._record(topic, now, message)

    def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Receive messages until `done`, or until the time is over; says which."""
        end = time.monotonic() + seconds
        while not done():
            self._process.check()
            left = end - time.monotonic()
            self._idle = True
            self._executor.spin_once(timeout_sec=min(max(left, 0), 0.1))  # takes one message
            if left <= 0 and self._idle:  # not before what has arrived is taken, for the queues are short
                return False
        return True
