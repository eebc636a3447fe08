"""Checkpoints that survive whatever ends the training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback
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


class ModelCheckpoint(callbacks.ModelCheckpoint):
    """Lightning's (and named like it, for its state is found by its name), for runs whose folder may be moved.

    Lightning forgets the best score if the folder has another path than before, and the next score, whatever it is,
    would replace the best weights.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state over, with its files as they are in the folder now; what is not there is not the best."""
        assert self.dirpath is not None
        folder = Path(self.dirpath)
        best = folder / Path(state_dict["best_model_path"]).name
        if not best.is_file():
            return
        scores = {str(folder / Path(path).name): score for path, score in state_dict["best_k_models"].items()}
        moved = {"dirpath": self.dirpath, "best_model_path": str(best), "best_k_models": scores}
        for name in ("kth_best_model_path", "last_model_path"):
            path = state_dict[name]
            moved[name] = str(folder / Path(path).name) if path else path
        super().load_state_dict(state_dict | moved)


def keep_last_and_best(out: Path, score: str) -> list[Callback]:
    """Checkpoints `last`, after each epoch, and `best`, after each evaluation with a higher score than all before."""
    folder = out / FOLDER
    always = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    best = ModelCheckpoint(
        folder, filename="best", monitor=score, mode="max", save_on_train_epoch_end=False, enable_version_counter=False
    )
    return [best, always]
