"""A run's folder and its Lightning trainer."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.plugins import TorchSyncBatchNorm
from lightning.pytorch.utilities import rank_zero_only

from dfanet_ros.memory import keep_freed_memory
from training.checkpoints import FOLDER, WholeFiles, keep_last_and_best
from training.config import ConfigError, Hardware, as_yaml, load_config
from training.ending import EndsAtOnce
from training.synchronised import CPUSyncBatchNorm


def open_run(out: Path, config: Hardware, resume: bool) -> Path | None:
    """Make the run's folder, with its config in it; gives the checkpoint to go on from, or None to begin.

    Raises:
        ConfigError: the folder holds another run, or one that was not to be resumed.
    """
    last = out / FOLDER / "last.ckpt"
    if last.is_file() and not resume and in_first_process():
        raise ConfigError(f"{out} holds a run already: go on with it by --resume, or choose another --out")
    if resume and last.is_file():
        refuse_changes(out / "config.yaml", config)
        return last
    if resume:
        say(f"There is no checkpoint in {out} to resume: the run begins.")
    if in_first_process():
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.yaml").write_text(as_yaml(config))
    return None


def refuse_changes(path: Path, config: Hardware) -> None:
    """Where a run goes on is free, what it is is not. Raises ConfigError with what differs."""
    before = yaml.safe_load(as_yaml(load_config(type(config), path)))  # what is not in it has its default
    now = yaml.safe_load(as_yaml(config))
    free = {field.name for field in fields(Hardware)}
    changed = [key for key in now if key not in free and now[key] != before.get(key)]
    if changed:
        what = ", ".join(f"{key} was {before.get(key)} and is {now[key]}" for key in changed)
        raise ConfigError(f"the run in {path.parent} cannot be resumed with another config: {what}")


def build_trainer(
    config: Hardware,
    out: Path,
    score: str,
    epochs: int,
    evaluate_every: int = 1,
    gradient_clip: float = 0.0,
    callbacks: Sequence[Callback] = (),
) -> Trainer:
    """Lightning's trainer with the run's checkpoints and logs in its folder.

    Args:
        config: what the run runs on.
        out: the run's folder.
        score: name of the logged value of which the best checkpoint has the highest.
        epochs: passes over the data.
        evaluate_every: epochs between two evaluations.
        gradient_clip: largest norm of the gradient; 0: no limit.
        callbacks: further ones.
    """
    keep_freed_memory()
    # Its notes on devices and services are of no use to the reader of a progress bar; warnings stay.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    cuda = config.accelerator != "cpu" and torch.cuda.is_available()
    precision = config.precision
    if precision == "auto":
        # Older GPUs only emulate bfloat16, slower than what they have.
        precision = "bf16-mixed" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    loggers: list[Logger] = [CSVLogger(out, name="logs", flush_logs_every_n_steps=1)]
    if config.tensorboard:
        loggers.append(TensorBoardLogger(out, name="tensorboard"))
    several = config.processes > 1
    # Chosen here, for Lightning synchronises layers before it moves them to the GPU: where they are says nothing.
    sync = TorchSyncBatchNorm() if cuda else CPUSyncBatchNorm()
    return Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy="ddp" if several else "auto",
        precision=precision,
        plugins=[WholeFiles(), *([sync] if several else [])],
        max_epochs=epochs,
        check_val_every_n_epoch=evaluate_every,
        gradient_clip_val=gradient_clip or None,
        callbacks=[
            *callbacks,
            LearningRateMonitor("epoch"),
            *keep_last_and_best(out, score),
            *([EndsAtOnce()] if several else []),
        ],
        logger=loggers,
        default_root_dir=out,
        num_sanity_val_steps=0,
        enable_model_summary=False,
        use_distributed_sampler=False,  # SeededSampler knows the processes
        benchmark=True,
    )


def in_first_process() -> bool:
    """Whether this is the run's first process, which is the one that writes and speaks."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]


def say(text: str) -> None:
    """Print, once for all processes."""
    if in_first_process():
        print(text, flush=True)
