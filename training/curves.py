"""How a training went, read from the CSV files that Lightning's CSVLogger writes."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILES = "logs/version_*/metrics.csv"
LOSSES = ("train/loss", "train/loss_epoch")  # columns; the second is Lightning's name where a step's loss has the first
VAL_MIOU = "val/mIoU"  # column; in percent
PLACES = ("epoch", "step")  # the columns that are no quantity


class LogError(ValueError):
    """Logs that cannot be read; the text names the file or folder."""


@dataclass(frozen=True)
class Curve:
    """A quantity over the epochs of a training.

    Attributes:
        epochs: rising, (N,) int64; the first epoch is 1.
        values: the mean of what was logged in each, (N,) float64; may be NaN or infinite.
    """

    epochs: NDArray[np.int64]
    values: NDArray[np.float64]


def read_curves(run: Path) -> dict[str, Curve]:
    """All quantities of a run's folder by the names of their columns, such as `train/loss`.

    A resumed run has a file for each time it was started. They are joined in the order of their versions; where two
    have the same step of the same quantity, the later one counts.

    Args:
        run: the folder in which `logs/version_*/metrics.csv` are.

    Raises:
        LogError: there are no logs, or one is not what a CSVLogger writes.
    """
    paths = log_files(run)
    if not paths:
        raise LogError(f"there are no training logs {run / FILES}: name the folder that the training wrote to")
    epochs: dict[int, int] = {}  # by step
    columns: dict[str, dict[int, float]] = {}  # values by step
    for path in paths:
        _read_file(path, epochs, columns)
    return {name: _curve(values, epochs) for name, values in columns.items()}


def log_files(run: Path) -> list[Path]:
    """The run's logs in the order in which they were written: by the number of the version, not by its letters."""
    numbers = {path: path.parent.name.removeprefix("version_") for path in run.glob(FILES)}
    return sorted((path for path in numbers if numbers[path].isdigit()), key=lambda path: int(numbers[path]))


def _read_file(path: Path, epochs: dict[int, int], columns: dict[str, dict[int, float]]) -> None:
    """Add a file's rows to what is known; a row has only the cells of what was logged with it."""
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in PLACES if name not in (reader.fieldnames or ())]
        if missing:
            raise LogError(f"the training log {path} has no column {' and no column '.join(missing)}")
        for row in reader:
            try:
                numbers = {name: float(cell) for name, cell in row.items() if cell}
                places = {name: int(numbers.pop(name)) for name in PLACES if name in numbers}
            except (TypeError, ValueError) as error:  # TypeError: more cells than columns
                raise LogError(f"line {reader.line_num} of the training log {path} is damaged: {error}") from error
            if "step" not in places:
                continue
            step = places["step"]
            if "epoch" in places:
                epochs[step] = places["epoch"] + 1
            for name, value in numbers.items():
                columns.setdefault(name, {})[step] = value


def _curve(values: Mapping[int, float], epochs: Mapping[int, int]) -> Curve:
    """The mean of each epoch; a step whose epoch was not logged is in that of the last step before it that has one."""
    known = np.array(sorted(epochs), np.int64)
    steps = np.array(sorted(values), np.int64)
    if not known.size:
        return Curve(np.zeros(0, np.int64), np.zeros(0))
    nearest = known[np.searchsorted(known, steps, side="right").clip(min=1) - 1]
    of_step = np.array([epochs[step] for step in nearest.tolist()], np.int64)
    in_order = np.array([values[step] for step in steps.tolist()])
    rising = np.unique(of_step)
    return Curve(rising, np.array([in_order[of_step == epoch].mean() for epoch in rising]))
