"""One YAML file describes one training run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from training.data_sets import DATA_SETS

OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class Config:
    """A run; each field is a key of the YAML file, sizes are [height, width] in pixels."""

    data_set: str  # a key of DATA_SETS; read from --data, or, for `street_scenes`, generated without it
    network: str
    backbone: str
    epochs: int
    batch_size: int
    crop: tuple[int, int]
    input_size: tuple[int, int]  # of the whole frames, stored with the weights
    optimizer: str
    learning_rate: float
    weight_decay: float  # not applied to normalisation and biases
    warmup_iterations: int = 0
    gradient_clip: float = 0.0  # largest norm; 0 = no limit
    ema_decay: float = 0.0  # of the averaged weights, which are what is kept; 0 = no averaging
    scale: tuple[float, float] = (0.75, 1.75)
    jitter: float = 0.0  # largest relative change of brightness and contrast
    evaluate_every: int = 5  # epochs
    workers: int = 1
    seed: int = 0


def load_config(path: Path) -> Config:
    """Read a run's YAML file.

    Raises:
        ValueError: a key is unknown or missing, or names something that there is not.
    """
    values: dict[str, Any] = yaml.safe_load(path.read_text())
    known = {field.name for field in fields(Config)}
    if unknown := values.keys() - known:
        raise ValueError(f"{path}: unknown key {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}")
    for key in ("crop", "input_size", "scale"):
        if key in values:
            values[key] = tuple(values[key])
    try:
        config = Config(**values)
    except TypeError as error:
        raise ValueError(f"{path}: {error}") from error
    if config.data_set not in DATA_SETS:
        raise ValueError(f"{path}: data_set is '{config.data_set}', but there are {', '.join(DATA_SETS)}")
    if config.optimizer not in OPTIMIZERS:
        raise ValueError(f"{path}: optimizer is '{config.optimizer}', but there are {', '.join(OPTIMIZERS)}")
    return config
