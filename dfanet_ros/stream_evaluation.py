"""Masks and labels that arrive one by one, compared where they belong to the same frame."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.label_set import UNLABELLED, Label, LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.report.measures import measures

Ids = NDArray[np.uint8]  # (H, W), 255 is unlabelled

MOST_BYTES = 128 * 2**20  # of masks, and as many of labels, that wait: 436 frames of 640 x 480, 64 of 1920 x 1080


class StreamEvaluation:
    """Counts pixels of masks and labels with exactly the same stamp, in whatever order they come.

    What waits for its partner is forgotten, the oldest first, when it takes more than `most_bytes`. Nothing is compared
    before the classes are known. Nor is what has a stamp that does not tell frames apart: 0, which a header has whose
    stamp was never set, or one with which a label comes while another label, which differs, waits.

    Attributes:
        labels: the classes; None while they are not known.
        confusion: of all frames that were compared; None while the classes are not known.
        masks: how many have come.
        truths: how many labels have come.
        compared: how many frames were compared.
        refused: how many frames were not, for their mask and label do not fit.
        unreadable: how many messages were no masks or labels at all; counted by whoever finds out.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.labels: LabelSet | None = None
        self._masks = Waiting(most_bytes)
        self._truths = Waiting(most_bytes)
        self.reset()

    def reset(self) -> None:
        """Forget all but the classes."""
        self.confusion = ConfusionMatrix(len(self.labels)) if self.labels else None
        self.masks = self.truths = self.compared = self.refused = self.unreadable = 0
        self._masks.clear()
        self._truths.clear()
        self._ambiguous = {0}  # stamps

    def describe(self, labels: LabelSet) -> str:
        """The classes are these; what was compared before is forgotten if they were others.

        Returns:
            Why a frame that had waited for this was refused; empty if none was.
        """
        if self.labels is not None and self.labels.names != labels.names:
            self.labels = labels
            self.reset()
        elif self.labels is None:
            self.labels = labels
            self.confusion = ConfusionMatrix(len(labels))
        return "; ".join(filter(None, map(self._compare, self._masks.stamps())))

    def add_mask(self, stamp: int, mask: Ids) -> str:
        """A mask has come, with its stamp in ns.

        Returns:
            Why its frame was refused; empty if it was not.
        """
        self.masks += 1
        return self._add(self._masks, stamp, mask)

    def add_truth(self, stamp: int, truth: Ids) -> str:
        """A label has come; see `add_mask`."""
        self.truths += 1
        if stamp in self._truths and not np.array_equal(self._truths.pop(stamp), truth):
            self._ambiguous.add(stamp)
        return self._add(self._truths, stamp, truth)

    @property
    def miou(self) -> float:
        """In percent; NaN while nothing was compared."""
        return self.confusion.miou() if self.confusion else float("nan")

    def counts(self) -> dict[str, int]:
        """What became of all that has come; what waits is without its partner so far."""
        paired = self.compared + self.refused
        return {
            "frames": self.compared,
            "refused": self.refused,
            "unreadable": self.unreadable,
            "masks_without_label": self.masks - paired,
            "labels_without_mask": self.truths - paired,
        }

    def values(self) -> dict[str, Any]:
        """The counts and, once the classes are known, what `measures` gives."""
        if self.labels is None or self.confusion is None:
            return self.counts()
        return {"label_set": self.labels.name, **self.counts(), **measures(self.confusion, self.labels)}

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in self.counts().items())

    def _add(self, waiting: Waiting, stamp: int, ids: Ids) -> str:
        """Let it wait, and compare its frame if it is complete; gives why that cannot be, if so."""
        if stamp in self._ambiguous:
            return f"the stamp {stamp} ns does not say which frame it is: it is 0, or several labels have it and differ"
        waiting.put(stamp, ids)
        return self._compare(stamp)

    def _compare(self, stamp: int) -> str:
        """Compare the frame of this stamp if it is complete; gives why that cannot be, if so."""
        if self.confusion is None or stamp not in self._masks or stamp not in self._truths:
            return ""
        truth, mask = self._truths.pop(stamp), self._masks.pop(stamp)
        try:
            self.confusion.update(truth, mask)
        except ValueError as error:
            self.refused += 1
            if (mask == UNLABELLED).any():
                return f"{error}; {UNLABELLED} is what the segmentation node's class_filter makes of other classes"
            return str(error)
        self.compared += 1
        return ""


class Waiting:
    """What has come and waits, by stamp; the oldest goes when all of it takes more than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._ids: dict[int, Ids] = {}  # in the order of arrival: stamps may jump back
        self._bytes = 0

    def put(self, stamp: int, ids: Ids) -> None:
        """Keep this; of two with the same stamp, the later."""
        if stamp in self._ids:
            self.pop(stamp)
        self._ids[stamp] = ids
        self._bytes += ids.nbytes
        while self._bytes > self._most_bytes and len(self._ids) > 1:
            self.pop(next(iter(self._ids)))

    def pop(self, stamp: int) -> Ids:
        """Take it out."""
        ids = self._ids.pop(stamp)
        self._bytes -= ids.nbytes
        return ids

    def stamps(self) -> list[int]:
        """In the order of arrival."""
        return [*self._ids]

    def clear(self) -> None:
        """Forget everything."""
        self._ids.clear()
        self._bytes = 0

    def __contains__(self, stamp: int) -> bool:
        return stamp in self._ids


def labels_from_json(text: str) -> LabelSet:
    """The classes that `LabelSet.to_json` wrote.

    Raises:
        ValueError: the text is something else.
    """
    try:
        content = json.loads(text)
        classes = sorted(content["classes"], key=lambda entry: entry["class_id"])
        if [entry["class_id"] for entry in classes] != [*range(len(classes))] or not classes:
            raise ValueError("the ids of the classes are not 0, 1, 2 and so on")
        return LabelSet(
            content["label_set"], tuple(Label(entry["class_name"], tuple(entry["color"])) for entry in classes)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"these are no classes, as the segmentation node describes them: {error}") from error
