"""Maps enlarged and added, or enlarged and put beside another, in one pass: none is enlarged by itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.bilinear import interpolated, neighbour
from dfanet_ros.kernels.compiling import launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before

MOST = 4  # maps at once
NUMBERS = 1024  # columns times channels, that one program computes


def enlarged_sum(maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The sum of maps (N, C, h, w), each with its own h and w, enlarged bilinearly: (N, C, H, W), `size` = (H, W).

    Args:
        maps: up to `MOST`, of one float type; read in channels_last. Sums are float32.
        size: at least as large as each of them.

    Returns:
        Of the maps' type, in channels_last.
    """
    assert 1 <= len(maps) <= MOST
    maps = [values.contiguous(memory_format=torch.channels_last) for values in maps]
    images, channels = maps[0].shape[:2]
    rows, columns = size
    y = torch.empty(images, rows, columns, channels, dtype=maps[0].dtype, device=maps[0].device)
    padded, part, blocks = _parts(channels, columns)
    given = []
    for values in [*maps, *[maps[0]] * (MOST - len(maps))]:
        given += [values, *values.shape[2:], values.shape[2] / rows, values.shape[3] / columns]
    with torch.cuda.device_of(y):
        launching(_enlarged_sum_kernel, (rows * blocks, images))(
            *given, y, rows, columns, blocks, COUNT=len(maps), CHANNELS=channels, PADDED=padded, COLUMNS=part
        )
    return y.permute(0, 3, 1, 2)


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
    padded, part, blocks = _parts(channels, columns)
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


def _parts(channels: int, columns: int) -> tuple[int, int, int]:
    """How a row is cut: channels as a power of two, columns of a program, and programs."""
    padded = triton.next_power_of_2(channels)
    part = max(1, NUMBERS // padded)
    return padded, part, triton.cdiv(columns, part)


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
    wait_for_the_one_before(WAITS)
    image, row, column, channel = _program(blocks, PADDED, COLUMNS)
    inside = (column < columns)[:, None] & (channel < COARSE + FINE)
    enlarged = inside & (channel < COARSE)
    values = _enlarged(coarse, height, width, row_scale, column_scale, image, row, column, channel, enlarged, COARSE)
    pixel = ((image * rows + row) * columns + column)[:, None]
    # Each channel is zero in one of the two.
    values += tl.load(fine + pixel * FINE + (channel - COARSE), mask=inside & (channel >= COARSE), other=0).to(
        tl.float32
    )
    tl.store(y + pixel * (COARSE + FINE) + channel, values.to(y.dtype.element_ty), mask=inside)


@triton.jit(
    do_not_specialize=[
        *(f"{name}_{number}" for number in range(MOST) for name in ("height", "width", "row_scale", "column_scale")),
        *("rows", "columns", "blocks"),
    ]
)  # type: ignore[untyped-decorator]
def _enlarged_sum_kernel(  # type: ignore[no-untyped-def]
    map_0,
    height_0,
    width_0,
    row_scale_0,
    column_scale_0,
    map_1,
    height_1,
    width_1,
    row_scale_1,
    column_scale_1,
    map_2,
    height_2,
    width_2,
    row_scale_2,
    column_scale_2,
    map_3,
    height_3,
    width_3,
    row_scale_3,
    column_scale_3,
    y,
    rows,
    columns,
    blocks,  # that a row is computed in
    COUNT: tl.constexpr,
    CHANNELS: tl.constexpr,
    PADDED: tl.constexpr,
    COLUMNS: tl.constexpr,
    WAITS: tl.constexpr,
):
    wait_for_the_one_before(WAITS)
    image, row, column, channel = _program(blocks, PADDED, COLUMNS)
    inside = (column < columns)[:, None] & (channel < CHANNELS)
    total = _enlarged(
        map_0, height_0, width_0, row_scale_0, column_scale_0, image, row, column, channel, inside, CHANNELS
    )
    if COUNT > 1:
        total += _enlarged(
            map_1, height_1, width_1, row_scale_1, column_scale_1, image, row, column, channel, inside, CHANNELS
        )
    if COUNT > 2:
        total += _enlarged(
            map_2, height_2, width_2, row_scale_2, column_scale_2, image, row, column, channel, inside, CHANNELS
        )
    if COUNT > 3:
        total += _enlarged(
            map_3, height_3, width_3, row_scale_3, column_scale_3, image, row, column, channel, inside, CHANNELS
        )
    place = ((image * rows + row) * columns + column)[:, None] * CHANNELS + channel
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _program(blocks, PADDED: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which image, row, columns and channels are this program's."""
    row = tl.program_id(0) // blocks
    column = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    return tl.program_id(1).to(tl.int64), row, column, tl.arange(0, PADDED)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def _enlarged(  # type: ignore[no-untyped-def]
    values,
    height,
    width,
    row_scale,
    column_scale,
    image,
    row,
    column,
    channel,
    inside,
    CHANNELS: tl.constexpr,
):
    """A row of one map, (COLUMNS, PADDED) float32."""
    top, below = neighbour(row, row_scale, height)
    left, beside = neighbour(column, column_scale, width)
    values += image * height * width * CHANNELS
    upper = values + top * width * CHANNELS + channel
    lower = values + tl.minimum(top + 1, height - 1) * width * CHANNELS + channel
    right = (tl.minimum(left + 1, width - 1) * CHANNELS)[:, None]
    return interpolated(upper, lower, (left * CHANNELS)[:, None], right, below, beside[:, None], inside)
