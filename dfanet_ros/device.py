"""What stands before and after the network, on a GPU: frames go up as uint8, label maps and colours come down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.frame import Frame
from dfanet_ros.network.dfanet import LOGITS_STRIDE
from dfanet_ros.network.layers import upsample


class DeviceSegmentation:
    """The result for one frame, on the device; what is asked for is computed there and brought down."""

    def __init__(self, ids: Tensor, rgb: Tensor, palette: Tensor) -> None:
        self._ids = ids  # (H, W) uint8
        self._rgb = rgb  # (3, H, W) uint8
        self._palette = palette  # (256, 3) uint8
        self._label_map: NDArray[np.uint8] | None = None

    @property
    def label_map(self) -> NDArray[np.uint8]:
        """Class ids (H, W) uint8."""
        if self._label_map is None:
            self._label_map = _download(self._ids)
        return self._label_map

    def _colors(self) -> Tensor:
        return self._palette[self._ids.int()]

    def color_mask(self) -> NDArray[np.uint8]:
        """The classes in their colours, RGB (H, W, 3) uint8."""
        return _download(self._colors())

    def overlay(self, opacity: float) -> NDArray[np.uint8]:
        """The frame under its colour mask, RGB (H, W, 3) uint8; opacity 0 is the frame, 1 the mask."""
        blended = torch.lerp(self._rgb.permute(1, 2, 0).float(), self._colors().float(), opacity)
        return _download(blended.round_().to(torch.uint8))


class DevicePipeline:
    """Frames to the network's input, and its logits to label maps, all on one device.

    Args:
        info: of the weights: normalisation and colours.
        input_size: (height, width) that the network gets.
        device: a CUDA device (the CPU works too, slowly: tests compare it with the host's pipeline).
    """

    def __init__(self, info: WeightsInfo, input_size: tuple[int, int], device: torch.device) -> None:
        self.input_size = input_size
        self.device = device
        self.palette = torch.from_numpy(info.labels.palette()).to(device)
        self._mean = 255 * torch.tensor(info.mean, device=device).view(3, 1, 1)
        self._std = 255 * torch.tensor(info.std, device=device).view(3, 1, 1)
        self._rgb: list[Tensor] = []

    def prepare(self, frames: Sequence[Frame]) -> Tensor:
        """Resized and normalised RGB, (N, 3, H, W) float32."""
        self._rgb = [self._upload(frame) for frame in frames]
        resized = [_resize(rgb, self.input_size) for rgb in self._rgb]
        return (torch.stack(resized) - self._mean) / self._std

    def finish(self, coarse_logits: Tensor, frames: Sequence[Frame]) -> list[DeviceSegmentation]:
        """Label maps at each frame's size, of logits (N, classes, ceil(H / 4), ceil(W / 4))."""
        height, width = self.input_size
        rows, columns = coarse_logits.shape[-2:]
        logits = upsample(coarse_logits.float(), (rows * LOGITS_STRIDE, columns * LOGITS_STRIDE))
        label_maps = logits[:, :, :height, :width].argmax(1, keepdim=True).to(torch.uint8)
        return [
            DeviceSegmentation(
                F.interpolate(ids[None], frame.size, mode="nearest-exact")[0, 0],
                rgb,
                self.palette,
            )
            for ids, frame, rgb in zip(label_maps, frames, self._rgb, strict=True)
        ]

    def _upload(self, frame: Frame) -> Tensor:
        """The frame on the device as RGB (3, H, W) uint8, by way of pinned memory, so that the copy is asynchronous."""
        # PyTorch caches pinned blocks and reuses one only when the copy out of it has been done.
        staging = torch.empty(frame.pixels.shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        np.copyto(staging.numpy(), frame.pixels)
        pixels = staging.to(self.device, non_blocking=True)
        return pixels.permute(2, 0, 1)[list(frame.rgb_channels)]


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
