"""What stands before and after the network, on a GPU: frames go up as uint8, label maps and colours come down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.frame import Frame
from dfanet_ros.kernels import PLAIN, Steps, steps
from dfanet_ros.kernels.plain import Channels
from dfanet_ros.label_set import UNLABELLED
from dfanet_ros.network.base import enlarge_logits
from dfanet_ros.network.layers import upsample
from dfanet_ros.style import Style


@dataclass(frozen=True, eq=False)
class DeviceSegmentation:
    """The result for one frame, on the device; what is asked for is computed there and brought down.

    Attributes:
        ids: class ids at the frame's size, (H, W) uint8.
        logits: coarse ones of the network, (classes, h, w) of any float type; kept for the confidence.
        logits_stride: of the network.
        input_size: (height, width) that the network got.
        pixels: the frame, (H, W, C) uint8.
        channels: where it has red, green and blue.
        style: to be shown in.
        steps: what draws.
    """

    ids: Tensor
    logits: Tensor
    logits_stride: int
    input_size: tuple[int, int]
    pixels: Tensor
    channels: Channels
    style: Style
    steps: Steps = PLAIN

    def styled(self, style: Style) -> DeviceSegmentation:
        """The same result in another style."""
        return replace(self, style=style)

    @cached_property
    def label_map(self) -> NDArray[np.uint8]:
        """Class ids, (H, W) uint8; 255 where the class is not shown."""
        return _download(self._shown_ids)

    def color_mask(self) -> NDArray[np.uint8]:
        """The classes in their colours, RGB (H, W, 3) uint8; black where the label map is 255."""
        return _download(self.steps.paint(self.ids, self._tables.colors))

    def overlay(self, opacity: float) -> NDArray[np.uint8]:
        """The frame under its colour mask, RGB (H, W, 3) uint8; opacity 0 is the frame, 1 the mask.

        Where the label map is 255, the frame is seen as it is.
        """
        tables = self._tables
        return _download(
            self.steps.overlay(self.ids, tables.colors, tables.kept_ids, self.pixels, self.channels, opacity)
        )

    def confidence(self) -> NDArray[np.uint8]:
        """255 times the probability of each pixel's class, (H, W) uint8; 0 where the label map is 255.

        That is the largest softmax of the logits enlarged bilinearly to the network's input, and from there, again
        bilinearly, brought to the frame's size.
        """
        height, width = self.input_size
        full = enlarge_logits(self.logits[None].float(), self.logits_stride)
        probabilities = full[:, :, :height, :width].softmax(1).amax(1, keepdim=True)
        confidence = upsample(probabilities, (self.ids.shape[0], self.ids.shape[1]))[0, 0]
        return _download((255 * confidence * (self._shown_ids != UNLABELLED)).round_().to(torch.uint8))

    @cached_property
    def _shown_ids(self) -> Tensor:
        return self.ids if self.style.shows_all else self._tables.kept_ids[self.ids.int()]

    @property
    def _tables(self) -> _Tables:
        return _tables(self.style, self.ids.device)


class DevicePipeline:
    """Frames to the network's input, and its logits to results, all on one device.

    Args:
        info: of the weights: normalisation and colours.
        input_size: (height, width) that the network gets.
        logits_stride: of the network.
        device: a CUDA device (the CPU works too, slowly: tests compare it with the host's pipeline).
        dtype: that the network computes in.
    """

    def __init__(
        self,
        info: WeightsInfo,
        input_size: tuple[int, int],
        logits_stride: int,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.input_size = input_size
        self.logits_stride = logits_stride
        self.device = device
        self.dtype = dtype
        self.style = Style.of(info.labels)
        self.steps = steps(device, dtype)
        self._mean, self._std = info.mean, info.std

    def upload(self, frames: Sequence[Frame]) -> list[Tensor]:
        """The frames' pixels on the device, (H, W, C) uint8 each, packed."""
        return [self._upload(frame.pixels) for frame in frames]

    def label(
        self, pixels: Sequence[Tensor], network: Callable[[Tensor], Tensor], channels: Sequence[Channels]
    ) -> list[Tensor]:
        """From frames on the device to label maps there; nothing in it waits, so that it can be captured.

        Args:
            pixels: see `upload`.
            network: normalised images, (N, 3, H, W) in channels_last and of `dtype`, to coarse logits.
            channels: where each frame has red, green and blue.

        Returns:
            The coarse logits (N, classes, h, w), then the class ids of each frame at its size, (H, W) uint8.
        """
        images = self.steps.prepare(pixels, channels, self.input_size, self._mean, self._std, self.dtype)
        logits = network(images)
        sizes = [(each.shape[0], each.shape[1]) for each in pixels]
        return [logits, *self.steps.label_maps(logits, self.logits_stride, self.input_size, sizes)]

    def results(
        self, frames: Sequence[Frame], pixels: Sequence[Tensor], logits: Tensor, label_maps: Sequence[Tensor]
    ) -> list[DeviceSegmentation]:
        """What `upload` and `label` gave for these frames, to be asked for more."""
        return [
            DeviceSegmentation(
                *(ids, coarse, self.logits_stride, self.input_size),
                *(each, frame.rgb_channels, self.style, self.steps),
            )
            for frame, each, coarse, ids in zip(frames, pixels, logits, label_maps, strict=True)
        ]

    def _upload(self, pixels: NDArray[np.uint8]) -> Tensor:
        """By way of pinned memory, so that the copy is asynchronous."""
        # PyTorch caches pinned blocks and reuses one only when the copy out of it has been done.
        staging = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.copyto(staging.numpy(), pixels)
        return staging.to(self.device, non_blocking=True)


class _Tables(NamedTuple):
    """A style's tables on a device."""

    kept_ids: Tensor  # (256,) uint8
    colors: Tensor  # (256, 3) uint8


@lru_cache(maxsize=8)
def _tables(style: Style, device: torch.device) -> _Tables:
    return _Tables(torch.from_numpy(style.kept_ids).to(device), torch.from_numpy(style.colors).to(device))


def _download(values: Tensor) -> NDArray[np.uint8]:
    if values.device.type != "cuda":
        return values.contiguous().numpy()
    staging = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    staging.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return staging.numpy()
