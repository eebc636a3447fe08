"""A map enlarged and put beside another in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.bilinear import interpolated, neighbour
from dfanet_ros.kernels.compiling import launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before

NUMBERS = 1024  # columns times channels, that one program computes


def enlarged_beside(coarse: Tensor, fine: Tensor) -> Tensor:
    """A map enlarged bilinearly beside another, see `network.xception.Enlarge`.

    Args:
        coarse: (N, C, h, w) of any float type; read in channels_last, as `fine`.
        fine: (N, D, H, W) of the same type, at least as high and wide.

    Returns:
        (N, C + D, H, W) of that type, in channels_last.
    """
    coarse, fine = (values.contiguous(memory_format=torch.channels_last) for values in (coarse, fine))
    images, beside, rows, columns = fine.shape
    channels = coarse.shape[1] + beside
    y = torch.empty(images, rows, columns, channels, dtype=fine.dtype, device=fine.device)
    padded = triton.next_power_of_2(channels)
    part = max(1, NUMBERS // padded)
    blocks = triton.cdiv(columns, part)
    with torch.cuda.device_of(y):
        launching(_enlarged_beside_kernel, (rows * blocks, images))(
            coarse,
            *coarse.shape[2:],
            coarse.shape[2] / rows,
            coarse.shape[3] / columns,
            fine,
            y,
            rows,
            columns,
            blocks,
            COARSE=coarse.shape[1],
            FINE=beside,
            PADDED=padded,
            COLUMNS=part,
        )
    return y.permute(0, 3, 1, 2)


@triton.jit(do_not_specialize=["height", "width", "row_scale", "column_scale", "rows", "columns", "blocks"])  # type: ignore[untyped-decorator]
def _enlarged_beside_kernel(  # type: ignore[no-untyped-def]
    coarse,
    height,
    width,
    row_scale,
    column_scale,
    fine,
    y,
    rows,
    columns,
    blocks,  # that a row is computed in
    COARSE: tl.constexpr,
    FINE: tl.constexpr,
    PADDED: tl.constexpr,
    COLUMNS: tl.constexpr,
    WAITS: tl.constexpr,
):
    row = tl.program_id(0) // blocks
    column = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    channel = tl.arange(0, PADDED)[None, :]
    image = tl.program_id(1).to(tl.int64)
    inside = (column < columns)[:, None] & (channel < COARSE + FINE)
    top, below = neighbour(row, row_scale, height)
    left, beside = neighbour(column, column_scale, width)
    coarse += image * height * width * COARSE
    upper = coarse + top * width * COARSE + channel
    lower = coarse + tl.minimum(top + 1, height - 1) * width * COARSE + channel
    right = (tl.minimum(left + 1, width - 1) * COARSE)[:, None]
    wait_for_the_one_before(WAITS)
    values = interpolated(
        *(upper, lower, (left * COARSE)[:, None], right, below, beside[:, None], inside & (channel < COARSE))
    )
    pixel = ((image * rows + row) * columns + column)[:, None]
    # Each channel is zero in one of the two.
    values += tl.load(fine + pixel * FINE + (channel - COARSE), mask=inside & (channel >= COARSE), other=0).to(
        tl.float32
    )
    tl.store(y + pixel * (COARSE + FINE) + channel, values.to(y.dtype.element_ty), mask=inside)
