"""An Xception backbone as an image classifier: what it is pretrained as (section 4.1)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule, LightningModule
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR
from torch.utils.data import DataLoader, Dataset
from torchmetrics.classification import MulticlassAccuracy

from dfanet_ros.network.xception import ATTENTION_WIDTH, CHANNELS, Backbone, Stem
from training.config import Classification
from training.data import as_tensor, check_enough, every_nth, in_workers, normalise, training_loader
from training.data_sets.image_folder import ClassFolders
from training.losses import finite

EVALUATED = 0.875  # share of the shorter side that the evaluated centre has, as usual on ImageNet


class XceptionClassifier(nn.Module):
    """The stem, one backbone and the fully connected layer that becomes the attention's (section 3.2)."""

    def __init__(self, backbone: str, num_classes: int = ATTENTION_WIDTH) -> None:
        super().__init__()
        self.stem = Stem()
        self.backbone = Backbone(backbone, attention=False)
        # The first layer of the attention; its second, back to the channels, has a meaning in segmentation only.
        self.fc = nn.Linear(CHANNELS[backbone][-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes) of normalised RGB images (N, 3, H, W)."""
        backbone = self.backbone
        x = backbone.enc4(backbone.enc3(backbone.enc2(self.stem(images))))
        logits: Tensor = self.fc(x.mean((2, 3)))
        return logits


class ClassificationTask(LightningModule):
    """A backbone, its loss and its accuracy."""

    def __init__(self, config: Classification, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.network = XceptionClassifier(config.backbone, num_classes)
        self.top1 = MulticlassAccuracy(num_classes, average="micro")
        self.top5 = MulticlassAccuracy(num_classes, average="micro", top_k=min(5, num_classes))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, target = batch
        loss = F.cross_entropy(self.network(images), target, label_smoothing=self.config.label_smoothing)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return finite(loss, self.current_epoch, batch_idx)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        images, target = batch
        logits = self.network(images)
        self.top1(logits, target)
        self.top5(logits, target)
        self.log("val/top1", self.top1, on_epoch=True, prog_bar=True)
        self.log("val/top5", self.top5, on_epoch=True)

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = torch.optim.SGD(
            self.parameters(),
            lr=config.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=config.weight_decay,
        )
        return {"optimizer": optimizer, "lr_scheduler": MultiStepLR(optimizer, config.learning_rate_drops, gamma=0.1)}


class ClassificationData(LightningDataModule):
    """Images in folders by class: <root>/train and <root>/val, of the same classes.

    Raises:
        ImageFileError: there are not enough to train on.
    """

    def __init__(self, config: Classification, train: ClassFolders, val: ClassFolders) -> None:
        super().__init__()
        check_enough(train, config)
        self.config = config
        self.train = train
        self.val = val

    def train_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        return training_loader(AugmentedImages(self.train, self.config), self.config, self.trainer)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        config = self.config
        images = CentredImages(self.val, config.size)
        return DataLoader(
            images,
            config.check_batch(config.batch_size),
            sampler=every_nth(len(images), self.trainer),
            **in_workers(config),
        )

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """What the network takes, of (N, H, W, 3) uint8 and the classes' numbers."""
        images, numbers = batch
        return normalise(images), numbers


class AugmentedImages(Dataset[tuple[Tensor, int]]):
    """Images randomly cropped, resized and mirrored; asked for by (epoch, index)."""

    def __init__(self, samples: ClassFolders, config: Classification) -> None:
        self.samples = samples
        self.config = config

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        rng = np.random.default_rng([self.config.seed, *key])
        image, number = self.samples[key[1]]
        image = random_resized_crop(image, self.config.size, rng)
        return as_tensor(image[:, ::-1] if rng.random() < 0.5 else image), number


class CentredImages(Dataset[tuple[Tensor, int]]):
    """The square middle of each image."""

    def __init__(self, samples: ClassFolders, size: int) -> None:
        self.samples = samples
        self.size = size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image, number = self.samples[index]
        height, width = image.shape[:2]
        side = max(1, round(min(height, width) * EVALUATED))
        top, left = (height - side) // 2, (width - side) // 2
        return as_tensor(resized(image[top : top + side, left : left + side], self.size)), number


def random_resized_crop(image: NDArray[np.uint8], size: int, rng: Generator) -> NDArray[np.uint8]:
    """A random part of 8 to 100 % of the area and a ratio of 3:4 to 4:3, as a square (Szegedy et al., 2015)."""
    height, width = image.shape[:2]
    for _ in range(10):
        area = rng.uniform(0.08, 1) * height * width
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        across, down = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            break
    else:
        across = down = min(height, width)
    top, left = int(rng.integers(height - down + 1)), int(rng.integers(width - across + 1))
    return resized(image[top : top + down, left : left + across], size)


def resized(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """A part of an image as a square of `size` pixels."""
    method = cv2.INTER_AREA if min(image.shape[:2]) > size else cv2.INTER_LINEAR
    return cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=method).astype(np.uint8, copy=False)
