"""A backbone learns to tell classes of images, and segmentation starts from it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("lightning", reason="Lightning is not installed")

from training_runs import logged, run, write_config, write_folder

from dfanet_ros.image_files import ImageFileError
from training.classification import random_resized_crop
from training.data_sets.image_folder import ClassFolders

TINY = {
    "backbone": "xception_b",
    "data_set": "stripes",
    "epochs": 6,
    "batch_size": 8,
    "size": 32,
    "learning_rate": 0.1,
    "learning_rate_drops": [5],
    "workers": 0,
    "accelerator": "cpu",
}


def write_classes(root: Path) -> Path:
    """Images of stripes that run down, across, or not at all."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 8), ("val", 4)):
        for number, name in enumerate(("across", "down", "plain")):
            (root / part / name).mkdir(parents=True)
            for index in range(count):
                image = rng.integers(60, 120, (40 + 4 * index, 56, 3), np.uint8)
                if name == "across":
                    image[::4] += 100
                elif name == "down":
                    image[:, ::4] += 100
                cv2.imwrite(str(root / part / name / f"{number}{index}.{'JPEG' if index % 2 else 'png'}"), image)
    return root


def test_a_backbone_is_pretrained_and_segmentation_starts_from_it(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(TINY))
    images, out = write_classes(tmp_path / "images"), tmp_path / "backbone"
    done = run("pretrain", config=tmp_path / "run.yaml", data=images, out=out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"backbone: {out}/backbone.safetensors"
    written = (out / "backbone.safetensors").stat().st_mode
    assert written == (out / "config.yaml").stat().st_mode, "others cannot read it"
    losses, accuracies = logged(out, "train/loss"), logged(out, "val/top1")
    assert len(losses) == len(accuracies) == 6 and losses[-1] < losses[0]
    rates = logged(out, "lr-SGD")
    assert rates[:6] == pytest.approx([0.1] * 5 + [0.01])

    # The rest is as in any other run: resumed, and what it made is what `init` takes.
    assert "holds a run already" in run("pretrain", config=tmp_path / "run.yaml", data=images, out=out).stderr
    scenes = write_folder(tmp_path / "scenes")
    config = write_config(tmp_path / "scenes.yaml", epochs=2, init=str(out / "backbone.safetensors"))
    segmented = run("train", config=config, data=scenes, out=tmp_path / "segmented")
    assert segmented.returncode == 0, segmented.stderr
    assert "tensors start from" in segmented.stdout
    assert "backbones.1.enc2.0.convs.0.0.weight keeps its random weights" in segmented.stdout


def test_missing_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="there is no folder"):
        ClassFolders(tmp_path / "nowhere")
    with pytest.raises(ImageFileError, match="there are no folders of classes in"):
        ClassFolders(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(ImageFileError, match=r"there are no images .* in .*/cat"):
        ClassFolders(tmp_path)
    images = write_classes(tmp_path / "images")
    (images / "val" / "plain").rename(images / "val" / "empty")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(TINY))
    done = run("pretrain", config=tmp_path / "run.yaml", data=images, out=tmp_path / "out")
    assert done.returncode == 1 and "do not have the same classes: empty, plain" in done.stderr


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(TINY | {"batch_size": 32}))
    done = run("pretrain", config=tmp_path / "run.yaml", data=write_classes(tmp_path / "images"), out=tmp_path / "out")
    assert done.returncode == 1
    assert done.stderr == "error: there are 24 images to train on, fewer than the batch_size 32\n"


def test_images_are_numbered_by_their_folders(tmp_path: Path) -> None:
    folders = ClassFolders(write_classes(tmp_path) / "train")
    assert folders.classes == ["across", "down", "plain"] and len(folders) == 24
    image, number = folders[8]
    assert number == 1 and image.shape == (40, 56, 3) and image.dtype == np.uint8


@settings(max_examples=50, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), height=st.integers(1, 80), width=st.integers(1, 80))
def test_crops_are_parts_of_the_image(seed: int, height: int, width: int) -> None:
    rows = np.arange(height, dtype=np.uint8)[:, None]
    columns = np.arange(width, dtype=np.uint8)[None]
    image = np.stack([rows + 0 * columns, columns + 0 * rows, 0 * (rows + columns)], 2)
    crop = random_resized_crop(image, 16, np.random.default_rng(seed))
    assert crop.shape == (16, 16, 3) and crop.dtype == np.uint8
    assert (np.diff(crop[:, 0, 0].astype(int)) >= 0).all() and (np.diff(crop[0, :, 1].astype(int)) >= 0).all()
    assert crop[..., 0].max() < height and crop[..., 1].max() < width
