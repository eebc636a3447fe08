"""How a refining backbone begins, in one pass: the first separable convolution of its first block, and the skip.

Both read the attention output of the backbone before, four times enlarged, beside that backbone's enc2. That map, the
largest of a network, is never made: as in `network.refinement`, a pixel of the result is a weighted sum of the small
map's pixels, with weights that depend on whether its row and its column are even or odd. These four kinds are the
phases; a program computes pixels of one of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import interpreted, launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before
from dfanet_ros.kernels.separable import copied, filled, separable_sums, weights_part
from dfanet_ros.network.refinement import BEFORE, TAPS

ENLARGED = 4  # times


class Tiling(NamedTuple):
    """How the work is cut into programs.

    Attributes:
        pixels: of one phase in a program, a power of two from 16 on.
        inputs: channels of the small map that are read at once at most, likewise.
        warps: of 32 threads each.
        registers: of a thread at most; with fewer, more programs fit.
    """

    pixels: int
    inputs: int
    warps: int
    registers: int = 255

    def fitted(self, inputs: int, outputs: int) -> Tiling:
        """What it is for so many channels: parts are no larger than they have to be."""
        return self._replace(inputs=min(self.inputs, filled(inputs)))


# From small maps to large ones.
TILINGS = (
    Tiling(16, 64, 4),
    Tiling(32, 64, 4),
    Tiling(32, 64, 8, registers=128),
    Tiling(64, 32, 8, registers=128),
)


class RefiningWeights(NamedTuple):
    """What the kernel reads, all of one type and packed; the convolution's outputs are filled up to a power of two."""

    taps: Tensor  # (4 phases, 4 edges, 9, coarse), see `_taps`
    pointwise: Tensor  # (coarse, inner)
    skip: Tensor  # (coarse, outputs)
    fine_depthwise: Tensor  # (9, fine)
    fine_pointwise: Tensor  # (fine, inner)
    bias: Tensor  # (inner,)
    fine_skip: Tensor  # (fine, outputs)


def weights_of(depthwise: Tensor, pointwise: Tensor, bias: Tensor, skip: Tensor, coarse: int) -> RefiningWeights:
    """Of the weights of the block's first convolution and its skip.

    Args:
        depthwise: (coarse + fine, 1, 3, 3).
        pointwise: (inner, coarse + fine, 1, 1).
        bias: (inner,).
        skip: (outputs, coarse + fine, 1, 1).
        coarse: channels of the attention output, which come first.
    """
    small, fine = depthwise.detach().split([coarse, len(depthwise) - coarse])
    more = filled(len(bias)) - len(bias)
    pointwise, bias = F.pad(pointwise.detach().flatten(1).t(), (0, more)), F.pad(bias.detach(), (0, more))
    skip = skip.detach().flatten(1).t().contiguous()
    return RefiningWeights(
        _taps(small[:, 0]).to(depthwise.dtype),
        pointwise[:coarse].contiguous(),
        skip[:coarse],
        fine.reshape(-1, 9).t().contiguous(),
        pointwise[coarse:].contiguous(),
        bias,
        skip[coarse:],
    )


def _taps(depthwise: Tensor) -> Tensor:
    """Weights of a small map's 3 x 3 pixels, (4 phases, 4 edges, 9, C) float32.

    By phase (even and odd rows, and of each even and odd columns) and by where the result's pixel lies: anywhere else,
    in the first column, in the first row, in both. There the pixel that would be before the small map's first one is
    this one again, and what the kernel's tap outside of the enlarged map has of it is taken off.

    Args:
        depthwise: (C, 3, 3), of the kernel with stride 2 over the enlarged map.
    """
    taps = TAPS.to(depthwise.device)
    edge = taps.clone()
    edge[0, BEFORE, 0] -= taps[0, BEFORE].sum()
    kinds = torch.stack([taps, edge], 1)  # (phase, edge, tap, pixel), of rows or of columns
    weights = torch.einsum("cts,yeti,xfsj->yxefijc", depthwise.float(), kinds, kinds)
    return weights.reshape(4, 4, 9, -1).contiguous()


def fits(coarse: Tensor, fine: Tensor) -> bool:
    """Whether one map is as much larger than the other as the kernel has it."""
    return tuple(fine.shape[2:]) == tuple(ENLARGED * length for length in coarse.shape[2:])


def refining(
    coarse: Tensor, fine: Tensor, weights: RefiningWeights, inner: int, tiling: Tiling
) -> tuple[Tensor, Tensor]:
    """The first separable convolution with bias and ReLU, and the skip; sums are float32.

    Args:
        coarse: attention output, (N, C, h, w) of float16 or bfloat16; read in channels_last, as `fine`.
        fine: enc2, (N, D, 4 h, 4 w) of the same type. To both applies `separable.fits`.
        weights: of that type.
        inner: outputs of the convolution.
        tiling: how the work is cut; the result does not depend on it.

    Returns:
        (N, inner, 2 h, 2 w) and (N, outputs, 2 h, 2 w) of that type in channels_last.
    """
    coarse, fine = (values.contiguous(memory_format=torch.channels_last) for values in (coarse, fine))
    images, channels, height, width = coarse.shape
    outputs = weights.skip.shape[1]
    first, skip = (
        torch.empty(images, 2 * height, 2 * width, count, dtype=coarse.dtype, device=coarse.device)
        for count in (inner, outputs)
    )
    tiling = tiling.fitted(channels, outputs)
    with torch.cuda.device_of(coarse):
        launching(_refining_kernel, (triton.cdiv(height * width, tiling.pixels), 4, images))(
            coarse,
            fine,
            *weights,
            first,
            skip,
            height,
            width,
            COARSE=channels,
            FINE=fine.shape[1],
            INNER=inner,
            PADDED_INNER=len(weights.bias),
            OUTPUTS=outputs,
            PADDED_OUTPUTS=filled(outputs),
            PIXELS=tiling.pixels,
            PART=tiling.inputs,
            PADDED_FINE=filled(fine.shape[1]),
            INTERPRETED=interpreted(),
            num_warps=tiling.warps,
            num_stages=1,  # see `separable`
            maxnreg=tiling.registers,
        )
    return first.permute(0, 3, 1, 2), skip.permute(0, 3, 1, 2)


# A new map is not a new kernel; but that addresses are multiples of 16, it has to know.
@triton.jit(do_not_specialize=["height", "width"])  # type: ignore[untyped-decorator]
def _refining_kernel(  # type: ignore[no-untyped-def]
    coarse,
    fine,
    taps,
    pointwise,
    coarse_skip,
    fine_depthwise,
    fine_pointwise,
    bias,
    fine_skip,
    first,
    skip,
    height,
    width,
    COARSE: tl.constexpr,
    FINE: tl.constexpr,
    INNER: tl.constexpr,
    PADDED_INNER: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PADDED_OUTPUTS: tl.constexpr,
    PIXELS: tl.constexpr,
    PART: tl.constexpr,
    PADDED_FINE: tl.constexpr,
    INTERPRETED: tl.constexpr,
    WAITS: tl.constexpr,
):
    wait_for_the_one_before(WAITS)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    image = tl.program_id(2).to(tl.int64)
    coarse += image * height * width * COARSE
    fine += image * height * width * 16 * FINE
    first += image * height * width * 4 * INNER
    skip += image * height * width * 4 * OUTPUTS
    # The compiler knows the phase, and which pixels have no part in it.
    for phase in tl.static_range(4):
        if tl.program_id(1) == phase:
            _phase(
                *(coarse, fine, taps + phase * 36 * COARSE, pointwise, coarse_skip),
                *(fine_depthwise, fine_pointwise, bias, fine_skip, first, skip, pixel, height, width),
                *(phase // 2, phase % 2, COARSE, FINE, INNER, PADDED_INNER, OUTPUTS, PADDED_OUTPUTS),
                *(PIXELS, PART, PADDED_FINE, INTERPRETED),
            )


@triton.jit  # type: ignore[untyped-decorator]
def _phase(  # type: ignore[no-untyped-def]
    coarse,
    fine,
    taps,
    pointwise,
    coarse_skip,
    fine_depthwise,
    fine_pointwise,
    bias,
    fine_skip,
    first,
    skip,
    pixel,
    height,
    width,
    ODD_ROW: tl.constexpr,
    ODD_COLUMN: tl.constexpr,
    COARSE: tl.constexpr,
    FINE: tl.constexpr,
    INNER: tl.constexpr,
    PADDED_INNER: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PADDED_OUTPUTS: tl.constexpr,
    PIXELS: tl.constexpr,
    PART: tl.constexpr,
    PADDED_FINE: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """A pixel of the result beside each of these pixels of an image's small map."""
    inside = pixel < height * width
    pixel = tl.minimum(pixel, height * width - 1)  # the others read what the last one reads
    row = pixel // width
    column = pixel % width
    inner = tl.arange(0, PADDED_INNER)
    out = tl.arange(0, PADDED_OUTPUTS)
    fine_row = 2 * row + ODD_ROW
    fine_column = 2 * column + ODD_COLUMN
    beside = tl.arange(0, PADDED_FINE)
    # What a product needs is read before the product ahead of it, so that it is not waited for once more.
    skip_mix = weights_part(fine_skip, beside, out, FINE, OUTPUTS)
    under = tl.load(
        fine + ((fine_row * 8 * width + 2 * fine_column) * FINE)[:, None] + beside[None, :],
        mask=(beside < FINE)[None, :],
        other=0.0,
    )
    first_total = separable_sums(
        *(fine, fine, fine_depthwise, fine_pointwise, bias),
        *(fine_row, fine_column, inside, inner, 4 * height, 4 * width),
        *(FINE, 0, PADDED_INNER, 2, PIXELS, PADDED_FINE, PADDED_FINE, PADDED_INNER, INTERPRETED),
    )
    skip_total = tl.dot(under, skip_mix)
    for begin in range(0, COARSE, PART):
        channel = begin + tl.arange(0, PART)
        coarse_mix = weights_part(pointwise, channel, inner, COARSE, PADDED_INNER)
        coarse_skip_mix = weights_part(coarse_skip, channel, out, COARSE, OUTPUTS)
        sums, sampled = _coarse_sums(
            *(coarse, taps, row, column, height, width, begin, ODD_ROW, ODD_COLUMN, COARSE, PART, INTERPRETED)
        )
        first_total = tl.dot(sums, coarse_mix, first_total)
        skip_total = tl.dot(sampled, coarse_skip_mix, skip_total)
    place = (fine_row * 2 * width + fine_column)[:, None]
    tl.store(
        first + place * INNER + inner[None, :],
        tl.maximum(first_total, 0.0).to(first.dtype.element_ty),
        mask=inside[:, None] & (inner < INNER)[None, :],
    )
    tl.store(
        skip + place * OUTPUTS + out[None, :],
        skip_total.to(skip.dtype.element_ty),
        mask=inside[:, None] & (out < OUTPUTS)[None, :],
    )


@triton.jit  # type: ignore[untyped-decorator]
def _coarse_sums(  # type: ignore[no-untyped-def]
    coarse,
    taps,
    row,
    column,
    height,
    width,
    begin,
    ODD_ROW: tl.constexpr,
    ODD_COLUMN: tl.constexpr,
    COARSE: tl.constexpr,
    PART: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Of the channels from `begin` on: what the depthwise convolution gives, and what the skip reads.

    (pixels, PART) each, of the map's type; from the small map around these pixels.
    """
    channel = begin + tl.arange(0, PART)
    # Where all of them are there, the compiler leaves the comparison out.
    there = channel < COARSE if COARSE % PART else tl.full((PART,), True, tl.int1)
    coarse += channel[None, :]
    taps += channel
    top = (row == 0).to(tl.int32) * (18 * COARSE)  # to the weights of the first row
    line = tl.maximum(row - 1, 0) * width
    sums, above = _row_sums(*(coarse, taps, line, column, width, top, there, ODD_ROW == 0, ODD_COLUMN, COARSE))
    line = row * width
    taps += 3 * COARSE
    more, under = _row_sums(*(coarse, taps, line, column, width, top, there, False, ODD_COLUMN, COARSE))
    sums += more
    if ODD_ROW == 0:
        sampled = under + (above - under) * 0.375
    else:
        line = tl.minimum(row + 1, height - 1) * width
        taps += 3 * COARSE
        more, below = _row_sums(*(coarse, taps, line, column, width, top, there, False, ODD_COLUMN, COARSE))
        sums += more
        sampled = under + (below - under) * 0.125
    sums = copied(sums, INTERPRETED)
    sampled = copied(sampled, INTERPRETED)
    TYPE: tl.constexpr = coarse.dtype.element_ty
    return sums.to(TYPE), sampled.to(TYPE)


@triton.jit  # type: ignore[untyped-decorator]
def _row_sums(  # type: ignore[no-untyped-def]
    coarse,
    taps,
    line,
    column,
    width,
    top,
    there,
    AT_TOP: tl.constexpr,
    ODD_COLUMN: tl.constexpr,
    COARSE: tl.constexpr,
):
    """Of three pixels of the small map beside each other: what their taps give, float32, and what the skip reads there.

    `top` is how much further each pixel's weights lie, if AT_TOP. float16 is added as such, as in `separable`.
    """
    TYPE: tl.constexpr = tl.float16 if coarse.dtype.element_ty == tl.float16 else tl.float32
    before = _values(coarse, line + tl.maximum(column - 1, 0), there, COARSE).to(TYPE)
    under = _values(coarse, line + column, there, COARSE).to(TYPE)
    if ODD_COLUMN == 0:
        left = (column == 0).to(tl.int32) * (9 * COARSE)  # to the weights of the first column
        sums = before * _factors(taps, top + left if AT_TOP else left, there, True).to(TYPE)
        sums += under * _factors(taps + COARSE, top, there, AT_TOP).to(TYPE)
        sampled = under + (before - under) * 0.375
    else:
        behind = _values(coarse, line + tl.minimum(column + 1, width - 1), there, COARSE).to(TYPE)
        sums = before * _factors(taps, top, there, AT_TOP).to(TYPE)
        sums += under * _factors(taps + COARSE, top, there, AT_TOP).to(TYPE)
        sums += behind * _factors(taps + 2 * COARSE, top, there, AT_TOP).to(TYPE)
        sampled = under + (behind - under) * 0.125
    return sums.to(tl.float32), sampled


@triton.jit  # type: ignore[untyped-decorator]
def _values(coarse, place, there, COARSE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of the pixels at these places, (pixels, PART)."""
    return tl.load(coarse + (place * COARSE)[:, None], mask=there[None, :], other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _factors(taps, further, there, OWN: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a tap, (1, PART), the same for all pixels; or, if each has its OWN, (pixels, PART)."""
    if OWN:
        factors = tl.load(taps[None, :] + further[:, None], mask=there[None, :], other=0.0)
    else:
        factors = tl.load(taps, mask=there, other=0.0)[None, :]
    return factors
