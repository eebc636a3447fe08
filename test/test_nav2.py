"""What nav2's semantic segmentation layer takes: mask, confidence and label info, by what that layer checks.

The layer (semantic_segmentation_layer of robot.com) subscribes best effort to mask and confidence, pairs them with the
point cloud of the same camera by stamp, indexes the bytes of all by row * width + column, and takes no image before
it has the labels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from brightness import blocks, save_brightness_weights
from checked_stream import image_of
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import NodeProcess, Peer, next_domain
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from dfanet_ros.label_set import CAMVID

SIZE = (96, 128)
RESULTS = "/robot/camera/segmentation"
SENSOR_DATA = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
LATCHED = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """Subscribed as the layer is, long after the node has published its labels."""
    folder, domain = tmp_path_factory.mktemp("node"), next_domain()
    save_brightness_weights(folder / "brightness.safetensors", SIZE)
    parameters = {"weights": folder / "brightness.safetensors", "backbone": "xception_b"}
    topics = "[/robot/camera/image_raw]"
    with NodeProcess(domain, folder / "node.log", image_topics=topics, **parameters) as node, Peer(domain) as peer:
        node.wait_until_ready()
        peer.subscribe(f"{RESULTS}/mask", f"{RESULTS}/confidence", qos=SENSOR_DATA)
        yield peer


def segmented(peer: Peer, image: Image) -> tuple[Image, Image]:
    """Mask and confidence with exactly the image's stamp, which is that of the point cloud, too."""
    image.header.frame_id = "camera_depth_optical_frame"
    publisher = peer.publisher("/robot/camera/image_raw")
    mask, confidence = peer.exchange(publisher, image, f"{RESULTS}/mask", f"{RESULTS}/confidence")
    return mask, confidence


def bytes_of(image: Image) -> NDArray[np.uint8]:
    return np.frombuffer(bytes(image.data), np.uint8)


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono16"])
@pytest.mark.parametrize("size", [SIZE, (97, 131)], ids=str)
def test_mask_and_confidence_fit_the_point_cloud(peer: Peer, size: tuple[int, int], encoding: str) -> None:
    red = np.resize(blocks(*SIZE, seed=1)[0], size)
    mask, confidence = segmented(peer, image := image_of(red, encoding, padding=3))
    for result in (mask, confidence):
        assert result.header == image.header
        assert (result.encoding, result.is_bigendian) == ("mono8", 0)
        assert (result.height, result.width) == size
        assert len(result.data) == result.step * result.height == size[0] * size[1], "indexed without a step"
    assert set(bytes_of(mask)) <= {*range(len(CAMVID.names)), 255}
    assert bytes_of(confidence).min() >= 255 // len(CAMVID.names), "the likeliest class has more than its share"


def test_what_a_filter_hides_has_no_class_and_no_confidence(peer: Peer) -> None:
    image = image_of(blocks(*SIZE, seed=2)[0], "rgb8")
    every = bytes_of(segmented(peer, image)[0])
    shown = int(every[0])
    assert peer.set_parameter("/segmentation_node", "class_filter", [CAMVID.names[shown]]) == (True, "")
    try:
        mask, confidence = map(bytes_of, segmented(peer, image))
    finally:
        assert peer.set_parameter("/segmentation_node", "class_filter", [""]) == (True, "")
    np.testing.assert_array_equal(mask, np.where(every == shown, shown, 255))
    assert not confidence[mask == 255].any() and confidence[mask == shown].any()


def test_labels_are_latched_as_label_info(peer: Peer) -> None:
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not installed (it comes from apt)")
    topic = f"{RESULTS}/label_info"
    peer.subscribe(topic, kind=messages.LabelInfo, qos=LATCHED)
    assert peer.spin_until(lambda: peer.received[topic])
    (info,) = peer.received[topic]
    assert info.header == Header(stamp=info.header.stamp) and info.header.stamp.sec > 0
    assert [(entry.class_id, entry.class_name) for entry in info.class_map] == [*enumerate(CAMVID.names)]


def test_labels_are_latched_as_json(peer: Peer) -> None:
    topic = f"{RESULTS}/label_info_json"
    peer.subscribe(topic, kind=String, qos=LATCHED)
    assert peer.spin_until(lambda: peer.received[topic])
    classes = json.loads(peer.received[topic][0].data)["classes"]
    assert [(entry["class_id"], entry["class_name"]) for entry in classes] == [*enumerate(CAMVID.names)]
