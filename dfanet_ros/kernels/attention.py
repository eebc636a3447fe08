"""FC attention in two passes: the channels' means; and the matrix that they go through, with what it weighs."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dfanet_ros.kernels.compiling import launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before

PIXELS, CHANNELS = 64, 32  # that one program weighs
# That one program adds up. As wide as what is read from memory at once, so that many programs share a map; and as
# many pixels as 32 warps take at once, for few maps have more, and what is read later is waited for once more.
ADDED_PIXELS, ADDED_CHANNELS = 2048, 16


def weighed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each channel of a map times what all channels' means say, see `network.inference.weighed_channels`.

    Args:
        x: (N, C, H, W) of any float type; read in channels_last. Sums are float32.
        weight: (C, C) of that type, packed.
        bias: (C,), likewise.

    Returns:
        Of x's shape and type, in channels_last.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    images, channels, rows, columns = x.shape
    pixels = rows * columns
    means = torch.empty(images, channels, dtype=torch.float32, device=x.device)
    y = torch.empty(images, rows, columns, channels, dtype=x.dtype, device=x.device)
    with torch.cuda.device_of(x):
        launching(_means_kernel, (triton.cdiv(channels, ADDED_CHANNELS), images))(
            x, means, pixels, COUNT=channels, PIXELS=ADDED_PIXELS, CHANNELS=ADDED_CHANNELS, num_warps=32
        )
        launching(_weigh_kernel, (triton.cdiv(pixels, PIXELS), triton.cdiv(channels, CHANNELS), images))(
            *(x, means, weight, bias, y, pixels),
            COUNT=channels,
            PADDED=triton.next_power_of_2(channels),
            PIXELS=PIXELS,
            CHANNELS=CHANNELS,
        )
    return y.permute(0, 3, 1, 2)


@triton.jit(do_not_specialize=["pixels"])  # type: ignore[untyped-decorator]
def _means_kernel(  # type: ignore[no-untyped-def]
    x,
    means,
    pixels,
    COUNT: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WAITS: tl.constexpr,
):
    wait_for_the_one_before(WAITS)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    image = tl.program_id(1).to(tl.int64)
    there = channel < COUNT
    x += image * pixels * COUNT
    total = tl.zeros((PIXELS, CHANNELS), tl.float32)
    for first in range(0, pixels, PIXELS):
        pixel = first + tl.arange(0, PIXELS)
        inside = (pixel < pixels)[:, None] & there[None, :]
        total += tl.load(x + pixel[:, None] * COUNT + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    tl.store(means + image * COUNT + channel, tl.sum(total, 0) / pixels, mask=there)


@triton.jit(do_not_specialize=["pixels"])  # type: ignore[untyped-decorator]
def _weigh_kernel(  # type: ignore[no-untyped-def]
    x,
    means,
    weight,
    bias,
    y,
    pixels,
    COUNT: tl.constexpr,
    PADDED: tl.constexpr,
    PIXELS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WAITS: tl.constexpr,
):
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    image = tl.program_id(2).to(tl.int64)
    there = channel < COUNT
    other = tl.arange(0, PADDED)
    known = other < COUNT
    # Few enough for each program to work out its own.
    mix = tl.load(
        weight + channel[:, None] * COUNT + other[None, :], mask=there[:, None] & known[None, :], other=0.0
    ).to(tl.float32)
    wait_for_the_one_before(WAITS)
    mean = tl.load(means + image * COUNT + other, mask=known, other=0.0)
    factor = tl.sum(mix * mean[None, :], 1) + tl.load(bias + channel, mask=there, other=0.0).to(tl.float32)
    place = image * pixels * COUNT + (pixel[:, None] * COUNT + channel[None, :])
    inside = (pixel < pixels)[:, None] & there[None, :]
    values = tl.load(x + place, mask=inside, other=0.0).to(tl.float32) * factor[None, :]
    tl.store(y + place, values.to(y.dtype.element_ty), mask=inside)
