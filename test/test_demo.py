"""The demo as users run it, and its report."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="the demo's requirements are not installed")

from brightness import blocks, save_brightness_weights
from ros_harness import next_domain

from dfanet_ros.demo.bag import read_messages
from dfanet_ros.demo.contact_sheet import GAP, LINE, MARGIN, PICTURE
from dfanet_ros.demo.report import Report
from dfanet_ros.demo.session import COLOR_MASK, MASK, OVERLAY
from dfanet_ros.frame import Frame
from dfanet_ros.image_files import ImageFolder
from dfanet_ros.label_set import CAMVID
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.node_process import NodeError, NodeProcess
from dfanet_ros.segmenter import load_segmenter
from dfanet_ros.serialized import pixels_of, stamp_of

pytestmark = pytest.mark.timeout(300)
CAMERA = "/camera/image_raw"
COUNT = 6
SIZES = [(64, 96), (90, 121)]  # the frames', in turns
NAMES = ["frames_in", "frames_out", "frames_lost", "fps", "latency_p50_ms", "latency_p99_ms", "mIoU"]


@dataclass
class Run:
    """A demo that has ended."""

    out: Path
    code: int
    stdout: str
    stderr: str

    @property
    def values(self) -> dict[str, str]:
        return dict(line.split(": ") for line in self.stdout.splitlines()[-len(NAMES) :])


@contextmanager
def started(out: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dfanet_ros.demo", "--out", str(out), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(next_domain()), "PYTHONFAULTHANDLER": "1"},
    )
    try:
        yield process
    finally:
        process.terminate()  # where the test has failed: it ends its node too
        process.wait()


def ended(process: subprocess.Popen[str], seconds: float) -> tuple[str, str]:
    """What it has printed (stdout, stderr); should it not end in time, the test fails and says where it waits."""
    try:
        return process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        nodes = subprocess.run(["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, text=True).stdout.split()
        process.send_signal(signal.SIGABRT)  # the fault handler prints what Python is doing
        stderr = process.communicate()[1]
        for node in nodes:
            os.kill(int(node), signal.SIGKILL)
        pytest.fail(f"the demo has not ended within {seconds:.0f} s:\n{stderr}")


def demo(out: Path, *arguments: object) -> Run:
    with started(out, *arguments) as process:
        stdout, stderr = ended(process, 270)  # more than it waits for its node
    return Run(out, process.returncode, stdout, stderr)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "brightness.safetensors"
    save_brightness_weights(path, (64, 96))
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set's `images/val`, with `labels/val` in its place; the last frame has no label."""
    root = tmp_path_factory.mktemp("data")
    images, labels = root / "images" / "val", root / "labels" / "val"
    images.mkdir(parents=True)
    labels.mkdir(parents=True)
    for number in range(COUNT):
        red, ids, _ = blocks(*SIZES[number % 2], seed=number)
        cv2.imwrite(str(images / f"{number}.png"), np.dstack([255 - red, red // 2, red]))
        ids = np.roll(ids, 3 * number, axis=1)  # so that the IoU is neither 0 nor 100
        ids[:10, :10] = 255
        if number < COUNT - 1:
            cv2.imwrite(str(labels / f"{number}.png"), ids)
    return images


@pytest.fixture(scope="module")
def run(weights: Path, frames: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = demo(tmp_path_factory.mktemp("out"), "--frames", frames, "--weights", weights)
    assert run.code == 0, run.stderr
    return run


def test_the_last_lines_are_for_scripts(run: Run) -> None:
    assert list(run.values) == NAMES
    assert (run.values["frames_in"], run.values["frames_out"], run.values["frames_lost"]) == (
        str(COUNT),
        str(COUNT),
        "0",
    )
    assert float(run.values["fps"]) > 0
    assert 0 < float(run.values["latency_p50_ms"]) <= float(run.values["latency_p99_ms"]) < 60_000
    assert f"{COUNT - 1} of {COUNT} frames have a label" in run.stdout


def test_miou_is_that_of_the_segmenter(run: Run, weights: Path, frames: Path) -> None:
    segmenter = load_segmenter(str(weights), backbone="xception_b")
    confusion = ConfusionMatrix(len(CAMVID))
    for image, label in ImageFolder(frames, frames.parents[1] / "labels" / "val"):
        if label is not None:
            confusion.update(label, segmenter.segment([Frame(image)])[0].label_map)
    assert 5 < confusion.miou() < 95
    assert float(run.values["mIoU"]) == pytest.approx(confusion.miou(), abs=0.1)
    assert re.fullmatch(r"\d+\.\d\d", run.values["mIoU"])


def test_both_bags_hold_every_frame(run: Run, frames: Path) -> None:
    messages = list(read_messages(run.out / "frames", CAMERA))
    images = [image for image, _ in ImageFolder(frames)]
    assert len(messages) == COUNT
    for message, image in zip(messages, images, strict=True):
        np.testing.assert_array_equal(pixels_of(message), image)
    assert [stamp_of(message) for message in messages] == [10**8 * number for number in range(1, COUNT + 1)]

    outputs = [list(read_messages(run.out / "recorded", topic)) for topic in (MASK, COLOR_MASK, OVERLAY)]
    stamps = [stamp_of(message) for message in outputs[0]]
    assert len(stamps) == COUNT
    assert stamps == sorted(set(stamps))
    for output in outputs[1:]:
        assert [stamp_of(message) for message in output] == stamps
    for number, (mask, color_mask) in enumerate(zip(*outputs[:2], strict=True)):
        assert pixels_of(mask).shape == (*SIZES[number % 2], 1)
        np.testing.assert_array_equal(pixels_of(color_mask), CAMVID.palette()[pixels_of(mask)[:, :, 0]])


def test_the_contact_sheet_has_a_column_for_each_picture(run: Run) -> None:
    sheet = cv2.imread(str(run.out / "contact_sheet.png"))
    assert sheet is not None
    height, width = sheet.shape[:2]
    assert width == 2 * MARGIN + 4 * PICTURE + 3 * GAP
    rows = sum(round(PICTURE * SIZES[number % 2][0] / SIZES[number % 2][1]) + GAP for number in (0, 1, 2, 4, 5))
    legend = height - (2 * MARGIN + LINE + rows)
    assert legend in (LINE, 2 * LINE)
    assert len(np.unique(sheet[::8, ::8].reshape(-1, 3), axis=0)) > 100


def test_without_labels_and_faster_than_the_node(weights: Path, frames: Path, tmp_path: Path) -> None:
    """Every frame is either out or lost."""
    images = tmp_path / "pictures"
    images.mkdir()
    for path in frames.iterdir():
        (images / path.name).symlink_to(path)
    run = demo(tmp_path / "out", "--frames", images, "--weights", weights, "--rate", 1000)
    assert run.code == 0, run.stderr
    assert list(run.values) == NAMES
    counts = {name: int(run.values[name]) for name in NAMES[:3]}
    assert counts["frames_in"] == COUNT == counts["frames_out"] + counts["frames_lost"]
    assert counts["frames_out"] > 0
    assert run.values["mIoU"] == "n/a"
    sheet = cv2.imread(str(run.out / "contact_sheet.png"))
    assert sheet is not None
    assert sheet.shape[1] == 2 * MARGIN + 3 * PICTURE + 2 * GAP


def test_interrupting_stops_the_node_and_closes_the_bags(weights: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(2):  # so large that the bag's writer keeps no picture of them back
        cv2.imwrite(str(images / f"{number}.png"), np.zeros((960, 1280, 3), np.uint8))
    bag = tmp_path / "recorded" / "recorded.mcap"
    with started(tmp_path, "--frames", images, "--weights", weights, "--rate", 0.01) as process:
        end = time.monotonic() + 200
        while not (bag.exists() and bag.stat().st_size > 7 * 960 * 1280):  # mask, colours and overlay are there
            assert process.poll() is None and time.monotonic() < end, "nothing was recorded"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)  # the second frame would come 100 s after the first
        _, stderr = ended(process, 30)
    assert process.returncode == 1
    assert stderr.endswith("demo: interrupted\n")
    assert "received" in (tmp_path / "node.log").read_text()  # the node's last words
    assert len(list(read_messages(tmp_path / "recorded", MASK))) == 1


def refusal(out: Path, *arguments: object) -> str:
    """What a demo says that cannot run."""
    run = demo(out, *arguments)
    assert run.code == 1
    assert "Traceback" not in run.stderr
    return run.stderr


def test_missing_weights(tmp_path: Path) -> None:
    path = tmp_path / "missing.safetensors"
    assert f"cannot load the weights '{path}': there is no such file" in refusal(tmp_path, "--weights", path)


def test_a_missing_folder(weights: Path, tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    assert f"there is no folder {folder}" in refusal(tmp_path, "--frames", folder, "--weights", weights)


def test_an_unreadable_image(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no image")
    said = refusal(tmp_path / "out", "--frames", tmp_path, "--weights", weights)
    assert f"{tmp_path / '1.png'} is not an image" in said


def test_labels_of_other_classes(weights: Path, frames: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), np.full(SIZES[0], 77, np.uint8))
    said = refusal(tmp_path / "out", "--frames", frames, "--labels", tmp_path, "--weights", weights)
    assert "frame 0: the label has id 77" in said


def test_only_a_bag_of_an_earlier_run_is_overwritten(weights: Path, frames: Path, tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "holiday.jpg").touch()
    said = refusal(tmp_path, "--frames", frames, "--weights", weights)
    assert f"{tmp_path / 'frames'} is in the way" in said
    assert (tmp_path / "frames" / "holiday.jpg").exists()


def test_a_node_that_cannot_start_is_reported_with_the_end_of_its_log(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROS_DOMAIN_ID", str(next_domain()))
    parameters = {"weights": str(weights), "backbone": "xception_b", "device": "abacus"}
    with NodeProcess(tmp_path / "node.log", **parameters) as process, pytest.raises(NodeError) as error:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            process.check()
            time.sleep(0.1)
    assert "the node could not be configured" in str(error.value)
    assert "device is 'abacus'" in str(error.value)


def test_the_report_counts_and_ranks() -> None:
    report = Report(
        frames_in=104,
        frames_out=101,
        frames_labelled=100,
        seconds=10.1,
        latencies=[float(number) for number in range(100, -1, -1)],
        iou={"sky": 80.0, "road": 60.0, "car": math.nan},
        miou=70.0,
    )
    assert report.values() == dict(zip(NAMES, ["104", "101", "3", "10.00", "50.0", "99.0", "70.00"], strict=True))
    table = report.table()
    assert re.search(r"frames lost +3\n", table)
    assert re.search(r"  road +60\.00", table)
    assert "car" not in table


def test_the_report_of_nothing() -> None:
    report = Report(5, 0, 0, 0.0, [], {"sky": math.nan}, math.nan)
    assert report.values() == dict(zip(NAMES, ["5", "0", "5", "0.00", "n/a", "n/a", "n/a"], strict=True))
    assert "no frame has a label" in report.table()
