"""Coarse logits to label maps in one pass: the full-size logits never exist."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.bilinear import interpolated, neighbour
from dfanet_ros.kernels.compiling import compiled_once

COLUMNS = 128  # of a label map, that one program computes


def label_maps(
    logits: Tensor, stride: int, input_size: tuple[int, int], sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """See `plain.label_maps`. Where all frames are of one size, this is one kernel for all."""
    if len(set(sizes)) == 1:
        return [*_label_maps(logits, stride, input_size, sizes[0])]
    return [_label_maps(each[None], stride, input_size, size)[0] for each, size in zip(logits, sizes, strict=True)]


def _label_maps(logits: Tensor, stride: int, input_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits (N, classes, h, w) of any strides to label maps (N, H, W) uint8, packed."""
    ids = torch.empty(len(logits), *size, dtype=torch.uint8, device=logits.device)
    blocks = triton.cdiv(size[1], COLUMNS)
    with torch.cuda.device_of(logits):
        _label_map_kernel[(size[0] * blocks, len(logits))](
            logits,
            ids,
            *logits.shape[1:],
            *logits.stride(),
            *size,
            blocks,
            *input_size,
            input_size[0] / size[0],
            input_size[1] / size[1],
            1 / stride,
            COLUMNS=COLUMNS,
        )
    return ids


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
    input_rows,
    input_columns,
    row_scale,
    column_scale,
    coarse_scale,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) // blocks
    column = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    image = tl.program_id(1).to(tl.int64)
    inside = column < columns
    # The nearest pixel of the network's input, as PyTorch's nearest-exact finds it.
    near_row = tl.minimum(((row + 0.5) * row_scale).to(tl.int32), input_rows - 1)
    near_column = tl.minimum(((column + 0.5) * column_scale).to(tl.int32), input_columns - 1)
    # Where that lies among the logits.
    top, below = neighbour(near_row, coarse_scale, height)
    left, beside = neighbour(near_column, coarse_scale, width)
    logits += image * image_stride
    upper = logits + top.to(tl.int64) * row_stride
    lower = logits + tl.minimum(top + 1, height - 1).to(tl.int64) * row_stride
    right = tl.minimum(left + 1, width - 1).to(tl.int64) * column_stride
    left = left.to(tl.int64) * column_stride
    largest = tl.full((COLUMNS,), float("-inf"), tl.float32)
    best = tl.zeros((COLUMNS,), tl.int32)
    for number in range(classes):
        value = interpolated(upper, lower, left, right, below, beside, inside)
        better = value > largest  # and not equal: the first of equals stays
        largest = tl.where(better, value, largest)
        best = tl.where(better, number, best)
        upper += class_stride
        lower += class_stride
    offset = (image * rows + row) * columns + column
    tl.store(ids + offset, best.to(tl.uint8), mask=inside)
