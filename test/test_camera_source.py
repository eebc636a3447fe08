"""The camera that is none: what it publishes over real DDS, how fast, and how it ends."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from threading import Event, Timer
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros_harness import NodeProcess, Peer, next_domain
from sensor_msgs.msg import CameraInfo, Image
from test_sources import write_folder, write_video

from dfanet_ros.calibration import CalibrationError, load_calibration
from dfanet_ros.camera_source import Pace
from dfanet_ros.image_messages import frame_from_message
from dfanet_ros.sources import SCENES, SEED
from dfanet_ros.street_scenes import StreetScenes

CALIBRATION = """
image_width: 64
image_height: 48
camera_name: front
camera_matrix: {rows: 3, cols: 3, data: [50, 0, 32, 0, 51.5, 24, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.2, 0.01, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [50, 0, 32, 0, 0, 50, 24, 0, 0, 0, 1, 0]}
"""


def source(domain: int, log: Path, **parameters: Any) -> NodeProcess:
    """The node with the name /camera/camera_source."""
    return NodeProcess(domain, log, "-r", "__ns:=/camera", module="camera_source", **parameters)


def subscribe(peer: Peer, *, labels: bool = False) -> None:
    peer.subscribe("/camera/image_raw", *(["/camera/label"] if labels else []))
    peer.subscribe("/camera/camera_info", kind=CameraInfo)


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def pixels_of(image: Image) -> np.ndarray:
    return frame_from_message(image).pixels


def test_scenes_come_with_labels_calibration_and_one_header_at_the_rate(tmp_path: Path) -> None:
    domain = next_domain()
    settings = {"rate": 20, "height": 64, "width": 96, "frame_id": "front"}
    with Peer(domain) as peer, source(domain, tmp_path / "log", **settings) as node:
        subscribe(peer, labels=True)
        images, labels = peer.received["/camera/image_raw"], peer.received["/camera/label"]
        infos = peer.received["/camera/camera_info"]
        begin = time.time_ns()
        assert peer.spin_until(lambda: len(images) > 25 and len(labels) > 20)
        assert node.stop() == 0
        end = time.time_ns()
        assert "Traceback" not in node.text

    stamps = [stamp_of(image) for image in images]
    assert begin - 10**10 < stamps[0] and stamps[-1] < end
    gaps = np.diff(stamps) / 1e9
    assert gaps.min() > 0
    # Of a machine that has other things to do, frames may come late or not at all, but never faster on average; if the
    # first one is what comes late, that is by a period at most.
    assert (stamps[-1] - stamps[0]) / 1e9 > 0.05 * (len(stamps) - 2)
    assert 0.04 < np.median(gaps) < 0.2  # 0.05 on a machine that has nothing else to do

    scenes = [StreetScenes(SCENES, 64, 96, seed=SEED)[number] for number in range(SCENES)]
    number_of = {image.tobytes(): number for number, (image, _) in enumerate(scenes)}
    numbers = {stamp_of(image): number_of[bytes(image.data)] for image in images}
    assert {image.encoding for image in images} == {"rgb8"}
    assert {(image.header.frame_id, image.height, image.width) for image in images} == {("front", 64, 96)}
    labelled = [label for label in labels if stamp_of(label) in numbers]
    assert len(labelled) > 15
    for label in labelled:
        assert (label.encoding, label.header.frame_id) == ("mono8", "front")
        assert bytes(label.data) == scenes[numbers[stamp_of(label)]][1].tobytes()
    described = [info for info in infos if stamp_of(info) in numbers]
    assert len(described) > 15
    for info in described:
        assert (info.header.frame_id, info.height, info.width, info.k[0]) == ("front", 64, 96, 0)


def test_video_runs_at_its_own_rate_in_a_loop(tmp_path: Path) -> None:
    domain = next_domain()
    video = write_video(tmp_path / "ten.avi")
    with Peer(domain) as peer, source(domain, tmp_path / "log", source=video) as node:
        subscribe(peer)
        images = peer.received["/camera/image_raw"]
        assert peer.spin_until(lambda: len(images) > 15)
        assert "at 12.5 Hz" in node.text
    numbers = [round(float(pixels_of(image).mean()) / 20) for image in images]
    steps = set(np.diff(numbers) % 10)
    assert {image.encoding for image in images} == {"bgr8"}
    assert set(numbers) == {*range(10)} and 1 in steps
    assert 0.07 < np.median(np.diff([stamp_of(image) for image in images])) / 1e9 < 0.3  # 0.08, see above


def test_folder_is_published_once_without_loop(tmp_path: Path) -> None:
    domain = next_domain()
    folder = write_folder(tmp_path, 8)
    settings = {"source": folder, "loop": False, "rate": 10}
    with Peer(domain) as peer, source(domain, tmp_path / "log", **settings) as node:
        subscribe(peer)
        images = peer.received["/camera/image_raw"]
        assert peer.spin_until(lambda: node.process.poll() is not None)
        assert node.process.returncode == 0
        assert f"{folder} has ended" in node.text
        peer.spin_for(0.2)
    expected = [cv2.imread(str(folder / f"{number}.png"))[:, :, ::-1].tobytes() for number in range(8)]
    numbers = [expected.index(pixels_of(image).tobytes()) for image in images]
    assert len(numbers) > 4
    assert numbers == sorted(set(numbers)), "none twice, and in their order"
    assert numbers[-1] == 7


def test_calibration_is_published_for_frames_of_its_size(tmp_path: Path) -> None:
    domain = next_domain()
    folder = write_folder(tmp_path, 2)
    cv2.imwrite(str(folder / "1.png"), np.zeros((30, 40, 3), np.uint8))
    file = tmp_path / "front camera.yaml"
    file.write_text(CALIBRATION)
    settings = {"source": folder, "rate": 20, "camera_info_url": file.as_uri()}
    with Peer(domain) as peer, source(domain, tmp_path / "log", **settings) as node:
        subscribe(peer)
        infos = peer.received["/camera/camera_info"]
        assert peer.spin_until(lambda: len({info.height for info in infos}) == 2)
        assert node.text.count("the calibration is for 64 x 48, but frames are 40 x 30") == 1
    by_height = {info.height: info for info in infos}
    fitting, other = by_height[48], by_height[30]
    assert (fitting.width, fitting.distortion_model) == (64, "plumb_bob")
    assert [*fitting.k] == [50, 0, 32, 0, 51.5, 24, 0, 0, 1]
    assert [*fitting.d] == [0.1, -0.2, 0.01, 0, 0]
    assert [*fitting.p] == [50, 0, 32, 0, 0, 50, 24, 0, 0, 0, 1, 0]
    assert fitting.header.frame_id == "camera"
    assert (other.width, other.k[0], other.distortion_model) == (40, 0, "")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"source": 97}, "there is no webcam /dev/video97; there is"),
        ({"rate": -1}, "parameter rate"),
        ({"camera_info_url": "/none.yaml"}, "the calibration /none.yaml cannot be read: "),
    ],
    ids=str,
)
def test_wrong_settings_end_it_with_a_sentence(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with source(next_domain(), tmp_path / "log", **settings) as node:
        assert node.wait_for_exit() == 1
        assert says in node.text and "Traceback" not in node.text


def test_image_that_cannot_be_read_ends_it_with_a_sentence(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, 2)
    (folder / "1.png").write_text("no image")
    with source(next_domain(), tmp_path / "log", source=folder) as node:
        assert node.wait_for_exit() == 1
        assert "1.png is not an image that OpenCV can read" in node.text and "Traceback" not in node.text


def test_sigterm_ends_it_well(tmp_path: Path) -> None:
    with source(next_domain(), tmp_path / "log", rate=0.01) as node:  # which waits for the second frame
        node.wait_for_log("at 0.01 Hz")
        time.sleep(0.3)
        assert node.stop(signal.SIGTERM) == 0
        assert "Traceback" not in node.text


# Pace


def test_pace_does_not_drift() -> None:
    pace, stop, start = Pace(100, waits=True), Event(), time.monotonic()
    times = []
    for _ in range(60):
        assert pace.reaches(stop)
        times.append(time.monotonic() - start)
        time.sleep(0.002)  # that each frame takes
    lateness = np.array(times) - np.arange(60) / 100
    assert lateness.min() > -0.001
    # However late each of them is, the last one is no later for it, unless the machine stands still for a while.
    assert np.median(lateness[40:]) - np.median(lateness[:20]) < 0.01 or np.diff(times).max() > 0.02


def test_pace_makes_up_for_nothing() -> None:
    pace, stop = Pace(50, waits=True), Event()
    assert pace.reaches(stop)
    time.sleep(0.2)
    start = time.monotonic()
    for _ in range(5):
        assert pace.reaches(stop)
    assert time.monotonic() - start > 0.055, "two at once at most"


def test_pace_leaves_out_what_comes_too_early() -> None:
    pace, stop, end, taken = Pace(20, waits=False), Event(), time.monotonic() + 0.5, 0
    while time.monotonic() < end:
        taken += pace.reaches(stop)
    assert 1 < taken <= 11


def test_pace_ends_when_told() -> None:
    pace, stop = Pace(0.1, waits=True), Event()
    assert pace.reaches(stop)
    Timer(0.05, stop.set).start()
    start = time.monotonic()
    assert not pace.reaches(stop)
    assert time.monotonic() - start < 5


# Calibration


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("image_width: 64\n", ""), "it has no image_width"),
        (("image_width: 64", "image_width: wide"), "image_width is 'wide', which is no int"),
        (("[50, 0, 32, 0, 51.5,", "[50, 0, 32, 0,"), "camera_matrix has 8 numbers, but has to have 9"),
        (("[0.1, -0.2,", "[x, -0.2,"), "distortion_coefficients has something other than numbers"),
        (("data: [1, 0, 0, 0, 1, 0, 0, 0, 1]", "data: 5"), "data is 5, which is no list"),
        ((CALIBRATION, "- 5"), "it is not a mapping of keys to values"),
        ((CALIBRATION, "a: [b"), "is not a camera's calibration: "),
        (("image_width: 64", "image_width: -1"), "its size is -1 x 48, but has to be from 1 x 1 to "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_calibration_is_refused_with_a_sentence(tmp_path: Path, change: tuple[str, str], says: str) -> None:
    file = tmp_path / "camera.yaml"
    file.write_text(CALIBRATION.replace(*change))
    with pytest.raises(CalibrationError, match=says):
        load_calibration(str(file))


def test_calibration_from_elsewhere_is_refused() -> None:
    with pytest.raises(CalibrationError, match=r"has to be a file: a path, or file:///"):
        load_calibration("package://camera/front.yaml")
