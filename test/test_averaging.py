"""The moving average of the weights, and what can be made of it between two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("lightning", reason="Lightning is not installed")

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from training_runs import logged, write_config, write_folder

from dfanet_ros.checkpoint import CheckpointError
from training.averaging import MovingAverage
from training.config import Config, load_config
from training.data import SegmentationData
from training.runs import build_trainer
from training.segmentation import SegmentationTask
from training.weights import load_training_checkpoint

pytestmark = pytest.mark.usefixtures("one_thread")


def fit(folder: Path, *callbacks: Callback, **changes: Any) -> SegmentationTask:
    """A run with the tiny config and changes; gives what was trained."""
    config = load_config(Config, write_config(folder / "run.yaml", **changes))
    seed_everything(0, verbose=False)
    data = SegmentationData(config, write_folder(folder / "scenes"))
    task = SegmentationTask(config, data.labels, config.epochs * data.batches)
    average = [MovingAverage(config.ema_decay)] if config.ema_decay else []
    trainer = build_trainer(
        config, folder, "val/mIoU", config.epochs, config.evaluate_every, callbacks=[*callbacks, *average]
    )
    trainer.fit(task, datamodule=data)
    return task


class EachEpoch(Callback):
    """Writes a checkpoint of each epoch, counted from 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch + 1}.ckpt")


class EachStep(Callback):
    """Keeps the weights as they are after each step."""

    def __init__(self) -> None:
        self.weights: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.weights.append([parameter.detach().clone() for parameter in pl_module.parameters()])


def test_the_average_begins_short(tmp_path: Path) -> None:
    steps = EachStep()
    task = fit(tmp_path, steps, epochs=2, ema_decay=0.3)
    assert len(steps.weights) == 4
    average = steps.weights[0]
    for decay, weights in zip((2 / 11, 3 / 12, 0.3), steps.weights[1:], strict=True):  # 0.3 is less than 4 / 13
        average = [decay * old + (1 - decay) * new for old, new in zip(average, weights, strict=True)]
    for parameter, expected in zip(task.parameters(), average, strict=True):
        torch.testing.assert_close(parameter.detach(), expected)


@pytest.mark.parametrize("decay", [0.8, 0.0])
def test_weights_are_made_of_what_was_evaluated(tmp_path: Path, decay: float) -> None:
    fit(tmp_path, EachEpoch(tmp_path), ema_decay=decay)  # evaluates each second of four epochs
    scores = [load_training_checkpoint(tmp_path / f"{epoch}.ckpt")[1].val_miou for epoch in (2, 4)]
    assert scores == pytest.approx(logged(tmp_path, "val/mIoU"))
    for epoch in (1, 3):
        if decay:
            with pytest.raises(CheckpointError, match=r"between two evaluations.* take best\.ckpt"):
                load_training_checkpoint(tmp_path / f"{epoch}.ckpt")
        else:  # what is trained has the statistics of what is trained, but nobody knows its score
            assert load_training_checkpoint(tmp_path / f"{epoch}.ckpt")[1].val_miou is None
