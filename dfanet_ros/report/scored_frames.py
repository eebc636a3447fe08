"""Frames by how well they were segmented."""

from __future__ import annotations

import heapq
import math
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.metrics import ConfusionMatrix

SHOWN = 4  # frames at either end, best and worst

Item = TypeVar("Item")


class ScoredFrames(Generic[Item]):
    """Counts the pixels of all frames, and remembers a few of the worst and best.

    What is kept does not depend on how many frames there are.

    Args:
        num_classes: see `ConfusionMatrix`.
        shown: how many frames to remember as worst and as best, at most.

    Attributes:
        confusion: of all frames.
        labelled: how many frames have labelled pixels.
    """

    def __init__(self, num_classes: int, shown: int = SHOWN) -> None:
        self.confusion = ConfusionMatrix(num_classes)
        self.labelled = 0
        self._shown = shown
        # With the frame's number, so that of equal frames the first comes first, and items are never compared.
        self._worst: list[tuple[float, int, Item]] = []
        self._best: list[tuple[float, int, Item]] = []

    def add(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8], item: Item) -> float:
        """Count a frame, both (H, W) uint8 ids; `item` stands for it among the worst and best.

        Returns:
            The frame's own mIoU in percent, the mean over the classes that occur in its label or prediction; NaN if
            nothing is labelled.

        Raises:
            ValueError: see `ConfusionMatrix.update`; nothing has been counted.
        """
        of_frame = ConfusionMatrix(self.confusion.num_classes)
        of_frame.update(truth, predicted)
        self.confusion.counts += of_frame.counts
        miou = of_frame.miou()
        if not math.isnan(miou):
            entry = (miou, self.labelled, item)
            self.labelled += 1
            self._worst = heapq.nsmallest(self._shown, [*self._worst, entry], key=lambda known: known[:2])
            self._best = heapq.nsmallest(self._shown, [*self._best, entry], key=lambda known: (-known[0], known[1]))
        return miou

    @property
    def worst(self) -> list[tuple[float, Item]]:
        """Some frames' mIoU and items, the worst first."""
        return [(miou, item) for miou, _, item in self._worst[: self._each]]

    @property
    def best(self) -> list[tuple[float, Item]]:
        """The same from the best on; none of `worst`, unless there is only one frame."""
        return [(miou, item) for miou, _, item in self._best[: self._each]]

    @property
    def _each(self) -> int:
        return min(self._shown, max(1, self.labelled // 2))
