"""Label maps at another size: the nearest pixel's."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import compiled_once, launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before

ROWS, COLUMNS = 4, 256  # of the result, that one program brings


def nearest(ids: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, h, w) uint8 of any strides at another size, as `F.interpolate(mode="nearest-exact")` has it: packed."""
    rows, columns = size
    height, width = ids.shape[1:]
    y = torch.empty(len(ids), rows, columns, dtype=torch.uint8, device=ids.device)
    blocks = triton.cdiv(columns, COLUMNS)
    with torch.cuda.device_of(ids):
        launching(_nearest_kernel, (triton.cdiv(rows, ROWS) * blocks, len(ids)))(
            ids,
            y,
            height,
            width,
            *ids.stride(),
            rows,
            columns,
            blocks,
            height / rows,
            width / columns,
            ROWS=ROWS,
            COLUMNS=COLUMNS,
        )
    return y


@compiled_once
def _nearest_kernel(  # type: ignore[no-untyped-def]
    ids,
    y,
    height,
    width,
    image_stride,
    row_stride,
    column_stride,
    rows,
    columns,
    blocks,  # that a row is brought in
    row_scale,
    column_scale,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WAITS: tl.constexpr,
):
    """Scales and products are float32, as PyTorch's for CUDA: another rounding would take another pixel."""
    row = (tl.program_id(0) // blocks) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    image = tl.program_id(1).to(tl.int64)
    above = tl.minimum(((row + 0.5) * row_scale).to(tl.int32), height - 1)
    left = tl.minimum(((column + 0.5) * column_scale).to(tl.int32), width - 1)
    wait_for_the_one_before(WAITS)
    values = tl.load(ids + image * image_stride + (above * row_stride + left * column_stride))
    tl.store(y + image * rows * columns + (row * columns + column), values, mask=(row < rows) & (column < columns))
