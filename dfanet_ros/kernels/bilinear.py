"""Bilinear interpolation as PyTorch has it (align_corners=False), for the kernels."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def neighbour(index, scale, count):  # type: ignore[no-untyped-def]
    """Which of `count` places lies before a new one, whose index and scale are these, and how far that is behind it."""
    place = tl.maximum((index + 0.5) * scale - 0.5, 0.0)  # before the first one's centre is nothing else than that
    before = tl.minimum(place.to(tl.int32), count - 1)
    return before, place - before


@triton.jit
def interpolated(upper, lower, left, right, below, beside, inside):  # type: ignore[no-untyped-def]
    """Between four values, float32.

    Two rows' pointers, two columns' offsets, how far the place is below the upper row and beside the left column, and
    where it is wanted at all.
    """
    above = mixed(upper + left, upper + right, beside, inside)
    under = mixed(lower + left, lower + right, beside, inside)
    return (1 - below) * above + below * under


@triton.jit
def mixed(first, second, share, inside):  # type: ignore[no-untyped-def]
    """Of two values, by their pointers, the share of the second and the rest of the first, float32."""
    first = tl.load(first, mask=inside, other=0).to(tl.float32)
    second = tl.load(second, mask=inside, other=0).to(tl.float32)
    return (1 - share) * first + share * second
