"""Everything that the node takes and gives beside raw images and masks, over real DDS."""

from __future__ import annotations

import json
import re
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from brightness import blocks, save_brightness_weights
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_harness import NodeProcess, Peer, next_domain
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.label_set import CAMVID

SIZE = (96, 128)
NODE = "/segmentation_node"
RESULTS = "/camera/segmentation"
LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "brightness.safetensors"
    save_brightness_weights(path, SIZE)
    return path


@pytest.fixture(scope="module")
def node_and_peer(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, Peer]]:
    """A node with two raw and a compressed camera, and a peer that listens to all of the first."""
    domain = next_domain()
    log = tmp_path_factory.mktemp("log") / "node.log"
    topics = "[/camera/image_raw, /small/image_raw/compressed, /alone/image_raw]"
    with (
        NodeProcess(domain, log, weights=weights, backbone="xception_b", image_topics=topics) as node,
        Peer(domain) as peer,
    ):
        node.wait_until_ready()
        peer.subscribe(*(f"{RESULTS}/{name}" for name in ("mask", "color_mask", "overlay", "confidence")))
        yield node, peer


def pixels_of(message: Image | CompressedImage) -> NDArray[np.uint8]:
    """(H, W) or RGB (H, W, 3)."""
    if isinstance(message, CompressedImage):
        image = cv2.imdecode(np.frombuffer(bytes(message.data), np.uint8), cv2.IMREAD_UNCHANGED)
        return image[:, :, ::-1] if image.ndim == 3 else image
    shape = (message.height, message.width) + ((3,) if message.encoding == "rgb8" else ())
    return np.frombuffer(bytes(message.data), np.uint8).reshape(shape)


def frame(seed: int) -> Image:
    return message_from_pixels(blocks(*SIZE, seed=seed)[0], "mono8", Header(frame_id="camera"))


def exchange(peer: Peer, image: Image, *names: str) -> list[NDArray[np.uint8]]:
    results = peer.exchange(peer.publisher("/camera/image_raw"), image, *(f"{RESULTS}/{name}" for name in names))
    assert all(result.header == image.header for result in results)
    return [pixels_of(result) for result in results]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_images_come_in(node_and_peer: tuple[NodeProcess, Peer], suffix: str) -> None:
    _, peer = node_and_peer
    red, ids, certain = blocks(*SIZE, seed=4)
    coded, data = cv2.imencode(suffix, red, [cv2.IMWRITE_JPEG_QUALITY, 100])
    assert coded
    message = CompressedImage(header=Header(frame_id="small"), format=suffix[1:])
    message.data = array("B", data.tobytes())
    peer.subscribe("/small/segmentation/mask")
    publisher = peer.publisher("/small/image_raw/compressed", kind=CompressedImage)
    (mask,) = peer.exchange(publisher, message, "/small/segmentation/mask")
    assert mask.header == message.header
    agree = (pixels_of(mask) == ids)[certain]
    assert agree.mean() > (0.99 if suffix == ".jpg" else 0.9999)


def test_broken_compressed_images_are_dropped_with_a_warning(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    node, peer = node_and_peer
    publisher = peer.publisher("/small/image_raw/compressed", kind=CompressedImage)
    assert peer.spin_until(publisher.get_subscription_count)
    message = CompressedImage(format="jpeg", data=array("B", b"no picture"))
    for _ in range(20):
        publisher.publish(message)
        peer.spin_for(0.05)
        if "dropped an image" in node.text:
            break
    node.wait_for_log(r"\[WARN\].*dropped an image on /small/image_raw/compressed \(format 'jpeg', 10 bytes\): ")


def test_results_come_compressed_too(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    names = ["mask", "color_mask", "overlay", "confidence"]
    peer.subscribe(*(f"{RESULTS}/{name}/compressed" for name in names), kind=CompressedImage)
    both = exchange(peer, frame(5), *names, *(f"{name}/compressed" for name in names))
    for name, raw, compressed in zip(names, both[:4], both[4:], strict=True):
        if name == "overlay":
            assert np.abs(raw.astype(int) - compressed).mean() < 4
        else:
            np.testing.assert_array_equal(raw, compressed)
    formats = {name: peer.received[f"{RESULTS}/{name}/compressed"][-1].format for name in names}
    assert all("png" in formats[name] for name in names if name != "overlay") and "jpeg" in formats["overlay"]


def test_confidence_is_high_within_and_low_between(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    _, _, certain = blocks(*SIZE, seed=6)
    mask, confidence = exchange(peer, frame(6), "mask", "confidence")
    assert confidence.shape == mask.shape and confidence.dtype == np.uint8
    assert confidence[certain].mean() > confidence[~certain].mean()


def test_labels_are_there_for_whoever_comes_late(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    topic = f"{RESULTS}/label_info_json"
    peer.subscribe(topic, kind=String, qos=LATCHED)
    assert peer.spin_until(lambda: peer.received[topic])
    labels = json.loads(peer.received[topic][0].data)
    assert [entry["class_name"] for entry in labels["classes"]] == CAMVID.names
    assert [tuple(entry["color"]) for entry in labels["classes"]] == [label.color for label in CAMVID.labels]
    assert [entry["class_id"] for entry in labels["classes"]] == list(range(11)) and labels["unlabelled"] == 255


def test_calibration_comes_with_the_mask(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    topic = f"{RESULTS}/camera_info"
    peer.subscribe(topic, kind=CameraInfo)
    publisher = peer.publisher("/camera/camera_info", kind=CameraInfo)
    info = CameraInfo(height=SIZE[0], width=SIZE[1], distortion_model="plumb_bob", k=[float(n) for n in range(9)])
    assert peer.spin_until(publisher.get_subscription_count)
    end = time.monotonic() + 20
    while not peer.received[topic] and time.monotonic() < end:
        publisher.publish(info)
        image = frame(7)
        exchange(peer, image, "mask")
        peer.spin_for(0.2)
    given = peer.received[topic][-1]
    assert given.header == image.header
    assert (given.height, given.width, given.distortion_model) == (*SIZE, "plumb_bob")
    np.testing.assert_array_equal(given.k, info.k)


def test_calibration_alone_comes_for_each_frame_without_the_network(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    topic = "/alone/segmentation/camera_info"
    peer.subscribe(topic, kind=CameraInfo)
    peer.subscribe("/diagnostics", kind=DiagnosticArray)
    images, infos = peer.publisher("/alone/image_raw"), peer.publisher("/alone/camera_info", kind=CameraInfo)
    assert peer.spin_until(lambda: images.get_subscription_count() and infos.get_subscription_count())
    given = peer.received[topic]
    end = time.monotonic() + 20
    while not given and time.monotonic() < end:  # the node may not know the subscriber at the first ones
        infos.publish(CameraInfo(height=SIZE[0], width=SIZE[1], k=[float(n) for n in range(9)]))
        images.publish(peer.stamp(frame(0)))
        peer.spin_for(0.1)
    headers = []
    for seed in range(5):
        image = peer.stamp(frame(seed))
        image.header.frame_id = f"alone {seed}"
        headers.append(image.header)
        images.publish(image)
        assert peer.spin_until(lambda: given[-1].header == headers[-1])
    assert [info.header for info in given[-5:]] == headers
    assert given[-1].k[8] == 8.0 and (given[-1].height, given[-1].width) == SIZE
    peer.received["/diagnostics"].clear()
    assert peer.spin_until(lambda: peer.received["/diagnostics"])
    statuses = {status.name: status for status in peer.received["/diagnostics"][-1].status}
    values = {entry.key: entry.value for entry in statuses["segmentation_node: /alone/image_raw"].values}
    assert values["published"] == "0" and values["unwanted"] == values["received"] and int(values["received"]) >= 6


def test_viewers_show_what_is_published(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    config = Path(__file__).parents[1] / "config"
    shown = set(re.findall(rf"{RESULTS}/\w+", (config / "segmentation.rviz").read_text()))
    assert len(shown) == 3
    shown |= set(re.findall(rf"{RESULTS}/\w+|/diagnostics", (config / "foxglove_layout.json").read_text()))
    types = {"label_info_json": "std_msgs/msg/String", "diagnostics": "diagnostic_msgs/msg/DiagnosticArray"}
    for topic in shown:
        assert peer.spin_until(lambda topic=topic: peer.node.get_publishers_info_by_topic(topic)), topic
        (publisher,) = peer.node.get_publishers_info_by_topic(topic)
        assert publisher.topic_type == types.get(topic.rpartition("/")[2], "sensor_msgs/msg/Image")
        assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE, "what RViz asks for"


def test_a_class_filter_applies_to_everything(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    red, ids, _ = blocks(*SIZE, seed=8)
    shown = sorted(set(ids.ravel().tolist()))[:2]
    names = [CAMVID.names[number] for number in shown]
    full, *_ = exchange(peer, frame(8), "mask")
    assert peer.set_parameter(NODE, "class_filter", names) == (True, "")
    try:
        mask, colors, overlay, confidence = exchange(peer, frame(8), "mask", "color_mask", "overlay", "confidence")
    finally:
        assert peer.set_parameter(NODE, "class_filter", [""]) == (True, "")
    hidden = ~np.isin(full, shown)
    assert hidden.any() and not hidden.all()
    np.testing.assert_array_equal(mask, np.where(hidden, 255, full))
    assert not colors[hidden].any() and not confidence[hidden].any()
    np.testing.assert_array_equal(overlay[hidden], np.repeat(red[:, :, None], 3, 2)[hidden])
    assert exchange(peer, frame(8), "mask")[0].max() < 255


def test_colours_change_while_running_and_are_announced(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    ids = blocks(*SIZE, seed=9)[1]
    number = int(np.bincount(ids.ravel()).argmax())
    name = CAMVID.names[number]
    topic = f"{RESULTS}/label_info_json"
    peer.subscribe(topic, kind=String, qos=LATCHED)
    assert peer.set_parameter(NODE, "class_colors", [f"{name}=#010203"]) == (True, "")
    try:
        mask, colors = exchange(peer, frame(9), "mask", "color_mask")
        assert (colors[mask == number] == (1, 2, 3)).all() and (mask == number).any()
        assert peer.spin_until(lambda: peer.received[topic] and "[1, 2, 3]" in peer.received[topic][-1].data)
    finally:
        assert peer.set_parameter(NODE, "class_colors", [""]) == (True, "")


def test_what_is_wrong_is_refused_while_running(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    for name, value, says in (
        ("class_filter", ["unicorn"], "there is no class 'unicorn'"),
        ("class_colors", ["road=#12"], "'road=#12' has to be a class and its colour"),
        ("outputs", ["depth"], "out of mask, color_mask, overlay, confidence"),
        ("jpeg_quality", 0, "jpeg_quality"),
        ("image_transport", "raw", "may change only while the node is unconfigured"),
    ):
        taken, reason = peer.set_parameter(NODE, name, value)
        assert not taken and says in reason
    exchange(peer, frame(1), "mask")


def test_outputs_come_and_go(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    assert peer.set_parameter(NODE, "outputs", ["mask"]) == (True, "")
    try:
        gone = f"{RESULTS}/overlay"
        assert peer.spin_until(lambda: not peer.node.get_publishers_info_by_topic(gone))
        exchange(peer, frame(2), "mask")
    finally:
        assert peer.set_parameter(NODE, "outputs", ["mask", "color_mask", "overlay", "confidence"]) == (True, "")
    exchange(peer, frame(3), "mask", "overlay")


def test_the_rate_is_limited(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    exchange(peer, frame(0), "mask")
    assert peer.set_parameter(NODE, "max_rate", 5.0) == (True, "")
    try:
        publisher, topic = peer.publisher("/camera/image_raw"), f"{RESULTS}/mask"
        assert peer.spin_until(publisher.get_subscription_count)
        image = frame(0)
        before = len(peer.received[topic])
        start = time.monotonic()
        while time.monotonic() - start < 3:
            publisher.publish(peer.stamp(image))
            peer.spin_for(0.02)
        seconds = time.monotonic() - start
        assert 2 <= len(peer.received[topic]) - before <= 5 * seconds + 2
    finally:
        assert peer.set_parameter(NODE, "max_rate", 0.0) == (True, "")


def test_a_higher_rate_is_in_force_at_once(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    try:
        assert peer.set_parameter(NODE, "max_rate", 0.01) == (True, "")
        exchange(peer, frame(0), "mask")  # the next one is due in 100 s
        assert peer.set_parameter(NODE, "max_rate", 30.0) == (True, "")
        peer.publisher("/camera/image_raw").publish(peer.stamp(frame(1)))
        peer.spin_for(0.2)
        exchange(peer, frame(2), "mask")
    finally:
        assert peer.set_parameter(NODE, "max_rate", 0.0) == (True, "")


def test_diagnostics_tell_of_cameras_and_network(node_and_peer: tuple[NodeProcess, Peer]) -> None:
    _, peer = node_and_peer
    peer.subscribe("/diagnostics", kind=DiagnosticArray)

    def statuses() -> dict[str, DiagnosticStatus]:
        arrays = peer.received["/diagnostics"]
        return {status.name: status for status in arrays[-1].status} if arrays else {}

    assert peer.spin_until(statuses)
    assert list(statuses()) == [
        "segmentation_node: network",
        "segmentation_node: /camera/image_raw",
        "segmentation_node: /small/image_raw/compressed",
        "segmentation_node: /alone/image_raw",
    ]
    network = {entry.key: entry.value for entry in statuses()["segmentation_node: network"].values}
    assert network["lifecycle state"] == "active" and network["weights"].endswith("brightness.safetensors")

    name = "segmentation_node: /camera/image_raw"
    publisher, image = peer.publisher("/camera/image_raw"), frame(1)
    exchange(peer, image, "mask")
    end = time.monotonic() + 20
    while time.monotonic() < end and "segmenting" not in statuses()[name].message:
        image.header.stamp = peer.node.get_clock().now().to_msg()
        publisher.publish(image)
        peer.spin_for(0.1)
    camera = {entry.key: entry.value for entry in statuses()[name].values}
    assert 2 < float(camera["rate in (Hz)"]) < 12, camera
    assert int(camera["received"]) >= int(camera["published"]) > 0
    assert "latency p99 (ms)" in camera
    assert peer.spin_until(lambda: "no image for" in statuses()[name].message)
    assert statuses()[name].level == DiagnosticStatus.WARN
