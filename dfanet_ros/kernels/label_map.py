"""Coarse logits to label maps: the full-size logits never exist."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.bilinear import mixed
from dfanet_ros.kernels.compiling import compiled_once
from dfanet_ros.network.base import label_grid

CELLS = 128  # between two columns of logits, that one program computes


def label_maps(
    logits: Tensor, stride: int, input_size: tuple[int, int], sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """See `plain.label_maps`; the stride is a power of two. Where all frames are of one size, they go together."""
    if len(set(sizes)) == 1:
        return [*_label_maps(logits, stride, input_size, sizes[0])]
    return [_label_maps(each[None], stride, input_size, size)[0] for each, size in zip(logits, sizes, strict=True)]


def _label_maps(logits: Tensor, stride: int, input_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits (N, classes, h, w) of any strides to label maps (N, H, W) uint8."""
    stride, grid = label_grid(stride, input_size, size)
    ids = torch.empty(len(logits), *grid, dtype=torch.uint8, device=logits.device)
    blocks = triton.cdiv(logits.shape[-1] + 1, CELLS)
    with torch.cuda.device_of(logits):
        _label_map_kernel[(grid[0] * blocks, len(logits))](
            logits, ids, *logits.shape[1:], *logits.stride(), *grid, blocks, STRIDE=stride, CELLS=CELLS
        )
    return _nearest(ids, size)


def _nearest(ids: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) at another size."""
    return ids if ids.shape[1:] == size else F.interpolate(ids[:, None], size, mode="nearest-exact")[:, 0]


@compiled_once
def _label_map_kernel(  # type: ignore[no-untyped-def]
    logits,
    ids,
    classes,
    height,
    width,
    image_stride,
    class_stride,
    row_stride,
    column_stride,
    rows,
    columns,
    blocks,  # that a row is computed in
    STRIDE: tl.constexpr,
    CELLS: tl.constexpr,
):
    """The pixels of a row that lie between two columns of logits have these to share: (CELLS, STRIDE) at once."""
    row = tl.program_id(0) // blocks
    cell = (tl.program_id(0) % blocks) * CELLS + tl.arange(0, CELLS)[:, None]  # ends with the column of that number
    image = tl.program_id(1).to(tl.int64)
    within = tl.arange(0, STRIDE)[None, :]
    column = cell * STRIDE - STRIDE // 2 + within
    there = cell <= width
    # Before the first row or column of logits, and behind the last one, is nothing else than that.
    upper_row = (row + STRIDE // 2) // STRIDE - 1
    below = ((row + STRIDE // 2) % STRIDE + 0.5) / STRIDE
    beside = (within + 0.5) / STRIDE
    upper = logits + image * image_stride + tl.maximum(upper_row, 0).to(tl.int64) * row_stride
    lower = logits + image * image_stride + tl.minimum(upper_row + 1, height - 1).to(tl.int64) * row_stride
    left = tl.maximum(cell - 1, 0).to(tl.int64) * column_stride
    right = tl.minimum(cell, width - 1).to(tl.int64) * column_stride
    largest = tl.full((CELLS, STRIDE), float("-inf"), tl.float32)
    best = tl.zeros((CELLS, STRIDE), tl.int32)
    for number in range(classes):
        before = mixed(upper + left, lower + left, below, there)
        after = mixed(upper + right, lower + right, below, there)
        value = (1 - beside) * before + beside * after
        better = value > largest  # and not equal: the first of equals stays
        largest = tl.where(better, value, largest)
        best = tl.where(better, number, best)
        upper += class_stride
        lower += class_stride
    inside = there & (column >= 0) & (column < columns)
    tl.store(ids + (image * rows + row) * columns + column, best.to(tl.uint8), mask=inside)
