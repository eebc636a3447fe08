"""How well label maps agree with the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.label_set import UNLABELLED


class ConfusionMatrix:
    """Counts pixels by true class (row) and predicted class (column); unlabelled pixels (255) do not count."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)

    def update(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Add one frame: both (H, W) uint8 ids.

        Raises:
            ValueError: the sizes differ, or a labelled pixel has an id that is no class.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"the label is {truth.shape} but the prediction {predicted.shape}: they must be one size")
        labelled = truth != UNLABELLED
        true_ids, ids = truth[labelled].astype(np.int64), predicted[labelled].astype(np.int64)
        for what, values in (("label", true_ids), ("prediction", ids)):
            if values.size and values.max() >= self.num_classes:
                raise ValueError(f"the {what} has id {values.max()}, but the classes are 0..{self.num_classes - 1}")
        n = self.num_classes
        self.counts += np.bincount(true_ids * n + ids, minlength=n * n).reshape(n, n)

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class in percent; NaN where a class neither occurs nor is predicted."""
        hits = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(100 * hits, union, out=np.full(self.num_classes, np.nan), where=union > 0)

    def miou(self) -> float:
        """Mean IoU in percent over the classes that occur or are predicted; NaN if nothing was labelled."""
        iou = self.iou()
        return float(np.nanmean(iou)) if not np.isnan(iou).all() else float("nan")
