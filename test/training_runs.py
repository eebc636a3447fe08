"""Small training runs on generated scenes, as commands in processes of their own."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import yaml

from dfanet_ros.street_scenes import StreetScenes

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "data_set": "street_scenes",
    "backbone": "xception_b",
    "epochs": 4,
    "evaluate_every": 2,
    "batch_size": 4,
    "crop": [64, 64],
    "input_size": [64, 96],
    "optimizer": "adamw",
    "learning_rate": 3e-3,
    "weight_decay": 1e-4,
    "gradient_clip": 1.0,
    "ema_decay": 0.8,
    "warmup_iterations": 2,
    "auxiliary": 0.4,
    "colour": 0.2,
    "workers": 0,
    "accelerator": "cpu",
}


def write_folder(root: Path, train_count: int = 8, val_count: int = 2) -> Path:
    """Generated scenes in the layout of a data set on disk."""
    for part, count, seed in (("train", train_count, 5), ("val", val_count, 6)):
        for kind in ("images", "labels"):
            (root / kind / part).mkdir(parents=True)
        for number, (image, label) in enumerate(StreetScenes(count, 64, 96, seed=seed)):
            cv2.imwrite(str(root / "images" / part / f"{number:03}.png"), image[:, :, ::-1])
            cv2.imwrite(str(root / "labels" / part / f"{number:03}.png"), label)
    return root


def write_config(path: Path, **changes: Any) -> Path:
    """A run's YAML file: the tiny one with changes."""
    path.write_text(yaml.safe_dump(TINY | changes))
    return path


def command(module: str, **arguments: Any) -> list[str]:
    """`python -m training.<module> --name value ...`; a value of True is a flag."""
    words = [sys.executable, "-m", f"training.{module}"]
    for name, value in arguments.items():
        words += [f"--{name}", *([] if value is True else [str(value)])]
    return words


def environment() -> dict[str, str]:
    """One thread each, so that several processes on few cores do not wait for each other."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(module: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    return subprocess.run(
        command(module, **arguments), cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )


def logged(out: Path, column: str) -> list[float]:
    """The values that a run logged, over all its starts."""
    values = []
    for path in sorted(out.glob("logs/version_*/metrics.csv")):
        values += [float(row[column]) for row in csv.DictReader(path.open()) if row.get(column)]
    return values
