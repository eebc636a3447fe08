"""Where the demo's frames come from: a folder, or the generator of street scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.image_files import ImageFolder
from dfanet_ros.label_set import STREET_SCENES, LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.street_scenes import StreetScenes

SEED = 7  # of the generated scenes; the trainer takes others, so the network has seen none of these

Sample = tuple[NDArray[np.uint8], "NDArray[np.uint8] | None"]  # RGB (H, W, 3), and ids (H, W) if it has a label


def open_folder(images: Path, labels: Path | None) -> ImageFolder:
    """The images of a folder. With `labels` not given, those in `.../labels/val` go with `.../images/val` if there."""
    if labels is None:
        beside = _labels_beside(images.absolute())
        labels = beside if beside and beside.is_dir() else None
    return ImageFolder(images, labels)


def generate(count: int, size: tuple[int, int], labels: LabelSet) -> Sequence[Sample]:
    """Street scenes of (height, width), with labels if these are the network's classes."""
    scenes = StreetScenes(count, *size, seed=SEED)
    return scenes if labels.names == STREET_SCENES.names else _Unlabelled(scenes)


def checked(frames: Sequence[Sample], num_classes: int) -> Iterator[NDArray[np.uint8]]:
    """The images one by one.

    Raises:
        ValueError: a label has an id that the network has no class for; found now, not after minutes.
    """
    for number, (image, label) in enumerate(frames):
        if label is not None:
            try:
                ConfusionMatrix(num_classes).update(label, np.zeros_like(label))
            except ValueError as error:
                raise ValueError(f"frame {number}: {error} of the network; are these labels for it?") from error
        yield image


def _labels_beside(images: Path) -> Path | None:
    parts = list(images.parts)
    if "images" not in parts:
        return None
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])


class _Unlabelled(Sequence[Sample]):
    def __init__(self, scenes: StreetScenes) -> None:
        self._scenes = scenes

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # slices are not needed
        return self._scenes[index][0], None
