"""A run's data: what is trained on, in random order and form, and what is evaluated on, as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, Trainer
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from tqdm import tqdm

from dfanet_ros.checkpoint import MEAN, STD
from dfanet_ros.image_files import ImageFileError
from dfanet_ros.label_set import UNLABELLED, LabelSet
from dfanet_ros.pixels import resize_frame
from training.augmentation import random_colours, random_crop, random_flip, random_scale
from training.config import Classification, Config
from training.data_sets import Labelled, Sample, open_part
from training.doubts import class_doubts, scale_doubts

Sent = tuple[Tensor, Tensor]  # RGB (N, H, W, 3) and ids (N, H, W), uint8; without N for a sample
Batch = tuple[Tensor, Tensor]  # normalised images (N, 3, H, W) float32 and ids (N, H, W) int64


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """A sample as it travels from the workers: in bytes, a fifth of what the network takes."""
    return torch.from_numpy(np.ascontiguousarray(pixels))


def normalise(images: Tensor) -> Tensor:
    """RGB (N, H, W, 3) uint8 to float32 (N, 3, H, W), with zero mean and unit deviation, where the images are."""
    mean, std = mean_and_std(images.device)
    normalised = ((images / 255 - mean) / std).permute(0, 3, 1, 2)
    # Channels last in memory, as they come, is what GPUs are fast with; on CPUs some backward passes are wrong with it.
    return normalised if images.is_cuda else normalised.contiguous()


@cache
def mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """Of RGB, (3,) float32 each; kept, for to copy them to a GPU is to wait for it."""
    return torch.tensor(MEAN, device=device), torch.tensor(STD, device=device)


def kept_in_memory(samples: Sequence[Sample], room: float, name: str) -> tuple[Sequence[Sample], float]:
    """The samples decoded once, for that takes longer than all the rest, if there is room.

    Args:
        samples: decoded whenever they are asked for.
        room: in bytes.
        name: of the samples.

    Returns:
        A list, and the room that it leaves; or the samples as they are, and all of the room.
    """
    if not len(samples):
        raise ImageFileError(f"there are no images in {name}")
    kept, left = [], room
    for index in tqdm(range(len(samples)), f"reading {name}", unit="frame", leave=False):
        image, label = samples[index]
        left -= image.nbytes + label.nbytes
        if left < 0:
            return samples, room
        kept.append((image, label))
    return kept, left


def check_enough(samples: Sequence[Any], config: Config | Classification) -> None:
    """Raise ImageFileError if there is no whole batch to train on."""
    if len(samples) < config.batch_size:
        raise ImageFileError(
            f"there are {len(samples)} images to train on, fewer than the batch_size {config.batch_size}"
        )


def in_workers(config: Config | Classification) -> dict[str, Any]:
    """Arguments of a `DataLoader` by which processes of its own prepare the samples.

    They are forked, which Python 3.14 no longer does by itself on Linux: so they share the frames that are kept in
    memory, and start at once.
    """
    return {"num_workers": config.workers, "multiprocessing_context": "fork" if config.workers else None}


class SeededSampler(DistributedSampler[int]):
    """Indexes in an order that depends on seed and epoch only, each with the epoch.

    From both, a sample's augmentation follows: whoever prepares it, in whichever process and after whatever
    interruption, prepares the same.
    """

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        return ((self.epoch, index) for index in super().__iter__())


def seeded_sampler(samples: Dataset[Any], seed: int, trainer: Trainer | None) -> SeededSampler:
    """This process's share of the samples, in the order of the epoch that the trainer is in."""
    rank, world = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
    sampler = SeededSampler(samples, world, rank, seed=seed, drop_last=True)
    # Lightning tells a sampler the epoch, but in a resumed run only after workers have asked for their first samples.
    if trainer:
        sampler.set_epoch(trainer.fit_loop.epoch_progress.current.processed)  # type: ignore[attr-defined]
    return sampler


def training_loader(
    samples: Dataset[Any], config: Config | Classification, trainer: Trainer | None, persistent: bool = True
) -> DataLoader[Any]:
    """This process's share of the batches, of samples that are asked for by (epoch, index).

    Args:
        samples: prepared by (epoch, index).
        config: of the run.
        trainer: that the loader is for; None: there is one process.
        persistent: whether the workers live on from epoch to epoch.
    """
    return DataLoader(
        samples,
        config.check_batch(config.batch_size),
        sampler=seeded_sampler(samples, config.seed, trainer),
        drop_last=True,
        **in_workers(config),
        persistent_workers=persistent and config.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def every_nth(count: int, trainer: Trainer | None) -> range:
    """This process's share of what is evaluated: none twice, none left out."""
    return range(trainer.global_rank, count, trainer.world_size) if trainer else range(count)


class Augmented(Dataset[Sent]):
    """Samples, randomly scaled, cropped, mirrored and recoloured; asked for by (epoch, index)."""

    def __init__(self, samples: Sequence[Sample], config: Config) -> None:
        self.samples = samples
        self.config = config

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Sent:
        rng = np.random.default_rng([self.config.seed, *key])
        image, label = self.samples[key[1]]
        image, label = random_scale(image, label, self.config.scale, rng)
        image, label = random_crop(image, label, self.config.crop, rng)
        image, label = random_flip(image, label, rng)
        if self.config.colour:
            image = random_colours(image, self.config.colour, rng)
        return as_tensor(image), as_tensor(label)


class Whole(Dataset[Sent]):
    """Whole frames at the network's input size, with their labels at their own."""

    def __init__(self, samples: Sequence[Sample], input_size: tuple[int, int]) -> None:
        self.samples = samples
        self.input_size = input_size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sent:
        image, label = self.samples[index]
        return as_tensor(resize_frame(image, self.input_size)), as_tensor(label)


def class_shares(samples: Sequence[Sample], num_classes: int) -> NDArray[np.float64]:
    """The share of each class in the labelled pixels."""
    counts = np.zeros(num_classes)
    for _, label in samples:
        labelled = label[label != UNLABELLED]
        if labelled.size and labelled.max() >= num_classes:
            raise ImageFileError(f"a label has id {labelled.max()}, but the classes are 0..{num_classes - 1}")
        counts += np.bincount(labelled, minlength=num_classes)
    return counts / max(1.0, counts.sum())


class SegmentationData(LightningDataModule):
    """The parts of a run's data set and how they are loaded.

    Raises:
        ImageFileError: a file is missing or not what its layout says; the text names it.
    """

    def __init__(self, config: Config, root: Path | None) -> None:
        super().__init__()
        self.config = config
        parts = [open_part(config.data_set, root, part, config.input_size) for part in config.train_parts]
        self.labels: LabelSet = parts[0].labels
        together = Concatenated(parts)
        self.train_name = " + ".join(config.train_parts)
        self.train, room = kept_in_memory(together, config.cache_gib * 2**30, self.train_name)
        val = open_part(config.data_set, root, config.val_part, config.input_size)
        self.val, _ = kept_in_memory(val, room, config.val_part)
        check_enough(self.train, config)

    @property
    def batches(self) -> int:
        """Of an epoch, in each process."""
        return len(self.train) // self.config.batch_size

    def doubts(self) -> list[str]:
        """Sentences on what is hardly meant.

        Labels that are neither in memory nor counted for the weights of the classes are not all read for this.
        """
        height, width = self.train[0][1].shape
        doubts = scale_doubts(self.config, (height, width))
        if isinstance(self.train, list) or self.config.class_weights != "none":
            doubts += class_doubts(self.class_shares, self.labels, self.train_name)
        return doubts

    @cached_property
    def class_shares(self) -> NDArray[np.float64]:
        """The share of each class (C,) in the labelled pixels that are trained on."""
        return class_shares(self.train, len(self.labels))

    def class_weights(self) -> Tensor | None:
        """1 / ln(offset + share of the pixels), as ENet has it: rare classes count more, but not without bound."""
        if self.config.class_weights == "none":
            return None
        return torch.tensor(1 / np.log(self.config.class_weight_offset + self.class_shares), dtype=torch.float32)

    def train_dataloader(self) -> DataLoader[Sent]:
        return self._loader(persistent=True)

    def statistics_batches(self, device: torch.device) -> Iterator[Batch]:
        """Another pass over the same data, for the statistics of averaged weights."""
        for images, ids in self._loader(persistent=False):
            yield self.on_after_batch_transfer((images.to(device), ids.to(device)), 0)

    def on_after_batch_transfer(self, batch: Sent, dataloader_idx: int) -> Batch:
        """What the network takes, where the batch is."""
        images, ids = batch
        return normalise(images), ids.long()

    def val_dataloader(self) -> DataLoader[Sent]:
        """One frame at a time, for they may differ in size; each process has every n-th."""
        whole = Whole(self.val, self.config.input_size)
        return DataLoader(whole, sampler=every_nth(len(whole), self.trainer), **in_workers(self.config))

    def _loader(self, persistent: bool) -> DataLoader[Sent]:
        return training_loader(Augmented(self.train, self.config), self.config, self.trainer, persistent)


class Concatenated(Sequence[Sample]):
    """Several parts, one after the other."""

    def __init__(self, parts: Sequence[Labelled]) -> None:
        self.places = list(chain.from_iterable(((part, n) for n in range(len(part))) for part in parts))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # slices are not needed
        part, number = self.places[index]
        return part[number]
