"""The evaluation: its numbers against pixels that were counted here, its report, and what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from brightness import LEVELS, save_brightness_weights
from conftest import info_of, lively_network
from numpy.typing import NDArray

from dfanet_ros.checkpoint import save_checkpoint
from dfanet_ros.frame import Frame
from dfanet_ros.image_files import read_image
from dfanet_ros.label_set import CAMVID, STREET_SCENES
from dfanet_ros.segmenter import Segmenter, load_segmenter
from dfanet_ros.street_scenes import StreetScenes
from training.evaluate import SHOWN, evaluate, main

ROOT = Path(__file__).parents[1]
SIZE = (64, 96)
HALVES = 48  # pixels: where the right half begins


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four generated scenes as a data set on disk, some of their pixels unlabelled."""
    root = tmp_path_factory.mktemp("scenes")
    entries = [{"name": label.name, "color": list(label.color)} for label in STREET_SCENES.labels]
    (root / "labels.yaml").write_text(yaml.safe_dump(entries))
    for kind in ("images", "labels"):
        (root / kind / "val").mkdir(parents=True)
    for number, (image, label) in enumerate(StreetScenes(4, *SIZE, seed=6)):
        label[:5] = 255
        cv2.imwrite(str(root / f"images/val/{number}.png"), image[:, :, ::-1])
        cv2.imwrite(str(root / f"labels/val/{number}.png"), label)
    return root


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten images of two known classes and weights that know them; in image k, k rows of the right half are mislabelled.

    Near the border of the halves, where the network mixes them, nothing is labelled.
    """
    root = tmp_path_factory.mktemp("halves")
    save_brightness_weights(root / "weights.safetensors", SIZE)
    for kind in ("images", "labels"):
        (root / kind).mkdir()
    for number in range(10):
        label = np.full(SIZE, 2, np.uint8)
        label[:, HALVES:] = 7
        image = LEVELS[label]
        label[:number, HALVES:] = 5
        label[:, HALVES - 8 : HALVES + 8] = 255
        cv2.imwrite(str(root / f"images/{number}.png"), cv2.merge([image] * 3))
        cv2.imwrite(str(root / f"labels/{number}.png"), label)
    return root


def folders(root: Path, part: str = "") -> list[str | Path]:
    return ["--images", root / "images" / part, "--labels", root / "labels" / part]


def counted_again(weights: Path, data: Path) -> NDArray[np.int64]:
    """Pixels by true and predicted class, one by one."""
    segmenter = load_segmenter(str(weights), backbone="xception_b", device="cpu")
    counts = np.zeros((len(CAMVID), len(CAMVID)), np.int64)
    for path in sorted((data / "images/val").iterdir()):
        predicted = segmenter.segment([Frame(read_image(path))])[0].label_map
        truth = cv2.imread(str(data / "labels/val" / path.name), cv2.IMREAD_UNCHANGED)
        np.add.at(counts, (truth[truth != 255], predicted[truth != 255]), 1)
    return counts


def refused(arguments: Sequence[str | Path], capsys: pytest.CaptureFixture[str]) -> str:
    """What the evaluation says before it stops with exit code 1."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1]


def test_the_command(random_weights: Path, scenes: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "training.evaluate", "--weights", random_weights, *folders(scenes, "val")]
    ended = subprocess.run([*command, "--out", tmp_path / "new"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "0/4" in ended.stderr, "no progress bar"

    counts = counted_again(random_weights, scenes)
    hits, true = np.diag(counts), counts.sum(1)
    unions = zip(CAMVID.names, hits, true + counts.sum(0) - hits, strict=True)
    iou = {name: 100 * hit / union for name, hit, union in unions if union}
    expected = {
        "miou": np.mean([*iou.values()]),
        "fwiou": sum(iou[name] * pixels for name, pixels in zip(CAMVID.names, true, strict=True) if pixels)
        / true.sum(),
        "mean_accuracy": np.mean([100 * hit / pixels for hit, pixels in zip(hits, true, strict=True) if pixels]),
        "pixel_accuracy": 100 * hits.sum() / true.sum(),
    }
    assert 0 < expected["miou"] < 100 and counts.sum() == 4 * (SIZE[0] - 5) * SIZE[1]
    numbers = json.loads((tmp_path / "new/metrics.json").read_text())
    assert numbers["confusion"] == counts.tolist()
    assert {name: numbers[name] for name in expected} == pytest.approx(expected)
    known = {entry["name"]: entry["iou"] for entry in numbers["classes"] if entry["iou"] is not None}
    assert known == pytest.approx(iou)
    assert numbers["frames"] == 4 and numbers["weights"] == str(random_weights) and str(scenes) in numbers["data"]

    *classes, report, fiou, mean_accuracy, pixel_accuracy, miou = ended.stdout.splitlines()
    printed = {line.split("  ")[0].strip(): float(line.split()[-1]) for line in classes}
    assert [*printed] == CAMVID.names
    assert {name: printed[name] for name in iou} == pytest.approx(iou, abs=0.0051)
    assert all(np.isnan(printed[name]) for name in printed.keys() - iou.keys())
    assert re.fullmatch(r"mIoU: \d+\.\d\d", miou)
    ends = [float(line.split(": ")[1]) for line in (miou, fiou, mean_accuracy, pixel_accuracy)]
    assert ends == pytest.approx([*expected.values()], abs=0.0051)
    names = [line.split(":")[0] for line in (fiou, mean_accuracy, pixel_accuracy)]
    assert names == ["fIoU", "mean accuracy", "pixel accuracy"]

    assert report == f"report: {tmp_path}/new/report.html"
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {"report.html", "metrics.json", "iou.png", "confusion.png"}
    text = (tmp_path / "new/report.html").read_text()
    assert f"{expected['miou']:.2f} %" in text
    assert all(f"{number}.png: mIoU" in text for number in range(4))


def test_known_pixels_are_counted(halves: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--weights", str(halves / "weights.safetensors"), *map(str, folders(halves))])
    lines = capsys.readouterr().out.splitlines()
    side, wrong = 64 * 40 * 10, 40 * sum(range(10))  # labelled pixels of each half, and those that are mislabelled
    iou = {"pole": 100.0, "fence": 100 * (side - wrong) / side, "tree": 0.0}
    assert f"mIoU: {sum(iou.values()) / 3:.2f}" == lines[-1]
    assert f"pixel accuracy: {100 - 100 * wrong / (2 * side):.2f}" == lines[-2]
    assert f"mean accuracy: {200 / 3:.2f}" == lines[-3]
    assert f"fIoU: {50 + iou['fence'] * (side - wrong) / (2 * side):.2f}" == lines[-4]
    assert lines[: len(CAMVID)] == [f"{name:10}  {iou.get(name, np.nan):6.2f}" for name in CAMVID.names]


def test_worst_and_best_frames(halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    main(["--weights", str(halves / "weights.safetensors"), *map(str, folders(halves)), "--out", str(tmp_path)])
    text = (tmp_path / "report.html").read_text()
    shown = re.findall(r"<p>(\d)\.png: mIoU (\d+\.\d) %</p>", text)
    # The more rows are mislabelled, the worse; with none there is no third class, so image 0 is all right.
    miou = {0: 100.0} | {k: (100 + 100 * (64 - k) / 64) / 3 for k in range(1, 10)}
    assert shown == [(str(k), f"{miou[k]:.1f}") for k in (9, 8, 7, 6, 0, 1, 2, 3)]
    assert text.index("Worst frames") < text.index("9.png") < text.index("Best frames") < text.index(">0.png")


def test_few_or_unlabelled_frames() -> None:
    network = lively_network(backbone="xception_b")
    segmenter = Segmenter(network, info_of(network), device="cpu")
    image, label = StreetScenes(1, *SIZE)[0]
    nothing = np.full_like(label, 255)
    one = evaluate(segmenter, [(image, nothing), (image, label)])
    assert [index for _, index in one.worst] == [index for _, index in one.best] == [1]
    none = evaluate(segmenter, [(image, nothing)])
    assert none.worst == none.best == [] and np.isnan(none.confusion.miou())
    five = evaluate(segmenter, [(image, np.full_like(label, number)) for number in range(5)])
    chosen = [index for _, index in (*five.worst, *five.best)]
    assert len(chosen) == len({*chosen}) == 4, "a frame is shown as one of the best and of the worst"
    many = evaluate(segmenter, [(image, label)] * 9)
    assert len(many.worst) == len(many.best) == SHOWN


def test_a_data_set_by_its_name(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--weights", "street_scenes", "--device", "cpu"]
    main([*command, *map(str, folders(scenes, "val"))])
    by_folders = capsys.readouterr()
    main([*command, "--data-set", "folder", "--data", str(scenes)])
    by_name = capsys.readouterr()
    assert by_folders.out == by_name.out and "note" not in by_name.err
    assert float(by_name.out.split()[-1]) > 20, "these weights know street scenes"


def test_generated_scenes_need_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    network = lively_network(num_classes=len(STREET_SCENES), backbone="xception_b")
    save_checkpoint(tmp_path / "weights.safetensors", network, info_of(network, STREET_SCENES, SIZE))
    command = ["--weights", str(tmp_path / "weights.safetensors"), "--data-set", "street_scenes", "--device", "cpu"]
    main([*command, "--out", str(tmp_path / "report")])
    assert capsys.readouterr().out.splitlines()[-1].startswith("mIoU: ")
    assert json.loads((tmp_path / "report/metrics.json").read_text())["frames"] == 50
    assert "generated" in (tmp_path / "report/report.html").read_text()
    assert refused([*command, "--part", "test"], capsys).startswith("error: generated street scenes have no part test")


def test_classes_of_other_names_are_noted(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = yaml.safe_load((scenes / "labels.yaml").read_text())
    entries[2]["name"] = "tarmac"
    (tmp_path / "labels.yaml").write_text(yaml.safe_dump(entries))
    for kind in ("images", "labels"):
        (tmp_path / kind).symlink_to(scenes / kind)
    main(["--weights", "street_scenes", "--data-set", "folder", "--data", str(tmp_path)])
    assert "note: classes have other names than in the weights: 'tarmac' for 'road'" in capsys.readouterr().err


@pytest.mark.parametrize("named", [False, True], ids=["of the weights' folder", "named"])
def test_curves_of_the_run(named: bool, halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    log = tmp_path / "run/logs/version_0/metrics.csv"
    log.parent.mkdir(parents=True)
    log.write_text("epoch,step,train/loss,val/mIoU\n0,1,2.5,\n0,1,,33\n")
    weights = (tmp_path if named else tmp_path / "run") / "weights.safetensors"
    weights.symlink_to(halves / "weights.safetensors")
    arguments = ["--weights", weights, *folders(halves), "--out", tmp_path / "report"]
    main([*map(str, arguments), *(["--run", str(tmp_path / "run")] if named else [])])
    assert (tmp_path / "report/training.png").is_file()
    assert "<h2>Training</h2>" in (tmp_path / "report/report.html").read_text()
    log.unlink()
    if not named:
        main([*map(str, arguments)])
        assert not (tmp_path / "report/training.png").exists(), "the plot of an earlier report is left over"
        assert "<h2>Training</h2>" not in (tmp_path / "report/report.html").read_text()


GIVE = "error: say what to measure on, either with --images and --labels, or with --data-set and --data; given is"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("", f"{GIVE} none of them"),
        ("--images a", f"{GIVE} --images"),
        ("--data b", f"{GIVE} --data"),
        ("--data-set camvid", f"{GIVE} --data-set"),
        ("--images a --data b", f"{GIVE} --images and --data"),
        ("--images a --labels b --data-set camvid --data c", f"{GIVE} --images and --labels and --data-set and --data"),
        ("--data-set mars --data .", "error: --data-set is 'mars', but has to be one of camvid, "),
        ("--images a --labels b --part train", "error: --part goes with --data-set"),
        ("--images a --labels b --run c", "error: --run is for the report: say with --out where to write it"),
        ("--images /no/a --labels /no/b", "error: there is no folder /no/a"),
        ("--data-set camvid --data /no/c --part train", "error: there is no folder /no/c/images/train"),
    ],
)
def test_wrong_arguments_are_refused(arguments: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["--weights", "street_scenes", *arguments.split()], capsys).startswith(says)


def test_missing_weights_are_named(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["--weights", "/no/such.safetensors", *folders(scenes, "val")], capsys)
    assert said == "error: cannot load the weights '/no/such.safetensors': there is no such file"


def test_other_classes_are_refused(random_weights: Path, scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(["--weights", random_weights, "--data-set", "folder", "--data", scenes], capsys)
    assert said == (
        f"error: the weights '{random_weights}' have 11 classes (of camvid), but data set folder has 8: "
        "take weights that were trained on its classes"
    )


def test_ids_that_are_no_class_are_named(halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = cv2.imread(str(halves / "labels/3.png"), cv2.IMREAD_UNCHANGED)
    label[0, 0] = 11
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
    (tmp_path / "images/3.png").symlink_to(halves / "images/3.png")
    cv2.imwrite(str(tmp_path / "labels/3.png"), label)
    said = refused(["--weights", halves / "weights.safetensors", *folders(tmp_path)], capsys)
    assert said.endswith(f"error: the label {tmp_path}/labels/3.png has id 11, but the classes are 0..10")


def test_missing_labels_and_logs_are_named(halves: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = ["--weights", halves / "weights.safetensors"]
    said = refused([*weights, "--images", halves / "images", "--labels", tmp_path], capsys)
    assert said == f"error: the label {tmp_path}/0.png is missing"
    pytest.importorskip("matplotlib")
    report = [*weights, *folders(halves), "--out", tmp_path / "out", "--run", tmp_path]
    assert refused(report, capsys).startswith(
        f"error: there are no training logs {tmp_path}/logs/version_*/metrics.csv"
    )
    (tmp_path / "logs/version_0").mkdir(parents=True)
    (tmp_path / "logs/version_0/metrics.csv").write_text("epoch,step,lr\n0,1,2\n")
    assert (
        refused(report, capsys) == f"error: the training logs in {tmp_path} have no train/loss and no val/mIoU, only lr"
    )


def test_a_report_says_what_it_needs(
    halves: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["--weights", halves / "weights.safetensors", *folders(halves), "--out", tmp_path / "out"]
    assert refused(arguments, capsys) == "error: --out needs matplotlib: pip install -r requirements/training.txt"
    assert not (tmp_path / "out").exists()
