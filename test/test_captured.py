"""Training on a GPU, where the kernels of a batch's loss and gradients are launched as CUDA graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("lightning", reason="Lightning is not installed")

from training_runs import logged, run, write_config, write_folder

from training.captured import CapturedLoss

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
ONE_BY_ONE = "launched one by one"


def run_on_gpu(folder: Path, name: str, **changes: Any) -> list[float]:
    """A run in `folder`, of the scenes there; gives its losses."""
    config = write_config(folder / f"{name}.yaml", accelerator="gpu", **changes)
    done = run("train", config=config, data=folder / "scenes", out=folder / name)
    assert done.returncode == 0, done.stderr
    assert ONE_BY_ONE not in done.stdout
    return logged(folder / name, "train/loss")


@CUDA
def test_a_captured_run_is_that_of_single_kernels(tmp_path: Path) -> None:
    """But for rounding, which backward passes of CUDA do in no fixed order."""
    write_folder(tmp_path / "scenes")
    for precision, tolerance in (("32-true", 2e-3), ("bf16-mixed", 3e-2)):
        given, expected = (
            run_on_gpu(tmp_path, f"{precision}_{graphs}", precision=precision, cuda_graphs=graphs)
            for graphs in (True, False)
        )
        assert len(given) == 4 and given[-1] < given[0]
        assert given == pytest.approx(expected, rel=tolerance)


@CUDA
def test_hard_examples_are_mined_without_graphs(tmp_path: Path) -> None:
    write_folder(tmp_path / "scenes")
    losses = run_on_gpu(tmp_path, "hard", ohem=0.7)
    assert len(losses) == 4 and losses[-1] < losses[0]


def refused(device: str, loss: Any, says: str) -> None:
    """A capture that fails leaves the running statistics as they were."""
    module = nn.BatchNorm2d(3).to(device)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    images, target = torch.rand(2, 3, 4, 4, device=device), torch.zeros(2, 4, 4, dtype=torch.int64, device=device)
    with pytest.raises(RuntimeError, match=says):
        CapturedLoss(lambda images, _: loss(module(images)), module, images, target)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_statistics_are_as_before_a_capture_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: CapturedLoss, loss: Any) -> None:
        self._compute(loss)
        raise RuntimeError("no graphs here")

    monkeypatch.setattr(CapturedLoss, "_capture", fails)
    refused("cpu", Tensor.sum, "no graphs here")


@CUDA
def test_a_loss_that_waits_cannot_be_captured() -> None:
    refused("cuda", lambda output: output.sum() * output.sum().item(), "captur")
