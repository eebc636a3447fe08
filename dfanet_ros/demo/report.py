"""What the demo found: numbers, and how they are printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dfanet_ros.demo.bag import read_messages
from dfanet_ros.demo.frames import Sample
from dfanet_ros.demo.session import MASK, Exchange
from dfanet_ros.label_set import LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.serialized import pixels_of, stamp_of


@dataclass(frozen=True)
class Report:
    """The demo's result.

    Attributes:
        frames_in: frames that were sent.
        frames_out: frames whose mask came back, with their stamp and of their size.
        frames_labelled: frames that count for the IoU: those of `frames_out` that have a label.
        seconds: from the first frame sent to the last mask received.
        latencies: of each frame that came back, from its stamp to its mask's publication, in ms.
        iou: of each class in percent, NaN where it does not occur.
        miou: their mean, NaN without labels.
    """

    frames_in: int
    frames_out: int
    frames_labelled: int
    seconds: float
    latencies: list[float]
    iou: dict[str, float]
    miou: float

    @property
    def fps(self) -> float:
        """Frames that came back, a second."""
        return self.frames_out / self.seconds if self.seconds else 0.0

    def latency(self, percentile: float) -> float:
        """A percentile of the latencies in ms, NaN if there are none."""
        return float(np.percentile(self.latencies, percentile)) if self.latencies else float("nan")

    def values(self) -> dict[str, str]:
        """The numbers that scripts read, by name and in order."""
        return {
            "frames_in": str(self.frames_in),
            "frames_out": str(self.frames_out),
            "frames_lost": str(self.frames_in - self.frames_out),
            "fps": f"{self.fps:.2f}",
            "latency_p50_ms": _number(self.latency(50), 1),
            "latency_p99_ms": _number(self.latency(99), 1),
            "mIoU": _number(self.miou, 2),
        }

    def table(self) -> str:
        """The same for people, with some words and the classes."""
        values = self.values()
        labelled = f"mean over the classes below, {self.frames_labelled} of {self.frames_out} frames have a label"
        rows = [
            ("frames in", values["frames_in"], "sent"),
            ("frames out", values["frames_out"], "whose mask came back"),
            ("frames lost", values["frames_lost"], ""),
            ("FPS", values["fps"], "from the first frame sent to the last mask received"),
            ("latency p50", values["latency_p50_ms"], "ms from the camera's stamp to the mask's publication"),
            ("latency p99", values["latency_p99_ms"], "ms"),
            ("mIoU", values["mIoU"], f"% ({labelled})" if self.frames_labelled else "no frame has a label"),
        ]
        if self.frames_labelled:
            rows += [(f"  {name}", _number(iou, 2), "%") for name, iou in self.iou.items() if not np.isnan(iou)]
        width = max(len(name) for name, _, _ in rows)
        return "\n".join(f"{name:{width}}  {value:>8}  {remark}".rstrip() for name, value, remark in rows)


def evaluate(exchanges: Sequence[Exchange], frames: Sequence[Sample], recorded: Path, labels: LabelSet) -> Report:
    """Compare the masks of a recorded bag with the frames that they belong to."""
    by_stamp = {exchange.sent: exchange for exchange in exchanges}
    confusion = ConfusionMatrix(len(labels))
    returned: list[Exchange] = []
    labelled = 0
    for message in tqdm(read_messages(recorded, MASK), "comparing", total=len(exchanges), unit="frame"):
        exchange = by_stamp[stamp_of(message)]
        image, label = frames[exchange.number]
        mask = pixels_of(message)[:, :, 0]
        if mask.shape != image.shape[:2]:
            continue
        returned.append(exchange)
        if label is not None:
            confusion.update(label, mask)
            labelled += 1
    last = max((exchange.received or 0 for exchange in returned), default=0)
    return Report(
        frames_in=len(exchanges),
        frames_out=len(returned),
        frames_labelled=labelled,
        seconds=(last - exchanges[0].sent) / 1e9 if returned else 0.0,
        latencies=[(e.published - e.sent) / 1e6 for e in returned if e.published is not None],
        iou=dict(zip(labels.names, confusion.iou().tolist(), strict=True)),
        miou=confusion.miou(),
    )


def _number(value: float, decimals: int) -> str:
    return "n/a" if np.isnan(value) else f"{value:.{decimals}f}"
