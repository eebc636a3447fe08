"""Coarse logits to label maps in one pass: the full-size logits never exist."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

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
    y = tl.maximum((near_row + 0.5) * coarse_scale - 0.5, 0.0)
    x = tl.maximum((near_column + 0.5) * coarse_scale - 0.5, 0.0)
    top = tl.minimum(y.to(tl.int32), height - 1)
    left = tl.minimum(x.to(tl.int32), width - 1)
    below = y - top
    right = x - left
    logits += image * image_stride
    first = logits + top.to(tl.int64) * row_stride
    second = logits + tl.minimum(top + 1, height - 1).to(tl.int64) * row_stride
    here = left.to(tl.int64) * column_stride
    next = tl.minimum(left + 1, width - 1).to(tl.int64) * column_stride
    largest = tl.full((COLUMNS,), float("-inf"), tl.float32)
    best = tl.zeros((COLUMNS,), tl.int32)
    for number in range(classes):
        top_left = tl.load(first + here, mask=inside, other=0).to(tl.float32)
        top_right = tl.load(first + next, mask=inside, other=0).to(tl.float32)
        bottom_left = tl.load(second + here, mask=inside, other=0).to(tl.float32)
        bottom_right = tl.load(second + next, mask=inside, other=0).to(tl.float32)
        upper = (1 - right) * top_left + right * top_right
        lower = (1 - right) * bottom_left + right * bottom_right
        value = (1 - below) * upper + below * lower
        better = value > largest  # and not equal: the first of equals stays
        largest = tl.where(better, value, largest)
        best = tl.where(better, number, best)
        first += class_stride
        second += class_stride
    offset = (image * rows + row) * columns + column
    tl.store(ids + offset, best.to(tl.uint8), mask=inside)
