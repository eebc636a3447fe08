"""Train a network: `python -m training.train --config training/configs/camvid.yaml --data FOLDER --out FOLDER`."""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn
from torch.utils.data import DataLoader
from tqdm import tqdm

from dfanet_ros.checkpoint import WeightsInfo, save_checkpoint
from dfanet_ros.label_set import UNLABELLED
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.network import build_network
from dfanet_ros.network.dfanet import DFANet
from training.config import Config, load_config
from training.data import Augmented, class_weights, normalise, open_parts
from training.data_sets import Sample


def build_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD or AdamW; normalisation layers and biases are left out of the weight decay."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=config.learning_rate)


def poly_schedule(optimizer: torch.optim.Optimizer, warmup: int, iterations: int) -> LRScheduler:
    """A linear rise over `warmup` iterations, then (1 - t / T) ^ 0.9."""

    def factor(iteration: int) -> float:
        return min(1.0, (iteration + 1) / (warmup + 1)) * (1 - iteration / iterations) ** 0.9

    return LambdaLR(optimizer, factor)


@torch.no_grad()
def evaluate(network: nn.Module, samples: Sequence[Sample], num_classes: int, device: torch.device) -> ConfusionMatrix:
    """The network on whole frames, at the labels' own size."""
    network.eval()
    confusion = ConfusionMatrix(num_classes)
    for image, label in samples:
        logits: Tensor = network(normalise(image)[None].to(device))
        confusion.update(label, logits[0].argmax(0).to(torch.uint8).cpu().numpy())
    return confusion


def train(config: Config, data: Path | None, out: Path, device: torch.device) -> Path:
    """Run one training; writes `best.safetensors`, `last.safetensors` and `log.csv`, gives the path of the first."""
    torch.manual_seed(config.seed)
    train_part, val_part = open_parts(config, data)
    labels = train_part.labels
    val_samples = list(val_part)
    augmented = Augmented(train_part, config)
    loader = DataLoader(
        augmented,
        config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
    )
    network = build_network(config.network, num_classes=len(labels), backbone=config.backbone).to(device)
    optimizer = build_optimizer(network, config)
    schedule = poly_schedule(optimizer, config.warmup_iterations, config.epochs * len(loader))
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay))
    loss_of = nn.CrossEntropyLoss(class_weights(augmented.samples, len(labels)).to(device), ignore_index=UNLABELLED)

    best, started = -1.0, time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    with (out / "log.csv").open("w", newline="") as file:
        log = csv.writer(file)
        log.writerow(["epoch", "seconds", "loss", "val_miou"])
        for epoch in range(1, config.epochs + 1):
            loss = train_epoch(network, averaged, loader, optimizer, schedule, loss_of, config, epoch)
            if epoch % config.evaluate_every and epoch != config.epochs:
                continue
            kept = averaged.module if config.ema_decay else network
            assert isinstance(kept, DFANet)
            if config.ema_decay:
                # Averaged weights give other activations than those that the running statistics were taken of;
                # through three backbones in a row the difference costs half of the mIoU.
                update_bn(loader, kept, device)
            miou = evaluate(kept, val_samples, len(labels), device).miou()
            seconds = time.monotonic() - started
            log.writerow([epoch, round(seconds), f"{loss:.4f}", f"{miou:.2f}"])
            file.flush()
            tqdm.write(f"epoch {epoch}: loss {loss:.4f}, val mIoU {miou:.2f} %, after {seconds / 60:.1f} min")
            info = WeightsInfo(
                network=config.network,
                options=kept.options,
                labels=labels,
                data_set=config.data_set,
                input_size=config.input_size,
                val_miou=round(miou, 2),
                training=describe(config, epoch),
            )
            save_checkpoint(out / "last.safetensors", kept, info)
            if miou > best:
                best = miou
                save_checkpoint(out / "best.safetensors", kept, info)
    return out / "best.safetensors"


def train_epoch(
    network: DFANet,
    averaged: AveragedModel,
    loader: DataLoader[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    schedule: LRScheduler,
    loss_of: nn.Module,
    config: Config,
    epoch: int,
) -> float:
    """One pass over the data; gives the mean loss. Raises FloatingPointError when the loss is not finite."""
    network.train()
    device = next(network.parameters()).device
    total = 0.0
    for step, (images, targets) in enumerate(tqdm(loader, desc=f"epoch {epoch}", leave=False, mininterval=5)):
        loss = loss_of(network(images.to(device)), targets.to(device))
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss is {loss.item()} at epoch {epoch}, step {step}: lower the learning rate"
            )
        optimizer.zero_grad()
        loss.backward()
        if config.gradient_clip:
            nn.utils.clip_grad_norm_(network.parameters(), config.gradient_clip)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        total += loss.item()
    return total / len(loader)


def describe(config: Config, epoch: int) -> str:
    """How the weights came about, for their metadata."""
    return (
        f"epoch {epoch} of {config.epochs}, {config.optimizer} at {config.learning_rate}, weight decay "
        f"{config.weight_decay}, batch {config.batch_size}, crop {config.crop[0]} x {config.crop[1]}, scale "
        f"{config.scale[0]} to {config.scale[1]}, warm-up {config.warmup_iterations}, poly 0.9, "
        f"EMA {config.ema_decay}, seed {config.seed}, from scratch"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the run's YAML file, see training/configs")
    parser.add_argument("--data", type=Path, help="folder of the data set, as its download has it (see the README)")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        best = train(load_config(arguments.config), arguments.data, arguments.out, torch.device(arguments.device))
    except ValueError as error:
        parser.exit(1, f"error: {error}\n")
    print(f"best weights: {best}")


if __name__ == "__main__":
    main()
