"""Coarse logits to label maps: the full-size logits never exist."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import compiled_once, launching
from dfanet_ros.kernels.nearest import nearest
from dfanet_ros.kernels.overlapping import wait_for_the_one_before
from dfanet_ros.network.base import label_grid

CELLS = 128  # that one program computes: as many as it has threads
PIXELS = 16  # of a cell, that one thread computes: more would not fit in its registers


def label_maps(
    logits: Tensor, stride: int, input_size: tuple[int, int], sizes: Sequence[tuple[int, int]]
) -> list[Tensor]:
    """See `plain.label_maps`; the stride is a power of two. Where all frames are of one size, they go together."""
    if len(set(sizes)) == 1:
        return [*_label_maps(logits, stride, input_size, sizes[0])]
    return [_label_maps(each[None], stride, input_size, size)[0] for each, size in zip(logits, sizes, strict=True)]


def _label_maps(logits: Tensor, stride: int, input_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Logits (N, classes, h, w) of any strides to label maps (N, H, W) uint8, packed."""
    stride, (rows, columns) = label_grid(stride, input_size, size)
    if (rows, columns) == size:
        return _ids(logits, stride, size)
    edge = stride // 2
    return nearest(_ids(logits, stride)[:, edge : edge + rows, edge : edge + columns], size)


def _ids(logits: Tensor, stride: int, size: tuple[int, int] | None = None) -> Tensor:
    """The classes of the pixels, (N, *size) uint8.

    Without a size, also those before the first row and column of logits and behind the last ones, half a cell of each:
    rows of whole cells are stored faster.
    """
    images, classes, height, width = logits.shape
    rows, columns = size or ((height + 1) * stride, (width + 1) * stride)
    ids = torch.empty(images, rows, columns, dtype=torch.uint8, device=logits.device)
    part = max(1, min(stride, PIXELS // stride))
    cells = (height + 1) * (stride // part) * (width + 1)
    with torch.cuda.device_of(logits):
        launching(_label_map_kernel, (triton.cdiv(cells, CELLS), images))(
            logits,
            ids,
            classes,
            height,
            width,
            *logits.stride(),
            rows,
            columns,
            CUT=size is not None,
            STRIDE=stride,
            ROWS=part,
            CELLS=CELLS,
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
    CUT: tl.constexpr,  # to these rows and columns
    STRIDE: tl.constexpr,
    ROWS: tl.constexpr,
    CELLS: tl.constexpr,
    WAITS: tl.constexpr,
):
    """What lies between two rows and two columns of logits is a cell, whose pixels have these four to share.

    A program computes `ROWS` rows of its cells: (ROWS, CELLS, STRIDE) at once. In this order, the layout in which
    Triton loads is that in which it stores, and each thread has a cell by itself.
    """
    number = tl.program_id(0) * CELLS + tl.arange(0, CELLS)[None, :, None]
    cell_row = number // (width + 1) // (STRIDE // ROWS)  # ends with the row of that number
    cell = number % (width + 1)  # and with the column
    image = tl.program_id(1).to(tl.int64)
    down = number // (width + 1) % (STRIDE // ROWS) * ROWS + tl.arange(0, ROWS)[:, None, None]
    along = tl.arange(0, STRIDE)[None, None, :]
    below = (down + 0.5) / STRIDE
    beside = (along + 0.5) / STRIDE
    # Before the first row or column of logits, and behind the last one, is nothing else than that.
    upper = tl.minimum(tl.maximum(cell_row - 1, 0), height - 1) * row_stride
    lower = tl.minimum(cell_row, height - 1) * row_stride
    left = tl.maximum(cell - 1, 0) * column_stride
    right = tl.minimum(cell, width - 1) * column_stride
    logits += image * image_stride
    wait_for_the_one_before(WAITS)
    upper_left = tl.load(logits + (upper + left))
    lower_left = tl.load(logits + (lower + left))
    upper_right = tl.load(logits + (upper + right))
    lower_right = tl.load(logits + (lower + right))
    largest = tl.full((ROWS, CELLS, STRIDE), float("-inf"), tl.float32)
    best = tl.zeros((ROWS, CELLS, STRIDE), tl.int32)
    for each in range(classes):
        before = (1 - below) * upper_left.to(tl.float32) + below * lower_left.to(tl.float32)
        after = (1 - below) * upper_right.to(tl.float32) + below * lower_right.to(tl.float32)
        # The next class is on its way while this one is compared; after the last comes the last again.
        logits += tl.where(each + 1 < classes, class_stride, 0)
        upper_left = tl.load(logits + (upper + left))
        lower_left = tl.load(logits + (lower + left))
        upper_right = tl.load(logits + (upper + right))
        lower_right = tl.load(logits + (lower + right))
        value = (1 - beside) * before + beside * after
        better = value > largest  # and not equal: the first of equals stays
        largest = tl.where(better, value, largest)
        best = tl.where(better, each, best)
    ids += image * rows * columns
    if CUT:
        row = cell_row * STRIDE + down - STRIDE // 2
        column = cell * STRIDE + along - STRIDE // 2
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        tl.store(ids + (row * columns + column), best.to(tl.uint8), mask=inside)
    else:
        place = ids + ((cell_row * STRIDE + down) * columns + cell * STRIDE) + along
        place = tl.max_contiguous(tl.multiple_of(place, (1, 1, STRIDE)), (1, 1, STRIDE))
        tl.store(place, best.to(tl.uint8), mask=cell_row <= height)
