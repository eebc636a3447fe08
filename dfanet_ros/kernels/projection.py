"""The skip of a stage's first block in one pass: a 1 x 1 convolution of every second pixel, of one map or of two."""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before
from dfanet_ros.kernels.separable import as_read, filled, pixels_part, weights_part

PART_IN = 128  # channels that are read at once at most


class Tiling(NamedTuple):
    """How the work is cut into programs.

    Attributes:
        pixels: of the output in a program, a power of two from 16 on.
        outputs: channels in a program at most, likewise.
        warps: of 32 threads each.
    """

    pixels: int
    outputs: int
    warps: int

    def fitted(self, inputs: int, outputs: int) -> Tiling:
        """What it is for so many channels: parts are no larger than they have to be."""
        return self._replace(outputs=min(self.outputs, filled(outputs)))


TILINGS = Tiling(16, 64, 2), Tiling(32, 64, 4), Tiling(64, 64, 4), Tiling(128, 64, 8)  # from small maps to large ones


def weights_of(weight: Tensor) -> Tensor:
    """Of the convolution's, (outputs, inputs, 1, 1), what the kernel reads: (inputs, outputs)."""
    return weight.detach().flatten(1).t().contiguous()


def projected(x: Tensor, weight: Tensor, tiling: Tiling, beside: Tensor | None = None) -> Tensor:
    """The convolution, without bias; sums are float32.

    Args:
        x: (N, inputs, H, W) of float16 or bfloat16, to which `separable.fits` applies; read in channels_last.
        weight: see `weights_of`; of the same type.
        tiling: how the work is cut; the result does not depend on it.
        beside: the last ones of the inputs, if x has not all of them: (N, more inputs, H, W), as x otherwise.

    Returns:
        (N, outputs, ceil(H / 2), ceil(W / 2)) of x's type in channels_last.
    """
    x, beside, second = as_read(x, beside)
    images, first, height, width = x.shape
    outputs = weight.shape[1]
    rows, columns = -(-height // 2), -(-width // 2)
    y = torch.empty(images, rows, columns, outputs, dtype=x.dtype, device=x.device)
    tiling = tiling.fitted(first, outputs)
    grid = triton.cdiv(rows * columns, tiling.pixels), triton.cdiv(outputs, tiling.outputs), images
    with torch.cuda.device_of(x):
        launching(_projection_kernel, grid)(
            x,
            beside,
            weight,
            y,
            height,
            width,
            rows,
            columns,
            FIRST=first,
            SECOND=second,
            OUTPUTS=outputs,
            PIXELS=tiling.pixels,
            PART_FIRST=min(PART_IN, filled(first)),
            PART_SECOND=min(PART_IN, filled(second)),
            PART_OUT=tiling.outputs,
            num_warps=tiling.warps,
        )
    return y.permute(0, 3, 1, 2)


# A new map is not a new kernel; but that addresses are multiples of 16, it has to know.
@triton.jit(do_not_specialize=["height", "width", "rows", "columns"])  # type: ignore[untyped-decorator]
def _projection_kernel(  # type: ignore[no-untyped-def]
    x,
    beside,
    weight,
    y,
    height,
    width,
    rows,
    columns,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,  # 0: there is nothing beside x
    OUTPUTS: tl.constexpr,
    PIXELS: tl.constexpr,
    PART_FIRST: tl.constexpr,
    PART_SECOND: tl.constexpr,
    PART_OUT: tl.constexpr,
    WAITS: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    out = tl.program_id(1) * PART_OUT + tl.arange(0, PART_OUT)
    image = tl.program_id(2).to(tl.int64)
    inside = pixel < rows * columns
    seen = (pixel // columns) * 2 * width + (pixel % columns) * 2
    total = tl.zeros((PIXELS, PART_OUT), tl.float32)
    wait_for_the_one_before(WAITS)
    x += image * height * width * FIRST
    for start in tl.static_range(0, FIRST, PART_FIRST):
        total = _part(x, weight, seen, inside, start, out, total, FIRST, OUTPUTS, PART_FIRST)
    if SECOND:
        beside += image * height * width * SECOND
        for start in tl.static_range(0, SECOND, PART_SECOND):
            total = _part(
                beside, weight + FIRST * OUTPUTS, seen, inside, start, out, total, SECOND, OUTPUTS, PART_SECOND
            )
    place = image * rows * columns * OUTPUTS + (pixel[:, None] * OUTPUTS + out[None, :])
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside[:, None] & (out < OUTPUTS)[None, :])


@triton.jit  # type: ignore[untyped-decorator]
def _part(  # type: ignore[no-untyped-def]
    x,
    weight,
    seen,
    inside,
    start,
    out,
    total,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PART: tl.constexpr,
):
    """The total and what a part of a map's channels adds to it."""
    channel = start + tl.arange(0, PART)
    values = pixels_part(x, seen, inside, channel, INPUTS)
    return tl.dot(values, weights_part(weight, channel, out, INPUTS, OUTPUTS), total)
