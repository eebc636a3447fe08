"""Weights out of a run's checkpoints, which can be read without Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dfanet_ros.checkpoint import CheckpointError, WeightsInfo, network_from, save_checkpoint
from dfanet_ros.network.base import Network

PREFIX = "network."  # of what both training.train and training.pretrain train


def load_training_checkpoint(path: Path) -> tuple[Network, WeightsInfo]:
    """The network of a checkpoint of `training.train`, in evaluation mode on the CPU, and what is known of it.

    Raises:
        CheckpointError: the file is missing, damaged, of something else, its tensors do not fit its network, or its
            normalisation has statistics of other weights.
    """

    def error(why: str) -> CheckpointError:
        return CheckpointError(f"cannot load the weights '{path}': {why}")

    if not path.is_file():
        raise error("there is no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as reason:  # noise makes the unpickler raise nearly anything
        raise error(f"not a whole checkpoint of training.train ({type(reason).__name__})") from reason
    if not isinstance(checkpoint, dict) or not isinstance(state := checkpoint.get("state_dict"), dict):
        raise error("it is no checkpoint of training.train, as it has no state_dict")
    metadata = checkpoint.get("weights_info")
    if not isinstance(metadata, dict):
        raise error("it has no weights_info, which says what the network is; checkpoints of training.train have it")
    if checkpoint.get("stale_statistics"):
        raise error(
            "it was written between two evaluations, and averaged weights get the statistics of their normalisation "
            "when they are evaluated; take best.ckpt, or go on with the run (--resume) to its next evaluation"
        )
    return network_from(metadata, network_tensors(state), path)


def export_weights(checkpoint: Path, out: Path) -> None:
    """Write the network of a training checkpoint as weights that the node loads.

    Raises:
        CheckpointError: see `load_training_checkpoint`.
    """
    save_checkpoint(out, *load_training_checkpoint(checkpoint))


def network_tensors(state: dict[str, Any]) -> dict[str, Tensor]:
    """Those of the network in a Lightning module's state; others, as of auxiliary classifiers, are for training."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in state.items()
        if name.startswith(PREFIX) and isinstance(value, Tensor)
    }
