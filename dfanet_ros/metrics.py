"""How well label maps agree with the truth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfanet_ros.label_set import UNLABELLED


class ConfusionMatrix:
    """Counts pixels by true class (row) and predicted class (column); unlabelled pixels (255) do not count.

    Every measure is in percent, and NaN where there is nothing to measure.

    Attributes:
        num_classes: 1 to 255.
        counts: pixels, (num_classes, num_classes) int64.
    """

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.counts: NDArray[np.int64] = np.zeros((num_classes, num_classes), np.int64)

    @classmethod
    def from_counts(cls, counts: ArrayLike) -> ConfusionMatrix:
        """A matrix of pixels counted before, (classes, classes) whole numbers; they are copied.

        Raises:
            ValueError: it is not square, or has something else than whole numbers from 0.
        """
        given = np.asarray(counts)
        if given.ndim != 2 or given.shape[0] != given.shape[1] or not given.size:
            raise ValueError(f"the counts have shape {given.shape}; a confusion matrix has (classes, classes)")
        if not np.issubdtype(given.dtype, np.integer) or given.min() < 0:
            raise ValueError(f"the counts ({given.dtype}, from {given.min()}) have to be whole numbers from 0: pixels")
        confusion = cls(len(given))
        confusion.counts += given.astype(np.int64)
        return confusion

    def update(self, truth: NDArray[np.uint8], predicted: NDArray[np.uint8]) -> None:
        """Add one frame: both (H, W) uint8 ids.

        Raises:
            ValueError: the sizes differ, or a labelled pixel has an id that is no class.
        """
        if truth.shape != predicted.shape:
            raise ValueError(
                f"the label is {truth.shape} but the prediction {predicted.shape}: they must have the same size"
            )
        labelled = truth != UNLABELLED
        true_ids, ids = truth[labelled].astype(np.int64), predicted[labelled].astype(np.int64)
        for what, values in (("label", true_ids), ("prediction", ids)):
            if values.size and values.max() >= self.num_classes:
                raise ValueError(f"the {what} has id {values.max()}, but the classes are 0..{self.num_classes - 1}")
        n = self.num_classes
        self.counts += np.bincount(true_ids * n + ids, minlength=n * n).reshape(n, n)

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of each class in percent; NaN where a class neither occurs nor is predicted."""
        hits = np.diag(self.counts)
        return _percent(hits, self.counts.sum(0) + self.counts.sum(1) - hits)

    def miou(self) -> float:
        """Mean IoU in percent over the classes that occur or are predicted; NaN if nothing was labelled."""
        return _mean(self.iou())

    def frequency_weighted_iou(self) -> float:
        """Mean IoU in percent, where each class counts by its share of the true pixels; NaN if nothing was labelled."""
        pixels = self.counts.sum(1)
        occurs = pixels > 0
        return float(np.average(self.iou()[occurs], weights=pixels[occurs])) if occurs.any() else float("nan")

    def accuracy(self) -> NDArray[np.float64]:
        """Of each class's true pixels, how many are predicted so (recall) in percent; NaN where it does not occur."""
        return _percent(np.diag(self.counts), self.counts.sum(1))

    def mean_accuracy(self) -> float:
        """Mean of the accuracies in percent over the classes that occur; NaN if nothing was labelled."""
        return _mean(self.accuracy())

    def pixel_accuracy(self) -> float:
        """Of all labelled pixels, how many are predicted right in percent; NaN if nothing was labelled."""
        return float(_percent(np.trace(self.counts), self.counts.sum()))


def _percent(part: ArrayLike, whole: ArrayLike) -> NDArray[np.float64]:
    """100 part / whole, NaN where the whole is 0."""
    parts, wholes = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(100 * parts, wholes, out=np.full(wholes.shape, np.nan), where=wholes > 0)


def _mean(values: NDArray[np.float64]) -> float:
    """Of those that are numbers; NaN if none is."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
