"""A separable convolution in one pass: depthwise 3 x 3, 1 x 1, bias, what is added to it, and ReLU.

What stands between the two convolutions, which on small maps costs more to write and read than to compute, stays in
the GPU's registers.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import interpreted, launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before

LEAST = 16  # rows and columns of what tensor cores multiply


def filled(channels: int) -> int:
    """To how many they are filled up: a power of two that tensor cores can multiply."""
    return max(LEAST, triton.next_power_of_2(channels))


REGISTERS = 2**16  # of 32 bits, that a GPU has for the programs that run in one place at a time


class Tiling(NamedTuple):
    """How the work is cut into programs.

    Attributes:
        pixels: of the output in a program, a power of two from 16 on.
        inputs: channels that are read at once at most, likewise; the next ones have to wait for these.
        outputs: channels in a program at most, likewise; what the 1 x 1 needs is computed again for each part.
        warps: of 32 threads each.
        ahead: whether a thread may have as many registers as there are, so that all that it reads is on its way at
            once. By itself, the compiler takes few, with which more programs fit: it has the first values come before
            it asks for the next.
    """

    pixels: int
    inputs: int
    outputs: int
    warps: int
    ahead: bool = False

    def fitted(self, inputs: int, outputs: int) -> Tiling:
        """What it is for so many channels: parts are no larger than they have to be."""
        return self._replace(
            inputs=min(self.inputs, filled(inputs)),
            outputs=min(self.outputs, filled(outputs)),
        )

    def options(self) -> dict[str, int]:
        """What a kernel is compiled with."""
        # More stages would keep several parts' pixels in shared memory, and fewer programs would fit.
        options = {"num_warps": self.warps, "num_stages": 1}
        return options | {"maxnreg": min(255, REGISTERS // (32 * self.warps))} if self.ahead else options


# From small maps, where only many small programs keep the GPU busy and one part of the channels should not wait for
# another, to large ones. Each of them was the fastest for some shape of DFANet A on an H200; others that were not, as
# with 256 channels at once or 128 pixels, are left out, for each has to be compiled and tried.
TILINGS = (
    Tiling(16, 128, 128, 8, ahead=True),
    Tiling(32, 64, 64, 4, ahead=True),
    Tiling(32, 64, 64, 4),
    Tiling(64, 64, 64, 8),
)


class Weights(NamedTuple):
    """What the kernel reads, all of one type and packed."""

    depthwise: Tensor  # (9, inputs)
    pointwise: Tensor  # (inputs, outputs)
    bias: Tensor  # (outputs,)


def weights_of(depthwise: Tensor, pointwise: Tensor, bias: Tensor) -> Weights:
    """Of the convolutions' weights, (inputs, 1, 3, 3), (outputs, inputs, 1, 1) and (outputs,)."""
    return Weights(
        depthwise.detach().reshape(-1, 9).t().contiguous(),
        pointwise.detach().reshape(len(pointwise), -1).t().contiguous(),
        bias.detach().contiguous(),
    )


def fits(x: Tensor, outputs: int) -> bool:
    """Whether the kernel can take this map, and give so many channels: within an image, it counts in 32 bits."""
    return max(x.shape[1], outputs) * x.shape[2] * x.shape[3] < 2**31 and len(x) < 2**16


def as_read(x: Tensor, beside: Tensor | None) -> tuple[Tensor, Tensor, int]:
    """A map and the one beside it as kernels read them, packed in channels_last, and the channels of the second one.

    If there is none, these are 0, and the first one stands for it.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if beside is None:
        return x, x, 0
    return x, beside.contiguous(memory_format=torch.channels_last), beside.shape[1]


def separable(
    x: Tensor,
    weights: Weights,
    stride: int,
    relu: bool,
    added: Tensor | None,
    tiling: Tiling,
    beside: Tensor | None = None,
) -> Tensor:
    """Both convolutions with bias, plus `added`, then ReLU if wanted; sums are float32.

    Args:
        x: (N, inputs, H, W) of float16 or bfloat16, to which `fits` applies; read in channels_last.
        weights: of the same type.
        stride: of the depthwise convolution, 1 or 2; its padding is 1.
        relu: whether it ends with one.
        added: of the result's shape and type, or None.
        tiling: how the work is cut; the result does not depend on it.
        beside: the last ones of the inputs, if x has not all of them: (N, more inputs, H, W), as x otherwise.

    Returns:
        (N, outputs, ceil(H / stride), ceil(W / stride)) of x's type in channels_last.
    """
    x, beside, second = as_read(x, beside)
    images, first, height, width = x.shape
    outputs = weights.pointwise.shape[1]
    rows, columns = -(-height // stride), -(-width // stride)
    y = torch.empty(images, rows, columns, outputs, dtype=x.dtype, device=x.device)
    if added is not None:
        added = added.contiguous(memory_format=torch.channels_last)
    parts = tiling.fitted(first, outputs)
    grid = triton.cdiv(rows * columns, parts.pixels), triton.cdiv(outputs, parts.outputs), images
    with torch.cuda.device_of(x):
        launching(_separable_kernel, grid)(
            x,
            beside,
            *weights,
            y if added is None else added,
            y,
            height,
            width,
            rows,
            columns,
            FIRST=first,
            SECOND=second,
            OUTPUTS=outputs,
            STRIDE=stride,
            ADD=added is not None,
            RELU=relu,
            PIXELS=parts.pixels,
            PART_FIRST=parts.inputs,
            PART_SECOND=tiling.fitted(second, outputs).inputs,
            PART_OUT=parts.outputs,
            INTERPRETED=interpreted(),
            **parts.options(),
        )
    return y.permute(0, 3, 1, 2)


# A new map is not a new kernel; but that addresses are multiples of 16, it has to know.
@triton.jit(do_not_specialize=["height", "width", "rows", "columns"])  # type: ignore[untyped-decorator]
def _separable_kernel(  # type: ignore[no-untyped-def]
    x,
    beside,
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
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,  # 0: there is nothing beside x
    OUTPUTS: tl.constexpr,
    STRIDE: tl.constexpr,
    ADD: tl.constexpr,
    RELU: tl.constexpr,
    PIXELS: tl.constexpr,
    PART_FIRST: tl.constexpr,
    PART_SECOND: tl.constexpr,
    PART_OUT: tl.constexpr,
    INTERPRETED: tl.constexpr,
    WAITS: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    out = tl.program_id(1) * PART_OUT + tl.arange(0, PART_OUT)
    image = tl.program_id(2).to(tl.int64)
    inside = pixel < rows * columns
    place = image * rows * columns * OUTPUTS + (pixel[:, None] * OUTPUTS + out[None, :])
    mask = inside[:, None] & (out < OUTPUTS)[None, :]
    wait_for_the_one_before(WAITS)
    if ADD:  # on its way while the rest is computed
        more = tl.load(added + place, mask=mask, other=0.0)
    total = separable_sums(
        *(x + image * height * width * FIRST, beside + image * height * width * SECOND, depthwise, pointwise, bias),
        *(pixel // columns, pixel % columns, inside, out, height, width),
        *(FIRST, SECOND, OUTPUTS, STRIDE, PIXELS, PART_FIRST, PART_SECOND, PART_OUT, INTERPRETED),
    )
    if ADD:
        total += more.to(tl.float32)
    if RELU:
        total = tl.maximum(total, 0.0)
    tl.store(y + place, total.to(y.dtype.element_ty), mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def separable_sums(  # type: ignore[no-untyped-def]
    x,
    beside,
    depthwise,
    pointwise,
    bias,
    row,
    column,
    inside,
    out,
    height,
    width,
    FIRST: tl.constexpr,
    SECOND: tl.constexpr,
    OUTPUTS: tl.constexpr,
    STRIDE: tl.constexpr,
    PIXELS: tl.constexpr,
    PART_FIRST: tl.constexpr,
    PART_SECOND: tl.constexpr,
    PART_OUT: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Both convolutions with bias, (PIXELS, PART_OUT) float32, of one image's map or of two beside each other.

    These have FIRST and SECOND channels, of which PART_FIRST and PART_SECOND are read at once. `row`, `column` and
    `inside` are (PIXELS,): which pixels of the result, and whether they are wanted; `out` is (PART_OUT,), their
    channels.
    """
    wanted = out < OUTPUTS
    offset = tl.load(bias + out, mask=wanted, other=0.0)
    # Where each pixel's neighbours lie, and which of them there are, is worked out once for all channels.
    row *= STRIDE
    column *= STRIDE
    place = row * width + column
    above = inside & (row >= 1)
    below = inside & (row + 1 < height)
    before = column >= 1
    behind = column + 1 < width
    total = tl.zeros((PIXELS, PART_OUT), tl.float32)
    if SECOND > 0 and FIRST <= PART_FIRST and SECOND <= PART_SECOND:
        # Neither waits for the other's product.
        channel = tl.arange(0, PART_FIRST)
        sums = _depthwise_sums(
            *(x, depthwise, place, width, above, inside, below, before, behind, channel),
            *(FIRST, FIRST + SECOND, INTERPRETED),
        )
        channel_beside = tl.arange(0, PART_SECOND)
        sums_beside = _depthwise_sums(
            *(beside, depthwise + FIRST, place, width, above, inside, below, before, behind, channel_beside),
            *(SECOND, FIRST + SECOND, INTERPRETED),
        )
        mix = weights_part(pointwise, channel, out, FIRST, OUTPUTS)
        mix_beside = weights_part(pointwise + FIRST * OUTPUTS, channel_beside, out, SECOND, OUTPUTS)
        total = tl.dot(sums.to(mix.dtype), mix, total)
        total = tl.dot(sums_beside.to(mix.dtype), mix_beside, total)
    else:
        for start in range(0, FIRST, PART_FIRST):
            channel = start + tl.arange(0, PART_FIRST)
            sums = _depthwise_sums(
                *(x, depthwise, place, width, above, inside, below, before, behind, channel),
                *(FIRST, FIRST + SECOND, INTERPRETED),
            )
            mix = weights_part(pointwise, channel, out, FIRST, OUTPUTS)
            total = tl.dot(sums.to(mix.dtype), mix, total)
        for start in range(0, SECOND, PART_SECOND):
            channel = start + tl.arange(0, PART_SECOND)
            sums = _depthwise_sums(
                *(beside, depthwise + FIRST, place, width, above, inside, below, before, behind, channel),
                *(SECOND, FIRST + SECOND, INTERPRETED),
            )
            mix = weights_part(pointwise + FIRST * OUTPUTS, channel, out, SECOND, OUTPUTS)
            total = tl.dot(sums.to(mix.dtype), mix, total)
    return total + offset.to(tl.float32)[None, :]


@triton.jit  # type: ignore[untyped-decorator]
def weights_part(weights, channel, out, INPUTS: tl.constexpr, OUTPUTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of a 1 x 1 convolution's (INPUTS, OUTPUTS) those of some channels; zeros for those that there are not."""
    mask = (channel < INPUTS)[:, None] & (out < OUTPUTS)[None, :]
    return tl.load(weights + channel[:, None] * OUTPUTS + out[None, :], mask=mask, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def pixels_part(x, place, inside, channel, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Some channels of some pixels; zeros for what there is not."""
    mask = inside[:, None] & (channel < CHANNELS)[None, :]
    return tl.load(x + (place * CHANNELS)[:, None] + channel[None, :], mask=mask, other=0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _depthwise_sums(  # type: ignore[no-untyped-def]
    x,
    depthwise,
    place,
    width,
    above,
    inside,
    below,
    before,
    behind,
    channel,
    CHANNELS: tl.constexpr,
    INPUTS: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """Of some channels of a map that has CHANNELS of INPUTS in all, float32; `place`: the pixel in the middle."""
    there = channel < CHANNELS
    centre = x + (place * CHANNELS)[:, None] + channel[None, :]
    line = width * CHANNELS
    factors = depthwise + channel
    sums = _row_sums(centre - line, factors, above, before, behind, there, CHANNELS, INPUTS)
    sums += _row_sums(centre, factors + 3 * INPUTS, inside, before, behind, there, CHANNELS, INPUTS)
    sums += _row_sums(centre + line, factors + 6 * INPUTS, below, before, behind, there, CHANNELS, INPUTS)
    return copied(sums, INTERPRETED)


@triton.jit  # type: ignore[untyped-decorator]
def copied(values, INTERPRETED: tl.constexpr):  # type: ignore[no-untyped-def]
    """The same, between sums and the product that they go to.

    The compiler brings its arrangement for the product as close to the loads as it can, which is to each tap's values,
    by way of shared memory; before this, which it has to leave where it is, it cannot.
    """
    if not INTERPRETED:
        PACK: tl.constexpr = 1 if values.dtype == tl.float32 else 2  # values in a register
        values = tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [values], values.dtype, is_pure=False, pack=PACK)
    return values


@triton.jit  # type: ignore[untyped-decorator]
def _row_sums(  # type: ignore[no-untyped-def]
    centre, factors, inside, before, behind, there, CHANNELS: tl.constexpr, INPUTS: tl.constexpr
):
    """Of three taps beside each other, (pixels, channels) float32.

    float16 is added as such, which takes half the instructions. What stands between the two convolutions, and is stored
    in that type anyway, is then off by 4e-4 of its size instead of 2e-4; in bfloat16 it would be eight times as much.
    """
    SUM: tl.constexpr = tl.float16 if centre.dtype.element_ty == tl.float16 else tl.float32
    sums = _term(centre - CHANNELS, factors, inside & before, there, SUM)
    sums += _term(centre, factors + INPUTS, inside, there, SUM)
    sums += _term(centre + CHANNELS, factors + 2 * INPUTS, inside & behind, there, SUM)
    return sums.to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _term(values, factors, seen, there, TYPE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of one tap, (pixels, channels); zero where it lies outside of the map."""
    values = tl.load(values, mask=seen[:, None] & there[None, :], other=0.0).to(TYPE)
    return values * tl.load(factors, mask=there, other=0.0).to(TYPE)[None, :]
