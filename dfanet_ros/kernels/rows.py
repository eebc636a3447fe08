"""A separable convolution by programs that go down the map: what `separable` computes, for large maps of few channels.

Each row of a program's columns is read three times, as the left, the middle and the right one of three taps, and added
to all rows of the result that need it, of which a program has three under way. `separable` reads each value nine times,
and its programs, of which there are many more, the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import interpreted, launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before
from dfanet_ros.kernels.separable import LEAST, Weights, copied, filled

MOST = 128  # channels, before and after: they are all in a program at once, and more would not fit its registers


class Tiling(NamedTuple):
    """How the work is cut into programs.

    Attributes:
        rows: of the output in a program.
        warps: of 32 threads each; the more of them, the more columns a program has.
    """

    rows: int
    warps: int

    def fitted(self, inputs: int, outputs: int) -> Tiling | None:
        """What it is for so many channels, at least 16 columns; None: it is not for so many."""
        if max(inputs, outputs) > MOST:
            return None
        return self._replace(warps=max(self.warps, LEAST * _values(inputs, outputs) // WARP))

    def columns(self, inputs: int, outputs: int) -> int:
        """Of the output in a program, for so many channels."""
        return self.warps * WARP // _values(inputs, outputs)


WARP = 32 * 8  # values of a row that a warp has: eight of a thread are 16 bytes, which it reads at once

# From small maps to large ones. Compiled for sm_90 with the widths of DFANet A, float16 spills 56 bytes at most.
TILINGS = Tiling(4, 2), Tiling(8, 4)


def _values(inputs: int, outputs: int) -> int:
    """What a column of a row is to a warp: of the output, one has room for twice as many, for it keeps none."""
    return max(filled(inputs), filled(outputs) // 2)


def separable_by_rows(
    x: Tensor, weights: Weights, stride: int, relu: bool, added: Tensor | None, tiling: Tiling
) -> Tensor:
    """See `separable.separable`; for as many channels as the tiling can be fitted to."""
    x = x.contiguous(memory_format=torch.channels_last)
    images, inputs, height, width = x.shape
    outputs = weights.pointwise.shape[1]
    rows, columns = -(-height // stride), -(-width // stride)
    y = torch.empty(images, rows, columns, outputs, dtype=x.dtype, device=x.device)
    if added is not None:
        added = added.contiguous(memory_format=torch.channels_last)
    fitted = tiling.fitted(inputs, outputs)
    assert fitted is not None
    segment = fitted.columns(inputs, outputs)
    grid = triton.cdiv(columns, segment), triton.cdiv(rows, fitted.rows), images
    with torch.cuda.device_of(x):
        launching(_rows_kernel, grid)(
            x,
            *weights,
            y if added is None else added,
            y,
            height,
            width,
            rows,
            columns,
            INPUTS=inputs,
            OUTPUTS=outputs,
            STRIDE=stride,
            ADD=added is not None,
            RELU=relu,
            ROWS=fitted.rows,
            COLUMNS=segment,
            FILLED_IN=filled(inputs),
            FILLED_OUT=filled(outputs),
            INTERPRETED=interpreted(),
            num_warps=fitted.warps,
            # Some would take 142: of programs with eight warps, an SM would have one instead of two. Where all sums are
            # float32, more are needed.
            maxnreg=128 if x.dtype == torch.float16 else None,
        )
    return y.permute(0, 3, 1, 2)


# A new map is not a new kernel; but that addresses are multiples of 16, it has to know.
@triton.jit(do_not_specialize=["height", "width", "rows", "columns"])  # type: ignore[untyped-decorator]
def _rows_kernel(  # type: ignore[no-untyped-def]
    x,
    depthwise,
    pointwise,
    bias,
    added,
    y,
    height,
    width,
    rows,
    columns,
    # The compiler knows the numbers of channels, and has as many read at once as divide them.
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    STRIDE: tl.constexpr,
    ADD: tl.constexpr,
    RELU: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    FILLED_IN: tl.constexpr,
    FILLED_OUT: tl.constexpr,
    INTERPRETED: tl.constexpr,
    WAITS: tl.constexpr,
):
    # All taps are added in float16, if the values are: three beside each other, then rows. What stands between the two
    # convolutions is then off by 4.1e-4 of its size; with rows added in float32, as in `separable`, by 3.6e-4.
    SUM: tl.constexpr = tl.float16 if x.dtype.element_ty == tl.float16 else tl.float32
    READ: tl.constexpr = (ROWS - 1) * STRIDE + 3  # rows of the map
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.program_id(1) * ROWS
    image = tl.program_id(2).to(tl.int64)
    channel = tl.arange(0, FILLED_IN)
    out = tl.arange(0, FILLED_OUT)
    there = channel < INPUTS
    wanted = out < OUTPUTS

    # All weights stay in registers.
    above = _row_factors(depthwise + channel, there, INPUTS, SUM)
    beside = _row_factors(depthwise + channel + 3 * INPUTS, there, INPUTS, SUM)
    below = _row_factors(depthwise + channel + 6 * INPUTS, there, INPUTS, SUM)
    mix = tl.load(
        pointwise + channel[:, None] * OUTPUTS + out[None, :], mask=there[:, None] & wanted[None, :], other=0.0
    )
    offset = tl.load(bias + out, mask=wanted, other=0.0).to(tl.float32)[None, :]
    offset = tl.broadcast_to(offset, (COLUMNS, FILLED_OUT))

    place = image * rows * columns * OUTPUTS + (first * columns + column[:, None]) * OUTPUTS + out[None, :]
    shown = (column < columns)[:, None] & wanted[None, :]
    row = first * STRIDE - 1
    column *= STRIDE
    inside = (column < width)[:, None] & there[None, :]
    before = ((column >= 1) & (column <= width))[:, None] & there[None, :]
    behind = (column + 1 < width)[:, None] & there[None, :]
    line = width * INPUTS
    middle = x + image * height * line + (row * line + column[:, None] * INPUTS + channel[None, :])

    wait_for_the_one_before(WAITS)
    ahead = _row(middle, row >= 0, before, inside, behind, INPUTS)
    # Sums of the rows of the result that are not complete: that of the one after the next, and of the next one.
    begun = tl.zeros((COLUMNS, FILLED_IN), SUM)
    going = begun
    for step in tl.static_range(READ):
        values = ahead
        if step + 1 < READ:  # read before the others are needed: they are there when these are done
            middle += line
            ahead = _row(middle, row + step + 1 < height, before, inside, behind, INPUTS)
        sums = going + _row_sums(values, below, SUM)
        if STRIDE == 1:
            going = begun + _row_sums(values, beside, SUM)
            begun = _row_sums(values, above, SUM)
        elif step % 2 == 0:
            going = _row_sums(values, above, SUM)
        else:
            going += _row_sums(values, beside, SUM)
        if step >= 2 and step % STRIDE == 0:
            sums = copied(sums.to(mix.dtype), INTERPRETED)
            mask = shown & (first + (step - 2) // STRIDE < rows)
            total = offset
            if ADD:
                total += tl.load(added + place, mask=mask, other=0.0).to(tl.float32)
            total = tl.dot(sums, mix, total)
            if RELU:
                total = tl.maximum(total, 0.0)
            tl.store(y + place, total.to(y.dtype.element_ty), mask=mask)
            place += columns * OUTPUTS


@triton.jit  # type: ignore[untyped-decorator]
def _row_factors(factors, there, INPUTS: tl.constexpr, TYPE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of three taps beside each other, (1, FILLED_IN) each."""
    left = tl.load(factors, mask=there, other=0.0).to(TYPE)[None, :]
    middle = tl.load(factors + INPUTS, mask=there, other=0.0).to(TYPE)[None, :]
    right = tl.load(factors + 2 * INPUTS, mask=there, other=0.0).to(TYPE)[None, :]
    return left, middle, right


@triton.jit  # type: ignore[untyped-decorator]
def _row(middle, seen, before, inside, behind, INPUTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The values of three taps beside each other, (COLUMNS, FILLED_IN) each; zero where they lie outside of the map."""
    return (
        tl.load(middle - INPUTS, mask=before & seen, other=0.0),
        tl.load(middle, mask=inside & seen, other=0.0),
        tl.load(middle + INPUTS, mask=behind & seen, other=0.0),
    )


@triton.jit  # type: ignore[untyped-decorator]
def _row_sums(values, factors, TYPE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of three taps beside each other, (COLUMNS, FILLED_IN) of TYPE."""
    left, middle, right = values
    left_factor, middle_factor, right_factor = factors
    sums = left.to(TYPE) * left_factor
    sums += middle.to(TYPE) * middle_factor
    sums += right.to(TYPE) * right_factor
    return sums
