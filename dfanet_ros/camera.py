"""One camera of the node: its subscriptions, its results and its counters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from dfanet_ros.compressed_images import frame_from_compressed
from dfanet_ros.frame import Frame
from dfanet_ros.image_messages import BadImage, frame_from_message
from dfanet_ros.outputs import Outputs
from dfanet_ros.qos import OVERRIDES
from dfanet_ros.recorder import Recorder
from dfanet_ros.topics import camera_namespace, input_topic

SILENCE = 5.0  # seconds without a frame after which a camera's silence is reported
REFUSAL_PERIOD = 5.0  # seconds between two warnings about images that cannot be read

AnyImage: TypeAlias = Image | CompressedImage


@dataclass
class Counters:
    """What became of a camera's frames since the node was configured."""

    received: int = 0
    published: int = 0
    superseded: int = 0  # dropped, for a newer frame came before their turn
    throttled: int = 0  # dropped, for they came faster than max_rate
    refused: int = 0  # dropped, for they could not be read
    failed: int = 0  # dropped, for the segmentation raised an error
    unwanted: int = 0  # not segmented, for nobody subscribed to a result

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in vars(self).items())


class Camera:
    """Subscribes to an image topic and publishes beside it, under `segmentation/`.

    Args:
        node: that everything belongs to.
        topic: of the images, resolved; `/camera/image_raw` gives `/camera/segmentation/mask` and so on.
        transport: `auto`, `raw` or `compressed`.
        qos: of the image subscription.
        outputs: where the results go.
        on_image: called with each image that is to be segmented.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        transport: str,
        qos: QoSProfile,
        outputs: Outputs,
        on_image: Callable[[AnyImage], None],
    ) -> None:
        self.topic, self._is_compressed = input_topic(topic, transport)
        self.outputs = outputs
        self.counters = Counters()
        self.recorder = Recorder()
        self.info: CameraInfo | None = None  # the newest
        self.max_rate = 0.0
        self._node = node
        self._qos = qos
        self._on_image = on_image
        self._subscriptions: list[Subscription[Any]] = []
        self._wanted = True
        self._due = 0.0
        self._last_refusal = -REFUSAL_PERIOD

    def subscribe(self) -> None:
        """Begin to receive."""
        # Not the node's clock: where simulated time stands still, silence has to be reported all the more.
        self.recorder.restart(time.monotonic())
        create = self._node.create_subscription
        kind = CompressedImage if self._is_compressed else Image
        self._subscriptions = [
            create(kind, self.topic, self._receive, self._qos, qos_overriding_options=OVERRIDES),
            create(CameraInfo, f"{camera_namespace(self.topic)}/camera_info", self._receive_info, self._qos),
        ]

    def unsubscribe(self) -> None:
        """Receive nothing any more."""
        subscriptions, self._subscriptions = self._subscriptions, []
        for subscription in subscriptions:
            self._node.destroy_subscription(subscription)

    def frame(self, message: AnyImage) -> Frame | None:
        """The message's frame; None, with a warning but not at every one, if it cannot be read."""
        try:
            return frame_from_compressed(message) if self._is_compressed else frame_from_message(message)
        except BadImage as error:
            self.counters.refused += 1
            if time.monotonic() - self._last_refusal >= REFUSAL_PERIOD:
                self._last_refusal = time.monotonic()
                self._node.get_logger().warning(f"dropped an image on {self.topic} ({_described(message)}): {error}")
        return None

    @property
    def receives(self) -> bool:
        """Whether it subscribes to its images."""
        return bool(self._subscriptions)

    @property
    def expected(self) -> bool:
        """Whether its next image is likely to come soon, and to be segmented."""
        return self._wanted and self.silence < SILENCE

    @property
    def silence(self) -> float:
        """Seconds since the last image, by the wall's clock."""
        return self.recorder.silence(time.monotonic())

    def describe_silence(self) -> str:
        """Why there may be no images, in a sentence."""
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        text = f"no image on {self.topic} for {self.silence:.0f} s: "
        if not publishers:
            return text + "nobody publishes there (ros2 topic list shows what there is; parameter image_topics)"
        offered = "; ".join(
            f"{info.node_name}: {info.topic_type}, {info.qos_profile.reliability.name}, "
            f"{info.qos_profile.durability.name}, depth {info.qos_profile.depth}"
            for info in publishers
        )
        kind = "CompressedImage" if self._is_compressed else "Image"
        text += (
            f"{len(publishers)} publishers there ({offered}), this node subscribes to sensor_msgs/msg/{kind} with "
            f"{self._qos.reliability.name}. If they do publish, "
        )
        if "fastrtps" in rclpy.get_rmw_implementation_identifier():
            return (
                f"{text}Fast DDS may lose large images on the way: give the camera driver this package's "
                "config/fastdds.xml (README, Large images)"
            )
        return f"{text}large images may get lost on the way: try image_reliability:=reliable"

    def _receive(self, message: AnyImage) -> None:
        now = time.monotonic()
        self.counters.received += 1
        self.recorder.arrived(now)
        self._wanted = self.outputs.wanted
        if not self._wanted:
            self.counters.unwanted += 1
            self.outputs.publish_info(message.header, self.info)
        elif self.max_rate and now < (due := min(self._due, now + 1 / self.max_rate)):
            self._due = due  # no later than now if the rate has risen since it was set
            self.counters.throttled += 1
        else:
            if self.max_rate:
                # From when it was due, not from now: else a 30 Hz camera at max_rate 20 would give 15.
                self._due = max(self._due, now - 1 / self.max_rate) + 1 / self.max_rate
            self._on_image(message)

    def _receive_info(self, message: CameraInfo) -> None:
        self.info = message


def _described(message: AnyImage) -> str:
    if isinstance(message, CompressedImage):
        return f"format '{message.format}', {len(message.data)} bytes"
    return (
        f"{message.width} x {message.height}, encoding '{message.encoding}', step {message.step}, "
        f"{len(message.data)} bytes"
    )
