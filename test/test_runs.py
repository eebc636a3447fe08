"""A run: its trainer is the one for the machine, and its checkpoints may be moved with their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("lightning", reason="Lightning is not installed")

from lightning.pytorch.callbacks import ModelCheckpoint

from training import runs
from training.checkpoints import keep_last_and_best
from training.config import Classification
from training.synchronised import CPUSyncBatchNorm2d


def arguments_of_trainer(
    out: Path, monkeypatch: pytest.MonkeyPatch, config: Classification, cuda: bool, bfloat16: bool = True
) -> dict[str, Any]:
    """What the trainer is made with on a machine with or without CUDA, whose GPU has bfloat16 or emulates it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: bfloat16 or including_emulation
    )
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


@pytest.mark.parametrize(
    ("accelerator", "cuda", "bfloat16", "expected"),
    [
        ("auto", True, True, "bf16-mixed"),
        ("gpu", True, False, "32-true"),
        ("auto", False, False, "32-true"),
        ("cpu", True, True, "32-true"),
    ],
)
def test_precision_is_what_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: Any, cuda: bool, bfloat16: bool, expected: str
) -> None:
    config = Classification(accelerator=accelerator)
    assert arguments_of_trainer(tmp_path, monkeypatch, config, cuda, bfloat16)["precision"] == expected
    given = Classification(accelerator=accelerator, precision="16-mixed")
    assert arguments_of_trainer(tmp_path, monkeypatch, given, cuda, bfloat16)["precision"] == "16-mixed"


def best_of(out: Path) -> ModelCheckpoint:
    best, _ = keep_last_and_best(out, "val/mIoU")
    assert isinstance(best, ModelCheckpoint)
    return best


def after_an_evaluation(out: Path) -> ModelCheckpoint:
    """What keeps the best checkpoint, when it has kept one."""
    path, score = out / "checkpoints/best.ckpt", torch.tensor(66.0)
    path.parent.mkdir(parents=True)
    path.touch()
    best = best_of(out)
    best.best_model_path = best.kth_best_model_path = str(path)
    best.best_model_score = best.current_score = best.kth_value = score
    best.best_k_models = {str(path): score}
    return best


def test_a_moved_run_knows_its_best_score(tmp_path: Path) -> None:
    state = after_an_evaluation(tmp_path / "before").state_dict()
    (tmp_path / "before").rename(tmp_path / "after")
    moved = best_of(tmp_path / "after")
    moved.load_state_dict(state)
    path = str(tmp_path / "after/checkpoints/best.ckpt")
    assert moved.best_model_path == moved.kth_best_model_path == path
    assert moved.best_model_score == moved.kth_value == 66 and moved.best_k_models == {path: 66}
    # Where Lightning looks for the state, also of runs that began without this.
    assert moved.state_key == ModelCheckpoint(monitor="val/mIoU", mode="max").state_key


def test_a_run_without_its_best_checkpoint_gets_a_new_one(tmp_path: Path) -> None:
    state = after_an_evaluation(tmp_path / "before").state_dict()
    copied = best_of(tmp_path / "after")
    copied.load_state_dict(state)
    assert copied.best_model_score is None and copied.best_k_models == {}
