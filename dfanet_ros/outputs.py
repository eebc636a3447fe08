"""The publishers of one camera's results."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from dfanet_ros.compressed_images import compressed_from_pixels
from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.label_set import LabelSet
from dfanet_ros.qos import LATCHED, OVERRIDES
from dfanet_ros.segmenter import ENCODINGS, Segmentation, drawn
from dfanet_ros.topics import COMPRESSED

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:  # not installed: the labels are published as JSON all the same
    LabelInfo = None


class Seldom(MutuallyExclusiveCallbackGroup):
    """The publishers' events: rclpy warns of subscribers with another QoS or type.

    There are some twenty of them a camera, and rclpy looks at each twice for each message, which takes half a
    millisecond. So they are looked at only while this is `open`.
    """

    open = True

    def can_execute(self, entity: Any) -> bool:
        """Whether it may be executed now."""
        return self.open and super().can_execute(entity)


class Outputs:
    """Publishes results under a namespace: what somebody subscribes to, with the header of the image it belongs to.

    Args:
        node: that the publishers belong to.
        namespace: e.g. `/camera/segmentation`.
        qos: of masks, colour masks, overlays and confidences.
        events: of the publishers.
    """

    def __init__(self, node: Node, namespace: str, qos: QoSProfile, events: Seldom) -> None:
        self._node = node
        self._namespace = namespace
        self._qos = qos
        self._events = events
        self._raw: dict[str, Publisher[Image]] = {}
        self._compressed: dict[str, Publisher[CompressedImage]] = {}
        self._camera_info = self._publisher(CameraInfo, "camera_info", qos)
        self._json = self._publisher(String, "label_info_json", LATCHED)
        self._label_info = self._publisher(LabelInfo, "label_info", LATCHED) if LabelInfo else None
        self._described = ""

    @property
    def wanted(self) -> bool:
        """Whether anybody subscribes to a result."""
        return any(p.get_subscription_count() for p in (*self._raw.values(), *self._compressed.values()))

    def choose(self, names: Iterable[str]) -> None:
        """Have publishers of these results and of no others."""
        names = set(names)
        for publishers in (self._raw, self._compressed):
            for name in publishers.keys() - names:
                self._node.destroy_publisher(publishers.pop(name))
        for name in sorted(names - self._raw.keys()):
            self._raw[name] = self._publisher(Image, name, self._qos)
            self._compressed[name] = self._publisher(CompressedImage, name + COMPRESSED, self._qos)

    def describe(self, labels: LabelSet) -> None:
        """Publish the classes, for those that subscribe and those that will, unless that is done."""
        text = labels.to_json()
        if text == self._described:
            return
        self._described = text
        self._json.publish(String(data=text))
        if self._label_info is not None:
            info = LabelInfo(header=Header(stamp=self._node.get_clock().now().to_msg()))
            info.class_map = [VisionClass(class_id=n, class_name=name) for n, name in enumerate(labels.names)]
            self._label_info.publish(info)

    def publish(
        self, result: Segmentation, header: Header, opacity: float, jpeg_quality: int, info: CameraInfo | None
    ) -> None:
        """Publish what somebody subscribes to, and the camera's calibration if it is known."""
        for name, publisher in self._raw.items():
            raw = publisher.get_subscription_count()
            compressed = self._compressed[name].get_subscription_count()
            if not raw and not compressed:
                continue
            pixels, encoding = drawn(result, name, opacity), ENCODINGS[name]
            if raw:
                publisher.publish(message_from_pixels(pixels, encoding, header))
            if compressed:
                kind = "jpeg" if name == "overlay" else "png"
                self._compressed[name].publish(compressed_from_pixels(pixels, encoding, header, kind, jpeg_quality))
        self.publish_info(header, info)

    def publish_info(self, header: Header, info: CameraInfo | None) -> None:
        """Publish the camera's calibration, if it is known and somebody subscribes to it; from any thread."""
        if info is not None and self._camera_info.get_subscription_count():
            info = copy(info)  # another thread may be giving it the header of another frame
            info.header = header
            self._camera_info.publish(info)

    def destroy(self) -> None:
        """Take the topics back."""
        self.choose(())
        for publisher in (self._camera_info, self._json, self._label_info):
            if publisher is not None:
                self._node.destroy_publisher(publisher)

    def _publisher(self, kind: type[Any], name: str, qos: QoSProfile) -> Publisher[Any]:
        overrides = None if qos is LATCHED else OVERRIDES
        return self._node.create_publisher(
            kind, f"{self._namespace}/{name}", qos, callback_group=self._events, qos_overriding_options=overrides
        )
