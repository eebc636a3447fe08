"""DFANet's decoder in three passes, see `network.inference.SmallDecoder`.

The first takes all small maps at once: those of the high level to classes, those of the low level to the decoder's
channels. The second does the latter with the low level's large map and adds the small ones, enlarged. The third is the
3 x 3 convolution and the classifier, to which it adds the high level's class maps, enlarged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor, nn

from dfanet_ros.kernels.bilinear import neighbour
from dfanet_ros.kernels.compiling import launching
from dfanet_ros.kernels.overlapping import wait_for_the_one_before
from dfanet_ros.kernels.separable import filled

MOST = 4  # maps of a level
SMALL_PIXELS, LARGE_PIXELS = 32, 64  # that one program computes of small maps, and of the large one
ROWS, COLUMNS = 8, 16  # likewise of the logits
MOST_LOGITS = 4096  # likewise, in all its classes

Sizes = list[tuple[int, int]]


class Weights(NamedTuple):
    """What the kernels read, all of one type and packed; inputs and classes are filled up to powers of two."""

    high: Tensor  # (maps, inputs, width)
    high_bias: Tensor  # (maps, width)
    low: Tensor  # (maps, inputs, width), of the large map first
    low_bias: Tensor  # (maps, width)
    fuse: Tensor  # (9, width, width), of each tap: inputs, outputs
    fuse_bias: Tensor  # (width,)
    classifier: Tensor  # (width, classes)
    classifier_bias: Tensor  # (classes,)


def weights_of(high: Sequence[nn.Conv2d], low: Sequence[nn.Conv2d], fuse: nn.Conv2d, classifier: nn.Conv2d) -> Weights:
    """Of the decoder's convolutions, all with bias; its width is a power of two from 16 on."""
    classes = classifier.out_channels
    more = filled(classes) - classes
    assert classifier.bias is not None
    return Weights(
        *_projections(high),
        *_projections(low),
        fuse.weight.detach().permute(2, 3, 1, 0).flatten(0, 1).contiguous(),
        _bias(fuse),
        F.pad(classifier.weight.detach().flatten(1).t(), (0, more)).contiguous(),
        F.pad(_bias(classifier), (0, more)),
    )


def _projections(convolutions: Sequence[nn.Conv2d]) -> tuple[Tensor, Tensor]:
    inputs = convolutions[0].in_channels
    weights = [F.pad(conv.weight.detach().flatten(1).t(), (0, 0, 0, filled(inputs) - inputs)) for conv in convolutions]
    return torch.stack(weights), torch.stack([_bias(conv) for conv in convolutions])


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias.detach()


def decoded(high: Sequence[Tensor], low: Sequence[Tensor], weights: Weights, classes: int) -> Tensor:
    """Logits from the backbones' outputs; sums are float32.

    Args:
        high: one to `MOST` maps (N, inputs, h, w), each with its own h and w, of float16 or bfloat16; read in
            channels_last, as those of the low level.
        low: one to `MOST` maps likewise; the first one is of the logits' size.
        weights: of that type.
        classes: how many there are.

    Returns:
        (N, classes, H, W) of that type, contiguous: that is how what comes next reads them.
    """
    assert 1 <= len(high) <= MOST and 1 <= len(low) <= MOST
    high, (large, *small) = (
        [values.contiguous(memory_format=torch.channels_last) for values in maps] for maps in (high, low)
    )
    with torch.cuda.device_of(large):
        class_maps, low_maps = _projected(high, small, weights)
        joined = _joined(large, low_maps, [_size(values) for values in small], weights)
        return _classified(joined, class_maps, [_size(values) for values in high], weights, classes)


def _size(values: Tensor) -> tuple[int, int]:
    return values.shape[2], values.shape[3]


def _projected(high: list[Tensor], small: list[Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
    """Class maps (pixels, classes) and low-level ones (pixels, width), the pixels of all maps one after the other."""
    given: list[Tensor | int] = []
    tiles, counts = [], []
    for maps in (high, small):
        pixels = [len(values) * values.shape[2] * values.shape[3] for values in maps]
        more = MOST - len(maps)
        for values, count in zip([*maps, *[high[0]] * more], [*pixels, *[0] * more], strict=True):
            given += [values, count]
        tiles.append(sum(triton.cdiv(count, SMALL_PIXELS) for count in pixels))
        counts.append(sum(pixels))
    width, classes = weights.classifier.shape
    class_maps = high[0].new_empty(counts[0], classes)
    low_maps = high[0].new_empty(counts[1], width)
    launching(_project_kernel, (sum(tiles),))(
        *given,
        *(weights.high, weights.high_bias, weights.classifier, weights.low[1:], weights.low_bias[1:]),
        *(class_maps, low_maps, tiles[0]),
        HIGH_INPUTS=high[0].shape[1],
        HIGH_PADDED=weights.high.shape[1],
        LOW_INPUTS=small[0].shape[1] if small else 1,
        LOW_PADDED=weights.low.shape[1],
        WIDTH=width,
        CLASSES=classes,
        PIXELS=SMALL_PIXELS,
    )
    return class_maps, low_maps


def _joined(large: Tensor, low_maps: Tensor, sizes: Sizes, weights: Weights) -> Tensor:
    """The low level's sum, (N, H, W, width)."""
    images, inputs, rows, columns = large.shape
    y = large.new_empty(images, rows, columns, weights.low.shape[2])
    launching(_join_kernel, (triton.cdiv(rows * columns, LARGE_PIXELS), images))(
        *(large, weights.low, weights.low_bias, low_maps),
        *_enlargings(sizes, rows, columns),
        *(y, rows, columns),
        SMALL=len(sizes),
        INPUTS=inputs,
        PADDED=weights.low.shape[1],
        WIDTH=weights.low.shape[2],
        PIXELS=LARGE_PIXELS,
    )
    return y


def _classified(joined: Tensor, class_maps: Tensor, sizes: Sizes, weights: Weights, classes: int) -> Tensor:
    """Logits, (N, classes, H, W)."""
    images, rows, columns, width = joined.shape
    padded = weights.classifier.shape[1]
    y = joined.new_empty(images, classes, rows, columns)
    high = max(1, min(ROWS, MOST_LOGITS // (COLUMNS * padded)))
    across = triton.cdiv(columns, COLUMNS)
    launching(_classify_kernel, (triton.cdiv(rows, high) * across, images))(
        *(joined, weights.fuse, weights.fuse_bias, weights.classifier, weights.classifier_bias, class_maps),
        *_enlargings(sizes, rows, columns),
        *(y, rows, columns, across),
        MAPS=len(sizes),
        ALIGNED=columns % 8 == 0,
        WIDTH=width,
        CLASSES=classes,
        PADDED=padded,
        ROWS=high,
        COLUMNS=COLUMNS,
        num_warps=4,
    )
    return y


def _enlargings(sizes: Sizes, rows: int, columns: int) -> list[float]:
    """What a kernel has to know of each map to enlarge it, for `MOST` of them."""
    padded = [*sizes, *[(0, 0)] * (MOST - len(sizes))]
    return [number for high, wide in padded for number in (high, wide, high / rows, wide / columns)]


_ENLARGINGS = [
    f"{name}_{number}" for number in range(MOST) for name in ("height", "width", "row_scale", "column_scale")
]


@triton.jit(
    do_not_specialize=[f"{level}_pixels_{number}" for level in ("high", "low") for number in range(MOST)]
    + ["high_tiles"]
)  # type: ignore[untyped-decorator]
def _project_kernel(  # type: ignore[no-untyped-def]
    high_0,
    high_pixels_0,
    high_1,
    high_pixels_1,
    high_2,
    high_pixels_2,
    high_3,
    high_pixels_3,
    low_0,
    low_pixels_0,
    low_1,
    low_pixels_1,
    low_2,
    low_pixels_2,
    low_3,
    low_pixels_3,
    high_weight,
    high_bias,
    classifier,
    low_weight,
    low_bias,
    class_maps,
    low_maps,
    high_tiles,  # programs for the high level
    HIGH_INPUTS: tl.constexpr,
    HIGH_PADDED: tl.constexpr,
    LOW_INPUTS: tl.constexpr,
    LOW_PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    CLASSES: tl.constexpr,
    PIXELS: tl.constexpr,
    WAITS: tl.constexpr,
):
    tile = tl.program_id(0)
    if tile < high_tiles:
        x, number, first, pixels, before = _map(
            *(tile, high_0, high_pixels_0, high_1, high_pixels_1, high_2, high_pixels_2, high_3, high_pixels_3),
            PIXELS,
        )
        # Before the product that it is multiplied with, so that it is on its way with what that takes.
        mix = tl.load(classifier + tl.arange(0, WIDTH)[:, None] * CLASSES + tl.arange(0, CLASSES)[None, :])
        total = _projection(
            *(x, high_weight + number * HIGH_PADDED * WIDTH, high_bias + number * WIDTH, first, pixels),
            *(HIGH_INPUTS, HIGH_PADDED, WIDTH, PIXELS, WAITS),
        )
        _store(tl.dot(total.to(mix.dtype), mix), class_maps, before, first, pixels, CLASSES, PIXELS)
    else:
        x, number, first, pixels, before = _map(
            *(tile - high_tiles, low_0, low_pixels_0, low_1, low_pixels_1, low_2, low_pixels_2, low_3, low_pixels_3),
            PIXELS,
        )
        total = _projection(
            *(x, low_weight + number * LOW_PADDED * WIDTH, low_bias + number * WIDTH, first, pixels),
            *(LOW_INPUTS, LOW_PADDED, WIDTH, PIXELS, WAITS),
        )
        _store(total, low_maps, before, first, pixels, WIDTH, PIXELS)


@triton.jit  # type: ignore[untyped-decorator]
def _map(  # type: ignore[no-untyped-def]
    tile, map_0, pixels_0, map_1, pixels_1, map_2, pixels_2, map_3, pixels_3, PIXELS: tl.constexpr
):
    """Which map a program's pixels are of, its number, the first of these, how many it has, and those before it."""
    x = map_0
    number = tile * 0
    pixels = pixels_0
    before = tile.to(tl.int64) * 0
    tiles = tl.cdiv(pixels, PIXELS)
    if tile >= tiles:
        tile -= tiles
        x = map_1
        number += 1
        before += pixels
        pixels = pixels_1
        tiles = tl.cdiv(pixels, PIXELS)
        if tile >= tiles:
            tile -= tiles
            x = map_2
            number += 1
            before += pixels
            pixels = pixels_2
            tiles = tl.cdiv(pixels, PIXELS)
            if tile >= tiles:
                tile -= tiles
                x = map_3
                number += 1
                before += pixels
                pixels = pixels_3
    return x, number, tile.to(tl.int64) * PIXELS, pixels, before


@triton.jit  # type: ignore[untyped-decorator]
def _projection(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    first,
    pixels,
    INPUTS: tl.constexpr,
    PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    PIXELS: tl.constexpr,
    WAITS: tl.constexpr,
):
    """Of a map's pixels from the first on, by a 1 x 1 convolution with bias and ReLU, (PIXELS, WIDTH) float32."""
    pixel = tl.arange(0, PIXELS)
    channel = tl.arange(0, PADDED)
    out = tl.arange(0, WIDTH)
    mix = tl.load(weight + channel[:, None] * WIDTH + out[None, :])
    added = tl.load(bias + out).to(tl.float32)[None, :]
    wait_for_the_one_before(WAITS)
    values = tl.load(
        x + first * INPUTS + (pixel[:, None] * INPUTS + channel[None, :]),
        mask=(pixel < pixels - first)[:, None] & (channel < INPUTS)[None, :],
        other=0.0,
    )
    return tl.maximum(tl.dot(values, mix) + added, 0.0)


@triton.jit  # type: ignore[untyped-decorator]
def _store(  # type: ignore[no-untyped-def]
    values, y, before, first, pixels, CHANNELS: tl.constexpr, PIXELS: tl.constexpr
):
    """Of as many of a map's pixels, which lie behind those of others."""
    pixel = tl.arange(0, PIXELS)[:, None]
    place = (before + first) * CHANNELS + (pixel * CHANNELS + tl.arange(0, CHANNELS)[None, :])
    tl.store(y + place, values.to(y.dtype.element_ty), mask=pixel < pixels - first)


@triton.jit(do_not_specialize=[*_ENLARGINGS, "rows", "columns"])  # type: ignore[untyped-decorator]
def _join_kernel(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    maps,
    height_0,
    width_0,
    row_scale_0,
    column_scale_0,
    height_1,
    width_1,
    row_scale_1,
    column_scale_1,
    height_2,
    width_2,
    row_scale_2,
    column_scale_2,
    height_3,
    width_3,
    row_scale_3,
    column_scale_3,
    y,
    rows,
    columns,
    SMALL: tl.constexpr,  # maps
    INPUTS: tl.constexpr,
    PADDED: tl.constexpr,
    WIDTH: tl.constexpr,
    PIXELS: tl.constexpr,
    WAITS: tl.constexpr,
):
    first = tl.program_id(0) * PIXELS
    before = tl.program_id(1).to(tl.int64) * rows * columns
    total = _projection(
        *(x + before * INPUTS, weight, bias, first, rows * columns, INPUTS, PADDED, WIDTH, PIXELS, WAITS),
    )
    if SMALL > 0:
        pixel = first + tl.arange(0, PIXELS)
        total += _enlarged_sum(
            *(maps, height_0, width_0, row_scale_0, column_scale_0, height_1, width_1, row_scale_1, column_scale_1),
            *(height_2, width_2, row_scale_2, column_scale_2, height_3, width_3, row_scale_3, column_scale_3),
            *(pixel // columns, pixel % columns, SMALL, WIDTH),
        )
    _store(total, y, before, first, rows * columns, WIDTH, PIXELS)


@triton.jit(do_not_specialize=[*_ENLARGINGS, "rows", "columns", "across"])  # type: ignore[untyped-decorator]
def _classify_kernel(  # type: ignore[no-untyped-def]
    x,
    weight,
    bias,
    classifier,
    classifier_bias,
    maps,
    height_0,
    width_0,
    row_scale_0,
    column_scale_0,
    height_1,
    width_1,
    row_scale_1,
    column_scale_1,
    height_2,
    width_2,
    row_scale_2,
    column_scale_2,
    height_3,
    width_3,
    row_scale_3,
    column_scale_3,
    y,
    rows,
    columns,
    across,  # programs beside each other
    MAPS: tl.constexpr,
    ALIGNED: tl.constexpr,  # whether rows have a multiple of 8 pixels, which can be stored at once
    WIDTH: tl.constexpr,
    CLASSES: tl.constexpr,
    PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WAITS: tl.constexpr,
):
    if ALIGNED:
        columns = columns // 8 * 8  # which is what it is, and the compiler sees it
    pixel = tl.arange(0, ROWS * COLUMNS)
    row = (tl.program_id(0) // across) * ROWS + pixel // COLUMNS
    column = (tl.program_id(0) % across) * COLUMNS + pixel % COLUMNS
    image = tl.program_id(1).to(tl.int64)
    number = tl.arange(0, PADDED)
    out = tl.arange(0, WIDTH)
    mix = tl.load(classifier + out[:, None] * PADDED + number[None, :])
    wait_for_the_one_before(WAITS)
    added = _enlarged_sum(
        *(maps, height_0, width_0, row_scale_0, column_scale_0, height_1, width_1, row_scale_1, column_scale_1),
        *(height_2, width_2, row_scale_2, column_scale_2, height_3, width_3, row_scale_3, column_scale_3),
        *(row, column, MAPS, PADDED),
    )
    centre = x + image * rows * columns * WIDTH + ((row * columns + column)[:, None] * WIDTH + out[None, :])
    tap = weight + out[:, None] * WIDTH + out[None, :]
    total = tl.zeros((ROWS * COLUMNS, WIDTH), tl.float32)
    for down in tl.static_range(3):
        there = (row + down >= 1) & (row + down <= rows)
        line = centre + (down - 1) * columns * WIDTH
        left = tl.load(line - WIDTH, mask=(there & (column >= 1) & (column <= columns))[:, None], other=0.0)
        middle = tl.load(line, mask=(there & (column < columns))[:, None], other=0.0)
        right = tl.load(line + WIDTH, mask=(there & (column + 1 < columns))[:, None], other=0.0)
        # All before the first product, so that they are on their way together.
        left_mix = tl.load(tap + 3 * down * WIDTH * WIDTH)
        middle_mix = tl.load(tap + (3 * down + 1) * WIDTH * WIDTH)
        right_mix = tl.load(tap + (3 * down + 2) * WIDTH * WIDTH)
        total = tl.dot(left, left_mix, total)
        total = tl.dot(middle, middle_mix, total)
        total = tl.dot(right, right_mix, total)
    total = tl.maximum(total + tl.load(bias + out).to(tl.float32)[None, :], 0.0)
    logits = tl.dot(total.to(mix.dtype), mix) + tl.load(classifier_bias + number).to(tl.float32)[None, :]
    logits += added
    place = (row * columns + column)[:, None] + number[None, :] * (rows * columns)
    inside = ((row < rows) & (column < columns))[:, None] & (number < CLASSES)[None, :]
    tl.store(y + image * rows * columns * CLASSES + place, logits.to(y.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _enlarged_sum(  # type: ignore[no-untyped-def]
    maps,
    height_0,
    width_0,
    row_scale_0,
    column_scale_0,
    height_1,
    width_1,
    row_scale_1,
    column_scale_1,
    height_2,
    width_2,
    row_scale_2,
    column_scale_2,
    height_3,
    width_3,
    row_scale_3,
    column_scale_3,
    row,
    column,
    MAPS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Of as many maps, all images of one after those of another, at (PIXELS,) places: (PIXELS, CHANNELS) float32."""
    image = tl.program_id(1).to(tl.int64)
    images = tl.num_programs(1).to(tl.int64)
    total = _enlarged(maps, image, height_0, width_0, row_scale_0, column_scale_0, row, column, CHANNELS)
    if MAPS > 1:
        maps += images * height_0 * width_0 * CHANNELS
        total += _enlarged(maps, image, height_1, width_1, row_scale_1, column_scale_1, row, column, CHANNELS)
    if MAPS > 2:
        maps += images * height_1 * width_1 * CHANNELS
        total += _enlarged(maps, image, height_2, width_2, row_scale_2, column_scale_2, row, column, CHANNELS)
    if MAPS > 3:
        maps += images * height_2 * width_2 * CHANNELS
        total += _enlarged(maps, image, height_3, width_3, row_scale_3, column_scale_3, row, column, CHANNELS)
    return total


@triton.jit  # type: ignore[untyped-decorator]
def _enlarged(  # type: ignore[no-untyped-def]
    maps, image, height, width, row_scale, column_scale, row, column, CHANNELS: tl.constexpr
):
    """Of one map, whose four values around each place are weighed; places outside get what is nearest.

    float16 is weighed as such, as in `separable`: it takes three instructions for a value instead of eight.
    """
    top, below = neighbour(row, row_scale, height)
    left, beside = neighbour(column, column_scale, width)
    values = maps + image * height * width * CHANNELS
    upper = top * width
    lower = tl.minimum(top + 1, height - 1) * width
    right = tl.minimum(left + 1, width - 1)
    enlarged = _weighed(values, upper + left, (1 - below) * (1 - beside), CHANNELS)
    enlarged += _weighed(values, upper + right, (1 - below) * beside, CHANNELS)
    enlarged += _weighed(values, lower + left, below * (1 - beside), CHANNELS)
    enlarged += _weighed(values, lower + right, below * beside, CHANNELS)
    return enlarged.to(tl.float32)


@triton.jit  # type: ignore[untyped-decorator]
def _weighed(values, pixel, weight, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    SUM: tl.constexpr = tl.float16 if values.dtype.element_ty == tl.float16 else tl.float32
    values += pixel[:, None] * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    return tl.load(values).to(SUM) * weight.to(SUM)[:, None]
