"""What a report says, for scripts: JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfanet_ros.label_set import LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.writing import writing


def measures(confusion: ConfusionMatrix, labels: LabelSet) -> dict[str, Any]:
    """All that a confusion matrix tells, in percent; NaN where there is nothing to measure.

    `classes` has name, iou, accuracy and pixels (how many truly are of it) of each class, `confusion` the pixels by
    true class (row) and predicted class (column).
    """
    per_class = zip(labels.names, confusion.iou(), confusion.accuracy(), confusion.counts.sum(1), strict=True)
    return {
        "miou": confusion.miou(),
        "fwiou": confusion.frequency_weighted_iou(),
        "mean_accuracy": confusion.mean_accuracy(),
        "pixel_accuracy": confusion.pixel_accuracy(),
        "classes": [
            {"name": name, "iou": float(iou), "accuracy": float(accuracy), "pixels": int(pixels)}
            for name, iou, accuracy, pixels in per_class
        ],
        "confusion": confusion.counts.tolist(),
    }


def class_lines(confusion: ConfusionMatrix, labels: LabelSet) -> list[str]:
    """Each class's name and IoU in percent, as commands print it."""
    width = max(map(len, labels.names))
    return [f"{name:{width}}  {iou:6.2f}" for name, iou in zip(labels.names, confusion.iou(), strict=True)]


def measure_lines(confusion: ConfusionMatrix) -> list[str]:
    """The four measures in percent, as commands print them; scripts read the last one, `mIoU: 57.31`."""
    return [
        f"fIoU: {confusion.frequency_weighted_iou():.2f}",
        f"mean accuracy: {confusion.mean_accuracy():.2f}",
        f"pixel accuracy: {confusion.pixel_accuracy():.2f}",
        f"mIoU: {confusion.miou():.2f}",
    ]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write the values as a JSON file, as `as_json` gives them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path):
        path.write_text(as_json(values, indent=2) + "\n", encoding="utf-8")


def as_json(values: Mapping[str, Any], indent: int | None = None) -> str:
    """The values as JSON, where what is not finite is null: JSON has no such numbers."""
    return json.dumps(_plain(values), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
    return value
