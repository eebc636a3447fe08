"""The trainer of a run is the one for the machine that it runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("lightning", reason="Lightning is not installed")

from training import runs
from training.config import Classification
from training.synchronised import CPUSyncBatchNorm2d


def arguments_of_trainer(
    out: Path, monkeypatch: pytest.MonkeyPatch, config: Classification, cuda: bool
) -> dict[str, Any]:
    """What the trainer is made with on a machine with or without CUDA."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(runs, "Trainer", dict)
    return dict(runs.build_trainer(config, out, "val/top1", 1))


@pytest.mark.parametrize(
    ("accelerator", "cuda", "expected"),
    [
        ("auto", True, nn.SyncBatchNorm),
        ("gpu", True, nn.SyncBatchNorm),
        ("cpu", True, CPUSyncBatchNorm2d),
        ("auto", False, CPUSyncBatchNorm2d),
    ],
)
def test_normalisation_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: Any, cuda: bool, expected: type[nn.Module]
) -> None:
    """Of a network on the CPU, where it is when Lightning synchronises its layers, whatever it will run on."""
    config = Classification(accelerator=accelerator, devices=2)
    _, sync = arguments_of_trainer(tmp_path, monkeypatch, config, cuda)["plugins"]
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4)))
    images, state = torch.ones(2, 3, 5, 5), model.state_dict()
    logits = model(images)
    model = sync.apply(model)
    assert type(model[1][0]) is expected
    model = sync.revert(model)
    assert type(model[1][0]) is not expected
    model.load_state_dict(state)
    assert torch.equal(model.train()(images), logits)
