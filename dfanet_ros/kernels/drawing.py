"""Ids to colours, and frames under them, each in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import compiled_once
from dfanet_ros.kernels.plain import Channels
from dfanet_ros.label_set import UNLABELLED

COLUMNS = 256  # of the result, that one program computes


def paint(ids: Tensor, colors: Tensor) -> Tensor:
    """See `plain.paint`."""
    return _drawn(ids, colors, colors, ids[:, :, None], (0, 0, 0), 1.0, blend=False)


def overlay(ids: Tensor, colors: Tensor, kept_ids: Tensor, frame: Tensor, channels: Channels, opacity: float) -> Tensor:
    """See `plain.overlay`."""
    return _drawn(ids, colors, kept_ids, frame, channels, opacity, blend=True)


def _drawn(
    ids: Tensor, colors: Tensor, kept_ids: Tensor, frame: Tensor, channels: Channels, opacity: float, blend: bool
) -> Tensor:
    """The tables have to be packed; without `blend`, only ids and colours are read."""
    rows, columns = ids.shape
    image = torch.empty(rows, columns, 3, dtype=torch.uint8, device=ids.device)
    blocks = triton.cdiv(columns, COLUMNS)
    with torch.cuda.device_of(ids):
        _draw_kernel[(rows * blocks,)](
            ids,
            colors,
            kept_ids,
            frame,
            image,
            columns,
            blocks,
            *ids.stride(),
            *frame.stride(),
            *channels,
            float(opacity),
            BLEND=blend,
            UNLABELLED=UNLABELLED,
            COLUMNS=COLUMNS,
        )
    return image


@compiled_once
def _draw_kernel(  # type: ignore[no-untyped-def]
    ids,
    colors,
    kept_ids,
    frame,
    image,
    columns,
    blocks,  # that a row is computed in
    id_row_stride,
    id_column_stride,
    row_stride,
    column_stride,
    channel_stride,
    red,
    green,
    blue,
    opacity,
    BLEND: tl.constexpr,
    UNLABELLED: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = (tl.program_id(0) // blocks).to(tl.int64)
    column = (tl.program_id(0) % blocks) * COLUMNS + tl.arange(0, COLUMNS)
    inside = column < columns
    column = column.to(tl.int64)
    number = tl.load(ids + row * id_row_stride + column * id_column_stride, mask=inside, other=0).to(tl.int32)
    image += (row * columns + column) * 3
    if BLEND:
        shown = tl.load(kept_ids + number, mask=inside, other=0) != UNLABELLED
        frame += row * row_stride + column * column_stride
    for n in tl.static_range(3):
        value = tl.load(colors + number * 3 + n, mask=inside, other=0)
        if BLEND:
            if n == 0:
                channel = red * channel_stride
            elif n == 1:
                channel = green * channel_stride
            else:
                channel = blue * channel_stride
            under = tl.load(frame + channel, mask=inside, other=0).to(tl.float32)
            over = tl.where(shown, value.to(tl.float32), under)
            value = (under + opacity * (over - under) + 0.5).to(tl.uint8)
        tl.store(image + n, value, mask=inside)
