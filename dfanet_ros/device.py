"""What stands before and after the network, on a GPU: frames go up as uint8, label maps and colours come down."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.frame import Frame
from dfanet_ros.label_set import UNLABELLED
from dfanet_ros.network.base import enlarge_logits
from dfanet_ros.network.layers import upsample
from dfanet_ros.style import Style


class DeviceSegmentation:
    """The result for one frame, on the device; what is asked for is computed there and brought down.

    Args:
        ids: class ids at the frame's size, (H, W) uint8.
        logits: coarse ones of the network, (classes, h, w) of any float type; kept for the confidence.
        logits_stride: of the network.
        input_size: (height, width) that the network got.
        rgb: the frame, (3, H, W) uint8.
        style: to be shown in.
    """

    def __init__(
        self,
        ids: Tensor,
        logits: Tensor,
        logits_stride: int,
        input_size: tuple[int, int],
        rgb: Tensor,
        style: Style,
    ) -> None:
        self._unfiltered = ids
        self._logits = logits
        self._logits_stride = logits_stride
        self._input_size = input_size
        self._rgb = rgb
        self._style = style

    def styled(self, style: Style) -> DeviceSegmentation:
        """The same result in another style."""
        return DeviceSegmentation(
            self._unfiltered, self._logits, self._logits_stride, self._input_size, self._rgb, style
        )

    @cached_property
    def label_map(self) -> NDArray[np.uint8]:
        """Class ids, (H, W) uint8; 255 where the class is not shown."""
        return _download(self._ids)

    def color_mask(self) -> NDArray[np.uint8]:
        """The classes in their colours, RGB (H, W, 3) uint8; black where the label map is 255."""
        return _download(self._colors)

    def overlay(self, opacity: float) -> NDArray[np.uint8]:
        """The frame under its colour mask, RGB (H, W, 3) uint8; opacity 0 is the frame, 1 the mask.

        Where the label map is 255, the frame is seen as it is.
        """
        image = self._rgb.permute(1, 2, 0)
        colors = torch.where(self._labelled[:, :, None], self._colors, image)
        blended = torch.lerp(image.float(), colors.float(), opacity)
        return _download(blended.round_().to(torch.uint8))

    def confidence(self) -> NDArray[np.uint8]:
        """255 times the probability of each pixel's class, (H, W) uint8; 0 where the label map is 255.

        That is the largest softmax of the logits enlarged bilinearly to the network's input, and from there, again
        bilinearly, brought to the frame's size.
        """
        height, width = self._input_size
        full = enlarge_logits(self._logits[None].float(), self._logits_stride)
        probabilities = full[:, :, :height, :width].softmax(1).amax(1, keepdim=True)
        confidence = upsample(probabilities, (self._rgb.shape[1], self._rgb.shape[2]))[0, 0]
        return _download((255 * confidence * self._labelled).round_().to(torch.uint8))

    @cached_property
    def _ids(self) -> Tensor:
        if self._style.shows_all:
            return self._unfiltered
        return _uploaded(self._style, self._unfiltered.device).kept_ids[self._unfiltered.int()]

    @cached_property
    def _labelled(self) -> Tensor:
        return self._ids != UNLABELLED

    @cached_property
    def _colors(self) -> Tensor:
        return _uploaded(self._style, self._unfiltered.device).colors[self._unfiltered.int()]


class DevicePipeline:
    """Frames to the network's input, and its logits to results, all on one device.

    Args:
        info: of the weights: normalisation and colours.
        input_size: (height, width) that the network gets.
        logits_stride: of the network.
        device: a CUDA device (the CPU works too, slowly: tests compare it with the host's pipeline).
    """

    def __init__(
        self, info: WeightsInfo, input_size: tuple[int, int], logits_stride: int, device: torch.device
    ) -> None:
        self.input_size = input_size
        self.logits_stride = logits_stride
        self.device = device
        self.style = Style.of(info.labels)
        self._mean = 255 * torch.tensor(info.mean, device=device).view(3, 1, 1)
        self._std = 255 * torch.tensor(info.std, device=device).view(3, 1, 1)
        self._rgb: list[Tensor] = []

    def prepare(self, frames: Sequence[Frame]) -> Tensor:
        """Resized and normalised RGB, (N, 3, H, W) float32."""
        self._rgb = [self._upload(frame) for frame in frames]
        resized = [_resize(rgb, self.input_size) for rgb in self._rgb]
        return (torch.stack(resized) - self._mean) / self._std

    def finish(self, coarse_logits: Tensor, frames: Sequence[Frame]) -> list[DeviceSegmentation]:
        """Results at each frame's size, of the network's coarse logits (N, classes, h, w)."""
        height, width = self.input_size
        full = enlarge_logits(coarse_logits.float(), self.logits_stride)
        label_maps = full[:, :, :height, :width].argmax(1, keepdim=True).to(torch.uint8)
        return [
            DeviceSegmentation(
                F.interpolate(ids[None], frame.size, mode="nearest-exact")[0, 0],
                logits,
                self.logits_stride,
                self.input_size,
                rgb,
                self.style,
            )
            for ids, logits, frame, rgb in zip(label_maps, coarse_logits, frames, self._rgb, strict=True)
        ]

    def _upload(self, frame: Frame) -> Tensor:
        """The frame on the device as RGB (3, H, W) uint8, by way of pinned memory, so that the copy is asynchronous."""
        # PyTorch caches pinned blocks and reuses one only when the copy out of it has been done.
        staging = torch.empty(frame.pixels.shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.copyto(staging.numpy(), frame.pixels)
        pixels = staging.to(self.device, non_blocking=True)
        return pixels.permute(2, 0, 1)[list(frame.rgb_channels)]


class _Uploaded(NamedTuple):
    """A style's tables on a device."""

    kept_ids: Tensor  # (256,) uint8
    colors: Tensor  # (256, 3) uint8


@lru_cache(maxsize=8)
def _uploaded(style: Style, device: torch.device) -> _Uploaded:
    return _Uploaded(torch.from_numpy(style.kept_ids).to(device), torch.from_numpy(style.colors).to(device))


def _resize(rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 to float32 at `size`: bilinear, smoothed where it shrinks to half or less."""
    image = rgb[None].float()
    if image.shape[-2:] == size:
        return image[0]
    shrinks = image.shape[-2] >= 2 * size[0] and image.shape[-1] >= 2 * size[1]
    return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=shrinks)[0]


def _download(values: Tensor) -> NDArray[np.uint8]:
    if values.device.type != "cuda":
        return values.contiguous().numpy()
    staging = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    staging.copy_(values, non_blocking=True)
    torch.cuda.current_stream(values.device).synchronize()
    return staging.numpy()
