"""Frames to the network's input in one pass: a bilinear resize, normalisation, type and layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels import plain
from dfanet_ros.kernels.bilinear import neighbour
from dfanet_ros.kernels.compiling import compiled_once
from dfanet_ros.kernels.plain import Channels, Triple

MOST = 8  # frames at once
ROWS, THREADS, EACH = 4, 128, 4  # of the result, that one program computes: each thread has so many values of a row


def prepare(
    frames: Sequence[Tensor],
    channels: Sequence[Channels],
    size: tuple[int, int],
    mean: Triple,
    std: Triple,
    dtype: torch.dtype,
) -> Tensor:
    """See `plain.prepare`, which does those frames that are smoothed while they shrink. Those alike go together."""
    images = torch.empty(len(frames), *size, 3, dtype=dtype, device=frames[0].device)
    for part in _alike(frames, channels):
        some, orders = frames[part], channels[part]
        if plain.shrinks((some[0].shape[0], some[0].shape[1]), size):
            images[part].copy_(plain.prepare(some, orders, size, mean, std, dtype).permute(0, 2, 3, 1))
        else:
            _resize(some, orders[0], mean, std, images[part])
    return images.permute(0, 3, 1, 2)


def _alike(frames: Sequence[Tensor], channels: Sequence[Channels]) -> Iterator[slice]:
    """Up to `MOST` frames after each other that differ in nothing but their pixels."""
    kinds = [(frame.shape, frame.stride(), order) for frame, order in zip(frames, channels, strict=True)]
    first = 0
    for end in range(1, len(kinds) + 1):
        if end == len(kinds) or kinds[end] != kinds[first] or end - first == MOST:
            yield slice(first, end)
            first = end


def _resize(frames: Sequence[Tensor], channels: Channels, mean: Triple, std: Triple, images: Tensor) -> None:
    """Write frames (H, W, C) uint8, which are `_alike` and of any strides, into (N, h, w, 3) float, packed."""
    rows, columns = images.shape[1:3]
    height, width = frames[0].shape[:2]
    blocks = triton.cdiv(3 * columns, THREADS * EACH)
    with torch.cuda.device_of(images):
        _resize_kernel[(triton.cdiv(rows, ROWS) * blocks, len(frames))](
            *frames,
            *[frames[0]] * (MOST - len(frames)),
            images,
            height,
            width,
            *frames[0].stride(),
            rows,
            columns,
            blocks,
            height / rows,
            width / columns,
            *channels,
            *(1 / (255 * value) for value in std),
            *(-average / deviation for average, deviation in zip(mean, std, strict=True)),
            ROWS=ROWS,
            THREADS=THREADS,
            EACH=EACH,
            num_warps=THREADS // 32,
        )


@compiled_once
def _resize_kernel(  # type: ignore[no-untyped-def]
    frame_0,
    frame_1,
    frame_2,
    frame_3,
    frame_4,
    frame_5,
    frame_6,
    frame_7,
    images,
    height,
    width,
    row_stride,
    column_stride,
    channel_stride,
    rows,
    columns,
    blocks,  # that a row is computed in
    row_scale,
    column_scale,
    red,
    green,
    blue,
    red_factor,
    green_factor,
    blue_factor,
    red_shift,
    green_shift,
    blue_shift,
    ROWS: tl.constexpr,
    THREADS: tl.constexpr,
    EACH: tl.constexpr,
):
    """A row is a run of red, green, blue, red, ...: neighbouring threads read and write neighbours."""
    number = tl.program_id(1)
    frame = frame_0
    if number == 1:
        frame = frame_1
    elif number == 2:
        frame = frame_2
    elif number == 3:
        frame = frame_3
    elif number == 4:
        frame = frame_4
    elif number == 5:
        frame = frame_5
    elif number == 6:
        frame = frame_6
    elif number == 7:
        frame = frame_7
    row = (tl.program_id(0) // blocks) * ROWS + tl.arange(0, ROWS)[:, None, None]
    start = (tl.program_id(0) % blocks) * THREADS * EACH + tl.arange(0, THREADS)[None, None, :]
    further = tl.arange(0, EACH)[None, :, None] * THREADS
    value = start + further
    color = value % 3
    channel = _of_color(color, red, green, blue) * channel_stride
    top, below = neighbour(row, row_scale, height)
    left, beside = neighbour(value // 3, column_scale, width)
    upper = frame + top.to(tl.int64) * row_stride
    lower = frame + tl.minimum(top + 1, height - 1).to(tl.int64) * row_stride
    right = tl.minimum(left + 1, width - 1).to(tl.int64) * column_stride + channel
    left = left.to(tl.int64) * column_stride + channel
    above = _mixed(upper + left, upper + right, beside)
    under = _mixed(lower + left, lower + right, beside)
    resized = (1 - below) * above + below * under
    factor = _of_color(color, red_factor, green_factor, blue_factor)
    shift = _of_color(color, red_shift, green_shift, blue_shift)
    images += number.to(tl.int64) * rows * columns * 3
    tl.store(
        images + (row * columns * 3 + start) + further,
        (resized * factor + shift).to(images.dtype.element_ty),
        mask=(row < rows) & (value < columns * 3),
    )


@triton.jit
def _of_color(color, red, green, blue):  # type: ignore[no-untyped-def]
    return tl.where(color == 0, red, tl.where(color == 1, green, blue))


@triton.jit
def _mixed(first, second, share):  # type: ignore[no-untyped-def]
    """Of two bytes, by their pointers, the share of the second and the rest of the first, float32.

    As the last bits of 2 ** 23, a byte is exact; converting it is one of the slow instructions.
    """
    first = (tl.load(first).to(tl.int32) | 0x4B000000).to(tl.float32, bitcast=True)
    second = (tl.load(second).to(tl.int32) | 0x4B000000).to(tl.float32, bitcast=True)
    return (first - 0x800000) + share * (second - first)
