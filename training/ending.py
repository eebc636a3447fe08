"""How a run of several processes ends when it is told to."""

from __future__ import annotations

import os
import signal
from types import FrameType

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class EndsAtOnce(Callback):
    """SIGTERM ends this process and those that it started.

    Nothing is lost by it, for checkpoints are whole at any time. Lightning's own handler tells the other processes by a
    broadcast in the midst of whatever they exchange, and may wait for ever. On SLURM, which sends SIGTERM to announce
    that it puts a run back in its queue, Lightning's stays.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler."""
        if isinstance(trainer._accelerator_connector.cluster_environment, SLURMEnvironment):
            return
        launcher = trainer.strategy.launcher

        def end(number: int, _: FrameType | None) -> None:
            if launcher is not None:
                launcher.kill(signal.SIGKILL)
            os._exit(128 + number)  # not sys.exit, which the others would have to answer

        signal.signal(signal.SIGTERM, end)
