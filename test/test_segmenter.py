"""The segmenter: its fast pre- and postprocessing against the obvious code, sizes, devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from both_pipelines import STRIDES, finished
from conftest import even_classes, info_of, lively_network
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfanet_ros.checkpoint import MEAN, STD
from dfanet_ros.device import DevicePipeline
from dfanet_ros.frame import RGB_CHANNELS, Frame
from dfanet_ros.host import HostPipeline
from dfanet_ros.label_set import CAMVID
from dfanet_ros.network.base import Network
from dfanet_ros.pixels import resize_labels
from dfanet_ros.segmenter import Segmenter, load_segmenter
from dfanet_ros.street_scenes import StreetScenes
from dfanet_ros.upsampling import upsampled_argmax

SIZE = (64, 96)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def random_network(name: str, **options: object) -> Network:
    return even_classes(lively_network(name, **options), scenes(1, *SIZE)[0].pixels)


def random_segmenter(name: str, **options: object) -> Segmenter:
    network = random_network(name, **options)
    return Segmenter(network, info_of(network, input_size=SIZE, name=name), device="cpu", engine="torch")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return random_segmenter("dfanet", backbone="xception_b")


@pytest.fixture(scope="module", params=["dfanet", "fast_scnn", "deeplabv3"])
def each_segmenter(request: pytest.FixtureRequest) -> Segmenter:
    """One of each family; the strides of their logits are 4, 8 and 16."""
    return random_segmenter(request.param)


def scenes(count: int, height: int = 120, width: int = 160) -> list[Frame]:
    return [Frame(image) for image, _ in StreetScenes(count, height, width, seed=9)]


def stride_of(segmenter: Segmenter) -> int:
    return {"dfanet": 4, "fast_scnn": 8, "deeplabv3": 16}[segmenter.info.network]


def obvious_label_map(segmenter: Segmenter, frame: Frame) -> NDArray[np.uint8]:
    """The label map by the plain steps: resize, scale, normalise, network, enlarge, argmax, enlarge."""
    rgb = torch.from_numpy(frame.rgb().copy()).permute(2, 0, 1)[None].float()
    resized = F.interpolate(rgb, segmenter.input_size, mode="bilinear").round()
    image = (resized / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.inference_mode():
        coarse = segmenter.logits(image)
        height, width = segmenter.input_size
        logits = F.interpolate(coarse, scale_factor=stride_of(segmenter), mode="bilinear")[:, :, :height, :width]
        if (height, width) == (2 * frame.size[0], 2 * frame.size[1]):
            logits = F.interpolate(coarse, scale_factor=stride_of(segmenter) // 2, mode="bilinear")
        ids = logits.argmax(1, keepdim=True).to(torch.uint8)
    return F.interpolate(ids, frame.size, mode="nearest-exact")[0, 0].numpy()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    classes=st.integers(1, 20),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    smooth=st.integers(1, 4),
    stride=st.sampled_from([2, *STRIDES, 32]),
    seed=st.integers(0, 999),
)
def test_upsampled_argmax_is_the_argmax_of_the_upsampled(
    classes: int, height: int, width: int, smooth: int, stride: int, seed: int
) -> None:
    noise = torch.randn(1, classes, height, width, generator=torch.Generator().manual_seed(seed))
    logits = F.avg_pool2d(noise, smooth, 1, smooth // 2)[:, :, :height, :width]
    expected = F.interpolate(logits, scale_factor=stride, mode="bilinear").argmax(1)[0].numpy()
    given_ids = upsampled_argmax(logits[0], stride)
    assert given_ids.shape == expected.shape
    # Only where two classes are equal to rounding may the two differ.
    assert (given_ids != expected).mean() <= 1e-3


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    values=st.lists(st.integers(0, 3), min_size=1, max_size=20),
    height=st.integers(1, 20),
    width=st.integers(1, 20),
)
def test_of_equal_logits_the_first_is_the_largest(values: list[int], height: int, width: int) -> None:
    logits = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1).repeat(1, height, width)
    for layout in (logits, logits.permute(1, 2, 0).contiguous().permute(2, 0, 1)):
        assert (upsampled_argmax(layout, 4) == values.index(max(values))).all()


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    target=st.tuples(st.integers(1, 120), st.integers(1, 120)),
)
def test_labels_are_enlarged_by_pixel_centres(size: tuple[int, int], target: tuple[int, int]) -> None:
    label_map = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    # Which pixel's area the centre lies in; where it lies on the edge between two, either is right.
    rows, columns = (
        [((np.arange(n) + 0.5) * s / n + shift) for shift in (-1e-3, 1e-3)] for s, n in zip(size, target, strict=True)
    )
    allowed = [
        label_map[np.clip(r.astype(int), 0, size[0] - 1)][:, np.clip(c.astype(int), 0, size[1] - 1)]
        for r in rows
        for c in columns
    ]
    result = resize_labels(label_map, target)
    assert np.any([result == choice for choice in allowed], axis=0).all()


@pytest.mark.parametrize("size", [(64, 96), (32, 48), (120, 160), (45, 77), (33, 200)], ids=str)
def test_label_map_is_that_of_the_obvious_code(each_segmenter: Segmenter, size: tuple[int, int]) -> None:
    segmenter = each_segmenter
    for frame in scenes(2, *size) if min(size) >= 64 else [Frame(scenes(1)[0].pixels[: size[0], : size[1]])]:
        label_map = segmenter.segment([frame])[0].label_map
        expected = obvious_label_map(segmenter, frame)
        assert label_map.shape == frame.size and label_map.dtype == np.uint8
        # OpenCV's bilinear resize rounds each pixel a little differently from PyTorch's.
        assert (label_map == expected).mean() > (0.999 if frame.size == SIZE else 0.97)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(sizes=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=3))
def test_frames_of_any_size_give_label_maps_of_that_size(
    each_segmenter: Segmenter, sizes: list[tuple[int, int]]
) -> None:
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 255, (*size, 3), np.uint8)) for size in sizes]
    for frame, result in zip(frames, each_segmenter.segment(frames), strict=True):
        assert result.label_map.shape == frame.size
        assert result.label_map.max() < len(CAMVID)
        assert result.color_mask().shape == (*frame.size, 3)
        assert result.overlay(0.5).shape == (*frame.size, 3)


def test_no_frames_give_no_results(segmenter: Segmenter) -> None:
    assert segmenter.segment([]) == []


def test_a_batch_is_what_its_frames_are(segmenter: Segmenter) -> None:
    frames = scenes(3)
    together = segmenter.segment(frames)
    for frame, result in zip(frames, together, strict=True):
        assert (segmenter.segment([frame])[0].label_map == result.label_map).mean() > 0.999


def test_every_layout_of_the_same_pixels_gives_the_same_label_map(segmenter: Segmenter) -> None:
    rgb = scenes(1)[0].pixels
    alpha = np.full((*rgb.shape[:2], 1), 77, np.uint8)
    layouts = {
        "rgb8": rgb,
        "bgr8": rgb[:, :, ::-1],
        "rgba8": np.concatenate([rgb, alpha], 2),
        "bgra8": np.concatenate([rgb[:, :, ::-1], alpha], 2),
    }
    expected = segmenter.segment([Frame(rgb)])[0]
    for encoding, pixels in layouts.items():
        wide = np.zeros((rgb.shape[0], rgb.shape[1] + 5, pixels.shape[2]), np.uint8)
        wide[:, : rgb.shape[1]] = pixels
        padded = wide[:, : rgb.shape[1]]
        for version in (np.ascontiguousarray(pixels), padded):
            result = segmenter.segment([Frame(version, encoding)])[0]
            np.testing.assert_array_equal(result.label_map, expected.label_map)
            np.testing.assert_array_equal(result.overlay(0.3), expected.overlay(0.3))
    grey = np.ascontiguousarray(rgb[:, :, :1])
    from_grey = segmenter.segment([Frame(grey, "mono8")])[0]
    from_rgb = segmenter.segment([Frame(np.repeat(grey, 3, 2))])[0]
    np.testing.assert_array_equal(from_grey.label_map, from_rgb.label_map)
    np.testing.assert_array_equal(from_grey.overlay(0.3), from_rgb.overlay(0.3))


def test_colors_and_overlay_are_what_they_say(segmenter: Segmenter) -> None:
    frame = scenes(1)[0]
    result = segmenter.segment([frame])[0]
    colors = CAMVID.palette()[result.label_map]
    np.testing.assert_array_equal(result.color_mask(), colors)
    np.testing.assert_array_equal(result.overlay(0), frame.pixels)
    np.testing.assert_array_equal(result.overlay(1), colors)
    exact = 0.75 * frame.pixels.astype(float) + 0.25 * colors
    assert np.abs(result.overlay(0.25) - exact).max() <= 0.51


@pytest.mark.parametrize("encoding", RGB_CHANNELS)
@pytest.mark.parametrize("size", [(64, 96), (90, 130), (300, 400)], ids=str)
def test_both_pipelines_prepare_the_same(encoding: str, size: tuple[int, int]) -> None:
    """The one for GPUs runs here on the CPU; it is the reference that shares no code with the other."""
    network = lively_network(backbone="xception_b")
    info = info_of(network)
    rgb = StreetScenes(1, *size, seed=4)[0][0]
    channels = {"rgb8": rgb, "bgr8": rgb[:, :, ::-1], "mono8": rgb[:, :, :1]}
    pixels = channels.get(encoding)
    if pixels is None:
        pixels = np.concatenate([channels[encoding.replace("a8", "8")], rgb[:, :, :1]], 2)
    frame = Frame(np.ascontiguousarray(pixels), encoding)
    host = HostPipeline(info, SIZE, 4).prepare([frame])
    pipeline, given = DevicePipeline(info, SIZE, 4, torch.device("cpu")), []
    pipeline.label(pipeline.upload([frame]), lambda images: given.append(images) or host, [frame.rgb_channels])
    (device,) = given
    # One or two grey levels of rounding; where the frame shrinks to half or less, the filters differ a little.
    difference = (host - device).abs() * 255 * 0.225
    assert difference.mean() < (2.5 if size == (300, 400) else 0.5)


def test_images_for_the_network_are_rounded_once_at_most() -> None:
    """In bfloat16 they are those in float32, rounded: the table that makes them is, not the images."""
    network = lively_network(backbone="xception_b")
    frames = scenes(2, 90, 130)
    exact, rounded = (
        HostPipeline(info_of(network), SIZE, 4, dtype).prepare(frames) for dtype in (torch.float32, torch.bfloat16)
    )
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(rounded, exact.to(torch.bfloat16))
    assert rounded.is_contiguous(memory_format=torch.channels_last)


def test_both_pipelines_finish_the_same(each_segmenter: Segmenter) -> None:
    # At this size, no pixel's centre lies on the edge between two labels, where either may be taken.
    segmenter, frames = each_segmenter, scenes(2, 121, 163)
    stride = stride_of(segmenter)
    host = HostPipeline(segmenter.info, SIZE, stride)
    with torch.inference_mode():
        logits = segmenter.logits(host.prepare(frames))
    for a, b in zip(*finished(logits, frames, SIZE, stride)[:2], strict=True):
        assert (a.label_map == b.label_map).mean() > 0.999
        agree = (a.label_map == b.label_map)[:, :, None]
        assert (np.abs(a.color_mask().astype(int) - b.color_mask()) * agree).max() == 0
        assert (np.abs(a.overlay(0.4).astype(int) - b.overlay(0.4)) * agree).max() <= 1


def test_bfloat16_agrees_with_float32_on_trained_weights() -> None:
    maps = [
        load_segmenter("street_scenes", backbone="xception_b", device="cpu", precision=precision).segment(scenes(2))
        for precision in ("fp32", "bf16")
    ]
    for full, half in zip(*maps, strict=True):
        assert (full.label_map == half.label_map).mean() > 0.97


@pytest.mark.parametrize(
    ("device", "precision", "says"),
    [
        ("cpu", "fp16", "precision is 'fp16', but the CPU has no fp16"),
        ("cpu", "int4", "precision is 'int4', but has to be one of auto, fp32, fp16, bf16"),
        ("tpu", "auto", "device is 'tpu', but has to be auto, cpu, cuda or cuda:N"),
        ("mps", "auto", "device is 'mps', but has to be auto, cpu, cuda or cuda:N"),
    ],
)
def test_impossible_devices_and_precisions_are_refused(device: str, precision: str, says: str) -> None:
    network = lively_network(backbone="xception_b")
    with pytest.raises(ValueError, match=says):
        Segmenter(network, info_of(network), device=device, precision=precision)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_missing_cuda_is_said() -> None:
    network = lively_network(backbone="xception_b")
    with pytest.raises(ValueError, match=r"finds no CUDA device: check nvidia-smi, .* or set device to auto or cpu"):
        Segmenter(network, info_of(network), device="cuda")


@needs_cuda
@pytest.mark.parametrize(("precision", "agreement"), [("fp32", 0.999), ("fp16", 0.97), ("bf16", 0.8)])
def test_cuda_agrees_with_the_cpu(segmenter: Segmenter, precision: str, agreement: float) -> None:
    network = random_network("dfanet", backbone="xception_b")
    on_gpu = Segmenter(network, info_of(network, input_size=SIZE), device="cuda", precision=precision)
    frames = scenes(3, *SIZE)
    for a, b in zip(segmenter.segment(frames), on_gpu.segment(frames), strict=True):
        assert (a.label_map == b.label_map).mean() > agreement


@needs_cuda
def test_a_cuda_device_that_is_not_there_is_said() -> None:
    network = lively_network(backbone="xception_b")
    with pytest.raises(ValueError, match="CUDA devices, numbered from 0"):
        Segmenter(network, info_of(network), device="cuda:99")
