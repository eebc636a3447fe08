"""The node as users meet it: its own process, real DDS between it and the test."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from brightness import blocks, save_brightness_weights
from conftest import even_classes, info_of, lively_network
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import ReliabilityPolicy, qos_profile_sensor_data
from ros_harness import NodeProcess, Peer, next_domain
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dfanet_ros.checkpoint import save_checkpoint
from dfanet_ros.frame import Frame
from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.label_set import CAMVID
from dfanet_ros.segmenter import load_segmenter

SIZE = (96, 128)
OUTPUTS = ("mask", "color_mask", "overlay")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "brightness.safetensors"
    save_brightness_weights(path, SIZE)
    return path


def start(log: Path, domain: int, default_weights: Path, *ros_arguments: str, **parameters: object) -> NodeProcess:
    defaults = {"weights": default_weights, "backbone": "xception_b", "image_topics": "[/camera/image_raw]"}
    return NodeProcess(domain, log, *ros_arguments, **{**defaults, **parameters})


@pytest.fixture(scope="module")
def three_cameras(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[NodeProcess, Peer]]:
    """A node with three cameras that many tests share, and a peer that listens to the first."""
    domain = next_domain()
    log = tmp_path_factory.mktemp("log") / "node.log"
    topics = "[/front/image_raw, /left/image_raw, /right/image_raw]"
    with start(log, domain, weights, image_topics=topics) as node, Peer(domain) as peer:
        node.wait_until_ready()
        peer.subscribe(*(f"/front/segmentation/{output}" for output in OUTPUTS))
        yield node, peer


def encoded(red: NDArray[np.uint8], encoding: str, padding: int = 0) -> Image:
    """An image message that is `red` in its red channel (and noise in the others), with padded rows."""
    noise = np.random.default_rng(0).integers(0, 255, red.shape, np.uint8)
    pixels = {
        "mono8": [red],
        "rgb8": [red, noise, noise],
        "bgr8": [noise, noise, red],
        "rgba8": [red, noise, noise, noise],
        "bgra8": [noise, noise, red, noise],
        "mono16": [noise // 4, red],  # little endian: the low byte first, and not enough to round up
        "uyvy": [np.full_like(red, 128), (red * (219 / 255) + 16).round().astype(np.uint8)],  # grey
        "bayer_rggb8": [red],  # grey
    }[encoding]
    image = message_from_pixels(np.stack(pixels, 2), encoding, Header(frame_id=f"camera of {encoding}"))
    if padding:
        rows = np.frombuffer(bytes(image.data), np.uint8).reshape(image.height, image.step)
        padded = message_from_pixels(np.pad(rows, ((0, 0), (0, padding))), "mono8", image.header)
        image.step, image.data = padded.step, padded.data
    return image


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("encoding", ["mono8", "rgb8", "bgr8", "rgba8", "bgra8", "mono16", "uyvy", "bayer_rggb8"])
def test_ids_colors_and_headers_are_exact(three_cameras: tuple[NodeProcess, Peer], encoding: str, padding: int) -> None:
    _, peer = three_cameras
    red, ids, certain = blocks(*SIZE, seed=padding)
    image = encoded(red, encoding, padding)
    topics = [f"/front/segmentation/{output}" for output in OUTPUTS]
    results = peer.exchange(peer.publisher("/front/image_raw"), image, *topics)
    for result, layout, channels in zip(results, ("mono8", "rgb8", "rgb8"), (1, 3, 3), strict=True):
        assert result.header == image.header
        assert result.encoding == layout
        assert (result.height, result.width, result.step) == (*SIZE, SIZE[1] * channels)
    mask, color_mask, overlay = (np.frombuffer(bytes(r.data), np.uint8).reshape(*SIZE, -1) for r in results)
    np.testing.assert_array_equal(mask[certain, 0], ids[certain])
    np.testing.assert_array_equal(color_mask, CAMVID.palette()[mask[:, :, 0]])
    if encoding in ("rgb8", "mono8"):
        noise = np.random.default_rng(0).integers(0, 255, SIZE, np.uint8)
        rgb = np.stack([red, noise, noise] if encoding == "rgb8" else [red] * 3, 2)
        assert np.abs(overlay - (0.5 * rgb + 0.5 * color_mask)).max() <= 0.5


@pytest.mark.parametrize("size", [(97, 131), (33, 50), (1, 1), (240, 320), (480, 640)], ids=str)
def test_masks_have_the_frames_size_and_place(three_cameras: tuple[NodeProcess, Peer], size: tuple[int, int]) -> None:
    """The picture is the same at every size: a scaled one gives the scaled ids, away from the blocks' borders."""
    _, peer = three_cameras
    red, ids, certain = blocks(*SIZE, seed=3)
    rows, columns = (((np.arange(n) + 0.5) * s / n).astype(int) for n, s in zip(size, SIZE, strict=True))
    image = encoded(red[rows][:, columns], "mono8")
    (mask,) = peer.exchange(peer.publisher("/front/image_raw"), image, "/front/segmentation/mask")
    assert (mask.height, mask.width, mask.step, mask.header) == (*size, size[1], image.header)
    if min(size) >= 90:
        given = np.frombuffer(bytes(mask.data), np.uint8).reshape(size)
        where = certain[rows][:, columns]
        np.testing.assert_array_equal(given[where], ids[rows][:, columns][where])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_node_on_the_gpu_gives_the_same(weights: Path, tmp_path: Path) -> None:
    """With the engine that it takes by itself, which the first time prepares for half a minute."""
    domain = next_domain()
    red, ids, certain = blocks(*SIZE, seed=1)
    topics = [f"/camera/segmentation/{output}" for output in OUTPUTS]
    with start(tmp_path / "log", domain, weights, device="cuda", engine="auto") as node, Peer(domain) as peer:
        assert "cuda_graph" in node.wait_for_log("(.*); images from", timeout=400).group(1)
        peer.subscribe(*topics)
        image = encoded(red, "mono8")
        mask, color_mask, _ = peer.exchange(peer.publisher("/camera/image_raw"), image, *topics)
        given = np.frombuffer(bytes(mask.data), np.uint8).reshape(SIZE)
        np.testing.assert_array_equal(given[certain], ids[certain])
        colors = np.frombuffer(bytes(color_mask.data), np.uint8).reshape(*SIZE, 3)
        np.testing.assert_array_equal(colors, CAMVID.palette()[given])
        assert node.stop() == 0, node.text


FAMILIES = {"dfanet": "xception_b", "fast_scnn": "auto", "deeplabv3": "resnet18"}


@pytest.fixture(scope="module")
def families(tmp_path_factory: pytest.TempPathFactory) -> tuple[Image, dict[str, Path]]:
    """An image, and random weights of one network of each family, which see different classes in it."""
    folder = tmp_path_factory.mktemp("families")
    image = encoded(blocks(*SIZE, seed=0)[0], "rgb8")
    paths = {}
    for name, backbone in FAMILIES.items():
        network = even_classes(lively_network(name, backbone=backbone), pixels_of(image, 3))
        paths[name] = folder / f"{name}.safetensors"
        save_checkpoint(paths[name], network, info_of(network, input_size=SIZE, name=name))
    return image, paths


def pixels_of(image: Image, channels: int) -> NDArray[np.uint8]:
    """The data of an image of `SIZE`, (H, W, channels)."""
    return np.frombuffer(bytes(image.data), np.uint8).reshape(*SIZE, channels)


@pytest.mark.parametrize(("name", "backbone"), FAMILIES.items())
def test_each_family_is_run_by_name(
    name: str, backbone: str, families: tuple[Image, dict[str, Path]], tmp_path: Path
) -> None:
    """Its masks are the segmenter's, pixel for pixel, and no other family's."""
    image, paths = families
    expected = {}
    for family, path in paths.items():
        segmenter = load_segmenter(str(path), device="cpu", threads=1)
        expected[family] = segmenter.segment([Frame(pixels_of(image, 3))])[0].label_map
    assert np.unique(expected[name]).size >= 3, "masks of one class say nothing"
    assert all((expected[name] != expected[other]).mean() > 0.3 for other in paths if other != name)

    domain, topic = next_domain(), "/camera/segmentation/mask"
    parameters = {"network": name, "backbone": backbone, "device": "cpu", "threads": 1}
    with start(tmp_path / "node.log", domain, paths[name], **parameters) as node, Peer(domain) as peer:
        node.wait_until_ready()
        peer.subscribe(topic)
        (mask,) = peer.exchange(peer.publisher("/camera/image_raw"), image, topic)
        node.wait_for_log(rf"{name}(, | with {backbone}, )11 classes of random, input 96 x 128, fp32 on cpu by torch")
    assert mask.header == image.header
    assert (mask.encoding, mask.height, mask.width, mask.step) == ("mono8", *SIZE, SIZE[1])
    np.testing.assert_array_equal(pixels_of(mask, 1)[:, :, 0], expected[name])


def test_cameras_go_each_their_own_way_and_one_may_vanish(three_cameras: tuple[NodeProcess, Peer]) -> None:
    _, peer = three_cameras
    peer.subscribe("/left/segmentation/mask", "/right/segmentation/mask")
    publishers = {camera: peer.publisher(f"/{camera}/image_raw") for camera in ("front", "left", "right")}
    sizes = {"front": (96, 128), "left": (120, 160), "right": (96, 128)}
    for camera, publisher in publishers.items():
        red, ids, certain = blocks(*sizes[camera], seed=len(camera))
        image = encoded(red, "rgb8")
        image.header.frame_id = camera
        (mask,) = peer.exchange(publisher, image, f"/{camera}/segmentation/mask")
        assert mask.header == image.header
        if sizes[camera] == SIZE:
            given = np.frombuffer(bytes(mask.data), np.uint8).reshape(SIZE)
            np.testing.assert_array_equal(given[certain], ids[certain])
    peer.node.destroy_publisher(publishers.pop("left"))
    for camera, publisher in publishers.items():
        peer.exchange(publisher, encoded(blocks(*SIZE, seed=1)[0], "mono8"), f"/{camera}/segmentation/mask")


def test_broken_frames_are_dropped_with_one_warning(three_cameras: tuple[NodeProcess, Peer]) -> None:
    node, peer = three_cameras
    publisher = peer.publisher("/front/image_raw")
    good = encoded(blocks(*SIZE, seed=1)[0], "rgb8")
    peer.exchange(publisher, good, "/front/segmentation/mask")
    broken = []
    for changes in ({"step": 3}, {"height": 0}, {"encoding": "h264"}, {"height": 97}):
        image = encoded(blocks(*SIZE, seed=1)[0], "rgb8")
        for name, value in changes.items():
            setattr(image, name, value)
        broken.append(peer.stamp(image))
    before = node.text.count("dropped an image")
    for _ in range(5):
        for image in broken:
            publisher.publish(image)
            peer.spin_for(0.02)
    warning = node.wait_for_log(
        r"\[WARN\].*dropped an image on /front/image_raw \(128 x 96, encoding 'rgb8', step 3, 36864 bytes\): "
        r"step is 3, but a row of 128 pixels in rgb8 takes 384 bytes"
    )
    assert warning
    peer.exchange(publisher, good, "/front/segmentation/mask")
    assert not any(peer.result(image, "/front/segmentation/mask") for image in broken)
    assert 1 <= node.text.count("dropped an image") - before <= 3, "20 broken frames want no 20 warnings"


def test_opacity_changes_while_running_and_the_rest_does_not(three_cameras: tuple[NodeProcess, Peer]) -> None:
    _, peer = three_cameras

    def answer(name: str, value: object) -> tuple[bool, str]:
        return peer.set_parameter("/segmentation_node", name, value)

    red, _, _ = blocks(*SIZE, seed=1)
    publisher, topic = peer.publisher("/front/image_raw"), "/front/segmentation/overlay"
    assert answer("overlay_opacity", 0.0) == (True, "")
    (overlay,) = peer.exchange(publisher, encoded(red, "mono8"), topic)
    given = np.frombuffer(bytes(overlay.data), np.uint8).reshape(*SIZE, 3)
    np.testing.assert_array_equal(given, np.repeat(red[:, :, None], 3, 2))
    accepted, reason = answer("overlay_opacity", 1.5)
    assert not accepted and "overlay_opacity" in reason
    assert answer("overlay_opacity", "much") == (
        False,
        "parameter overlay_opacity is 'much', but has to be a number from 0 to 1",
    )
    assert answer("overlay_opacity", 1) == (True, "")
    colours = peer.exchange(publisher, encoded(red, "mono8"), topic, "/front/segmentation/color_mask")
    assert colours[0].data == colours[1].data
    assert answer("input_height", 64) == (
        False,
        "parameter input_height may change only while the node is unconfigured: clean it up first",
    )
    assert answer("overlay_opacity", 0.5)[0]


def test_newest_frame_wins_and_every_frame_is_accounted_for(weights: Path, tmp_path: Path) -> None:
    domain = next_domain()
    slow = {"input_height": 1024, "input_width": 1024}
    with (
        start(tmp_path / "node.log", domain, weights, image_reliability="reliable", **slow) as node,
        Peer(domain) as peer,
    ):
        node.wait_until_ready()
        topic = "/camera/segmentation/mask"
        publisher = peer.publisher("/camera/image_raw")
        image = encoded(blocks(*SIZE, seed=0)[0], "rgb8")
        assert peer.spin_until(publisher.get_subscription_count)
        diagnosed: list[DiagnosticArray] = []
        peer.node.create_subscription(DiagnosticArray, "/diagnostics", diagnosed.append, 10)

        def received() -> int:
            """By the node, which may not know us at the first frames."""
            publisher.publish(peer.stamp(image))
            values = [
                int(pair.value)
                for array in diagnosed
                for status in array.status
                for pair in status.values
                if status.name.endswith("/camera/image_raw") and pair.key == "received"
            ]
            return max(values, default=0)

        assert peer.spin_until(lambda: received() >= 5, 60)  # nobody subscribes: nothing is segmented
        peer.subscribe(topic)
        peer.exchange(publisher, image, topic)
        before = image.header.stamp.sec  # whose mask may come again, if it was sent again
        sent = []
        for _ in range(60):
            sent.append(peer.stamp(image).header.stamp.sec)
            publisher.publish(image)
            peer.spin_for(0.002)
        assert peer.spin_until(lambda: peer.result(image, topic)), "the last frame has to be segmented"
        stamps = [mask.header.stamp.sec for mask in peer.received[topic] if mask.header.stamp.sec != before]
        assert stamps == sorted(set(stamps)) and set(stamps) <= set(sent)
        assert stamps[-1] == sent[-1]
        assert node.stop() == 0
        counters = node.counters("/camera/image_raw")
    assert counters["unwanted"] >= 5
    assert counters["superseded"] > 0
    assert counters["refused"] == counters["failed"] == 0
    assert counters["received"] == counters["unwanted"] + counters["superseded"] + counters["published"]


@pytest.mark.parametrize("busy", [False, True])
def test_a_subscriber_that_the_results_do_not_fit_is_said(weights: Path, tmp_path: Path, busy: bool) -> None:
    domain = next_domain()
    with (
        start(tmp_path / "node.log", domain, weights, output_reliability="best_effort") as node,
        Peer(domain) as peer,
    ):
        node.wait_until_ready()
        if busy:
            image = encoded(blocks(*SIZE, seed=0)[0], "rgb8")
            publisher = peer.publisher("/camera/image_raw")
            peer.subscribe("/camera/segmentation/overlay", qos=qos_profile_sensor_data)
            peer.exchange(publisher, image, "/camera/segmentation/overlay")
            peer.node.create_timer(0.05, lambda: publisher.publish(image))
        peer.subscribe("/camera/segmentation/mask")
        said = r"/camera/segmentation/mask.*incompatible QoS.*RELIABILITY"
        assert peer.spin_until(lambda: re.search(said, node.text), 20)
        assert node.stop() == 0


def test_namespace_and_remaps_apply(weights: Path, tmp_path: Path) -> None:
    domain = next_domain()
    remaps = ["-r", "__ns:=/robot", "-r", "image_raw:=/robot/front/image", "-r", "/robot/front/segmentation/mask:=ids"]
    with (
        start(tmp_path / "node.log", domain, weights, *remaps, image_topics="[image_raw]") as node,
        Peer(domain) as peer,
    ):
        node.wait_until_ready()
        peer.subscribe("/robot/ids", "/robot/front/segmentation/overlay")
        image = encoded(blocks(*SIZE, seed=0)[0], "rgb8")
        publisher = peer.publisher("/robot/front/image")
        peer.exchange(publisher, image, "/robot/ids", "/robot/front/segmentation/overlay")
        reported: set[str] = set()
        peer.node.create_subscription(
            DiagnosticArray, "/diagnostics", lambda array: reported.update(status.name for status in array.status), 10
        )
        # With the namespace: two robots' nodes are two entries.
        names = {"robot/segmentation_node: network", "robot/segmentation_node: /robot/front/image"}
        assert peer.spin_until(lambda: reported >= names, 20), reported


def test_silence_is_reported_with_what_there_is(weights: Path, tmp_path: Path) -> None:
    domain = next_domain()
    topics = "[/nobody/image_raw, /unheard/image_raw]"
    with (
        start(tmp_path / "node.log", domain, weights, image_topics=topics, image_reliability="reliable") as node,
        Peer(domain) as peer,
    ):
        peer.publisher("/unheard/image_raw", ReliabilityPolicy.BEST_EFFORT)
        node.wait_until_ready()
        node.wait_for_log(r"\[WARN\].*no image on /nobody/image_raw for \d+ s: nobody publishes there", 20)
        node.wait_for_log(
            r"no image on /unheard/image_raw for \d+ s: 1 publishers there \(peer: sensor_msgs/msg/Image, BEST_EFFORT, "
            r"VOLATILE.*\), this node subscribes to sensor_msgs/msg/Image with RELIABLE\. .* config/fastdds\.xml",
            20,
        )


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_the_node_ends_when_told_to(weights: Path, tmp_path: Path, with_signal: int) -> None:
    with start(tmp_path / "node.log", next_domain(), weights) as node:
        node.wait_until_ready()
        assert node.stop(with_signal) == 0
        assert "Traceback" not in node.text


def test_the_node_ends_although_who_started_it_has_blocked_the_signal(weights: Path, tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which the node inherits
    try:
        node = start(tmp_path / "node.log", next_domain(), weights)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    with node:
        node.wait_until_ready()
        assert node.stop() == 0


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"backbone": "resnet"}, "parameter backbone is 'resnet', but has to be one of auto, xception_a, xception_b"),
        ({"network": "unet"}, "parameter network is 'unet', but has to be one of auto, dfanet"),
        ({"input_height": -1}, r"input_height.* from 0 to 8192.*-1"),
        ({"input_width": "wide"}, "parameter input_width is 'wide', but has to be a whole number from 0 to 8192"),
        ({"overlay_opacity": 1.5}, r"overlay_opacity.*from 0 to 1.*1\.5"),
        ({"precision": "fp17"}, "parameter precision is 'fp17', but has to be one of auto, fp32, fp16, bf16"),
        ({"image_topics": "[]"}, "parameter image_topics is empty, but has to be a list of strings"),
        ({"image_topics": "/camera/image_raw"}, "parameter image_topics is '/camera/image_raw', but has to be a list"),
        (
            {"outputs": "[mask, depth]"},
            r"outputs is \['mask', 'depth'\], but has to be a list of strings out of mask, ",
        ),
        ({"autostart": 1}, "autostart is 1, but has to be true or false"),
        ({"image_reliability": "maybe"}, "image_reliability is 'maybe', but has to be one of best_effort, reliable"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_wrong_parameters_are_refused_at_start(
    weights: Path, tmp_path: Path, parameters: dict[str, object], says: str
) -> None:
    started = time.monotonic()
    with start(tmp_path / "node.log", next_domain(), weights, **parameters) as node:
        assert node.wait_for_exit() == 1
        assert time.monotonic() - started < 15, "it has to say so at once"  # 5 s on an idle machine
        node.wait_for_log(rf"\[FATAL\].*{says}")
        assert "Traceback" not in node.text
