"""A whole block of a backbone in one pass: three separable convolutions around a skip.

What stands between them is computed where it is needed, a frame of pixels around each program's part of the map twice,
so that no program has to wait for another; it is narrow, and goes through memory that stays in the GPU's caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels import separable
from dfanet_ros.kernels.compiling import interpreted, launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before
from dfanet_ros.kernels.separable import LEAST, Weights, as_read, filled, pixels_part, separable_sums, weights_part


class Tiling(NamedTuple):
    """How the work is cut into programs.

    Attributes:
        rows: of the output in a program.
        columns: likewise.
        parts: what of that is computed at once.
        apart: whether each part of the outputs has a program of its own, which computes again what comes before it.
    """

    rows: int
    columns: int
    parts: separable.Tiling
    apart: bool = False

    def fitted(self, inputs: int, outputs: int) -> Tiling:
        """What it is for so many channels: parts are no larger than they have to be."""
        return self._replace(parts=self.parts.fitted(inputs, outputs))


# From small maps to large ones. The first convolution has two more pixels on each side, and these fill what is computed
# at once: 8 x 8 and 16 x 16. On the smallest maps most of the GPU has nothing to do, and there it is best that nothing
# waits for another part. Half as many warps issue up to three tenths fewer instructions in all, but there are fewer to
# go on while one waits.
TILINGS = (
    Tiling(4, 4, separable.Tiling(64, 128, 64, 8, ahead=True), apart=True),
    Tiling(4, 4, separable.Tiling(64, 128, 128, 8, ahead=True)),
    Tiling(4, 4, separable.Tiling(64, 64, 64, 4, ahead=True), apart=True),
    Tiling(4, 4, separable.Tiling(64, 64, 128, 4)),
    Tiling(12, 12, separable.Tiling(128, 32, 64, 8)),
)


class BlockWeights(NamedTuple):
    """What the kernel reads, all of one type; the channels between the convolutions are filled up to a power of two."""

    first: Weights
    second: Weights
    last: Weights
    projection: Tensor | None  # (inputs, outputs), of the skip; None: the skip is the block's input


def weights_of(convolutions: Sequence[Weights], projection: Tensor | None) -> BlockWeights:
    """Of three convolutions' weights as `separable.weights_of` gives them, and (outputs, inputs, 1, 1) or None."""
    first, second, last = convolutions
    inner = len(second.bias)
    more = filled(inner) - inner
    return BlockWeights(
        Weights(first.depthwise, F.pad(first.pointwise, (0, more)), F.pad(first.bias, (0, more))),
        Weights(
            F.pad(second.depthwise, (0, more)),
            F.pad(second.pointwise, (0, more, 0, more)),
            F.pad(second.bias, (0, more)),
        ),
        Weights(F.pad(last.depthwise, (0, more)), F.pad(last.pointwise, (0, 0, 0, more)), last.bias),
        None if projection is None else projection.detach().flatten(1).t().contiguous(),
    )


def block(x: Tensor, weights: BlockWeights, stride: int, tiling: Tiling, beside: Tensor | None = None) -> Tensor:
    """Three separable convolutions, each with bias and ReLU, the skip added before the last one's; sums are float32.

    Args:
        x: (N, inputs, H, W) of float16 or bfloat16, to which `separable.fits` applies; read in channels_last.
        weights: of the same type.
        stride: of the first convolution and of the skip, 1 or 2.
        tiling: how the work is cut; the result does not depend on it.
        beside: the last ones of the inputs, if x has not all of them: (N, more inputs, H, W), as x otherwise. The skip
            is then projected.

    Returns:
        (N, outputs, ceil(H / stride), ceil(W / stride)) of x's type in channels_last.
    """
    x, beside, second = as_read(x, beside)
    images, first, height, width = x.shape
    inner, outputs = weights.last.pointwise.shape
    rows, columns = -(-height // stride), -(-width // stride)
    y = torch.empty(images, rows, columns, outputs, dtype=x.dtype, device=x.device)
    parts = tiling.parts.fitted(first, outputs)
    last_pixels = min(parts.pixels, filled(tiling.rows * tiling.columns))
    # So few pixels are projected from all channels at once.
    skip_parts = parts._replace(inputs=256) if last_pixels == LEAST else parts
    across = triton.cdiv(columns, tiling.columns)
    programs = triton.cdiv(rows, tiling.rows) * across
    apart = triton.cdiv(outputs, parts.outputs) if tiling.apart else 1
    # A program's own, between its convolutions.
    pixels = (tiling.rows + 4) * (tiling.columns + 4) + (tiling.rows + 2) * (tiling.columns + 2)
    between = torch.empty(images * programs * apart, pixels * inner, dtype=x.dtype, device=x.device)
    with torch.cuda.device_of(x):
        launching(_block_kernel, (programs, apart, images))(
            x,
            beside,
            *weights.first,
            *weights.second,
            *weights.last,
            y if weights.projection is None else weights.projection,
            between,
            y,
            height,
            width,
            rows,
            columns,
            across,
            FIRST=first,
            SECOND=second,
            INNER=inner,
            OUTPUTS=outputs,
            STRIDE=stride,
            PROJECTED=weights.projection is not None,
            ROWS=tiling.rows,
            COLUMNS=tiling.columns,
            PIXELS=parts.pixels,
            LAST_PIXELS=last_pixels,
            PART_FIRST=parts.inputs,
            PART_SECOND=tiling.parts.fitted(second, outputs).inputs,
            SKIP_FIRST=skip_parts.fitted(first, outputs).inputs,
            SKIP_SECOND=skip_parts.fitted(second, outputs).inputs,
            PART_OUT=parts.outputs,
            APART=apart,
            INTERPRETED=interpreted(),
            **parts.options(),
        )
    return y.permute(0, 3, 1, 2)


# A new map is not a new kernel; but that addresses are multiples of 16, it has to know.
@triton.jit(do_not_specialize=["height", "width", "rows", "columns", "across"])  # type: ignore[untyped-decorator]
def _block_kernel(  # type: ignore[no-untyped-def]
    x,
    beside,
    depthwise_1,
    pointwise_1,
    bias_1,
    depthwise_2,
    pointwise_2,
    bias_2,
    depthwise_3,
    pointwise_3,
    bias_3,
    projection,
    between,
    y,
    height,
    width,
    rows,
    columns,
    across,  # programs beside each other
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,  # 0: there is nothing beside x
    INNER: tl.constexpr,
    OUTPUTS: tl.constexpr,
    STRIDE: tl.constexpr,
    PROJECTED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PIXELS: tl.constexpr,
    LAST_PIXELS: tl.constexpr,  # of the last convolution, which has the fewest
    PART_FIRST: tl.constexpr,
    PART_SECOND: tl.constexpr,
    SKIP_FIRST: tl.constexpr,  # channels that a projection reads at once
    SKIP_SECOND: tl.constexpr,
    PART_OUT: tl.constexpr,
    APART: tl.constexpr,  # programs that share the outputs
    INTERPRETED: tl.constexpr,
    WAITS: tl.constexpr,
):
    top = (tl.program_id(0) // across) * ROWS
    left = (tl.program_id(0) % across) * COLUMNS
    image = tl.program_id(2).to(tl.int64)
    x += image * height * width * FIRST
    beside += image * height * width * SECOND
    y += image * rows * columns * OUTPUTS
    HIGH: tl.constexpr = ROWS + 4  # pixels of the first convolution's result that the second needs, which is
    WIDE: tl.constexpr = COLUMNS + 4
    LESS_HIGH: tl.constexpr = ROWS + 2  # those of the second's that the last needs
    LESS_WIDE: tl.constexpr = COLUMNS + 2
    program = (image * APART + tl.program_id(1)) * tl.num_programs(0) + tl.program_id(0)
    first = between + program * ((HIGH * WIDE + LESS_HIGH * LESS_WIDE) * INNER)
    second = first + HIGH * WIDE * INNER
    inner = tl.arange(0, INNER)
    wait_for_the_one_before(WAITS)
    # If there is one part, its skip is on its way while the rest is computed.
    ONE_PART: tl.constexpr = ROWS * COLUMNS <= LAST_PIXELS and OUTPUTS <= APART * PART_OUT
    if ONE_PART:
        skip = _skip(
            *(x, beside, projection, tl.arange(0, LAST_PIXELS), tl.program_id(1) * PART_OUT + tl.arange(0, PART_OUT)),
            *(top, left, width, rows, columns, FIRST, SECOND, OUTPUTS, STRIDE, PROJECTED, ROWS, COLUMNS),
            *(LAST_PIXELS, SKIP_FIRST, SKIP_SECOND, PART_OUT),
        )
    for start in range(0, HIGH * WIDE, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        row = top - 2 + pixel // WIDE
        column = left - 2 + pixel % WIDE
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        total = separable_sums(
            *(x, beside, depthwise_1, pointwise_1, bias_1, row, column, inside, inner, height, width),
            *(FIRST, SECOND, INNER, STRIDE, PIXELS, PART_FIRST, PART_SECOND, INNER, INTERPRETED),
        )
        _keep(total, first, pixel, HIGH * WIDE, inside, inner, INNER)
    tl.debug_barrier()  # the program's warps have all stored their parts
    for start in range(0, LESS_HIGH * LESS_WIDE, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        row = pixel // LESS_WIDE
        column = pixel % LESS_WIDE
        wanted = pixel < LESS_HIGH * LESS_WIDE
        total = separable_sums(
            *(first, first, depthwise_2, pointwise_2, bias_2, row + 1, column + 1, wanted, inner, HIGH, WIDE),
            *(INNER, 0, INNER, 1, PIXELS, INNER, INNER, INNER, INTERPRETED),
        )
        row += top - 1
        column += left - 1
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        _keep(total, second, pixel, LESS_HIGH * LESS_WIDE, inside, inner, INNER)
    tl.debug_barrier()
    for start in range(0, ROWS * COLUMNS, LAST_PIXELS):
        pixel = start + tl.arange(0, LAST_PIXELS)
        row = pixel // COLUMNS
        column = pixel % COLUMNS
        inside = (pixel < ROWS * COLUMNS) & (top + row < rows) & (left + column < columns)
        place = (top + row) * columns + left + column
        for part in range(0, OUTPUTS, APART * PART_OUT):
            out = part + tl.program_id(1) * PART_OUT + tl.arange(0, PART_OUT)
            if not ONE_PART:
                skip = _skip(
                    *(x, beside, projection, pixel, out, top, left, width, rows, columns),
                    *(FIRST, SECOND, OUTPUTS, STRIDE, PROJECTED, ROWS, COLUMNS),
                    *(LAST_PIXELS, SKIP_FIRST, SKIP_SECOND, PART_OUT),
                )
            total = separable_sums(
                *(second, second, depthwise_3, pointwise_3, bias_3),
                *(row + 1, column + 1, inside, out, LESS_HIGH, LESS_WIDE),
                *(INNER, 0, OUTPUTS, 1, LAST_PIXELS, INNER, INNER, PART_OUT, INTERPRETED),
            )
            total = tl.maximum(total + skip.to(tl.float32), 0.0)
            mask = inside[:, None] & (out < OUTPUTS)[None, :]
            tl.store(y + place[:, None] * OUTPUTS + out[None, :], total.to(y.dtype.element_ty), mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _skip(  # type: ignore[no-untyped-def]
    x,
    beside,
    projection,
    pixel,
    out,
    top,
    left,
    width,
    rows,
    columns,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    OUTPUTS: tl.constexpr,
    STRIDE: tl.constexpr,
    PROJECTED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PIXELS: tl.constexpr,
    PART_FIRST: tl.constexpr,
    PART_SECOND: tl.constexpr,
    PART_OUT: tl.constexpr,
):
    """What is added to the last convolution, (PIXELS, PART_OUT), projected in float32."""
    row = top + pixel // COLUMNS
    column = left + pixel % COLUMNS
    inside = (pixel < ROWS * COLUMNS) & (row < rows) & (column < columns)
    seen = row * STRIDE * width + column * STRIDE
    if PROJECTED:
        skip = tl.zeros((PIXELS, PART_OUT), tl.float32)
        if SECOND > 0 and FIRST <= PART_FIRST and SECOND <= PART_SECOND:
            # Neither waits for the other's product.
            channel = tl.arange(0, PART_FIRST)
            values = pixels_part(x, seen, inside, channel, FIRST)
            mix = weights_part(projection, channel, out, FIRST, OUTPUTS)
            channel_beside = tl.arange(0, PART_SECOND)
            values_beside = pixels_part(beside, seen, inside, channel_beside, SECOND)
            mix_beside = weights_part(projection + FIRST * OUTPUTS, channel_beside, out, SECOND, OUTPUTS)
            skip = tl.dot(values, mix, skip)
            skip = tl.dot(values_beside, mix_beside, skip)
        else:
            for start in range(0, FIRST, PART_FIRST):
                channel = start + tl.arange(0, PART_FIRST)
                mix = weights_part(projection, channel, out, FIRST, OUTPUTS)
                skip = tl.dot(pixels_part(x, seen, inside, channel, FIRST), mix, skip)
            for start in range(0, SECOND, PART_SECOND):
                channel = start + tl.arange(0, PART_SECOND)
                mix = weights_part(projection + FIRST * OUTPUTS, channel, out, SECOND, OUTPUTS)
                skip = tl.dot(pixels_part(beside, seen, inside, channel, SECOND), mix, skip)
    else:
        skip = pixels_part(x, seen, inside, out, FIRST)
    return skip


@triton.jit  # type: ignore[untyped-decorator]
def _keep(total, memory, pixel, count, inside, inner, INNER: tl.constexpr):  # type: ignore[no-untyped-def]
    """Store what a convolution gave, after its ReLU; outside of the map the next one sees zeros."""
    total = tl.where(inside[:, None], tl.maximum(total, 0.0), 0.0)
    tl.store(
        memory + pixel[:, None] * INNER + inner[None, :],
        total.to(memory.dtype.element_ty),
        mask=(pixel < count)[:, None],
    )
