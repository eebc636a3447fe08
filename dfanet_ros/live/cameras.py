"""What the ROS graph says of the cameras that are segmented."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.topic_endpoint_info import TopicEndpointInfo

from dfanet_ros.topics import camera_namespace

MASK = "/segmentation/mask"  # behind a camera's namespace
CONFIDENCE = "/segmentation/confidence"
LABELS = "/segmentation/label_info_json"
IMAGE_TYPES = {"sensor_msgs/msg/Image": False, "sensor_msgs/msg/CompressedImage": True}  # whether it is compressed
DEPTH = 5  # of the subscriptions: what may come while another message is taken

NO_CAMERA = (
    "No camera is segmented: nobody publishes a topic that ends with /segmentation/mask. Start the segmentation node "
    "(ros2 launch dfanet_ros segmentation.launch.py); this page goes on by itself. If it runs, ROS_DOMAIN_ID or "
    "the transports of Fast DDS differ between there and here."
)


@dataclass(frozen=True)
class Camera:
    """A camera as the graph shows it.

    Attributes:
        name: its namespace, e.g. `/camera`; `/` if it has none.
        segmented: whether anybody publishes its masks.
        confident: whether anybody publishes its confidences.
        images: the topic of its images, which is what the segmentation node subscribes to; empty if it does not.
        compressed: whether these are compressed.
        publishers: how many publish there.
    """

    name: str
    segmented: bool = False
    confident: bool = False
    images: str = ""
    compressed: bool = False
    publishers: int = 0

    @property
    def namespace(self) -> str:
        """What its topics begin with."""
        return self.name.rstrip("/")

    @property
    def problem(self) -> str:
        """Why there can be no frames, in a sentence; empty if there can."""
        mask = self.namespace + MASK
        if not self.segmented:
            return f"Nobody publishes {mask}: the segmentation node is starting, or has stopped, or its masks are off."
        if not self.images:
            return f"The node that publishes {mask} receives no images: it is not active (ros2 lifecycle set)."
        if not self.publishers:
            return f"No camera publishes on {self.images}, from which {mask} is made."
        return ""


def find_cameras(node: Node, names: Collection[str] = ()) -> list[Camera]:
    """The cameras with these names, which need not exist; without names all that are segmented, in their order."""
    topics = {name: types[0] for name, types in node.get_topic_names_and_types()}
    found = {name.removesuffix(MASK) or "/" for name in topics if name.endswith(MASK) and node.count_publishers(name)}
    return [_camera(node, name, topics) if name in found else Camera(name) for name in (names or sorted(found))]


def qos_for(node: Node, topic: str) -> QoSProfile:
    """Reliable if that is what all publishers of the topic offer, else best effort, which every publisher serves."""
    offered = {info.qos_profile.reliability for info in node.get_publishers_info_by_topic(topic)}
    reliable = offered == {ReliabilityPolicy.RELIABLE}
    return QoSProfile(
        depth=DEPTH, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    )


def _camera(node: Node, name: str, topics: Mapping[str, str]) -> Camera:
    """A camera that is segmented; `topics` are all there are, with their types."""
    namespace = name.rstrip("/")
    images = _images(node, namespace, topics)
    return Camera(
        name,
        segmented=True,
        confident=node.count_publishers(namespace + CONFIDENCE) > 0,
        images=images,
        compressed=bool(images) and IMAGE_TYPES[topics[images]],
        publishers=node.count_publishers(images) if images else 0,
    )


def _images(node: Node, namespace: str, topics: Mapping[str, str]) -> str:
    """The topic beside the masks that the node which publishes these subscribes to; empty if there is none."""
    makers = {_owner(info) for info in node.get_publishers_info_by_topic(namespace + MASK)}
    beside = [name for name, kind in topics.items() if kind in IMAGE_TYPES and camera_namespace(name) == namespace]
    for topic in beside:
        if any(_owner(info) in makers for info in node.get_subscriptions_info_by_topic(topic)):
            return topic
    return ""


def _owner(info: TopicEndpointInfo) -> tuple[str, str]:
    return info.node_namespace, info.node_name
