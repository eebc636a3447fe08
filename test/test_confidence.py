"""Confidences: against softmax of logits enlarged by plain NumPy, at odd sizes, on both pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from both_pipelines import ENCODINGS, STRIDES, finished, random_frame, random_logits
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfanet_ros.frame import Frame
from dfanet_ros.host import HostPipeline
from dfanet_ros.label_set import CAMVID
from dfanet_ros.segmenter import Segmenter, load_segmenter
from dfanet_ros.street_scenes import StreetScenes
from dfanet_ros.style import Style
from dfanet_ros.upsampling import upsampled_confidence

ROUNDING = 0.51
sizes = st.tuples(st.integers(1, 60), st.integers(1, 60))


def weights(count: int, target: int) -> NDArray[np.float64]:
    """How much each of `count` places counts at each of `target` ones, bilinear by pixel centres: (target, count)."""
    place = np.clip((np.arange(target) + 0.5) * count / target - 0.5, 0, count - 1)
    return np.maximum(0, 1 - np.abs(place[:, None] - np.arange(count)))


def enlarged(planes: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    """(..., h, w) at another size."""
    rows, columns = planes.shape[-2:]
    return weights(rows, size[0]) @ planes @ weights(columns, size[1]).T


def probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """255 times the largest softmax over the first axis."""
    powers = np.exp(logits - logits.max(0))
    return 255 * (powers / powers.sum(0)).max(0)


def obvious_confidence(
    logits: torch.Tensor, input_size: tuple[int, int], size: tuple[int, int], stride: int = 4
) -> NDArray[np.float64]:
    """Of coarse logits (classes, h, w), step by step: enlarge, softmax, crop, bring to the frame's size."""
    full = enlarged(logits.double().numpy(), (stride * logits.shape[1], stride * logits.shape[2]))
    return enlarged(probabilities(full)[: input_size[0], : input_size[1]], size)


def least_nearby(coarse: NDArray[np.float64], stride: int) -> NDArray[np.float64]:
    """At each of stride x stride times as many pixels, the least of the up to four values that it lies between."""
    counts = [weights(n, stride * n) > 0 for n in coarse.shape]
    near = counts[0][:, None, :, None] & counts[1][None, :, None, :]
    return np.where(near, coarse, np.inf).min((2, 3))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    classes=st.integers(1, 20),
    height=st.integers(1, 10),
    width=st.integers(1, 10),
    scale=st.sampled_from([0.1, 1.0, 4.0, 30.0]),
    stride=st.sampled_from(STRIDES),
    seed=st.integers(0, 999),
)
def test_host_confidence_keeps_its_bounds(
    classes: int, height: int, width: int, scale: float, stride: int, seed: int
) -> None:
    size = stride * height, stride * width
    logits = scale * random_logits(size, classes, seed=seed, stride=stride)[0]
    exact = obvious_confidence(logits, size, size, stride)
    confidence = upsampled_confidence(logits, stride)
    assert confidence.shape == exact.shape and confidence.dtype == np.uint8
    assert (confidence - exact).max() <= ROUNDING
    coarse = logits.double().numpy()
    ids = coarse.argmax(0).astype(float)
    one_class = least_nearby(ids, stride) == -least_nearby(-ids, stride)
    assert (confidence - least_nearby(probabilities(coarse), stride))[one_class].min(initial=0) >= -ROUNDING
    assert np.abs(confidence - exact)[~one_class].max(initial=0) <= ROUNDING
    if classes <= 2:
        assert np.abs(confidence - exact).max() <= ROUNDING


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    input_size=sizes,
    size=sizes,
    classes=st.integers(1, 11),
    encoding=st.sampled_from(ENCODINGS),
    stride=st.sampled_from(STRIDES),
    seed=st.integers(0, 999),
)
def test_confidence_is_that_of_the_obvious_code(
    input_size: tuple[int, int], size: tuple[int, int], classes: int, encoding: str, stride: int, seed: int
) -> None:
    """With two classes both pipelines are exact; with more, the host's may be too low, but not by much in the mean."""
    logits = random_logits(input_size, classes, seed=seed, stride=stride)
    exact = obvious_confidence(logits[0], input_size, size, stride)
    host, *devices = (r[0].confidence() for r in finished(logits, [random_frame(size, encoding)], input_size, stride))
    for confidence in (host, *devices):
        assert confidence.shape == size and confidence.dtype == np.uint8
    for confidence in devices:
        assert np.abs(confidence - exact).max() <= ROUNDING
    # Rounded twice, and OpenCV's weights have 11 bits.
    assert (host - exact).max() <= 1.6
    if classes <= 2:
        assert np.abs(host - exact).max() <= 1.6
    assert (exact - host).mean() <= 6


@pytest.fixture(scope="module")
def trained() -> Segmenter:
    return load_segmenter("street_scenes", backbone="xception_b", device="cpu")


@pytest.mark.parametrize("size", [(240, 320), (121, 163), (479, 641)], ids=str)
def test_both_pipelines_give_the_same_on_trained_weights(trained: Segmenter, size: tuple[int, int]) -> None:
    frames = [Frame(image) for image, _ in StreetScenes(2, *size, seed=9)]
    images = HostPipeline(trained.info, trained.input_size, 4).prepare(frames)
    with torch.inference_mode():
        logits = trained.logits(images)
    host, *devices = finished(logits, frames, trained.input_size)
    for number in range(len(frames)):
        a = host[number].confidence().astype(int)
        assert 100 < a.mean() < 254 and a.min() < 120 and a.max() == 255
        for device in devices:
            difference = np.abs(a - device[number].confidence())
            assert difference.mean() < 0.7
            assert (difference > 12).mean() < 0.005


def test_each_frame_of_a_batch_has_its_own_confidence(trained: Segmenter) -> None:
    frames = [Frame(image) for image, _ in StreetScenes(2, 120, 160, seed=3)]
    together = [result.confidence().astype(int) for result in trained.segment(frames)]
    alone = [trained.segment([frame])[0].confidence().astype(int) for frame in frames]
    for a, b in zip(together, alone, strict=True):
        assert np.abs(a - b).mean() < 0.1
    assert np.abs(together[0] - together[1]).mean() > 5


@pytest.mark.parametrize(
    ("value", "classes", "expected"),
    [(0.0, 1, 255), (0.0, 4, 64), (0.0, 255, 1), (1e4, 3, 255), (np.log(3), 4, 128)],
)
def test_simple_cases(value: float, classes: int, expected: int) -> None:
    """The first logit has a value, the others are 0: no value overflows, and equal logits share the probability."""
    logits = torch.zeros(1, classes, 3, 4)
    logits[:, 0] = value
    for results in finished(logits, [random_frame((31, 17))], (11, 15)):
        assert (results[0].confidence() == expected).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_half_precision_do(dtype: torch.dtype) -> None:
    logits = random_logits((40, 52)).to(dtype)
    exact = obvious_confidence(logits[0], (40, 52), (33, 90))
    for results in finished(logits, [random_frame((33, 90))], (40, 52)):
        assert np.abs(results[0].confidence() - exact).mean() < 6


@settings(max_examples=30, deadline=None, derandomize=True)
@given(size=sizes, shown=st.sets(st.integers(0, 10)), seed=st.integers(0, 99))
def test_confidence_is_zero_where_a_class_is_not_shown(size: tuple[int, int], shown: set[int], seed: int) -> None:
    for results in finished(random_logits((40, 52), seed=seed), [random_frame(size)], (40, 52)):
        expected = np.where(np.isin(results[0].label_map, list(shown)), results[0].confidence(), 0)
        styled = results[0].styled(Style.of(CAMVID, shown))
        np.testing.assert_array_equal(styled.confidence(), expected)
