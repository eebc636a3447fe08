"""The Triton kernels against plain PyTorch: on a GPU, or with TRITON_INTERPRET=1 on the CPU by Triton's interpreter.

See test_kernels.py, which runs this in a process of its own: one is interpreted from its first import of Triton on, or
not at all.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import lively_network
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cuda_graph import StandIn
from torch import Tensor
from triton import OutOfResources

from dfanet_ros import kernels
from dfanet_ros.checkpoint import MEAN, STD, load_checkpoint, shipped_weights
from dfanet_ros.frame import RGB_CHANNELS
from dfanet_ros.kernels import (
    attention,
    block,
    choosing,
    decoder,
    drawing,
    enlarging,
    fused,
    label_map,
    nearest,
    plain,
    preprocess,
    projection,
    refining,
    replacing,
    rows,
    separable,
    stem,
)
from dfanet_ros.kernels.compiling import interpreted
from dfanet_ros.network.dfanet import Decoder
from dfanet_ros.network.fast_scnn import FastSCNN
from dfanet_ros.network.inference import SmallDecoder, inference_form, weighed_channels
from dfanet_ros.network.layers import Separable, coarse_size
from dfanet_ros.network.xception import CHANNELS as WIDTHS
from dfanet_ros.network.xception import Block, Enlarge, Features
from dfanet_ros.street_scenes import StreetScenes

DEVICE = torch.device("cpu" if interpreted() else "cuda")
torch.backends.cudnn.allow_tf32 = False  # as `build_engine` has it

few = settings(max_examples=8, deadline=None, derandomize=True)
sizes = st.tuples(st.integers(1, 12), st.integers(1, 20))
seeds = st.integers(0, 999)
HALVES = [torch.float16] + [torch.bfloat16] * (DEVICE.type == "cuda")  # the interpreter's tl.dot multiplies its bits
CHANNELS = {"mono8": 1, "rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}


def random_frame(size: tuple[int, int], encoding: str, random: torch.Generator) -> Tensor:
    """(H, W, C) uint8 in padded rows."""
    pixels = torch.randint(0, 256, (size[0], size[1] + 3, CHANNELS[encoding]), generator=random, dtype=torch.uint8)
    return pixels.to(DEVICE)[:, : size[1]]


# Frames to the network's input


def check_prepared(
    frames: list[Tensor], encodings: list[str], size: tuple[int, int], dtype: torch.dtype, atol: float = 3e-5
) -> None:
    arguments = (frames, [RGB_CHANNELS[encoding] for encoding in encodings], size, MEAN, STD, dtype)
    images, expected = preprocess.prepare(*arguments), plain.prepare(*arguments)
    assert images.shape == expected.shape == (len(frames), 3, *size)
    assert images.dtype == expected.dtype == dtype
    assert images.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(images, expected, rtol=1e-3 if dtype == torch.float16 else 0, atol=atol)


@few
@given(
    frames=st.lists(st.tuples(sizes, st.sampled_from(sorted(CHANNELS))), min_size=1, max_size=2), size=sizes, seed=seeds
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_frames_are_prepared(
    dtype: torch.dtype, frames: list[tuple[tuple[int, int], str]], size: tuple[int, int], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    pixels = [random_frame(given_size, encoding, random) for given_size, encoding in frames]
    check_prepared(pixels, [encoding for _, encoding in frames], size, dtype)


def test_wide_flipped_and_much_larger_frames_are_prepared() -> None:
    random = torch.Generator().manual_seed(1)
    wide = random_frame((2, 700), "bgr8", random)
    transposed = random_frame((300, 3), "rgba8", random).transpose(0, 1)
    large = random_frame((9, 1500), "rgb8", random)  # smoothed, by PyTorch
    frames, encodings = [wide, transposed, large, large.flip(0)], ["bgr8", "rgba8", "rgb8", "rgb8"]
    check_prepared(frames, encodings, (3, 600), torch.float32, 2e-4)


def test_frames_that_are_alike_are_prepared_together() -> None:
    """Nine are more than go together; those after them differ in one thing each."""
    random = torch.Generator().manual_seed(2)
    frames = [random_frame((5, 7), "bgr8", random) for _ in range(11)]
    turned = random_frame((7, 5), "bgr8", random).transpose(0, 1)
    different = [frames[9].contiguous(), turned, random_frame((7, 5), "bgr8", random), frames[10]]
    check_prepared([*frames[:9], *different], ["bgr8"] * 12 + ["rgb8"], (6, 9), torch.float32)


# Logits to label maps


def on_edges(count: int, target: int) -> Tensor:
    """Which of `target` pixels' centres lie on an edge between two of `count`: either is the nearest."""
    return ((2 * torch.arange(target, device=DEVICE) + 1) * count) % (2 * target) == 0


@few
@given(
    classes=st.integers(1, 7),
    input_size=st.tuples(st.integers(1, 30), st.integers(1, 40)),
    frames=st.lists(sizes, min_size=1, max_size=2),
    same=st.booleans(),
    stride=st.sampled_from([2, 4, 8, 16]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_label_maps_are_exact(
    dtype: torch.dtype,
    classes: int,
    input_size: tuple[int, int],
    frames: list[tuple[int, int]],
    same: bool,
    stride: int,
    layout: torch.memory_format,
    seed: int,
) -> None:
    """Whole logits and weights with few bits: nothing is rounded, and equal ones are as frequent as can be."""
    frames = [frames[0]] * len(frames) if same else frames
    rows, columns = coarse_size(*input_size, stride)
    random = torch.Generator().manual_seed(seed)
    logits = torch.randint(-3, 4, (len(frames), classes, rows + 1, columns + 1), generator=random).to(DEVICE, dtype)
    logits = logits.contiguous(memory_format=layout)[:, :, :rows, :columns]  # cut, as networks' logits are
    given_maps = label_map.label_maps(logits, stride, input_size, frames)
    expected = plain.label_maps(logits, stride, input_size, frames)
    for ids, other, size in zip(given_maps, expected, frames, strict=True):
        assert ids.shape == other.shape == size and ids.dtype == torch.uint8
        edges = on_edges(input_size[0], size[0])[:, None] | on_edges(input_size[1], size[1])
        assert ((ids == other) | edges).all()


def test_label_maps_of_enlarged_frames_are_exact() -> None:
    """Each frame by itself, and two of a size together; 16 x 20 is a half of the input, 8 x 10 a quarter."""
    random = torch.Generator().manual_seed(3)
    logits = torch.randint(-3, 4, (3, 5, 8, 10), generator=random).to(DEVICE).float()
    for sizes in ([(16, 20), (8, 10), (32, 40)], [(16, 20)] * 3):
        given_maps, expected = (each.label_maps(logits, 4, (32, 40), sizes) for each in (label_map, plain))
        assert all(map(torch.equal, given_maps, expected))


def test_wide_label_maps_of_many_classes_are_exact() -> None:
    logits = torch.randint(-9, 9, (1, 171, 1, 70), generator=torch.Generator().manual_seed(1)).to(DEVICE).float()
    for size in ((4, 280), (8, 560)):
        arguments = (logits, 4, (4, 280), [size])
        assert (label_map.label_maps(*arguments)[0] == plain.label_maps(*arguments)[0]).all()


@few
@given(images=st.integers(1, 2), source=sizes, target=st.tuples(st.integers(1, 30), st.integers(1, 300)), seed=seeds)
def test_nearest_label_maps_are_those_of_pytorch(
    images: int, source: tuple[int, int], target: tuple[int, int], seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    padded = (images, source[0] + 2, source[1] + 1)
    ids = torch.randint(0, 256, padded, generator=random, dtype=torch.uint8).to(DEVICE)[:, 2:, 1:]
    resized = nearest.nearest(ids, target)
    assert resized.shape == (images, *target) and resized.is_contiguous()
    other = resized != F.interpolate(ids[:, None], target, mode="nearest-exact")[:, 0]
    if DEVICE.type == "cpu":  # where PyTorch rounds in another order
        other &= ~(on_edges(source[0], target[0])[:, None] | on_edges(source[1], target[1]))
    assert not other.any()


# Ids to colours


@few
@given(
    size=sizes,
    encoding=st.sampled_from(sorted(CHANNELS)),
    opacity=st.integers(0, 256).map(lambda parts: parts / 256),
    seed=seeds,
)
def test_colors_and_overlays_are_exact(size: tuple[int, int], encoding: str, opacity: float, seed: int) -> None:
    check_drawn(size, encoding, opacity, seed)


def test_wide_overlays_are_exact() -> None:
    check_drawn((2, 520), "bgr8", 0.5, 0)


def check_drawn(size: tuple[int, int], encoding: str, opacity: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 256, size, generator=random, dtype=torch.uint8).to(DEVICE)
    colors = torch.randint(0, 256, (256, 3), generator=random, dtype=torch.uint8).to(DEVICE)
    kept = torch.where(torch.rand(256, generator=random) < 0.5, torch.arange(256), 255).to(DEVICE, torch.uint8)
    frame = random_frame(size, encoding, random)
    assert (drawing.paint(ids, colors) == plain.paint(ids, colors)).all()
    arguments = (ids, colors, kept, frame, RGB_CHANNELS[encoding], opacity)
    assert (drawing.overlay(*arguments) == plain.overlay(*arguments)).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_the_check_at_start_finds_no_difference(dtype: torch.dtype) -> None:
    assert kernels._difference(kernels._kernels(), DEVICE, dtype) == ""


@pytest.mark.parametrize("step", kernels.Steps._fields)
def test_the_check_at_start_finds_a_wrong_kernel(step: str) -> None:
    right = getattr(kernels._kernels(), step)

    def wrong(*arguments: object) -> Tensor | list[Tensor]:
        result = right(*arguments)
        for each in result if isinstance(result, list) else [result]:
            each[..., -1] += 1
        return result

    broken = kernels._kernels()._replace(**{step: wrong})
    text = kernels._difference(broken, DEVICE, torch.float16)
    assert text == f"its results for {step} are not those of PyTorch"


# Separable convolutions


def random_values(random: torch.Generator, *shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
    return torch.randn(shape, generator=random).to(DEVICE, dtype)


def random_separable(
    random: torch.Generator, inputs: int, outputs: int, dtype: torch.dtype = torch.float16
) -> tuple[Tensor, Tensor, Tensor]:
    """Depthwise and 1 x 1 weights, and bias."""
    depthwise, pointwise, bias = (
        random_values(random, *shape, dtype=dtype) for shape in ((inputs, 1, 3, 3), (outputs, inputs, 1, 1), (outputs,))
    )
    return depthwise / 3, pointwise / inputs**0.5, bias


def first_map(x: Tensor, channels: int, layout: torch.memory_format) -> Tensor:
    return x[:, :channels].contiguous(memory_format=layout)


def second_map(x: Tensor, channels: int, layout: torch.memory_format) -> Tensor | None:
    """What is beside the first map's channels, if there is something."""
    return x[:, channels:].contiguous(memory_format=layout) if x.shape[1] > channels else None


def exact_separable(x: Tensor, weights: tuple[Tensor, Tensor, Tensor], stride: int) -> Tensor:
    """By PyTorch, float32, but with what is half precision between its two convolutions."""
    depthwise, pointwise, bias = (values.float() for values in weights)
    between = F.conv2d(x.float(), depthwise, None, stride, 1, groups=x.shape[1]).to(x.dtype)
    return F.conv2d(between.float(), pointwise, bias)


def assert_near(given_values: Tensor, expected: Tensor) -> None:
    """To six times what the type tells apart at 1, and at larger values accordingly.

    One may be lost where the result is rounded, and others where what is between two convolutions is: the sums there
    are not in PyTorch's order, and in float16 not all in float32. In five hundred random cases the most was 3.5 times.
    """
    tolerance = 6 * torch.finfo(given_values.dtype).eps
    torch.testing.assert_close(given_values, expected.to(given_values.dtype), rtol=tolerance, atol=tolerance)


@few
@given(
    images=st.integers(1, 3),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 70),
    size=st.tuples(st.integers(1, 9), st.integers(1, 20)),
    stride=st.sampled_from([1, 2]),
    relu=st.booleans(),
    add=st.booleans(),
    beside=st.just(0) | st.integers(1, 70),
    dtype=st.sampled_from(HALVES),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
@pytest.mark.parametrize("tiling", fused.FusedSeparable.tilings_tried, ids=str)
def test_separable_convolutions_are_those_of_pytorch(
    tiling: Any,
    images: int,
    inputs: int,
    outputs: int,
    size: tuple[int, int],
    stride: int,
    relu: bool,
    add: bool,
    beside: int,
    dtype: torch.dtype,
    layout: torch.memory_format,
    seed: int,
) -> None:
    """Of one map, and of two beside each other."""
    random = torch.Generator().manual_seed(seed)
    x = random_values(random, images, inputs + beside, *size, dtype=dtype)
    weights = random_separable(random, inputs + beside, outputs, dtype)
    expected = exact_separable(x, weights, stride)
    added = random_values(random, *expected.shape, dtype=dtype) if add else None
    if added is not None:
        expected = expected + added.float()
    if relu:
        expected = expected.relu()
    packed = separable.weights_of(*weights)
    if isinstance(tiling, rows.Tiling):
        given_values = rows.separable_by_rows(x, packed, stride, relu, added, tiling)
    else:
        maps = first_map(x, inputs, layout), second_map(x, inputs, layout)
        given_values = separable.separable(maps[0], packed, stride, relu, added, tiling, maps[1])
    assert given_values.is_contiguous(memory_format=torch.channels_last)
    assert_near(given_values, expected)


# Blocks


@settings(few, max_examples=4)
@given(
    images=st.integers(1, 2),
    inputs=st.integers(1, 70),
    inner=st.integers(1, 20),
    beside=st.just(0) | st.integers(1, 70),
    size=st.tuples(st.integers(1, 14), st.integers(1, 30)),
    stride=st.sampled_from([1, 2]),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
@pytest.mark.parametrize("tiling", block.TILINGS, ids=str)
def test_blocks_are_those_of_pytorch(
    tiling: block.Tiling,
    images: int,
    inputs: int,
    inner: int,
    beside: int,
    size: tuple[int, int],
    stride: int,
    layout: torch.memory_format,
    seed: int,
) -> None:
    """A first block with a projection, of one map or of two, and, at stride 1, one whose skip is its input."""
    random = torch.Generator().manual_seed(seed)
    beside *= stride == 2
    x = random_values(random, images, inputs + beside, *size)
    outputs = 4 * inner if stride == 2 else inputs
    first, second, last = (
        random_separable(random, *channels) for channels in itertools.pairwise((inputs + beside, inner, inner, outputs))
    )
    y = exact_separable(x, first, stride).relu().half()
    y = exact_separable(exact_separable(y, second, 1).relu().half(), last, 1)
    skip = random_values(random, outputs, inputs + beside, 1, 1) / inputs**0.5 if stride == 2 else None
    y += x.float() if skip is None else F.conv2d(x.float(), skip.float(), stride=2)
    weights = block.weights_of([separable.weights_of(*each) for each in (first, second, last)], skip)
    given_values = block.block(first_map(x, inputs, layout), weights, stride, tiling, second_map(x, inputs, layout))
    assert given_values.is_contiguous(memory_format=torch.channels_last)
    assert_near(given_values, y.relu())


@few
@given(
    images=st.integers(1, 3),
    inputs=st.integers(1, 150),
    outputs=st.integers(1, 70),
    beside=st.just(0) | st.integers(1, 150),
    size=st.tuples(st.integers(1, 9), st.integers(1, 20)),
    dtype=st.sampled_from(HALVES),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
@pytest.mark.parametrize("tiling", projection.TILINGS, ids=str)
def test_projections_are_those_of_pytorch(
    tiling: projection.Tiling,
    images: int,
    inputs: int,
    outputs: int,
    beside: int,
    size: tuple[int, int],
    dtype: torch.dtype,
    layout: torch.memory_format,
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed)
    x = random_values(random, images, inputs + beside, *size, dtype=dtype)
    weight = random_values(random, outputs, inputs + beside, 1, 1, dtype=dtype) / inputs**0.5
    maps = first_map(x, inputs, layout), second_map(x, inputs, layout)
    given_values = projection.projected(maps[0], projection.weights_of(weight), tiling, maps[1])
    assert given_values.is_contiguous(memory_format=torch.channels_last)
    assert_near(given_values, F.conv2d(x.float(), weight.float(), stride=2))


# The beginning of refining backbones


@settings(few, max_examples=4)
@given(
    images=st.integers(1, 2),
    channels=st.sampled_from([(192, 48, 12), (128, 32, 8), (70, 9, 5)]),  # DFANet A's, B's, and others
    size=st.tuples(st.integers(1, 6), st.integers(1, 9)),
    dtype=st.sampled_from(HALVES),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
@pytest.mark.parametrize("tiling", refining.TILINGS, ids=str)
def test_refining_backbones_begin_as_by_pytorch(
    tiling: refining.Tiling,
    images: int,
    channels: tuple[int, int, int],
    size: tuple[int, int],
    dtype: torch.dtype,
    layout: torch.memory_format,
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed)
    coarse, fine, inner = channels
    attention = random_values(random, images, coarse, *size, dtype=dtype).contiguous(memory_format=layout)
    enc2 = random_values(random, images, fine, *(4 * length for length in size), dtype=dtype)
    enc2 = enc2.contiguous(memory_format=layout)
    first = random_separable(random, coarse + fine, inner, dtype)
    projection = random_values(random, 4 * inner, coarse + fine, 1, 1, dtype=dtype) / (coarse + fine) ** 0.5
    enlarged = Enlarge()(attention.float(), enc2.float())
    expected = F.conv2d(enlarged, first[0].float(), None, 2, 1, groups=coarse + fine)
    expected = F.conv2d(expected, first[1].float(), first[2].float()).relu()
    weights = refining.weights_of(*first, projection, coarse)
    given_values = refining.refining(attention, enc2, weights, inner, tiling)
    assert all(values.is_contiguous(memory_format=torch.channels_last) for values in given_values)
    assert_near(given_values[0], expected)
    assert_near(given_values[1], F.conv2d(enlarged, projection.float(), stride=2))


# A map enlarged beside another


@few
@given(
    count=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    images=st.integers(1, 2),
    channels=st.tuples(st.sampled_from([1, 16, 33]), st.sampled_from([1, 5, 48])),
    size=st.tuples(st.integers(9, 30), st.integers(9, 40)),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_map_is_enlarged_beside_another(
    dtype: torch.dtype,
    count: tuple[int, int],
    images: int,
    channels: tuple[int, int],
    size: tuple[int, int],
    layout: torch.memory_format,
    seed: int,
) -> None:
    random = torch.Generator().manual_seed(seed)
    coarse, fine = (
        torch.randn(images, number, *each, generator=random).to(DEVICE, dtype).contiguous(memory_format=layout)
        for number, each in zip(channels, (count, size), strict=True)
    )
    expected = Enlarge()(coarse.double(), fine.double())
    given_values = enlarging.enlarged_beside(coarse, fine)
    assert given_values.dtype == dtype and given_values.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(given_values[:, channels[0] :], fine)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-3
    torch.testing.assert_close(given_values.double(), expected, rtol=tolerance, atol=tolerance)


# Attention


@few
@given(
    images=st.integers(1, 2),
    channels=st.sampled_from([1, 5, 33, 64]),
    size=st.tuples(st.integers(1, 30), st.integers(1, 40)),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_channels_are_weighed(
    dtype: torch.dtype, images: int, channels: int, size: tuple[int, int], layout: torch.memory_format, seed: int
) -> None:
    """Rounded once, where it is stored."""
    random = torch.Generator().manual_seed(seed)
    x, weight, bias = (
        torch.randn(shape, generator=random).to(DEVICE, dtype)
        for shape in ((images, channels, *size), (channels, channels), (channels,))
    )
    x = x.contiguous(memory_format=layout) + 1  # so that means are not all but zero
    y = attention.weighed(x, weight, bias)
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
    tolerance = 1e-4 if dtype == torch.float32 else torch.finfo(dtype).eps
    expected = weighed_channels(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)


# Both ends of a network


@few
@given(
    images=st.integers(1, 3),
    outputs=st.sampled_from(stem.OUTPUTS),
    size=st.tuples(st.integers(1, 19), st.one_of(st.integers(1, 40), st.sampled_from([8, 16, 72]))),
    dtype=st.sampled_from(HALVES),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
def test_images_are_convolved(
    images: int, outputs: int, size: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format, seed: int
) -> None:
    """Rounded once, where it is stored; also rows whose starts are no multiples of 16 bytes."""
    random = torch.Generator().manual_seed(seed)
    x = random_values(random, images, 3, *size, dtype=dtype).contiguous(memory_format=layout)
    weight, bias = (random_values(random, *shape, dtype=dtype) for shape in ((outputs, 3, 3, 3), (outputs,)))
    y = stem.convolved(x, stem.weights_of(weight, bias))
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), 2, 1).relu()
    tolerance = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)


def test_an_images_convolution_has_a_kernel_only_if_it_is_as_wide_and_strided_as_that() -> None:
    def fits(*arguments: Any, **options: Any) -> bool:
        return stem.fits(torch.nn.Conv2d(*arguments, **options))

    assert fits(3, 8, 3, 2, 1) and fits(3, 32, 3, 2, 1)
    others: list[tuple[int, ...]] = [(4, 8, 3, 2, 1), (3, 12, 3, 2, 1), (3, 64, 3, 2, 1), (3, 8, 7, 2, 1)]
    others += [(3, 8, 3, 1, 1), (3, 8, 3, 2, 0), (3, 8, 3, 2, 1, 2)]
    assert not any(fits(*each) for each in others)
    assert not fits(3, 8, 3, 2, 1, bias=False) and not fits(3, 8, 3, 2, 1, padding_mode="reflect")


def random_decoder(name: str, classes: int, backbones: int, high_level: bool) -> SmallDecoder:
    """For inference, of half precision."""
    plain_decoder = Decoder(name, classes, backbones, high_level, low_level=True)
    torch.nn.init.normal_(plain_decoder.classifier.weight, std=0.3)
    torch.nn.init.normal_(plain_decoder.classifier.bias)
    return SmallDecoder(inference_form(plain_decoder)).half().to(DEVICE).requires_grad_(False)


@few
@given(
    name=st.sampled_from(sorted(WIDTHS)),
    classes=st.integers(1, 40),
    counts=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=decoder.MOST),
    high_level=st.booleans(),
    images=st.integers(1, 3),
    size=st.tuples(st.integers(9, 20), st.one_of(st.integers(9, 40), st.sampled_from([16, 24]))),
    layout=st.sampled_from([torch.contiguous_format, torch.channels_last]),
    seed=seeds,
)
def test_logits_are_those_of_the_plain_decoder(
    name: str,
    classes: int,
    counts: list[tuple[int, int]],
    high_level: bool,
    images: int,
    size: tuple[int, int],
    layout: torch.memory_format,
    seed: int,
) -> None:
    """With any number of backbones, and, without HL, the last one's output alone."""
    torch.manual_seed(seed)
    plain_decoder = random_decoder(name, classes, len(counts), high_level)
    low, _, high = WIDTHS[name]
    features = []
    for number, (height, width) in enumerate(counts):
        enc2 = torch.randn(images, low, *(size if number == 0 else (height, width)))
        attention = torch.randn(images, high, width, height)
        enc2, attention = (each.half().to(DEVICE).contiguous(memory_format=layout) for each in (enc2, attention))
        features.append(Features(enc2, enc2, attention, attention))
    fused_decoder = fused.FusedDecoder(plain_decoder)
    logits, plain_logits = fused_decoder(features, size), plain_decoder(features, size)
    assert logits.dtype == torch.float16 and logits.is_contiguous()
    exact = plain_decoder.double()([Features(*(values.double() for values in each)) for each in features], size)
    assert logits.shape == exact.shape == (images, classes, *size)
    wrong, allowed = (logits - exact).norm(), (plain_logits - exact).norm()
    assert wrong <= 1.2 * allowed, "no more than half precision takes"
    assert (logits - exact).abs().max() <= 4 * torch.finfo(torch.float16).eps * exact.abs().max()


# The network with kernels in place of its blocks and separable convolutions


def take_tilings(shapes: dict[fused.Fused, list[fused.Shape]]) -> None:
    """Another one for each part than for the one before."""
    for number, (part, (shape,)) in enumerate(shapes.items()):
        tilings = [*choosing.tilings_for(part, shape).values()]
        part.tilings[shape] = tilings[number % len(tilings)]


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (fused.FusedSeparable, 2 * 14 * 3),
        (fused.FusedProjection, 2 * 3),
        (fused.FusedBlock, 2 * 14),
        (fused.FusedRefining, 1),
    ],
)
def test_a_fused_network_gives_the_same(kind: type[fused.Fused], count: int) -> None:
    """DFANet A with all its widths, each part by another tiling."""
    network = inference_form(lively_network(backbones=2), few_layers=True).to(DEVICE)
    images = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1)).half().to(DEVICE)
    with torch.inference_mode():
        exact = network.coarse_logits(images.float())
        plain_logits = network.half().coarse_logits(images)
        replacing.fuse(network)
        ends = {fused.FusedStem, fused.FusedDecoder}
        assert {fused.FusedEnlarge, fused.FusedAttention} | ends <= {type(part) for part in network.modules()}
        shapes = {part: group for part, group in choosing.shapes_of(network, images).items() if isinstance(part, kind)}
        assert len(shapes) == count
        take_tilings(shapes)
        fused_logits = network.coarse_logits(images)
    assert not torch.equal(fused_logits, plain_logits)
    assert (fused_logits - exact).norm() <= 1.2 * (plain_logits - exact).norm(), "no more than half precision takes"


def test_refining_backbones_begin_by_smaller_parts_where_maps_have_other_sizes() -> None:
    network = inference_form(lively_network(backbones=2), few_layers=True).to(DEVICE).half()
    replacing.fuse(network)
    (part,) = [part for part in network.modules() if isinstance(part, fused.FusedRefining)]
    random = torch.Generator().manual_seed(1)
    attention, enc2 = random_values(random, 1, 192, 2, 3), random_values(random, 1, 48, 8, 11)
    part.tilings[part.shape(attention, enc2)] = refining.TILINGS[0]
    with torch.inference_mode():
        assert torch.equal(part(attention, enc2), part.plain(attention, enc2))


def test_a_fused_network_sees_the_same_classes() -> None:
    """With weights that were trained, in a street scene, where classes meet."""
    network, info = load_checkpoint(shipped_weights()["street_scenes"])
    network = inference_form(network, few_layers=True).to(DEVICE)
    size = (64, 96)
    frame = torch.from_numpy(StreetScenes(1, *size)[0][0]).to(DEVICE)
    images = plain.prepare([frame], [(0, 1, 2)], size, info.mean, info.std, torch.float32)
    with torch.inference_mode():
        (exact,) = plain.label_maps(network.coarse_logits(images), 4, size, [size])
        replacing.fuse(network.half())
        take_tilings(choosing.shapes_of(network, images.half()))
        (ids,) = plain.label_maps(network.coarse_logits(images.half()), 4, size, [size])
    assert len(exact.unique()) > 4 and (ids == exact).float().mean() >= 0.995


def test_decoders_of_other_kinds_and_other_networks_keep_pytorch_where_there_is_no_kernel() -> None:
    """DFANet without its LL branch, and Fast-SCNN, which has nothing but a first convolution for one."""
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).half().to(DEVICE)
    networks = {
        "HL": lively_network(low_level=False),
        "LL": lively_network(high_level=False),
        "neither": lively_network(high_level=False, low_level=False),
        "Fast-SCNN": FastSCNN(5).eval(),
    }
    for name, each in networks.items():
        network = inference_form(each, few_layers=True).half().to(DEVICE)
        with torch.inference_mode():
            expected = network.coarse_logits(images)
            replacing.fuse(network)
            given_values = network.coarse_logits(images)
        kinds = [type(part) for part in network.modules()]
        assert fused.FusedStem in kinds and (fused.FusedDecoder in kinds) == (name == "LL")
        assert (given_values - expected).norm() <= 0.01 * expected.norm()


UNMEASURED = {
    "enlarged_beside": (fused.FusedEnlarge, "maps are enlarged"),
    "weighed": (fused.FusedAttention, "channels are weighed"),
    "decoded": (fused.FusedDecoder, "logits are decoded"),
    "convolved": (fused.FusedStem, "images are convolved"),
}


@pytest.mark.parametrize("name", UNMEASURED)
@pytest.mark.parametrize("fails", [True, False], ids=["fails", "is wrong"])
def test_pytorch_does_what_a_kernel_that_is_not_measured_does_not(
    name: str, fails: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And all else is done by kernels."""
    real = getattr(fused, name)

    def broken(*arguments: Any) -> Tensor:
        if fails:
            raise RuntimeError("out of resources\nat line 3")
        y: Tensor = 1.1 * real(*arguments)
        return y

    monkeypatch.setattr(fused, name, broken)
    network = inference_form(lively_network(), few_layers=True).half().to(DEVICE)
    replacing.fuse(network)
    kinds = {type(part) for part in network.modules()}
    assert {kind for kind, _ in UNMEASURED.values()} - kinds == {UNMEASURED[name][0]}
    (line,) = [record.getMessage() for record in caplog.records]  # although there are three attentions
    why = "RuntimeError: out of resources" if fails else "the results are not those of PyTorch"
    assert line == f"{UNMEASURED[name][1]} without a kernel of their own: {why}"


@pytest.mark.parametrize("backbones", [1, 2, 3, 4])
def test_kernels_that_are_not_measured_are_taken_for_any_number_of_backbones(
    backbones: int, caplog: pytest.LogCaptureFixture
) -> None:
    network = inference_form(lively_network(backbones=backbones), few_layers=True).half().to(DEVICE)
    replacing.fuse(network)
    kinds = {type(part) for part in network.modules()}
    assert {kind for kind, _ in UNMEASURED.values()} <= kinds
    assert not caplog.records


@pytest.mark.parametrize("name", ["camvid", "camvid_b", "street_scenes"])
def test_kernels_that_are_not_measured_are_taken_for_shipped_weights(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    network, _ = load_checkpoint(shipped_weights()[name])
    network = inference_form(network, few_layers=True).half().to(DEVICE)
    replacing.fuse(network)
    assert {kind for kind, _ in UNMEASURED.values()} <= {type(part) for part in network.modules()}
    assert not caplog.records


@pytest.mark.parametrize("refused", [False, True])
def test_a_convolution_and_its_relu_are_one_if_they_can_be(
    refused: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*arguments: object) -> Tensor:
        raise RuntimeError("CUDNN_STATUS_NOT_SUPPORTED\nat line 3")

    if refused:
        monkeypatch.setattr(torch, "cudnn_convolution_relu", refuse)
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(16, 32, 3, stride=2, padding=1).to(DEVICE)
    x = torch.randn(2, 16, 9, 7, device=DEVICE).half().contiguous(memory_format=torch.channels_last)
    layer = fused.ConvReLU(copy.deepcopy(conv).half(), torch.nn.ReLU(inplace=True))
    with torch.inference_mode():
        expected = conv(x.float()).relu()
        for _ in range(2):
            torch.testing.assert_close(layer(x), expected.half(), rtol=4e-3, atol=4e-3)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == (refused and DEVICE.type == "cuda") and all("NOT_SUPPORTED" in line for line in said)


class TwoLayers(torch.nn.Module):
    """As small as a network can be; the second layer adds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        for name, stride in (("first", 2), ("second", 1)):
            depthwise = torch.nn.Conv2d(3, 3, 3, stride, padding=1, groups=3, bias=False)
            setattr(self, name, Separable(depthwise, torch.nn.Conv2d(3, 3, 1), relu=True))

    def coarse_logits(self, images: Tensor) -> Tensor:
        y = self.first(images)
        return self.second(y, y)


class OneBlock(torch.nn.Module):
    """The first one of a stage."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block = Block(3, 8, stride=2)

    def coarse_logits(self, images: Tensor) -> Tensor:
        y: Tensor = self.block(images)
        return y


class OneBlockOfBoth(OneBlock):
    """The same, but that it gets its channels in two maps."""

    def coarse_logits(self, images: Tensor) -> Tensor:
        y: Tensor = self.block(images[:, :1], images[:, 1:])
        return y


@pytest.fixture
def times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A new cache, and times without the kernel and with each tiling in place of measured ones."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(choosing, "CALLS", 1)

    def be(*seconds: float) -> None:
        endless = itertools.cycle(seconds)
        monkeypatch.setattr(choosing, "_seconds", lambda graph, device: next(endless))

    return be


def chosen(kind: type[torch.nn.Module] = TwoLayers) -> tuple[list[object], Tensor, Tensor]:
    """What each part that such a network runs takes, and the network's result before and after."""
    network = inference_form(kind()).half().to(DEVICE)
    images = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(1)).half().to(DEVICE)
    with torch.inference_mode():
        expected = network.coarse_logits(images)
        replacing.fuse(network)
        parts = [*choosing.shapes_of(network, images)]
        choosing.choose(network, images, StandIn(DEVICE).capture)
        given_values = network.coarse_logits(images)
    return [next(iter(part.tilings.values()), None) for part in parts], given_values, expected


def as_many_separable_as_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four tilings each, so that all kinds take the same times."""
    for kind in (fused.FusedSeparable, fused.FusedOfBoth):
        monkeypatch.setattr(kind, "tilings_tried", separable.TILINGS[:4])
    monkeypatch.setattr(fused.FusedProjection, "tilings_tried", projection.TILINGS[:4])
    monkeypatch.setattr(fused.FusedBlock, "tilings_tried", block.TILINGS[:4])


def test_the_fastest_is_taken_and_remembered(times: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    times(5, 4, 3, 3, 2, 1, 6)
    taken, given_values, expected = chosen()
    assert taken == [rows.TILINGS[0]] * 2
    torch.testing.assert_close(given_values, expected, rtol=4e-3, atol=4e-3)
    monkeypatch.setattr(choosing, "_measured", None)
    assert chosen()[0] == taken
    monkeypatch.setattr(choosing, "_name", lambda device: "another GPU")
    with pytest.raises(TypeError):
        chosen()


@pytest.mark.parametrize("kind", [OneBlock, OneBlockOfBoth])
def test_a_block_is_taken_whole_where_that_is_faster_than_its_convolutions(
    kind: type[OneBlock],
    times: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    as_many_separable_as_blocks(monkeypatch)
    times(5, 4, 1, 3, 2)
    taken, given_values, expected = chosen(kind)
    convolution = separable.TILINGS[1]
    assert taken == [block.TILINGS[1], convolution, projection.TILINGS[1], convolution, convolution]
    torch.testing.assert_close(given_values, expected, rtol=4e-3, atol=4e-3)
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("batch")]
    assert said == [
        f"batch 2: of {count} shapes of {what}, {count} are faster by a kernel of their own than without it"
        for count, what in ((3, "separable convolutions"), (1, "projections"), (1, "blocks"))
    ]


def test_the_beginning_of_a_refining_backbone_is_chosen_too(
    times: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for kind in (fused.FusedSeparable, fused.FusedOfBoth, fused.FusedProjection, fused.FusedBlock):
        monkeypatch.setattr(kind, "tilings_tried", ())
    times(*range(1000, 0, -1))  # the last way is the fastest
    network = inference_form(lively_network(backbones=2), few_layers=True).half().to(DEVICE)
    images = torch.randn(1, 3, 32, 64, generator=torch.Generator().manual_seed(1)).half().to(DEVICE)
    with torch.inference_mode():
        expected = network.coarse_logits(images)
        replacing.fuse(network)
        choosing.choose(network, images, StandIn(DEVICE).capture)
        given_values = network.coarse_logits(images)
    (part,) = [part for part in network.modules() if isinstance(part, fused.FusedRefining)]
    assert [*part.tilings.values()] == [refining.TILINGS[-1]]
    assert (given_values - expected).norm() <= 0.01 * expected.norm()
    *_, said = [record.getMessage() for record in caplog.records]
    what = "beginnings of refining backbones"
    assert said == f"batch 1: of 1 shapes of {what}, 1 are faster by a kernel of their own than without it"


def test_tilings_are_tried_once_and_for_channels_that_they_are_for() -> None:
    def tried(inputs: int, outputs: int) -> list[int]:
        depthwise = torch.nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        part = fused.FusedSeparable(Separable(depthwise, torch.nn.Conv2d(inputs, outputs, 1), relu=True))
        return [*choosing.tilings_for(part, fused.Shape(1, inputs, 9, 7, outputs, 1, relu=True, added=False))]

    first = len(separable.TILINGS)
    assert tried(12, 48) == tried(48, 12) == [*range(first + 2)]
    assert tried(96, 128) == [*range(first + 2)], "with more warps than they have for fewer channels"
    assert tried(129, 12) == tried(12, 129) == [*range(first)]


def test_pytorch_is_kept_where_it_is_faster(times: Callable[..., None]) -> None:
    times(1, *[2] * 6)
    taken, given_values, expected = chosen()
    assert taken == [None, None]
    assert torch.equal(given_values, expected)


def test_convolutions_are_kept_where_a_block_is_slower(
    times: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    as_many_separable_as_blocks(monkeypatch)
    times(1, 2, 2, 2, 2)
    taken, given_values, expected = chosen(OneBlock)
    assert taken == [None] * 5
    torch.testing.assert_close(given_values, expected, rtol=4e-3, atol=4e-3)  # its projection is another convolution


@pytest.mark.parametrize("lasting", [True, False], ids=["for good", "once"])
@pytest.mark.parametrize("of", [separable, block], ids=["separable", "block"])
def test_kernels_that_fail_or_are_wrong_are_not_taken(
    times: Callable[..., None],
    of: Any,
    lasting: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What may have failed for want of memory, say, is tried again at the next start."""
    name = of.__name__.rpartition(".")[2]
    real, tried = getattr(of, name), [tiling.fitted(3, 8 if of is block else 3) for tiling in of.TILINGS]

    def broken(*arguments: Any) -> Tensor:
        (tiling,) = (each for each in arguments if isinstance(each, of.Tiling))
        if tiling == tried[0]:
            raise OutOfResources(9, 8, "shared memory") if lasting else RuntimeError("out of memory\nat line 3")
        y: Tensor = real(*arguments)
        return y + 1 if tiling in tried[1:-1] else y

    monkeypatch.setattr(of, name, broken)
    if of is block:
        for kind in (fused.FusedSeparable, fused.FusedProjection):
            monkeypatch.setattr(kind, "tilings_tried", ())
        times(*[1] * 4 * choosing.ROUNDS, *[2, 1] * choosing.ROUNDS)  # its convolutions have one way each
    else:
        monkeypatch.setattr(fused.FusedSeparable, "tilings_tried", separable.TILINGS)
        times(2, 1)  # PyTorch and the last one are left
    taken, given_values, expected = chosen(OneBlock if of is block else TwoLayers)
    assert taken == ([block.TILINGS[-1], *[None] * 4] if of is block else [separable.TILINGS[-1]] * 2)
    torch.testing.assert_close(given_values, expected, rtol=4e-3, atol=4e-3)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    what, count = ("blocks", 1) if of is block else ("separable convolutions", 2)
    count *= len(of.TILINGS) - 1
    again = "" if lasting else " (they are tried again at the next start)"
    assert line.startswith(f"{count} kernels for {what} are not used{again}; the first one: Shape(images=2, inputs=3")
    assert ("OutOfResources: out of resource: shared memory" if lasting else "RuntimeError: out of memory") in line
    assert "\n" not in line
    monkeypatch.setattr(of, name, real)
    caplog.clear()
    times(3, 2, 1)  # never those that come first
    assert (chosen(OneBlock if of is block else TwoLayers)[0] == taken) == lasting
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_a_shape_that_cannot_be_tried_leaves_the_others_their_kernels(
    times: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = fused.Fused.random_inputs

    def inputs(part: fused.Fused, shape: fused.Shape, images: Tensor) -> list[Tensor]:
        if shape.added:
            raise torch.OutOfMemoryError("Tried to allocate 2 GiB\nat line 3")
        return real(part, shape, images)

    monkeypatch.setattr(fused.Fused, "random_inputs", inputs)
    times(5, 4, 1, 3, 2, 6, 7)
    assert chosen()[0] == [separable.TILINGS[1], None]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("1 kernels for separable convolutions are not used (they are tried again at the next start)")
    assert line.endswith("added=True, beside=0): OutOfMemoryError: Tried to allocate 2 GiB")
