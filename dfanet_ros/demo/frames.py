"""The demo's frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.label_set import STREET_SCENES, LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.sources import SEED
from dfanet_ros.street_scenes import StreetScenes

Sample = tuple[NDArray[np.uint8], "NDArray[np.uint8] | None"]  # RGB (H, W, 3), and ids (H, W) if it has a label


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


class _Unlabelled(Sequence[Sample]):
    def __init__(self, scenes: StreetScenes) -> None:
        self._scenes = scenes

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # slices are not needed
        return self._scenes[index][0], None
