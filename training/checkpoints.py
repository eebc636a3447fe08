"""Checkpoints that survive whatever ends the training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins import TorchCheckpointIO

FOLDER = "checkpoints"


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and moves it there: it is the old one or the new one, never half of one.

    Lightning writes to the system's temporary folder, from where a move to another disk is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `checkpoint` to `path`."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)


def keep_last_and_best(out: Path, score: str) -> list[Callback]:
    """Checkpoints `last`, after each epoch, and `best`, after each evaluation with a higher score than all before."""
    folder = out / FOLDER
    always = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    best = ModelCheckpoint(
        folder, filename="best", monitor=score, mode="max", save_on_train_epoch_end=False, enable_version_counter=False
    )
    return [best, always]
