"""Training runs, as commands: they learn, what they write is what evaluation reads, and nothing is lost when killed."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="Lightning is not installed")

from training_runs import ROOT, TINY, command, environment, logged, run, write_config, write_folder

from dfanet_ros.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("data"))


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return torch.load(out / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]


def test_training_learns_and_its_weights_are_evaluated(data: Path, tmp_path: Path) -> None:
    config, out = write_config(tmp_path / "run.yaml", epochs=12, evaluate_every=4), tmp_path / "run"
    done = run("train", config=config, data=data, out=out)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"best weights: {out}/best.safetensors"
    losses, scores = logged(out, "train/loss"), logged(out, "val/mIoU")
    assert len(losses) == 12 and len(scores) == 3
    chance = np.log(8) * (1 + 3 * TINY["auxiliary"])
    assert losses[0] < 1.1 * chance and losses[-1] < 0.85 * losses[0]
    network, info = load_checkpoint(out / "best.safetensors")
    assert info.data_set == "street_scenes" and info.backbone == "xception_b" and info.input_size == (64, 96)
    assert info.val_miou == pytest.approx(max(scores)) and "of 12 on train, adamw at 0.003" in info.training
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())
    assert load_checkpoint(out / "last.safetensors")[1].val_miou == pytest.approx(scores[-1])

    evaluated = run(
        "evaluate", weights=out / "best.safetensors", images=data / "images/val", labels=data / "labels/val"
    )
    last = evaluated.stdout.splitlines()[-1]
    assert re.fullmatch(r"mIoU: \d+\.\d\d", last)
    assert float(last.split()[1]) == pytest.approx(info.val_miou, abs=0.1)

    again = run("train", config=config, data=data, out=out)
    assert again.returncode != 0 and "holds a run already: go on with it by --resume" in again.stderr
    other = run("train", config=config, data=data, out=out, resume=True, learning_rate=0.1)
    assert other.returncode != 0 and "learning_rate was 0.003 and is 0.1" in other.stderr


def test_killed_and_resumed_ends_as_if_uninterrupted(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.yaml", workers=1, network="backbone_aspp")  # which has dropout
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run("train", config=config, data=data, out=whole).returncode == 0
    starts = 0
    for epoch in (0, 1):  # killed after the epoch's checkpoint, somewhere in the next epoch
        starts += 1
        process = subprocess.Popen(
            command("train", config=config, data=data, out=killed, resume=True),
            cwd=ROOT,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for_epoch(killed, epoch, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # What is there is whole, whatever the moment.
        assert torch.load(killed / "checkpoints/last.ckpt", weights_only=True)["epoch"] in (epoch, epoch + 1)
    assert run("train", config=config, data=data, out=killed, resume=True).returncode == 0
    expected, given = weights_of(whole), weights_of(killed)
    assert expected.keys() == given.keys()
    assert all(torch.equal(expected[name], given[name]) for name in expected)
    assert len(list(killed.glob("logs/version_*"))) == starts + 1
    assert logged(killed, "val/mIoU")[-1] == logged(whole, "val/mIoU")[-1]
    (best, info), (best2, info2) = (load_checkpoint(out / "best.safetensors") for out in (whole, killed))
    assert info == info2
    assert all(torch.equal(tensor, best2.state_dict()[name]) for name, tensor in best.state_dict().items())


def wait_for_epoch(out: Path, epoch: int, process: subprocess.Popen[bytes]) -> None:
    """Until the checkpoint of an epoch (from 0) is there."""
    end = time.monotonic() + 60
    path = out / "checkpoints/last.ckpt"
    while time.monotonic() < end and process.poll() is None:
        if path.is_file() and torch.load(path, weights_only=True)["epoch"] >= epoch:
            return
        time.sleep(0.02)
    raise AssertionError(f"no checkpoint of epoch {epoch} (exit code {process.poll()})")


def test_two_processes_learn_as_one(data: Path, tmp_path: Path) -> None:
    """By gloo on the CPU, with synchronised normalisation and losses that count pixels over both processes."""
    # SGD, whose steps follow the gradient's size: AdamW makes large differences of rounding errors.
    config = write_config(
        tmp_path / "run.yaml", optimizer="sgd", learning_rate=0.005, ema_decay=0.9, epochs=3, evaluate_every=3
    )
    curves = []
    for devices in (1, 2):
        done = run("train", config=config, data=data, out=tmp_path / str(devices), devices=devices)
        assert done.returncode == 0, done.stderr
        curves.append((logged(tmp_path / str(devices), "train/loss"), logged(tmp_path / str(devices), "val/mIoU")))
    (losses, scores), (losses2, scores2) = curves
    assert len(losses) == len(losses2) == 3
    # Rounding errors are what differs; each epoch multiplies them.
    np.testing.assert_allclose(losses[:1], losses2[:1], rtol=1e-5)
    np.testing.assert_allclose(losses, losses2, rtol=5e-4)
    assert losses[2] < losses[0]
    np.testing.assert_allclose(scores, scores2, atol=0.5)


def test_two_processes_end_at_sigterm_and_leave_none(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.yaml", epochs=1000)
    process = subprocess.Popen(
        command("train", config=config, data=data, out=tmp_path / "run", devices=2),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_epoch(tmp_path / "run", 1, process)
    children = [
        Path("/proc", pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    assert children
    process.terminate()
    assert process.wait(30) == 128 + signal.SIGTERM
    end = time.monotonic() + 10
    while any(map(runs, children)):
        assert time.monotonic() < end, "the second process goes on"
        time.sleep(0.1)


def runs(process: Path) -> bool:
    """Whether a process, by its folder in /proc, is there and has not ended."""
    try:
        return "State:\tZ" not in (process / "status").read_text()
    except OSError:
        return False


def test_a_loss_that_is_no_number_stops_the_training(data: Path, tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "run.yaml",
        optimizer="sgd",
        learning_rate=1e30,
        gradient_clip=0.0,
        warmup_iterations=0,
        ema_decay=0.0,
    )
    done = run("train", config=config, data=data, out=tmp_path / "run")
    assert done.returncode == 1
    assert re.search(r"error: the loss is (nan|inf) at epoch \d+, iteration \d+: lower learning_rate", done.stderr)


def test_a_run_starts_from_other_weights(data: Path, tmp_path: Path) -> None:
    first = write_config(tmp_path / "first.yaml", epochs=2)
    assert run("train", config=first, data=data, out=tmp_path / "first").returncode == 0
    second = write_config(
        tmp_path / "second.yaml", epochs=2, init=str(tmp_path / "first/last.safetensors"), learning_rate=1e-9
    )
    done = run("train", config=second, data=data, out=tmp_path / "second")
    network, _ = load_checkpoint(tmp_path / "first/last.safetensors")
    assert f"{len(network.state_dict())} of {len(network.state_dict())} tensors start from" in done.stdout
    again, _ = load_checkpoint(tmp_path / "second/last.safetensors")
    for (name, before), after in zip(network.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=0, msg=name)


def test_a_run_starts_from_shipped_weights(data: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "run.yaml", epochs=2, init="street_scenes")
    done = run("train", config=config, data=data, out=tmp_path / "run")
    count = len(load_checkpoint(tmp_path / "run/last.safetensors")[0].state_dict())
    assert f"{count} of {count} tensors start from" in done.stdout
    assert "from street_scenes" in load_checkpoint(tmp_path / "run/last.safetensors")[1].training
