"""Augmentation keeps image and label together, and changes what it should."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.augmentation import random_colours, random_crop, random_flip, random_scale


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
    image, label = random_flip(image, label, rng)
    known = label != 255
    agree = np.abs(image[:, :, 0].astype(int) - label.astype(int) * 60) < 30
    assert agree[known].mean() > 0.8  # not along the borders, where the image is interpolated


def test_every_second_sample_is_mirrored() -> None:
    rng = np.random.default_rng(0)
    image, label = coupled(20, 30)
    flipped = [bool((random_flip(image, label, rng)[1] != label).any()) for _ in range(400)]
    assert 150 < sum(flipped) < 250


def test_colours_stay_in_range_and_vary_by_the_strength() -> None:
    image = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)
    changes = []
    for strength in (0.0, 0.1, 0.4):
        rng = np.random.default_rng(2)
        changed = [random_colours(image, strength, rng) for _ in range(20)]
        assert all(other.dtype == np.uint8 and other.shape == image.shape for other in changed)
        changes.append(np.mean([np.abs(other.astype(int) - image).mean() for other in changed]))
    assert changes[0] <= 1 < changes[1] < changes[2]


def test_colours_are_what_their_parts_say() -> None:
    """Against the steps one by one, in floating point."""
    image = np.random.default_rng(3).integers(60, 160, (16, 16, 3), np.uint8)
    strength = 0.2
    changed = random_colours(image, strength, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    pixels = image.astype(float) * np.exp(rng.uniform(-1, 1) * strength + rng.uniform(-1, 1, 3) * strength / 3)
    saturation, contrast = 1 + rng.uniform(-1, 1, 2) * strength
    grey = pixels.mean(2, keepdims=True)
    pixels = grey + saturation * (pixels - grey)
    pixels = pixels.mean() + contrast * (pixels - pixels.mean())
    gamma = np.exp(rng.uniform(-1, 1) * strength)
    expected = 255 * (pixels.clip(0, 255) / 255) ** gamma
    assert np.abs(changed - expected).max() < 2.5
