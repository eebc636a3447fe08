"""Frames through the segmenter, one batch after the other, and what is found out about each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.bags.images import BagFrame
from dfanet_ros.evaluate_bag.labels import Ids, Labels
from dfanet_ros.evaluate_bag.problems import Problems
from dfanet_ros.frame import Frame
from dfanet_ros.report.scored_frames import SHOWN, ScoredFrames
from dfanet_ros.segmenter import Segmentation, Segmenter


class Sink(Protocol):
    """Takes the results of frames, in their order."""

    def add(self, header: Any, received: int, result: Segmentation) -> None: ...


@dataclass(frozen=True)
class Seen:
    """A frame that the report may show; the arrays are views, not to be written to."""

    name: str
    frame: Frame
    predicted: Ids
    truth: Ids | None


class Evaluation:
    """What was found out.

    Args:
        num_classes: of the weights.
        labels: None if there are none.
        unusable: labels that could not be read so far.
        expected: how many frames there should be, to choose some evenly spread ones to show.

    Attributes:
        seconds: when each segmented frame was received, counted from the first.
        ms: the segmenter's time for each; a batch's time is shared by its frames.
        mious: of each frame by itself in percent, NaN where it has no label.
        flips: of each frame's pixels, how many percent are of another class than in the frame before; NaN for the
            first, after a frame that could not be read, and where the size changes.
        pixels: how many were predicted as each class, (classes,) int64.
        scored: the frames with labels.
        matched: how many labels belong to a segmented frame.
        used: how many of these were compared.
        refused: frames that could not be read.
        examples: a few frames.
    """

    def __init__(self, num_classes: int, labels: Labels | None, unusable: Problems, expected: int) -> None:
        self.labels = labels
        self.unusable = unusable
        self.seconds: list[float] = []
        self.ms: list[float] = []
        self.mious: list[float] = []
        self.flips: list[float] = []
        self.pixels: NDArray[np.int64] = np.zeros(num_classes, np.int64)
        self.scored = ScoredFrames[Seen](num_classes)
        self.matched = self.used = 0
        self.refused = Problems("frames")
        self.examples: list[Seen] = []
        self._shown = set(np.linspace(0, expected - 1, SHOWN).round().astype(int).tolist())
        self._first: int | None = None
        self._before: Ids | None = None

    @property
    def segmented(self) -> int:
        """How many frames were segmented."""
        return len(self.ms)

    def add(self, source: BagFrame, result: Segmentation, ms: float) -> None:
        """A frame was segmented."""
        assert source.frame is not None and source.stamp is not None
        ids = result.label_map
        self._first = source.received if self._first is None else self._first
        self.seconds.append((source.received - self._first) / 1e9)
        self.ms.append(ms)
        self.pixels += np.bincount(ids.ravel(), minlength=256)[: len(self.pixels)]
        comparable = self._before is not None and self._before.shape == ids.shape
        self.flips.append(100 * float(np.mean(ids != self._before)) if comparable else float("nan"))
        self._before = ids
        truth, miou = self._compare(source, ids)
        self.mious.append(miou)
        if source.number in self._shown:
            self.examples.append(Seen(name_of(source), source.frame, ids, truth))

    def refuse(self, source: BagFrame) -> None:
        """A frame could not be read."""
        self.refused.add(name_of(source), source.problem)
        self._before = None

    def _compare(self, source: BagFrame, ids: Ids) -> tuple[Ids | None, float]:
        """The frame's label, and its mIoU."""
        assert source.frame is not None and source.stamp is not None
        if self.labels is None:
            return None, float("nan")
        try:
            truth = self.labels.of(source.number, source.stamp)
            if truth is None:
                return None, float("nan")
            miou = self.scored.add(truth, ids, Seen(name_of(source), source.frame, ids, truth))
        except ValueError as error:
            self.matched += 1
            self.unusable.add(f"that of {name_of(source)}", str(error))
            return None, float("nan")
        self.matched += 1
        self.used += 1
        return truth, miou


def evaluate(
    frames: Iterable[BagFrame],
    segmenter: Segmenter,
    batch: int,
    evaluation: Evaluation,
    sink: Sink,
    stop: Callable[[], bool],
) -> None:
    """Segment all frames in their order, until there are no more or `stop` says so.

    Args:
        frames: to be segmented; those without pixels are only counted.
        segmenter: that does it.
        batch: how many at once.
        evaluation: is told of each frame.
        sink: gets the results.
        stop: is asked after each batch.
    """
    for group in _batches(frames, batch):
        readable = [source.frame for source in group if source.frame is not None]
        start = time.perf_counter()
        results = segmenter.segment(readable)
        for result in results:
            _ = result.label_map  # on a GPU it is computed only now
        ms = 1000 * (time.perf_counter() - start) / max(1, len(readable))
        left = iter(results)
        for source in group:
            if source.frame is None:
                evaluation.refuse(source)
                continue
            result = next(left)
            evaluation.add(source, result, ms)
            sink.add(source.header, source.received, result)
        if stop():
            return


def name_of(source: BagFrame) -> str:
    """The frame's number from 0 and, if it is known, its stamp in seconds."""
    if source.stamp is None:
        return f"frame {source.number}"
    seconds, rest = divmod(source.stamp, 10**9)
    return f"frame {source.number} (stamp {seconds}.{rest:09})"


def _batches(frames: Iterable[BagFrame], size: int) -> Iterator[list[BagFrame]]:
    batch: list[BagFrame] = []
    for frame in frames:
        batch.append(frame)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
