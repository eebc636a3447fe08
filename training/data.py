"""The parts of a run's data set, and their augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from dfanet_ros.checkpoint import MEAN, STD
from dfanet_ros.image_files import ImageFileError
from dfanet_ros.label_set import UNLABELLED
from training.config import Config
from training.data_sets import DATA_SETS, GeneratedStreetScenes, Labelled, Sample


def open_parts(config: Config, root: Path | None) -> tuple[Labelled, Labelled]:
    """The train and val parts of the data set, read from its folder; street scenes are generated without one."""
    if root is not None:
        open_part = DATA_SETS[config.data_set]
        return open_part(root, "train"), open_part(root, "val")
    if config.data_set != "street_scenes":
        raise ImageFileError(f"data set {config.data_set} is read from a folder: say where it is with --data")
    height, width = config.input_size
    return GeneratedStreetScenes(400, height, width, seed=1), GeneratedStreetScenes(50, height, width, seed=2)


def normalise(image: NDArray[np.uint8]) -> Tensor:
    """RGB (H, W, 3) uint8 to float32 (3, H, W), with zero mean and unit deviation."""
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    scaled = (image.astype(np.float32) / 255 - mean) / std
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """The samples, randomly scaled, cropped, mirrored and changed in brightness and contrast.

    What is kept decoded is `samples`: read once, for decoding would take longer than all the rest.
    The random numbers come from torch, which each loader worker seeds for itself.
    """

    def __init__(self, samples: Sequence[Sample], config: Config) -> None:
        self.samples = list(samples)
        self.config = config

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**31, ()).item()))
        image, label = self.samples[index]
        image, label = random_scale(image, label, self.config.scale, rng)
        image, label = random_crop(image, label, self.config.crop, rng)
        if rng.random() < 0.5:
            image, label = image[:, ::-1], label[:, ::-1]
        tensor = normalise(image)
        if self.config.jitter:
            contrast, brightness = 1 + rng.uniform(-1, 1, 2) * self.config.jitter
            tensor = tensor * float(contrast) + float((brightness - 1) * 2)
        return tensor, torch.from_numpy(np.ascontiguousarray(label)).long()


def random_scale(
    image: NDArray[np.uint8], label: NDArray[np.uint8], scale: tuple[float, float], rng: np.random.Generator
) -> Sample:
    """Both resized by one factor out of `scale`, log-uniformly (twice as often as half as large)."""
    factor = float(np.exp(rng.uniform(*np.log(scale))))
    size = round(image.shape[1] * factor), round(image.shape[0] * factor)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return (
        cv2.resize(image, size, interpolation=method).astype(np.uint8, copy=False),
        cv2.resize(label, size, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False),
    )


def random_crop(
    image: NDArray[np.uint8], label: NDArray[np.uint8], crop: tuple[int, int], rng: np.random.Generator
) -> Sample:
    """A random part of `crop` pixels; where the image is smaller, it is extended with unlabelled mean colour."""
    down, right = max(0, crop[0] - image.shape[0]), max(0, crop[1] - image.shape[1])
    if down or right:
        grey = tuple(round(255 * value) for value in MEAN)
        image = cv2.copyMakeBorder(image, 0, down, 0, right, cv2.BORDER_CONSTANT, value=grey).astype(np.uint8)
        label = cv2.copyMakeBorder(label, 0, down, 0, right, cv2.BORDER_CONSTANT, value=(UNLABELLED,)).astype(np.uint8)
    top = int(rng.integers(image.shape[0] - crop[0] + 1))
    left = int(rng.integers(image.shape[1] - crop[1] + 1))
    area = np.s_[top : top + crop[0], left : left + crop[1]]
    return image[area], label[area]


def class_weights(samples: Sequence[Sample], num_classes: int) -> Tensor:
    """1 / ln(1.10 + share of the pixels), as ENet has it: rare classes count more, but not without bound."""
    counts = np.zeros(num_classes)
    for _, label in samples:
        labelled = label[label != UNLABELLED]
        if labelled.size and labelled.max() >= num_classes:
            raise ImageFileError(f"a label has id {labelled.max()}, but the classes are 0..{num_classes - 1}")
        counts += np.bincount(labelled, minlength=num_classes)
    return torch.tensor(1 / np.log(1.10 + counts / counts.sum()), dtype=torch.float32)
