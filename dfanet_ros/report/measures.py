"""What a report says, for scripts: JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfanet_ros.label_set import LabelSet
from dfanet_ros.metrics import ConfusionMatrix


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


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write the values as a JSON file, where what is not finite is null: JSON has no such numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_plain(values), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    match value:
        case float() if not math.isfinite(value):
            return None
        case Mapping():
            return {str(key): _plain(entry) for key, entry in value.items()}
        case list() | tuple():
            return [_plain(entry) for entry in value]
    return value
