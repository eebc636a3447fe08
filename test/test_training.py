"""The trainer: its augmentation keeps image and label together, it learns, its weights are what evaluation reads."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.image_files import ImageFileError
from dfanet_ros.street_scenes import StreetScenes
from training.config import Config, load_config
from training.data import Augmented, class_weights, open_parts, random_crop, random_scale
from training.train import poly_schedule, train

ROOT = Path(__file__).parents[1]
TINY = Config(
    data_set="street_scenes",
    network="dfanet",
    backbone="xception_b",
    epochs=10,
    batch_size=4,
    crop=(64, 64),
    input_size=(64, 96),
    optimizer="adamw",
    learning_rate=3e-3,
    weight_decay=1e-4,
    gradient_clip=1.0,
    ema_decay=0.8,
    evaluate_every=5,
    workers=0,
)


def write_folder(root: Path, train_count: int = 8, val_count: int = 2) -> Path:
    """Generated scenes in the layout of a data set on disk."""
    for part, count, seed in (("train", train_count, 5), ("val", val_count, 6)):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for number, (image, label) in enumerate(StreetScenes(count, 64, 96, seed=seed)):
            cv2.imwrite(str(root / "images" / part / f"{number:03}.png"), image[:, :, ::-1])
            cv2.imwrite(str(root / "labels" / part / f"{number:03}.png"), label)
    return root


def coupled(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose value tells its label everywhere: where both move alike, that stays so."""
    label = (np.arange(height)[:, None] // 16 + np.arange(width)[None, :] // 16).astype(np.uint8) % 4
    return np.repeat((label * 60)[:, :, None], 3, 2), label


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), height=st.integers(48, 130), width=st.integers(48, 130))
def test_image_and_label_move_together(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    image, label = random_scale(*coupled(height, width), (0.75, 1.75), rng)
    assert image.shape[:2] == label.shape
    assert 0.74 < label.shape[0] / height < 1.77
    image, label = random_crop(image, label, (96, 80), rng)
    assert image.shape == (96, 80, 3) and label.shape == (96, 80)
    known = label != 255
    agree = np.abs(image[:, :, 0].astype(int) - label.astype(int) * 60) < 30
    assert agree[known].mean() > 0.8  # not along the borders, where the image is interpolated


def test_augmented_samples_are_what_the_network_takes(tmp_path: Path) -> None:
    samples = list(StreetScenes(3, 64, 96))
    augmented = Augmented(samples, TINY)
    torch.manual_seed(0)
    first = [augmented[i] for i in range(3)]
    torch.manual_seed(0)
    again = [augmented[i] for i in range(3)]
    for (image, label), (image2, label2) in zip(first, again, strict=True):
        assert image.shape == (3, 64, 64) and image.dtype == torch.float32
        assert label.shape == (64, 64) and label.dtype == torch.int64
        assert torch.equal(image, image2) and torch.equal(label, label2), "not reproducible from the seed"
    assert not torch.equal(augmented[0][0], first[0][0]), "not random"


def test_rare_classes_weigh_more_and_unlabelled_pixels_nothing() -> None:
    label = np.array([[0, 0, 0, 1], [255] * 4], np.uint8)
    weights = class_weights([(np.zeros((2, 4, 3), np.uint8), label)], 3)
    np.testing.assert_allclose(weights, [1 / np.log(1.85), 1 / np.log(1.35), 1 / np.log(1.10)], rtol=1e-6)
    with pytest.raises(ImageFileError, match=r"a label has id 1, but the classes are 0\.\.0"):
        class_weights([(np.zeros((2, 4, 3), np.uint8), label)], 1)


def test_learning_rate_rises_and_falls() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = poly_schedule(optimizer, warmup=9, iterations=100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(0.1) and int(np.argmax(rates)) == 9
    assert rates[50] == pytest.approx(0.5**0.9)
    assert rates[99] < 0.02 and rates[9:] == sorted(rates[9:], reverse=True)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_training_learns_and_its_weights_are_evaluated(tmp_path: Path, optimizer: str) -> None:
    data = write_folder(tmp_path / "data")
    rate = 3e-3 if optimizer == "adamw" else 0.1
    config = dataclasses.replace(TINY, optimizer=optimizer, learning_rate=rate)
    best = train(config, data, tmp_path / "run", torch.device("cpu"))
    header, *lines = (tmp_path / "run" / "log.csv").read_text().split()
    assert header == "epoch,seconds,loss,val_miou" and [line.split(",")[0] for line in lines] == ["5", "10"]
    losses = [float(line.split(",")[2]) for line in lines]
    assert losses[1] < losses[0] < 2.1, "chance is ln 8 = 2.08"
    network, info = load_checkpoint(best)
    assert info.data_set == "street_scenes" and info.backbone == "xception_b" and info.input_size == (64, 96)
    assert info.val_miou == max(float(line.split(",")[3]) for line in lines)
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())
    if optimizer == "sgd":
        return
    command = [sys.executable, "-m", "training.evaluate", "--weights", best]
    command += ["--images", data / "images/val", "--labels", data / "labels/val"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    last = printed.splitlines()[-1]
    assert re.fullmatch(r"mIoU: \d+\.\d\d", last)
    assert float(last.split()[1]) == pytest.approx(info.val_miou, abs=0.1)


def test_a_loss_that_is_no_number_stops_the_training(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, optimizer="sgd", learning_rate=1e30, gradient_clip=0.0, warmup_iterations=0)
    with pytest.raises(FloatingPointError, match=r"the loss is .* at epoch \d+, step \d+: lower the learning rate"):
        train(config, write_folder(tmp_path / "data", 12), tmp_path / "run", torch.device("cpu"))


def test_missing_data_are_named(tmp_path: Path) -> None:
    camvid = dataclasses.replace(TINY, data_set="camvid")
    with pytest.raises(ImageFileError, match="data set camvid is read from a folder: say where it is with --data"):
        open_parts(camvid, None)
    with pytest.raises(ImageFileError, match=rf"there is no folder {tmp_path}/images/train"):
        open_parts(camvid, tmp_path)
    folder = write_folder(tmp_path)
    (folder / "labels/val/001.png").unlink()
    with pytest.raises(ImageFileError, match=r"the label .*labels/val/001\.png is missing"):
        open_parts(TINY, folder)


def test_label_of_another_size_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    cv2.imwrite(str(folder / "labels/val/001.png"), np.zeros((64, 95), np.uint8))
    _, val = open_parts(TINY, folder)
    with pytest.raises(ImageFileError, match=r"001\.png is \(64, 96\) but its label .*001\.png is \(64, 95\)"):
        val[1]


@pytest.mark.parametrize("path", sorted((ROOT / "training/configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_can_be_read(path: Path) -> None:
    assert load_config(path).network == "dfanet"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"epoch": 3}, "unknown key epoch; known are"),
        ({"data_set": "mars"}, "data_set is 'mars', but there are camvid"),
        ({"optimizer": "adam"}, "optimizer is 'adam', but there are sgd, adamw"),
        ({"crop": None}, "missing 1 required positional argument: 'crop'"),
    ],
    ids=str,
)
def test_wrong_configs_are_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    values = yaml.safe_load((ROOT / "training/configs/camvid.yaml").read_text()) | changes
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    with pytest.raises(ValueError, match=says):
        load_config(path)
