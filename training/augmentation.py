"""Random changes of a frame, with its label, so that a network does not learn the frames by heart."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from dfanet_ros.checkpoint import MEAN
from dfanet_ros.label_set import UNLABELLED
from training.data_sets import Sample


def random_scale(
    image: NDArray[np.uint8], label: NDArray[np.uint8], scale: tuple[float, float], rng: Generator
) -> Sample:
    """Both resized by one factor out of `scale`, log-uniformly (twice as often as half as large)."""
    factor = float(np.exp(rng.uniform(*np.log(scale))))
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return (
        cv2.resize(image, size, interpolation=method).astype(np.uint8, copy=False),
        # Exact: OpenCV's other nearest neighbour shifts by up to half a pixel, which is a fourth of a pole.
        cv2.resize(label, size, interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False),
    )


def random_crop(image: NDArray[np.uint8], label: NDArray[np.uint8], crop: tuple[int, int], rng: Generator) -> Sample:
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


def random_flip(image: NDArray[np.uint8], label: NDArray[np.uint8], rng: Generator) -> Sample:
    """Both mirrored, every second time."""
    return (image[:, ::-1], label[:, ::-1]) if rng.random() < 0.5 else (image, label)


def random_colours(image: NDArray[np.uint8], strength: float, rng: Generator) -> NDArray[np.uint8]:
    """Other light and another camera: brightness, white balance, saturation, contrast and gamma.

    All but gamma are one affine map of RGB, which OpenCV does in one pass.
    """
    gains = np.exp(rng.uniform(-1, 1) * strength + rng.uniform(-1, 1, 3) * strength / 3)
    saturation, contrast = 1 + rng.uniform(-1, 1, 2) * strength
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    linear = contrast * mix @ np.diag(gains)
    grey = np.array(cv2.mean(image)[:3]) @ gains / 3
    affine = np.column_stack([linear, np.full(3, (1 - contrast) * grey)])
    changed = cv2.transform(np.ascontiguousarray(image), affine)
    gamma = np.exp(rng.uniform(-1, 1) * strength)
    table = (255 * (np.arange(256) / 255) ** gamma).round().astype(np.uint8)
    return cv2.LUT(changed, table).astype(np.uint8, copy=False)
