"""evaluate_bag: every frame, the right numbers, whole results even if interrupted, and a sentence for all else."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("mcap", reason="mcap is not installed")
pytest.importorskip("matplotlib", reason="the report's requirements are not installed")
pytest.importorskip("jinja2", reason="the report's requirements are not installed")

from bag_files import STRING, image, storage_file, text, write_bag
from brightness import LEVELS, blocks, save_brightness_weights
from rosbags.rosbag2 import CompressionMode, StoragePlugin
from test_report import Parsed

from dfanet_ros.bags import from_images
from dfanet_ros.bags.images import IMAGE, read_frames
from dfanet_ros.bags.reader import BagReader
from dfanet_ros.bags.writer import BagWriter
from dfanet_ros.evaluate_bag import command
from dfanet_ros.evaluate_bag.command import run
from dfanet_ros.evaluate_bag.labels import FolderLabels
from dfanet_ros.frame import Frame
from dfanet_ros.image_files import ImageFolder
from dfanet_ros.label_set import CAMVID
from dfanet_ros.segmenter import load_segmenter
from training import evaluate

ROOT = Path(__file__).parents[1]
CAMVID_FOLDER = Path(os.environ.get("CAMVID", ROOT.parent / "shared" / "camvid"))
COUNT = 6
SIZES = [(64, 96), (90, 121)]  # the frames', in turns
START, PERIOD = 1_700_000_000 * 10**9, 10**8  # ns
CAMERA, LABEL = "/camera/image_raw", "/camera/label"
WITHOUT_ROS = """
import runpy, sys
for name in ("rclpy", "sensor_msgs", "std_msgs"):
    sys.modules[name] = None
runpy.run_module("dfanet_ros.evaluate_bag", run_name="__main__")
"""
MASK, COLOR_MASK, OVERLAY = (f"/camera/segmentation/{name}" for name in ("mask", "color_mask", "overlay"))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "brightness.safetensors"
    save_brightness_weights(path, (64, 96))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `images` and `labels`."""
    root = tmp_path_factory.mktemp("data")
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    for number in range(COUNT):
        red, ids, _ = blocks(*SIZES[number % 2], seed=number)
        cv2.imwrite(str(root / f"images/{number}.png"), np.dstack([255 - red, red // 2, red]))
        ids = np.roll(ids, 3 * number, axis=1)  # so that the IoU is neither 0 nor 100
        ids[:10, :10] = 255
        cv2.imwrite(str(root / f"labels/{number}.png"), ids)
    return root


@pytest.fixture(scope="module")
def bag(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bag(data, tmp_path_factory.mktemp("bag") / "bag", "--labels", data / "labels")


@pytest.fixture(scope="module")
def expected(weights: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What training.evaluate says of the same images."""
    out = tmp_path_factory.mktemp("expected")
    folders = ["--images", str(data / "images"), "--labels", str(data / "labels")]
    evaluate.main(["--weights", str(weights), *folders, "--out", str(out)])
    numbers = json.loads((out / "metrics.json").read_text())
    assert 5 < numbers["miou"] < 95
    return numbers


def make_bag(data: Path, path: Path, *arguments: object) -> Path:
    with pytest.raises(SystemExit) as ended:
        from_images.run([str(data / "images"), "--out", str(path), *map(str, arguments)])
    assert ended.value.code == 0
    return path


def run_on(bag: Path, weights: object, out: Path, *arguments: object, code: int = 0) -> dict[str, Any]:
    """Evaluate in this process; gives the metrics."""
    with pytest.raises(SystemExit) as ended:
        run([str(bag), "--weights", str(weights), "--out", str(out), "--engine", "torch", *map(str, arguments)])
    assert ended.value.code == code
    return json.loads((out / "metrics.json").read_text())


def refusal(*arguments: object) -> str:
    """What it says that it cannot do."""
    with pytest.raises(SystemExit) as ended:
        run([*map(str, arguments)])
    assert isinstance(ended.value.code, str)
    return ended.value.code


def messages(bag: Path, topic: str) -> list[Any]:
    with BagReader(bag) as reader:
        assert reader.problem == ""
        return [(received, reader.decoded(topic, data)) for _, received, data in reader.messages([topic])]


def process(*arguments: object) -> subprocess.Popen[str]:
    """The command as users run it, where ROS is not installed."""
    return subprocess.Popen(
        [sys.executable, "-c", WITHOUT_ROS, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# The labels


def test_labels_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(11):
        cv2.imwrite(str(tmp_path / f"road_{number}.png"), np.full((2, 3), number, np.uint8))
    labels = FolderLabels(tmp_path, frames=11)
    assert [int(labels.of(number, stamp=7)[0, 0]) for number in range(11)] == [*range(11)]


def test_labels_of_one_stamp_that_differ_are_not_used(weights: Path, tmp_path: Path) -> None:
    """Drivers that leave stamps alone give 0 to all. Frame 3 and its label, which comes twice, are right."""
    frames = [image(np.full((64, 96, 3), LEVELS[k], np.uint8), 3 * (k == 3)) for k in range(4)]
    labels = [image(np.full((64, 96), k, np.uint8), 3 * (k == 3), "mono8") for k in (0, 1, 2, 3, 3)]
    everything = [(CAMERA, k, data) for k, data in enumerate(frames)]
    everything += [(LABEL, k, data) for k, data in enumerate(labels)]
    bag = write_bag(tmp_path / "bag", {CAMERA: IMAGE, LABEL: IMAGE}, everything)
    numbers = run_on(bag, weights, tmp_path / "out", "--label-topic", LABEL)
    assert (numbers["frames_segmented"], numbers["frames_labelled"], numbers["miou"]) == (4, 1, 100)
    why = "several labels have this stamp, and they differ: which one is the frame's is not known"
    unusable = "; ".join(f"that of frame {k} (stamp 0.000000000): {why}" for k in range(3))
    assert numbers["remarks"] == [f"3 labels could not be used: {unusable}"]


# The command


@pytest.fixture(scope="module")
def ended(bag: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """The command as users run it: its folder and its two outputs."""
    out = tmp_path_factory.mktemp("out")
    with process(bag, "--label-topic", LABEL, "--weights", weights, "--out", out) as running:
        stdout, stderr = running.communicate(timeout=100)
    assert running.returncode == 0, stderr
    return out, stdout, stderr


def test_numbers_are_those_of_training(ended: tuple[Path, str, str], expected: dict[str, Any]) -> None:
    out, stdout, stderr = ended
    numbers = json.loads((out / "metrics.json").read_text())
    assert numbers["confusion"] == expected["confusion"]
    for name in ("miou", "fwiou", "mean_accuracy", "pixel_accuracy"):
        assert numbers[name] == pytest.approx(expected[name], abs=1e-6)
    assert numbers["classes"] == expected["classes"]
    assert stdout.splitlines()[-1] == f"mIoU: {expected['miou']:.2f}"
    assert f"\nframes: {COUNT}\n" in stdout
    assert f"{COUNT}/{COUNT}" in stderr and "frame/s" in stderr, "no progress bar"
    counts = [numbers[f"frames_{name}"] for name in ("segmented", "refused", "labelled")]
    assert counts == [COUNT, 0, COUNT] and numbers["remarks"] == []
    assert numbers["ms_per_frame"]["p50"] > 0
    assert sum(numbers["class_shares"].values()) == pytest.approx(100)


def test_results_are_a_bag_beside_the_source(ended: tuple[Path, str, str], weights: Path, data: Path) -> None:
    segmenter = load_segmenter(str(weights), backbone="xception_b")
    outputs = [messages(ended[0] / "segmented", topic) for topic in (MASK, COLOR_MASK, OVERLAY)]
    assert [len(output) for output in outputs] == [COUNT] * 3
    for number, (frame, _) in enumerate(ImageFolder(data / "images")):
        result = segmenter.segment([Frame(frame)])[0]
        wanted = [("mono8", result.label_map), ("rgb8", result.color_mask()), ("rgb8", result.overlay(0.5))]
        for output, (encoding, pixels) in zip(outputs, wanted, strict=True):
            received, message = output[number]
            stamp = START + number * PERIOD
            assert received == stamp
            assert message.header.stamp.sec * 10**9 + message.header.stamp.nanosec == stamp
            assert message.header.frame_id == "camera"
            assert (message.height, message.width, message.encoding) == (*frame.shape[:2], encoding)
            assert message.step == pixels.nbytes // message.height and message.is_bigendian == 0
            np.testing.assert_array_equal(message.data, pixels.ravel())


def test_the_report_holds_all_that_it_shows(ended: tuple[Path, str, str], expected: dict[str, Any]) -> None:
    page = Parsed((ended[0] / "report.html").read_text(encoding="utf-8"))
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe"}
    pictures = page.pictures()
    assert len(pictures) == 4 + 4 * COUNT  # bars, confusions, over time, times; four pictures of each frame
    assert all(picture.std() > 5 for picture in pictures), "a blank picture"
    said = " ".join(page.text.split())
    for words in (
        "Weights brightness on bag, /camera/image_raw",
        f"{COUNT} frames, 11 classes; {COUNT} frames have a label.",
        f"mIoU {expected['miou']:.2f} %",
        "Over time",
        "Time per frame",
        "Worst frames",
        f"topic {LABEL}",
    ):
        assert words in said
    assert "What went wrong" not in said
    assert {path.name for path in ended[0].iterdir()} == {"report.html", "metrics.json", "segmented"}


# What it reads


@pytest.mark.parametrize("kind", ["png", "sqlite", "folder", "stamps", "batch"])
def test_numbers_are_the_same_however_they_come(
    kind: str, bag: Path, data: Path, weights: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    arguments: list[object] = ["--label-topic", LABEL]
    if kind == "png":
        bag = make_bag(data, tmp_path / "bag", "--labels", data / "labels", "--compressed", "png")
    elif kind == "sqlite":
        with BagReader(bag) as reader:
            topics, all_messages = reader.topics, [*reader.messages()]
        # The labels first, and all of them received long before the images.
        ordered = [(topic, at - (topic == LABEL) * 10**12, data) for topic, at, data in all_messages]
        bag = write_bag(tmp_path / "bag", topics, ordered, StoragePlugin.SQLITE3, CompressionMode.MESSAGE)
    elif kind in ("folder", "stamps"):
        (tmp_path / "labels").mkdir()
        for number in range(COUNT):
            name = f"{START + number * PERIOD}" if kind == "stamps" else f"road_{number}"
            (tmp_path / f"labels/{name}.png").symlink_to(data / f"labels/{number}.png")
        arguments = ["--labels", tmp_path / "labels", "--image-topic", CAMERA]
    else:
        arguments += ["--batch", 4]
    numbers = run_on(bag, weights, tmp_path / "out", *arguments)
    assert numbers["confusion"] == expected["confusion"] and numbers["remarks"] == []
    assert numbers["frames_labelled"] == COUNT
    assert len(messages(tmp_path / "out/segmented", MASK)) == COUNT


def test_jpeg_is_close(data: Path, weights: Path, expected: dict[str, Any], tmp_path: Path) -> None:
    bag = make_bag(data, tmp_path / "bag", "--labels", data / "labels", "--compressed", "jpeg")
    numbers = run_on(bag, weights, tmp_path / "out", "--label-topic", LABEL)
    assert numbers["miou"] == pytest.approx(expected["miou"], abs=3)


def test_without_labels(bag: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = run_on(bag, weights, tmp_path, "--image-topic", CAMERA, "--outputs", "mask")
    assert "miou" not in numbers and "confusion" not in numbers and numbers["labels"] == "none"
    assert "mIoU" not in capsys.readouterr().out
    page = Parsed((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Some frames" in page.text and "What was seen" in page.text and "mIoU" not in page.text
    assert len(page.pictures()) == 3 + 3 * 4
    with BagReader(tmp_path / "segmented") as results:
        assert results.topics == {MASK: IMAGE}


def test_flips_are_changes_of_class_between_frames_of_one_size(weights: Path, tmp_path: Path) -> None:
    dark, light = (np.full((64, 96, 3), LEVELS[k], np.uint8) for k in (2, 7))
    half = dark.copy()
    half[:, 48:] = light[:, 48:]
    small = dark[:32]
    flips = [0, 50, 0, 0, 100]  # percent; none where the size changes and after a frame that cannot be read
    frames = [dark, dark, half, half, small, small, None, dark, light]
    bytes_of = [b"\0\1\0\0" if f is None else image(f, k) for k, f in enumerate(frames)]
    bag = write_bag(tmp_path / "bag", {CAMERA: IMAGE}, [(CAMERA, k, data) for k, data in enumerate(bytes_of)])
    numbers = run_on(bag, weights, tmp_path / "out")
    assert numbers["flips"] == pytest.approx(sum(flips) / len(flips), abs=3)  # near the border of half, classes mix
    assert numbers["frames_refused"] == 1 and numbers["frames_segmented"] == 8


# What is not right


def test_frames_and_labels_that_cannot_be_read_are_named(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.full((64, 96, 3), LEVELS[2], np.uint8)
    right = np.full((64, 96), 2, np.uint8)
    frames: list[bytes | memoryview] = [image(pixels, k) for k in range(6)]
    frames[1] = b"no image"
    frames[2] = image(pixels, 2, encoding="hexachrome8")
    labels: list[bytes | memoryview] = [image(right, k, "8UC1" if k == 0 else "mono8") for k in range(6)]
    labels[3] = image(right[1:], 3, "mono8")
    labels[4] = image(np.full((64, 96), 77, np.uint8), 4, "mono8")
    labels[5] = image(pixels, 5)
    everything = [
        (topic, k, data) for topic, list in ((CAMERA, frames), (LABEL, labels)) for k, data in enumerate(list)
    ]
    bag = write_bag(tmp_path / "bag", {CAMERA: IMAGE, LABEL: IMAGE}, everything)
    numbers = run_on(bag, weights, tmp_path / "out", "--label-topic", LABEL)
    assert (numbers["frames_segmented"], numbers["frames_refused"], numbers["frames_labelled"]) == (4, 2, 1)
    assert numbers["miou"] == 100
    unread, unusable, left = numbers["remarks"]
    assert unread.startswith(f"2 frames could not be used: frame 1: 8 bytes on {CAMERA} are no {IMAGE}")
    assert "frame 2 (stamp 0.000000002): encoding 'hexachrome8' is not one of rgb8" in unread
    assert unusable == (
        "3 labels could not be used: label 5: encoding 'rgb8' has to be mono8 or 8UC1, for these are ids; that of "
        "frame 3 (stamp 0.000000003): the label is (63, 96) but the prediction (64, 96): they must have the same "
        "size; that of frame 4 (stamp 0.000000004): the label has id 77, but the classes are 0..10"
    )
    assert left == "2 of 5 labels belong to no frame"
    noted = capsys.readouterr().err
    assert all(f"note: {remark}\n" in noted for remark in numbers["remarks"])
    said = Parsed((tmp_path / "out/report.html").read_text(encoding="utf-8")).text
    assert "What went wrong" in said and unread in said and unusable in said
    assert [at for at, _ in messages(tmp_path / "out/segmented", MASK)] == [0, 3, 4, 5]


def test_a_bag_that_was_cut_off_is_evaluated_as_far_as_it_goes(weights: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    label = image(np.full((64, 96), 2, np.uint8), 0, "mono8")
    everything = [(LABEL, 0, label), *((CAMERA, k, image(pixels, k)) for k in range(200))]
    bag = write_bag(tmp_path / "bag", {CAMERA: IMAGE, LABEL: IMAGE}, everything)
    file = storage_file(bag)
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    numbers = run_on(bag, weights, tmp_path / "out", "--label-topic", LABEL)
    assert 50 < numbers["frames_segmented"] == numbers["frames"] < 140
    (remark,) = numbers["remarks"]
    assert remark.startswith(f"{bag} is not whole: bag.mcap is cut off or damaged")
    assert len(messages(tmp_path / "out/segmented", MASK)) == numbers["frames_segmented"]


def test_what_cannot_be_done_is_said(bag: Path, data: Path, weights: Path, tmp_path: Path) -> None:
    out = ["--weights", weights, "--out", tmp_path / "out"]
    has = f"it has {CAMERA} ({IMAGE}, 6 messages), {LABEL} ({IMAGE}, 6 messages)"
    assert refusal(tmp_path / "none", *out) == f"error: there is no bag {tmp_path}/none"
    assert refusal(bag, *out) == f"error: there are 2 image topics in {bag}: name one with --image-topic; {has}"
    assert refusal(bag, *out, "--image-topic", "/x") == f"error: there is no topic /x in {bag}; {has}"
    assert refusal(bag, *out, "--label-topic", "/y", "--image-topic", CAMERA).startswith("error: there is no topic /y")
    words = write_bag(tmp_path / "words", {"/chatter": STRING}, [("/chatter", 1, text("hello"))])
    chatter = f"it has /chatter ({STRING}, 1 messages)"
    assert refusal(words, *out) == f"error: there is no image topic in {words}: name one with --image-topic; {chatter}"
    assert refusal(words, *out, "--image-topic", "/chatter") == (
        f"error: topic /chatter is of type {STRING}, but has to be of {IMAGE} or sensor_msgs/msg/CompressedImage"
    )
    (tmp_path / "labels").mkdir()
    folder = [*out, "--image-topic", CAMERA, "--labels", tmp_path / "labels"]
    assert refusal(bag, *folder) == f"error: there are no labels (.png) in {tmp_path}/labels"
    (tmp_path / "labels/0.png").symlink_to(data / "labels/0.png")
    assert refusal(bag, *folder).startswith(
        f"error: there are 6 frames, but 1 labels in {tmp_path}/labels: in the frames'"
    )
    (tmp_path / "labels/0.png").rename(tmp_path / "labels/5555555555.png")
    assert refusal(bag, *folder).startswith(f"error: no frame on {CAMERA} could be compared with a label (folder ")
    missing = [bag, "--image-topic", CAMERA, "--out", tmp_path / "out", "--weights", "/no/such.safetensors"]
    assert refusal(*missing) == "error: cannot load the weights '/no/such.safetensors': there is no such file"
    for source in (bag, storage_file(bag)):
        (tmp_path / "copy").mkdir(exist_ok=True)
        (tmp_path / "copy/segmented").unlink(missing_ok=True)
        (tmp_path / "copy/segmented").symlink_to(bag)
        over = refusal(source, "--image-topic", CAMERA, "--weights", weights, "--out", tmp_path / "copy")
        assert over == f"error: the results would overwrite the bag {source}: name another folder with --out"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--batch", "-1"], "--batch is -1, but has to be at least 1"),
        (["--precision", "fp17"], "parameter precision is 'fp17', but has to be one of auto, fp32, fp16, bf16"),
        (["--input-width", "-8"], "parameter input_width is -8, but has to be a whole number from 0 to 8192"),
        (["--labels", "a", "--label-topic", "b"], "not allowed with argument"),
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["bag", "--out", str(tmp_path), *arguments])
    assert ended.value.code == 2 and says in capsys.readouterr().err


def test_parameters_of_the_node_are_options(bag: Path, weights: Path, tmp_path: Path) -> None:
    numbers = run_on(
        bag, weights, tmp_path, "--image-topic", CAMERA, "--input-height", 32, "--precision", "bf16", "--device", "cpu"
    )
    assert "input 32 x 96, bf16 on cpu" in numbers["network"] and "xception_b" in numbers["network"]
    assert "are of dfanet with xception_b" in refusal(
        bag, "--weights", weights, "--image-topic", CAMERA, "--backbone", "xception_a", "--out", tmp_path
    )


# Interruption


@pytest.fixture(scope="module")
def long_bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More frames than are segmented before a signal arrives."""
    red, ids, _ = blocks(64, 96, seed=0)
    pixels = np.dstack([red] * 3)
    everything = [(CAMERA, k, image(pixels, k)) for k in range(1000)]
    everything += [(LABEL, k, image(ids, k, "mono8")) for k in range(1000)]
    return write_bag(tmp_path_factory.mktemp("long") / "bag", {CAMERA: IMAGE, LABEL: IMAGE}, everything)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_what_was_done_is_whole(number: signal.Signals, long_bag: Path, tmp_path: Path) -> None:
    arguments = [long_bag, "--weights", "camvid", "--label-topic", LABEL, "--out", tmp_path]
    with process(*arguments) as running:
        assert running.stderr is not None
        bar = ""
        while not re.search(r"evaluating.* \d+/1000 \[\d", bar) or " 0/1000" in bar[-60:]:
            read = running.stderr.read(20)
            assert read, bar
            bar += read
        running.send_signal(number)
        stdout, stderr = running.communicate(timeout=60)
    assert running.returncode == 130, stderr
    numbers = json.loads((tmp_path / "metrics.json").read_text())
    done = numbers["frames_segmented"]
    assert 0 < done < 1000
    assert numbers["remarks"] == [f"interrupted after {done} frames of 1000"]
    assert f"note: interrupted after {done} frames of 1000\n" in stderr and "Traceback" not in stderr
    assert f"interrupted after {done} frames" in (tmp_path / "report.html").read_text()
    assert stdout.splitlines()[-1] == f"mIoU: {numbers['miou']:.2f}"
    for topic in (MASK, COLOR_MASK, OVERLAY):
        assert [at for at, _ in messages(tmp_path / "segmented", topic)] == [*range(done)]


# A full disk


def test_full_disk_leaves_a_report_of_what_was_done(
    bag: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room, write = [7], BagWriter.write  # messages: two frames' masks, colours and overlays, and a mask

    def fill(self: BagWriter, *message: Any) -> None:
        room[0] -= 1
        if room[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "segmented"))
        write(self, *message)

    monkeypatch.setattr(BagWriter, "write", fill)
    numbers = run_on(bag, weights, tmp_path, "--label-topic", LABEL, code=1)
    assert (numbers["frames_segmented"], numbers["frames_labelled"]) == (3, 3)
    remark = f"ended after 3 frames of {COUNT}: [Errno 28] No space left on device: '{tmp_path}/segmented'"
    assert numbers["remarks"] == [remark]
    said = capsys.readouterr()
    assert f"note: {remark}\n" in said.err and said.out.splitlines()[-1].startswith("mIoU: ")
    assert "What went wrong" in (tmp_path / "report.html").read_text()
    assert len(messages(tmp_path / "segmented", MASK)) == 3


def test_an_earlier_report_is_not_left_beside_a_run_that_failed(
    bag: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("report.html", "metrics.json"):
        (tmp_path / name).write_text("of an earlier run")
    wrong = [bag, "--label-topic", LABEL, "--out", tmp_path]
    assert refusal(*wrong, "--weights", "/none.safetensors").startswith("error: cannot load the weights")
    assert (tmp_path / "report.html").exists(), "nothing was done yet"

    def crash(*_: object) -> None:
        raise ValueError("crashed")

    monkeypatch.setattr(command, "evaluate", crash)
    assert refusal(*wrong, "--weights", weights) == "error: crashed"
    assert {path.name for path in tmp_path.iterdir()} == {"segmented"}


# Real images


def test_camvid(tmp_path: Path) -> None:
    """The twin of training.evaluate, on a tenth of the val part."""
    if not (CAMVID_FOLDER / "images/val").is_dir():
        pytest.skip("CamVid is not here (environment variable CAMVID)")
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for path in sorted((CAMVID_FOLDER / kind / "val").iterdir())[::10]:
            (tmp_path / kind / path.name).symlink_to(path)
    bag = make_bag(tmp_path, tmp_path / "bag", "--labels", tmp_path / "labels")
    numbers = run_on(bag, "camvid", tmp_path / "out", "--label-topic", LABEL)
    segmenter = load_segmenter("camvid")
    found = evaluate.evaluate(segmenter, ImageFolder(tmp_path / "images", tmp_path / "labels"))  # type: ignore[arg-type]
    assert numbers["confusion"] == found.confusion.counts.tolist()
    assert numbers["miou"] == pytest.approx(found.confusion.miou(), abs=1e-6) and numbers["miou"] > 50
    assert [entry["name"] for entry in numbers["classes"]] == CAMVID.names
    with BagReader(bag) as reader:
        assert len([*read_frames(reader, CAMERA)]) == numbers["frames_segmented"] == 11
