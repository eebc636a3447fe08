"""Frames to the network's input in one pass: a bilinear resize, normalisation, type and layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels import plain
from dfanet_ros.kernels.bilinear import interpolated, neighbour
from dfanet_ros.kernels.compiling import compiled_once
from dfanet_ros.kernels.plain import Channels, Triple

COLUMNS = 256  # of the result, that one program computes


def prepare(
    frames: Sequence[Tensor],
    channels: Sequence[Channels],
    size: tuple[int, int],
    mean: Triple,
    std: Triple,
    dtype: torch.dtype,
) -> Tensor:
    """See `plain.prepare`, which does those frames that are smoothed while they shrink."""
    images = torch.empty(len(frames), *size, 3, dtype=dtype, device=frames[0].device)
    for frame, order, image in zip(frames, channels, images, strict=True):
        if plain.shrinks((frame.shape[0], frame.shape[1]), size):
            image.copy_(plain.prepare([frame], [order], size, mean, std, dtype)[0].permute(1, 2, 0))
        else:
            _resize(frame, order, mean, std, image)
    return images.permute(0, 3, 1, 2)


def _resize(frame: Tensor, channels: Channels, mean: Triple, std: Triple, image: Tensor) -> None:
    """Write (H, W, C) uint8 of any strides into (h, w, 3) float, packed."""
    rows, columns = image.shape[:2]
    blocks = triton.cdiv(columns, COLUMNS)
    with torch.cuda.device_of(frame):
        _resize_kernel[(rows * blocks,)](
            frame,
            image,
            frame.shape[0],
            frame.shape[1],
            *frame.stride(),
            columns,
            blocks,
            frame.shape[0] / rows,
            frame.shape[1] / columns,
            *channels,
            *(255 * value for value in mean),
            *(1 / (255 * value) for value in std),
            COLUMNS=COLUMNS,
        )


@compiled_once
def _resize_kernel(  # type: ignore[no-untyped-def]
    frame,
    image,
    height,
    width,
    row_stride,
    column_stride,
    channel_stride,
    columns,
    blocks,  # that a row is computed in
    row_scale,
    column_scale,
    red,
    green,
    blue,
    red_mean,
    green_mean,
    blue_mean,
    red_factor,
    green_factor,
    blue_factor,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) // blocks
    column = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < columns
    top, below = neighbour(row, row_scale, height)
    left, beside = neighbour(column, column_scale, width)
    upper = frame + top.to(tl.int64) * row_stride
    lower = frame + tl.minimum(top + 1, height - 1).to(tl.int64) * row_stride
    right = tl.minimum(left + 1, width - 1).to(tl.int64) * column_stride
    left = left.to(tl.int64) * column_stride
    image += (row.to(tl.int64) * columns + column) * 3
    for n in tl.static_range(3):
        if n == 0:
            channel = red * channel_stride
            mean, factor = red_mean, red_factor
        elif n == 1:
            channel = green * channel_stride
            mean, factor = green_mean, green_factor
        else:
            channel = blue * channel_stride
            mean, factor = blue_mean, blue_factor
        value = interpolated(upper + channel, lower + channel, left, right, below, beside, inside)
        tl.store(image + n, ((value - mean) * factor).to(image.dtype.element_ty), mask=inside)
