"""The moving average of the weights, and what can be made of it between two evaluations."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("lightning", reason="Lightning is not installed")

from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from training_runs import logged, write_config, write_folder

from dfanet_ros.checkpoint import CheckpointError
from training.averaging import MovingAverage
from training.config import Config, load_config
from training.data import SegmentationData
from training.export import load_training_checkpoint
from training.runs import build_trainer
from training.segmentation import SegmentationTask


class EachEpoch(Callback):
    """Writes a checkpoint of each epoch, counted from 1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch + 1}.ckpt")


@pytest.mark.parametrize("decay", [0.8, 0.0])
def test_weights_are_made_of_what_was_evaluated(tmp_path: Path, decay: float) -> None:
    config = load_config(Config, write_config(tmp_path / "run.yaml", ema_decay=decay))  # evaluates each second epoch
    seed_everything(0, verbose=False)
    data = SegmentationData(config, write_folder(tmp_path / "scenes"))
    task = SegmentationTask(config, data.labels, config.epochs * data.batches)
    callbacks = [EachEpoch(tmp_path), *([MovingAverage(decay)] if decay else [])]
    trainer = build_trainer(config, tmp_path, "val/mIoU", config.epochs, config.evaluate_every, callbacks=callbacks)
    trainer.fit(task, datamodule=data)
    scores = [load_training_checkpoint(tmp_path / f"{epoch}.ckpt")[1].val_miou for epoch in (2, 4)]
    assert scores == pytest.approx(logged(tmp_path, "val/mIoU"))
    for epoch in (1, 3):
        if decay:
            with pytest.raises(CheckpointError, match=r"between two evaluations.* take best\.ckpt"):
                load_training_checkpoint(tmp_path / f"{epoch}.ckpt")
        else:  # what is trained has the statistics of what is trained, but nobody knows its score
            assert load_training_checkpoint(tmp_path / f"{epoch}.ckpt")[1].val_miou is None
