"""Batch normalisation over the batch of all processes, on the CPU."""

from __future__ import annotations

import torch
from lightning.pytorch.plugins import LayerSync
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class CPUSyncBatchNorm(LayerSync):
    """What Lightning's `TorchSyncBatchNorm` does, which is for CUDA only, on the CPU: for tests and small clusters."""

    def apply(self, model: nn.Module) -> nn.Module:
        """The model with every `BatchNorm2d` in it made a synchronised one, in place, with the same parameters."""
        return exchanged(model, nn.BatchNorm2d, CPUSyncBatchNorm2d)

    def revert(self, model: nn.Module) -> nn.Module:
        """The opposite of `apply`."""
        return exchanged(model, CPUSyncBatchNorm2d, nn.BatchNorm2d)


class CPUSyncBatchNorm2d(nn.BatchNorm2d):
    """`BatchNorm2d` with the mean and variance of the batches of all processes."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        count = torch.tensor(float(input.numel() // input.shape[1]))
        torch.distributed.all_reduce(count)
        mean = all_reduce(input.sum((0, 2, 3))) / count
        centred = input - mean[:, None, None]
        var = all_reduce(centred.square().sum((0, 2, 3))) / count
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            # As in BatchNorm2d: without a momentum, the mean over all batches (which update_bn wants).
            momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * count / (count - 1), momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def exchanged(module: nn.Module, before: type[nn.Module], after: type[nn.Module]) -> nn.Module:
    """The module, in which what was of class `before` is of class `after`."""
    for child in module.modules():
        if type(child) is before:
            child.__class__ = after
    return module
