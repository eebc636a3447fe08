"""One camera of the node: its image subscription, its publishers and its counters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dfanet_ros.image_messages import BadImage, message_from_pixels
from dfanet_ros.segmenter import Segmentation

SILENCE = 5.0  # seconds without a frame after which a camera's silence is reported
REFUSAL_PERIOD = 5.0  # seconds between two warnings about images that cannot be read


@dataclass
class Counters:
    """What became of a camera's frames since the node started."""

    received: int = 0
    published: int = 0
    superseded: int = 0  # dropped, for a newer frame came before their turn
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
        image_qos: of the subscription.
        output_qos: of the publishers.
        on_image: called with each message.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        image_qos: QoSProfile,
        output_qos: QoSProfile,
        on_image: Callable[[Image], None],
    ) -> None:
        self.topic = topic
        self.counters = Counters()
        self._node = node
        self._on_image = on_image
        # Not the node's clock: where simulated time stands still, silence has to be reported all the more.
        self._last_image = time.monotonic()
        self._last_refusal = -REFUSAL_PERIOD
        overrides = QoSOverridingOptions.with_default_policies()
        self._subscription = node.create_subscription(
            Image, topic, self._receive, image_qos, qos_overriding_options=overrides
        )

        def publisher(name: str) -> Publisher[Image]:
            output = f"{output_namespace(topic)}/{name}"
            return node.create_publisher(Image, output, output_qos, qos_overriding_options=overrides)

        self._mask = publisher("mask")
        self._color_mask = publisher("color_mask")
        self._overlay = publisher("overlay")

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to a result."""
        return any(p.get_subscription_count() for p in (self._mask, self._color_mask, self._overlay))

    def publish(self, result: Segmentation, header: Header, opacity: float) -> None:
        """Publish what somebody subscribes to, with the header of the image that it belongs to."""
        if self._mask.get_subscription_count():
            self._mask.publish(message_from_pixels(result.label_map, "mono8", header))
        if self._color_mask.get_subscription_count():
            self._color_mask.publish(message_from_pixels(result.color_mask(), "rgb8", header))
        if self._overlay.get_subscription_count():
            self._overlay.publish(message_from_pixels(result.overlay(opacity), "rgb8", header))
        self.counters.published += 1

    def refuse(self, message: Image, error: BadImage) -> None:
        """Count an image that cannot be read, and warn, but not at every frame."""
        self.counters.refused += 1
        if time.monotonic() - self._last_refusal < REFUSAL_PERIOD:
            return
        self._last_refusal = time.monotonic()
        self._node.get_logger().warning(
            f"dropped an image on {self.topic} ({message.width} x {message.height}, encoding '{message.encoding}', "
            f"step {message.step}, {len(message.data)} bytes): {error}"
        )

    def silence(self) -> str | None:
        """A sentence about the topic if no frame has come for `SILENCE` seconds, else None."""
        seconds = time.monotonic() - self._last_image
        if seconds < SILENCE:
            return None
        publishers = self._node.get_publishers_info_by_topic(self.topic)
        text = f"no image on {self.topic} for {seconds:.0f} s: "
        if not publishers:
            return text + "nobody publishes there (ros2 topic list shows what there is; parameter image_topics)"
        offered = "; ".join(
            f"{info.node_name}: {info.topic_type}, {info.qos_profile.reliability.name}, "
            f"{info.qos_profile.durability.name}, depth {info.qos_profile.depth}"
            for info in publishers
        )
        wanted = self._subscription.qos_profile.reliability.name
        return (
            f"{text}{len(publishers)} publishers there ({offered}), this node subscribes with {wanted}. If they do "
            "publish, large images may get lost on the way: set FASTDDS_BUILTIN_TRANSPORTS=LARGE_DATA on both sides"
        )

    def _receive(self, message: Image) -> None:
        self._last_image = time.monotonic()
        self.counters.received += 1
        self._on_image(message)


def output_namespace(topic: str) -> str:
    """Where the results of an image topic go: `/camera/image_raw` gives `/camera/segmentation`."""
    camera, _, _ = topic.rpartition("/")
    return f"{camera}/segmentation"
