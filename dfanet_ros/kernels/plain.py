"""What the kernels do, in plain PyTorch: the reference that they are compared with, and what runs where they cannot.

Nothing here waits for the GPU or copies from the host, so that all of it can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dfanet_ros.label_set import UNLABELLED
from dfanet_ros.network.base import enlarge_logits, label_grid

Channels = tuple[int, int, int]  # where red, green and blue stand in a pixel
Triple = tuple[float, float, float]


def prepare(
    frames: Sequence[Tensor],
    channels: Sequence[Channels],
    size: tuple[int, int],
    mean: Triple,
    std: Triple,
    dtype: torch.dtype,
) -> Tensor:
    """Resized and normalised RGB, (N, 3, *size) in channels_last.

    Bilinear, pixel centres aligned, smoothed where it shrinks to half or less in both directions.

    Args:
        frames: (H, W, C) uint8 each, of any sizes.
        channels: of each frame.
        size: (height, width) that the network gets.
        mean: of RGB between 0 and 1.
        std: likewise.
        dtype: of the result, float32 or one with fewer bits; what comes before is float32.
    """
    resized = torch.stack([_resized(rgb(*each), size) for each in zip(frames, channels, strict=True)])
    planes = [(resized[:, n] - 255 * mean[n]) / (255 * std[n]) for n in range(3)]
    return torch.stack(planes, 1).to(dtype, memory_format=torch.channels_last)


def label_maps(
    logits: Tensor, stride: int, input_size: tuple[int, int], sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """The class of each pixel, (H, W) uint8 for each image.

    The logits are enlarged bilinearly (see `enlarge_logits`) and cut to the pixels of `label_grid`, as a rule those of
    the network's input; the largest one, the first of equals, is the class of a pixel there, and from there the nearest
    goes to the frame's size.

    Args:
        logits: coarse ones, (N, classes, h, w) of any float type and any layout.
        stride: of the logits, in pixels of the network's input.
        input_size: (height, width) of that.
        sizes: (H, W) of each frame.
    """
    maps = []
    for each, size in zip(logits.float().split(1), sizes, strict=True):
        own_stride, (height, width) = label_grid(stride, input_size, size)
        full = enlarge_logits(each, own_stride)[:, :, :height, :width]
        ids = full.argmax(1, keepdim=True).to(torch.uint8)
        maps.append(F.interpolate(ids, size, mode="nearest-exact")[0, 0])
    return maps


def paint(ids: Tensor, colors: Tensor) -> Tensor:
    """Ids (H, W) uint8 in these colours, (256, 3) uint8: (H, W, 3) uint8."""
    return colors[ids.int()]


def overlay(ids: Tensor, colors: Tensor, kept_ids: Tensor, frame: Tensor, channels: Channels, opacity: float) -> Tensor:
    """The frame under the colours of its classes, RGB (H, W, 3) uint8, rounded (halves up).

    Args:
        ids: (H, W) uint8.
        colors: by id, (256, 3) uint8.
        kept_ids: by id, (256,) uint8: 255 where the class is not shown; there the frame is seen as it is.
        frame: (H, W, C) uint8.
        channels: of the frame.
        opacity: 0 is the frame, 1 the colours.
    """
    image = rgb(frame, channels).permute(1, 2, 0)
    shown = kept_ids[ids.int()] != UNLABELLED
    over = torch.where(shown[:, :, None], paint(ids, colors), image)
    return torch.lerp(image.float(), over.float(), opacity).add_(0.5).to(torch.uint8)


def rgb(frame: Tensor, channels: Channels) -> Tensor:
    """(H, W, C) to (3, H, W)."""
    return torch.stack([frame[:, :, channel] for channel in channels])  # an index would be a copy from the host


def shrinks(size: tuple[int, int], target: tuple[int, int]) -> bool:
    """Whether a frame of this size is smoothed on its way to the target size."""
    return size[0] >= 2 * target[0] and size[1] >= 2 * target[1]


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """(3, H, W) uint8 to float32 at `size`."""
    full = image[None].float()
    given = (full.shape[-2], full.shape[-1])
    if given == size:
        return full[0]
    return F.interpolate(full, size, mode="bilinear", align_corners=False, antialias=shrinks(given, size))[0]
