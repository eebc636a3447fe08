"""bag_from_images: images and labels as they are, with the stamps of a camera."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")

from dfanet_ros.bags.from_images import run
from dfanet_ros.bags.images import COMPRESSED_IMAGE, IMAGE, BagFrame, read_frames
from dfanet_ros.bags.reader import BagReader

ROOT = Path(__file__).parents[1]
START = 1_700_000_000 * 10**9  # ns


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four `images`, and `labels` of all but the last."""
    root = tmp_path_factory.mktemp("data")
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    rng = np.random.default_rng(0)
    for number in range(4):
        size = (20 + number, 30)
        cv2.imwrite(str(root / f"images/{number}.png"), rng.integers(0, 255, (*size, 3), np.uint8))
        if number < 3:
            cv2.imwrite(str(root / f"labels/{number}.png"), rng.integers(0, 255, size, np.uint8))
    return root


def write(*arguments: object) -> Any:
    """Run it; gives the exit code or the sentence."""
    with pytest.raises(SystemExit) as ended:
        run([*map(str, arguments)])
    return ended.value.code


def read(bag: Path, topic: str) -> list[BagFrame]:
    with BagReader(bag) as reader:
        assert reader.problem == ""
        return [*read_frames(reader, topic)]


@pytest.mark.parametrize("compressed", [None, "png"])
def test_images_and_labels_come_back(compressed: str | None, data: Path, tmp_path: Path) -> None:
    more = ["--compressed", compressed] if compressed else []
    assert write(data / "images", "--labels", data / "labels", "--out", tmp_path / "bag", "--rate", 3, *more) == 0
    topic = "/camera/image_raw/compressed" if compressed else "/camera/image_raw"
    with BagReader(tmp_path / "bag") as reader:
        assert reader.topics == {topic: COMPRESSED_IMAGE if compressed else IMAGE, "/camera/label": IMAGE}
        assert reader.counts == {topic: 4, "/camera/label": 3}
    stamps = [START + round(number * 10**9 / 3) for number in range(4)]
    for kind, frames in (
        ("images", read(tmp_path / "bag", topic)),
        ("labels", read(tmp_path / "bag", "/camera/label")),
    ):
        for number, source in enumerate(frames):
            file = cv2.imread(str(data / f"{kind}/{number}.png"), cv2.IMREAD_UNCHANGED)
            assert source.frame is not None and file is not None
            if kind == "images":
                np.testing.assert_array_equal(source.frame.rgb(), file[:, :, ::-1])
            else:
                assert source.frame.encoding == "mono8"
                np.testing.assert_array_equal(source.frame.pixels[:, :, 0], file)
            assert source.received == source.stamp == stamps[number]
            assert source.header.frame_id == "camera"


def test_names_rate_and_start_can_be_chosen(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--topic", "/front/rgb", "--frame-id", "front", "--start", 5.5, "--rate", 0.5, "--compressed", "jpeg"]
    for _ in range(2):  # the second bag takes the first one's place
        assert write(data / "images", "--out", tmp_path / "bag", *options) == 0
    frames = read(tmp_path / "bag", "/front/rgb/compressed")
    assert [source.stamp for source in frames] == [round((5.5 + 2 * number) * 10**9) for number in range(4)]
    assert {source.header.frame_id for source in frames} == {"front"}
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"/front/rgb/compressed: 4 messages of {COMPRESSED_IMAGE}",
        f"bag: {tmp_path}/bag",
    ]


def test_what_cannot_be_done_is_said(data: Path, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "bag"]
    assert write(tmp_path / "none", *out) == f"error: there is no folder {tmp_path}/none"
    assert write(data, *out).startswith(f"error: there are no images (.jpg, .jpeg, .png, .bmp) in {data}")
    (tmp_path / "empty").mkdir()
    assert write(data / "images", "--labels", tmp_path / "empty", *out) == (
        f"error: none of the 4 images in {data}/images has a label in {tmp_path}/empty: that is a PNG of the same "
        "name, e.g. 0.png"
    )
    assert not (tmp_path / "bag").exists()
    assert write(data / "images", "--out", data / "images") == (
        f"error: {data}/images is in the way: it is not a bag of an earlier run, so it is not overwritten"
    )
    assert len([*(data / "images").iterdir()]) == 4
    for number, name in enumerate("ab"):
        (tmp_path / f"empty/{name}.png").write_bytes(
            (data / "images/0.png").read_bytes() if number == 0 else b"no image"
        )
    assert write(tmp_path / "empty", *out) == f"error: {tmp_path}/empty/b.png is not an image that OpenCV can read"
    assert len(read(tmp_path / "bag", "/camera/image_raw")) == 1, "what was written before is lost"


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--rate", "0", "--rate is 0, but has to be more than 0"),
        ("--rate", "nan", "--rate is nan, but has to be more than 0"),
        ("--start", "-1", "--start is -1, but has to be from 0 to 2147483647"),
        ("--compressed", "gif", "invalid choice: 'gif'"),
    ],
)
def test_wrong_options_are_refused(option: str, value: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert write("images", "--out", "bag", option, value) == 2
    assert says in capsys.readouterr().err


def test_interrupted_it_leaves_a_whole_bag(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "image.png"), np.random.default_rng(1).integers(0, 255, (360, 480, 3), np.uint8))
    for number in range(3000):
        (tmp_path / f"images/{number:04}.png").symlink_to(tmp_path / "image.png")
    command = [sys.executable, "-m", "dfanet_ros.bag_from_images", tmp_path / "images", "--out", tmp_path / "bag"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        bar = ""
        while "frame/s" not in bar:
            part = process.stderr.read(30)
            assert part, bar
            bar += part
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    frames = read(tmp_path / "bag", "/camera/image_raw")
    assert 0 < len(frames) < 3000 and all(source.frame for source in frames)
    assert stderr.endswith(f"note: interrupted after {len(frames)} frames of 3000\n")
