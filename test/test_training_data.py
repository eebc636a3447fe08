"""What training and evaluation are fed: order, augmentation and shares depend on seed and epoch only."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="Lightning is not installed")

from training_runs import ROOT, TINY, write_folder

from dfanet_ros.checkpoint import MEAN, STD
from dfanet_ros.image_files import ImageFileError
from dfanet_ros.street_scenes import StreetScenes
from training.config import Config, load_config
from training.data import Augmented, SeededSampler, SegmentationData, class_shares, kept_in_memory, mean_and_std
from training.doubts import scale_doubts

CONFIG = Config(**{key: tuple(value) if isinstance(value, list) else value for key, value in TINY.items()})


def test_batches_are_what_the_network_takes(tmp_path: Path) -> None:
    """They travel as bytes, and are normalised where the network is."""
    data = SegmentationData(CONFIG, write_folder(tmp_path))
    images, ids = next(iter(data.train_dataloader()))
    assert images.shape == (4, 64, 64, 3) and images.dtype == torch.uint8
    assert ids.shape == (4, 64, 64) and ids.dtype == torch.uint8
    normalised, target = data.on_after_batch_transfer((images, ids), 0)
    expected = (images.double().numpy() / 255 - MEAN) / STD
    assert normalised.is_contiguous() and normalised.dtype == torch.float32
    np.testing.assert_allclose(normalised, expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)
    assert target.dtype == torch.int64 and torch.equal(target, ids.long())
    assert mean_and_std(images.device) is mean_and_std(images.device)
    first, _ = next(data.statistics_batches(torch.device("cpu")))
    assert torch.equal(first, normalised)


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    samples = list(StreetScenes(3, 64, 96))
    augmented = Augmented(samples, CONFIG)
    other_seed = Augmented(samples, dataclasses.replace(CONFIG, seed=1))
    first = augmented[2, 1][0]
    assert torch.equal(first, Augmented(samples, CONFIG)[2, 1][0])
    for other in (augmented[3, 1], augmented[2, 2], other_seed[2, 1]):
        assert not torch.equal(first, other[0])


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_the_batches_of_one(processes: int) -> None:
    count, batch = 23, 8
    samples = list(range(count))
    (whole,) = epochs(samples, 1)
    shares = epochs(samples, processes)
    share = batch // processes
    for number in range(count // batch):
        expected = set(whole[number * batch : (number + 1) * batch])
        given = [key for own in shares for key in own[number * share : (number + 1) * share]]
        assert set(given) == expected and len(given) == batch


def epochs(samples: list[int], processes: int) -> list[list[tuple[int, int]]]:
    shares = []
    for rank in range(processes):
        sampler: Any = SeededSampler(samples, processes, rank, seed=3, drop_last=True)
        sampler.set_epoch(5)
        shares.append(list(sampler))
    return shares


def test_every_epoch_has_its_own_order() -> None:
    sampler: Any = SeededSampler(list(range(50)), 1, 0, seed=0)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] and {epoch for epoch, _ in orders[1]} == {1}
    assert [index for _, index in orders[0]] != [index for _, index in orders[1]]
    assert sorted(index for _, index in orders[1]) == list(range(50))


def test_workers_prepare_the_same_batches(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    batches = []
    for workers in (0, 2):
        data = SegmentationData(dataclasses.replace(CONFIG, workers=workers), root)
        batches.append(list(data.train_dataloader()))
    assert len(batches[0]) == len(batches[1]) == 2
    for (image, label), (image2, label2) in zip(*batches, strict=True):
        assert torch.equal(image, image2) and torch.equal(label, label2)


def test_whole_frames_are_evaluated_at_their_labels_size(tmp_path: Path) -> None:
    data = SegmentationData(dataclasses.replace(CONFIG, input_size=(32, 48)), write_folder(tmp_path))
    frames = list(data.val_dataloader())
    assert len(frames) == 2
    for image, label in frames:
        assert image.shape == (1, 32, 48, 3) and label.shape == (1, 64, 96)


@pytest.mark.parametrize("path", sorted((ROOT / "training/configs").glob("c*.yaml")), ids=lambda path: path.stem)
def test_the_configs_train_at_the_scale_that_they_evaluate(path: Path) -> None:
    frames = {"camvid": (360, 480), "cityscapes": (1024, 2048)}
    config = load_config(Config, path)
    assert scale_doubts(config, frames[config.data_set]) == []


def test_a_scale_that_is_never_evaluated_is_told(tmp_path: Path) -> None:
    data = SegmentationData(CONFIG, write_folder(tmp_path))
    assert data.doubts() == []
    (doubt,) = SegmentationData(dataclasses.replace(CONFIG, input_size=(32, 48)), tmp_path).doubts()
    assert doubt == (
        "input_size is [32, 48] and the first frame is [64, 96]: frames are evaluated at 0.50 of their height and 0.50 "
        "of their width, but trained on at 0.75 to 1.75. Choose a scale that has both in it, like [0.3, 1.0]."
    )
    assert scale_doubts(dataclasses.replace(CONFIG, input_size=(32, 48), scale=(0.3, 1.0)), (64, 96)) == []
    assert scale_doubts(dataclasses.replace(CONFIG, input_size=(64, 81)), (64, 96)) == []
    (doubt,) = scale_doubts(dataclasses.replace(CONFIG, input_size=(64, 79)), (64, 96))
    assert doubt.startswith("input_size is [64, 79] and the first frame is [64, 96]: evaluation and node squeeze")
    both = scale_doubts(dataclasses.replace(CONFIG, input_size=(64, 64)), (64, 128))
    assert len(both) == 2 and "at 1.00 of their height and 0.50 of their width" in both[0]


def test_several_parts_are_one(tmp_path: Path) -> None:
    data = SegmentationData(dataclasses.replace(CONFIG, train_parts=("train", "val")), write_folder(tmp_path))
    assert len(data.train) == 10 and len(data.val) == 2
    np.testing.assert_array_equal(data.train[8][0], data.val[0][0])


def test_only_what_fits_is_kept_in_memory(tmp_path: Path) -> None:
    scenes, size = StreetScenes(4, 64, 96), 64 * 96 * 4
    kept, left = kept_in_memory(scenes, 4.5 * size, "train")
    assert isinstance(kept, list) and len(kept) == 4 and left == size / 2
    assert kept_in_memory(scenes, 3.99 * size, "train") == (scenes, 3.99 * size)
    # Whatever the first one's size says.
    larger = [scenes[0], *StreetScenes(3, 128, 96)]
    assert kept_in_memory(larger, 6.99 * size, "train")[0] is larger
    assert kept_in_memory(larger, 7 * size, "train") == ([*larger], 0)


@pytest.mark.parametrize(("frames", "kept"), [(7, (False, True)), (9, (True, False)), (10, (True, True))])
def test_the_room_is_for_all_parts_together(tmp_path: Path, frames: int, kept: tuple[bool, bool]) -> None:
    """There are 8 frames in train and 2 in val."""
    config = dataclasses.replace(CONFIG, cache_gib=frames * 64 * 96 * 4 / 2**30)
    data = SegmentationData(config, write_folder(tmp_path))
    assert (isinstance(data.train, list), isinstance(data.val, list)) == kept


def test_rare_classes_weigh_more_and_unlabelled_pixels_nothing(tmp_path: Path) -> None:
    label = np.array([[0, 0, 0, 1], [255] * 4], np.uint8)
    image = np.zeros((2, 4, 3), np.uint8)
    np.testing.assert_allclose(class_shares([(image, label)], 3), [0.75, 0.25, 0])
    with pytest.raises(ImageFileError, match=r"a label has id 1, but the classes are 0\.\.0"):
        class_shares([(image, label)], 1)
    data = SegmentationData(CONFIG, write_folder(tmp_path))
    weights = data.class_weights()
    assert weights is not None
    shares = class_shares(data.train, len(data.labels))
    np.testing.assert_allclose(weights, 1 / np.log(1.10 + shares), rtol=1e-6)
    stronger = SegmentationData(dataclasses.replace(CONFIG, class_weight_offset=1.02), tmp_path).class_weights()
    assert stronger is not None and stronger.max() / stronger.min() > weights.max() / weights.min()
    assert SegmentationData(dataclasses.replace(CONFIG, class_weights="none"), tmp_path).class_weights() is None


def test_classes_that_no_pixel_has_are_told(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    (root / "labels.yaml").write_text("- {name: other, color: [1, 2, 3]}\n- {name: road, color: [4, 5, 6]}\n")
    for path in root.glob("labels/*/*.png"):
        mask = np.zeros((64, 96), np.uint8)
        mask[32:] = 255
        cv2.imwrite(str(path), mask)
    config = dataclasses.replace(CONFIG, data_set="folder", class_weights="none")
    (doubt,) = SegmentationData(config, root).doubts()
    assert doubt.startswith("no pixel of train is labelled as road, which cannot be learnt so.")
    counted = dataclasses.replace(config, cache_gib=0.0, class_weights="log")
    assert SegmentationData(counted, root).doubts() == [doubt]
    # Only where labels are read all the same.
    assert SegmentationData(dataclasses.replace(counted, class_weights="none"), root).doubts() == []


def test_missing_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="data set camvid is read from a folder: say where it is with --data"):
        SegmentationData(dataclasses.replace(CONFIG, data_set="camvid"), None)
    with pytest.raises(ImageFileError, match=rf"there is no folder {tmp_path}/images/train"):
        SegmentationData(CONFIG, tmp_path)
    root = write_folder(tmp_path)
    with pytest.raises(ImageFileError, match="there are 8 images to train on, fewer than the batch_size 16"):
        SegmentationData(dataclasses.replace(CONFIG, batch_size=16), root)
    (root / "labels/val/001.png").unlink()
    with pytest.raises(ImageFileError, match=r"the label .*labels/val/001\.png is missing"):
        SegmentationData(CONFIG, root)


def test_label_of_another_size_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    cv2.imwrite(str(root / "labels/val/001.png"), np.zeros((64, 95), np.uint8))
    with pytest.raises(ImageFileError, match=r"001\.png is \(64, 96\) but its label .*001\.png is \(64, 95\)"):
        SegmentationData(CONFIG, root)
