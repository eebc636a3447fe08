"""Optimisers and learning rates."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR, LRScheduler, PolynomialLR


def build_optimizer(network: nn.Module, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """SGD with momentum 0.9, or AdamW; normalisation layers and biases are left out of the weight decay."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=learning_rate)


def poly_schedule(optimizer: torch.optim.Optimizer, warmup: int, iterations: int) -> LRScheduler:
    """(1 - t / T) ^ 0.9, times a linear rise over the first `warmup` iterations."""
    poly = PolynomialLR(optimizer, iterations, power=0.9)
    if not warmup:
        return poly
    return ChainedScheduler([LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup), poly], optimizer)
