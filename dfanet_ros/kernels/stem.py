"""The first convolution of a network, 3 x 3 with stride 2 from three channels, with its ReLU.

Three channels are too few to read at once, and 27 products too few for what reading them singly takes. So four pixels
beside each other are computed as one: what they need of a row of the image lies in 32 numbers in a row, and one matrix
per row of the convolution, mostly zeros, gives the channels of all four.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from dfanet_ros.kernels.compiling import launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before

INPUTS = 3
TOGETHER = 4  # pixels beside each other, of which one starts 2 * INPUTS numbers after the one before it
BEFORE = 8  # numbers before those of the first pixel's centre, so that 16 bytes are read at once
NUMBERS = BEFORE + TOGETHER * 2 * INPUTS  # that are read of a row
OUTPUTS = 4, 8, 16, 32  # of which there may be so many
GROUPS = 64  # of so many pixels, that one program computes


class Weights(NamedTuple):
    """What the kernel reads, of one type and packed: as many matrices as the convolution has rows."""

    rows: Tensor  # (3, NUMBERS, TOGETHER * outputs)
    bias: Tensor  # (TOGETHER * outputs,)


def fits(conv: nn.Conv2d) -> bool:
    """Whether the kernel computes this convolution."""
    window = (conv.kernel_size, conv.stride, conv.padding, conv.dilation) == ((3, 3), (2, 2), (1, 1), (1, 1))
    plain = conv.groups == 1 and conv.padding_mode == "zeros" and conv.bias is not None
    return window and plain and conv.in_channels == INPUTS and conv.out_channels in OUTPUTS


def weights_of(weight: Tensor, bias: Tensor) -> Weights:
    """Of a convolution's weights, (outputs, 3, 3, 3) and (outputs,)."""
    weight, outputs = weight.detach(), len(bias)
    rows = weight.new_zeros(3, NUMBERS, TOGETHER, outputs)
    taps = weight.permute(2, 3, 1, 0).reshape(3, 3 * INPUTS, outputs)  # of a row, as they lie in it
    for pixel in range(TOGETHER):
        first = BEFORE + (2 * pixel - 1) * INPUTS
        rows[:, first : first + 3 * INPUTS, pixel] = taps
    return Weights(rows.flatten(2), bias.detach().repeat(TOGETHER))


def convolved(x: Tensor, weights: Weights) -> Tensor:
    """The convolution with bias, then ReLU; sums are float32.

    Args:
        x: (N, 3, H, W) of float16 or bfloat16, of fewer than 2 ** 31 numbers an image; read in channels_last.
        weights: of the same type, for as many outputs as `OUTPUTS` has.

    Returns:
        (N, outputs, ceil(H / 2), ceil(W / 2)) of x's type in channels_last.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    images, _, height, width = x.shape
    outputs = len(weights.bias) // TOGETHER
    rows, columns = -(-height // 2), -(-width // 2)
    y = torch.empty(images, rows, columns, outputs, dtype=x.dtype, device=x.device)
    across = triton.cdiv(columns, TOGETHER)
    with torch.cuda.device_of(x):
        launching(_convolve_kernel, (triton.cdiv(rows * across, GROUPS), images))(
            x,
            *weights,
            y,
            height,
            width,
            rows,
            columns,
            across,
            ALIGNED=width % 8 == 0,
            INPUTS=INPUTS,
            BEFORE=BEFORE,
            NUMBERS=NUMBERS,
            TOGETHER=TOGETHER,
            OUTPUTS=outputs,
            GROUPS=GROUPS,
        )
    return y.permute(0, 3, 1, 2)


# A new map is not a new kernel; but that addresses are multiples of 16, it has to know.
@triton.jit(do_not_specialize=["height", "width", "rows", "columns", "across"])  # type: ignore[untyped-decorator]
def _convolve_kernel(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    y,
    height,
    width,
    rows,
    columns,
    across,  # groups of pixels in a row
    ALIGNED: tl.constexpr,  # whether rows have a multiple of 8 pixels, and so start where 16 bytes can be read
    INPUTS: tl.constexpr,
    BEFORE: tl.constexpr,
    NUMBERS: tl.constexpr,
    TOGETHER: tl.constexpr,
    OUTPUTS: tl.constexpr,
    GROUPS: tl.constexpr,
    WAITS: tl.constexpr,
):
    if ALIGNED:
        width = width // 8 * 8  # which is what it is, and the compiler sees it
        columns = columns // 4 * 4
    group = tl.program_id(0) * GROUPS + tl.arange(0, GROUPS)
    image = tl.program_id(1).to(tl.int64)
    row = group // across
    first = (group % across) * TOGETHER  # pixel of the group
    number = first[:, None] * (2 * INPUTS) - BEFORE + tl.arange(0, NUMBERS)[None, :]  # in a row of the image
    out = tl.arange(0, TOGETHER * OUTPUTS)
    line = width * INPUTS
    inside = (number >= 0) & (number < line) & (row < rows)[:, None]
    centre = x + image * height * line + ((row * 2 * line)[:, None] + number)
    mix = weight + tl.arange(0, NUMBERS)[:, None] * (TOGETHER * OUTPUTS) + out[None, :]
    above_mix = tl.load(mix)
    middle_mix = tl.load(mix + NUMBERS * TOGETHER * OUTPUTS)
    below_mix = tl.load(mix + 2 * NUMBERS * TOGETHER * OUTPUTS)
    wait_for_the_one_before(WAITS)
    # All before the first product, so that they are on their way together.
    above = tl.load(centre - line, mask=inside & (row >= 1)[:, None], other=0.0)
    middle = tl.load(centre, mask=inside, other=0.0)
    below = tl.load(centre + line, mask=inside & (row * 2 + 1 < height)[:, None], other=0.0)
    total = tl.dot(above, above_mix)
    total = tl.dot(middle, middle_mix, total)
    total = tl.dot(below, below_mix, total)
    total = tl.maximum(total + tl.load(bias + out).to(tl.float32)[None, :], 0.0)
    place = image * rows * columns * OUTPUTS + ((row * columns + first)[:, None] * OUTPUTS + out[None, :])
    wanted = (row < rows)[:, None] & (first[:, None] * OUTPUTS + out[None, :] < columns * OUTPUTS)
    tl.store(y + place, total.to(y.dtype.element_ty), mask=wanted)
