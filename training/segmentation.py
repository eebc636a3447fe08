"""What one step of training and one of evaluation do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassConfusionMatrix

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.label_set import UNLABELLED, LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.network import build_network
from dfanet_ros.network.base import enlarge_logits
from dfanet_ros.network.layers import pad_to_multiple, pixel_classifier, upsample
from training.captured import CapturedLoss
from training.config import Config, ConfigError
from training.data import Batch, normalise
from training.losses import PixelLoss, finite
from training.optimizers import build_optimizer, poly_schedule
from training.runs import say


class SegmentationTask(LightningModule):
    """A network of the registry, its loss and its score.

    Args:
        config: of the run.
        labels: the classes.
        iterations: of the whole run, for the learning rate.
        class_weights: (C,) float32 or None.

    Raises:
        ConfigError: the batches are too small for the network.
    """

    def __init__(self, config: Config, labels: LabelSet, iterations: int, class_weights: Tensor | None = None) -> None:
        super().__init__()
        self.iterations = iterations
        self.config = config
        self.labels = labels
        self.network = build_network(
            config.network, num_classes=len(labels), backbone=config.backbone, **config.options
        )
        least = self.network.least_batch
        if config.batch_size < least:
            raise ConfigError(
                f"batch_size is {config.batch_size}, but network {config.network} needs at least {least}: it "
                "normalises means over whole images, of which one image has one"
            )
        channels = self.network.auxiliary_channels if config.auxiliary else []
        # Trained beside the network, for the gradient that they give to its depths, and left out of the weights.
        self.auxiliary = nn.ModuleList(pixel_classifier(count, len(labels)) for count in channels)
        self.loss = PixelLoss(class_weights, config.label_smoothing, config.ohem)
        self.confusion = MulticlassConfusionMatrix(len(labels), ignore_index=UNLABELLED, validate_args=False)
        self.info = WeightsInfo(
            network=config.network,
            options=self.network.options,
            labels=labels,
            data_set=config.data_set,
            input_size=config.input_size,
        )
        self._evaluated: tuple[int, float] | None = None  # the last epoch that was evaluated, and its mIoU
        self._captured: CapturedLoss | None = None
        self._unchecked: tuple[Tensor, int, int] | None = None  # the last batch's loss, its epoch and its number

    def batch_loss(self, images: Tensor, target: Tensor) -> Tensor:
        """Of normalised images (N, 3, H, W) and ids (N, H, W): that of the full-size logits and the auxiliary ones."""
        logits, features = self.network.outputs(pad_to_multiple(images, self.network.stride))
        stride = self.network.logits_stride
        full = enlarge_logits(logits, stride)
        rows, columns = full.shape[-2:]
        padded = F.pad(target, (0, columns - target.shape[2], 0, rows - target.shape[1]), value=UNLABELLED)
        loss: Tensor = self.loss(full, padded)
        # At the logits' size: each side by four costs sixteen times as much and tells a backbone hardly more.
        middle = stride // 2
        small = padded[:, middle::stride, middle::stride]
        for head, feature in zip(self.auxiliary, features, strict=False):
            coarse = upsample(head(feature), (logits.shape[-2], logits.shape[-1]))
            loss = loss + self.config.auxiliary * self.loss(coarse, small)
        return loss

    def on_train_start(self) -> None:
        config = self.config
        # Hard example mining looks at values on the way, processes wait for each other, and float16 scales losses.
        impossible = config.ohem or config.processes > 1 or self.trainer.precision == "16-mixed"
        if self.device.type != "cuda" or not config.cuda_graphs or impossible:
            return
        images = normalise(torch.zeros(config.batch_size, *config.crop, 3, dtype=torch.uint8, device=self.device))
        target = torch.randint(len(self.labels), (config.batch_size, *config.crop), device=self.device)
        try:
            with self.trainer.precision_plugin.train_step_context():
                self._captured = CapturedLoss(self.batch_loss, self, images, target)
        except RuntimeError as error:
            say(f"The network's kernels are launched one by one, which is slower: {str(error).splitlines()[0]}")

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        # So that what is dropped out depends on seed, process and iteration only, whatever came before.
        seed = np.random.SeedSequence([self.config.seed, self.global_rank, self.global_step])
        torch.manual_seed(int(seed.generate_state(1)[0]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = (self._captured or self.batch_loss)(*batch)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        checked, self._unchecked = self._unchecked, (loss.detach(), self.current_epoch, batch_idx)
        # On a GPU that of the batch before, which is there by now: waiting for this one would keep the GPU waiting.
        if self.device.type != "cuda" or self.trainer.is_last_batch:
            checked = self._unchecked
        if checked:
            finite(*checked)
        return loss

    def backward(self, loss: Tensor) -> None:
        if self._captured:
            self._captured.backward()
        else:
            loss.backward()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, target = batch
        logits = upsample(self.network(images), (target.shape[-2], target.shape[-1]))
        self.confusion.update(logits.argmax(1), target)

    def on_validation_epoch_end(self) -> None:
        confusion = ConfusionMatrix.from_counts(self.confusion.compute().cpu().numpy())
        self.confusion.reset()
        if self.trainer.sanity_checking:
            return
        miou = round(confusion.miou(), 2)
        self._evaluated = self.current_epoch, miou
        self.log("val/mIoU", miou, prog_bar=True)
        self.log("val/pixel_accuracy", confusion.pixel_accuracy())
        self.log("val/mean_accuracy", confusion.mean_accuracy())
        self.log("val/fwIoU", confusion.frequency_weighted_iou())
        for name, iou in zip(self.labels.names, confusion.iou(), strict=True):
            self.log(f"val/IoU/{name}", float(iou))

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = build_optimizer(self, config.optimizer, config.learning_rate, config.weight_decay)
        schedule = poly_schedule(optimizer, config.warmup_iterations, self.iterations)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What `training.export` makes weights of."""
        epoch, miou = self._evaluated or (None, None)
        evaluated = epoch == self.current_epoch
        training = f"epoch {self.current_epoch + 1} of {describe(self.config)}"
        info = replace(self.info, val_miou=miou if evaluated else None, training=training)
        checkpoint["weights_info"] = info.to_metadata()
        # Averaged weights get the statistics of their normalisation when they are evaluated.
        checkpoint["stale_statistics"] = bool(self.config.ema_decay) and not evaluated


def describe(config: Config) -> str:
    """How weights come about, for their metadata."""
    parts = [
        f"{config.epochs} on {' + '.join(config.train_parts)}",
        f"{config.optimizer} at {config.learning_rate}",
        f"weight decay {config.weight_decay}",
        f"batch {config.batch_size}",
        f"crop {config.crop[0]} x {config.crop[1]}",
        f"scale {config.scale[0]} to {config.scale[1]}",
        f"colour {config.colour}",
        f"auxiliary {config.auxiliary}",
        f"class weights {config.class_weights} {config.class_weight_offset}",
        f"warm-up {config.warmup_iterations}",
        "poly 0.9",
        f"EMA {config.ema_decay}",
        f"seed {config.seed}",
        f"from {config.init or 'scratch'}",
    ]
    for name in ("gradient_clip", "label_smoothing", "ohem", "precision", "val_part"):
        value = getattr(config, name)
        if value != getattr(Config, name):  # the default
            parts.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(parts)
