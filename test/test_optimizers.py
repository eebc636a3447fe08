"""Learning rates and weight decay."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dfanet_ros.network import build_network
from training.optimizers import build_optimizer, poly_schedule


@pytest.mark.parametrize("warmup", [0, 9])
def test_learning_rate_rises_and_falls(warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = poly_schedule(optimizer, warmup, iterations=100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    expected = [min(1, (t + 1) / (warmup + 1)) * (1 - t / 100) ** 0.9 for t in range(100)]
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_normalisation_and_biases_do_not_decay(name: str) -> None:
    network = build_network("dfanet", backbone="xception_b", num_classes=3)
    optimizer = build_optimizer(network, name, 0.1, 0.01)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for parameter_name, parameter in network.named_parameters():
        norm_or_bias = parameter.ndim == 1
        assert decay[id(parameter)] == (0.0 if norm_or_bias else 0.01), parameter_name
    assert len(decay) == len(list(network.parameters()))
