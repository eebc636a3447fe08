"""The loss of a label map."""

from __future__ import annotations

import math

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from dfanet_ros.label_set import UNLABELLED

HARDEST = 1 / 16  # share of the labelled pixels that hard example mining always keeps


class PixelLoss(nn.Module):
    """Cross-entropy over the labelled pixels: their mean, weighted by class, over all processes of the run.

    Args:
        weights: of the classes, or None.
        label_smoothing: probability that is spread over the wrong classes.
        ohem: leave out pixels whose right class has a probability above this; 0 keeps all (Shrivastava et al., 2016).
    """

    weights: Tensor | None

    def __init__(self, weights: Tensor | None = None, label_smoothing: float = 0.0, ohem: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weights", weights)
        self.label_smoothing = label_smoothing
        self.ohem = ohem

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """A scalar, from logits (N, C, H, W) and ids (N, H, W) int64, 255 where there is no label."""
        losses = F.cross_entropy(
            logits,
            target,
            self.weights,
            ignore_index=UNLABELLED,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        counted = target != UNLABELLED
        if self.ohem:
            counted &= self._hard(logits, target, counted)
        # By `where`, not by indexing, which on a GPU would wait for how many there are.
        total = losses.where(counted, 0).sum()
        shares = counted if self.weights is None else self.weights[target.where(counted, 0)].where(counted, 0)
        count = shares.sum()
        return total / mean_over_processes(count.to(total.dtype)).clamp(min=torch.finfo(total.dtype).tiny)

    def _hard(self, logits: Tensor, target: Tensor, labelled: Tensor) -> Tensor:
        with torch.no_grad():
            plain = F.cross_entropy(logits, target, ignore_index=UNLABELLED, reduction="none")
            number = labelled.sum().item()
            if not number:
                return labelled
            kept = max(1, math.ceil(number * HARDEST))
            hardest = plain[labelled].topk(kept).values[-1]
            return plain >= hardest.clamp(max=-math.log(self.ohem))


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of the processes' values.

    Processes have different numbers of labelled pixels. Divided by this, their losses have the mean (which is what
    their gradients are reduced to) that one process with the whole batch would have.
    """
    if not torch.distributed.is_initialized():
        return value
    value = value.detach().clone()
    torch.distributed.all_reduce(value)
    return value / torch.distributed.get_world_size()


def finite(loss: Tensor, epoch: int, step: int) -> Tensor:
    """The loss, if it is a number. Raises FloatingPointError that says where it happened, else."""
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss.item()} at epoch {epoch + 1}, iteration {step + 1}: lower learning_rate, lengthen "
            "warmup_iterations or set gradient_clip"
        )
    return loss
