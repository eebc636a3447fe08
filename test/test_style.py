"""Rendering in a style: the filter against np.where, the overlay against float arithmetic, on both pipelines."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from both_pipelines import ENCODINGS, INFO, finished, random_frame, random_logits, results_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dfanet_ros import host
from dfanet_ros.frame import Frame
from dfanet_ros.label_set import CAMVID
from dfanet_ros.segmenter import Segmentation
from dfanet_ros.style import Style

sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))
some_ids = st.sets(st.integers(0, 255), max_size=12)
EVERYTHING = np.ones(256, np.bool_)


def random_palette(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (256, 3), np.uint8)


def assert_shows(
    result: Segmentation, label_map: NDArray[np.uint8], style: Style, frame: Frame, opacity: float
) -> None:
    """That a result shows these classes in a style's colours, and the frame where there is none."""
    known = (label_map != 255)[:, :, None]
    colors = np.where(known, style.palette[label_map], 0)
    np.testing.assert_array_equal(result.label_map, label_map)
    np.testing.assert_array_equal(result.color_mask(), colors)
    overlay = result.overlay(opacity)
    assert overlay.dtype == np.uint8
    exact = (1 - opacity) * frame.rgb().astype(float) + opacity * colors
    assert np.abs((overlay - exact) * known).max() <= 0.51
    np.testing.assert_array_equal(np.where(known, 0, overlay), np.where(known, 0, frame.rgb()))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    size=sizes,
    hidden=some_ids,
    encoding=st.sampled_from(ENCODINGS),
    opacity=st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]),
    seed=st.integers(0, 999),
)
def test_any_label_map_in_any_style(
    size: tuple[int, int], hidden: set[int], encoding: str, opacity: float, seed: int
) -> None:
    """Of all 256 ids: those that are 255 without a filter have no colour either, whatever the palette says."""
    ids = np.random.default_rng(seed).choice([0, 1, 2, 3, 254, 255, *hidden], size).astype(np.uint8)
    frame = random_frame(size, encoding, seed)
    shown = EVERYTHING.copy()
    shown[list(hidden)] = False
    style = Style(random_palette(seed), shown)
    for result in results_of(ids, frame, Style.of(CAMVID)):
        assert_shows(result, ids, Style.of(CAMVID), frame, opacity)
        assert_shows(result.styled(style), np.where(shown[ids], ids, 255).astype(np.uint8), style, frame, opacity)
        # The styled one is another: this one has not changed.
        assert_shows(result, ids, Style.of(CAMVID), frame, opacity)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    input_size=sizes,
    size=sizes,
    shown=st.sets(st.integers(0, 10)),
    encoding=st.sampled_from(ENCODINGS),
    seed=st.integers(0, 999),
)
def test_results_of_the_pipelines_in_styles(
    input_size: tuple[int, int], size: tuple[int, int], shown: set[int], encoding: str, seed: int
) -> None:
    frame = random_frame(size, encoding, seed)
    for (result,) in finished(random_logits(input_size, seed=seed), [frame], input_size):
        ids = result.label_map
        assert ids.shape == size and ids.max() < len(CAMVID)
        assert_shows(result, ids, Style.of(INFO.labels), frame, 0.5)
        some, all_in_other_colors = Style.of(CAMVID, shown), Style(random_palette(seed), EVERYTHING)
        filtered = np.where(np.isin(ids, list(shown)), ids, 255).astype(np.uint8)
        assert_shows(result.styled(some), filtered, some, frame, 0.5)
        assert_shows(result.styled(some).styled(all_in_other_colors), ids, all_in_other_colors, frame, 0.5)


def test_a_style_that_shows_all_is_free() -> None:
    """No filter runs on the host: the label map is not even copied."""
    frame = random_frame((30, 40))
    result = finished(random_logits((30, 40)), [frame], (30, 40))[0][0]
    all_but_unlabelled = EVERYTHING.copy()
    all_but_unlabelled[255] = False
    styles = [
        Style.of(CAMVID),
        Style.of(CAMVID, range(len(CAMVID))),
        Style(random_palette(0), EVERYTHING),
        Style(random_palette(0), all_but_unlabelled),
    ]
    for style in styles:
        assert style.shows_all
        assert result.styled(style).label_map is result.label_map
    assert not Style.of(CAMVID, range(1, len(CAMVID))).shows_all
    assert not Style.of(CAMVID, []).shows_all


@pytest.mark.parametrize("style", [Style.of(CAMVID), Style.of(CAMVID, [3])], ids=["all", "some"])
def test_on_the_cpu_colors_are_computed_once(style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str, function: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments: (calls.append(name), function(*arguments))[1]

    monkeypatch.setattr(host, "paint", counted("paint", host.paint))
    (result,) = finished(random_logits((30, 40)), [random_frame((30, 40))], (30, 40))[0]
    styled = result.styled(style)
    assert not calls
    for opacity in (0.2, 0.8):
        styled.color_mask()
        styled.overlay(opacity)
    assert len(calls) == 1


@pytest.mark.parametrize("opacity", [0.0, 0.5, 1.0])
def test_the_frame_keeps_its_pixels(opacity: float) -> None:
    """Also where the overlay shows nothing else: it is a copy."""
    frame = Frame(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    before = frame.pixels.copy()
    for (result,) in finished(random_logits((20, 30)), [frame], (20, 30)):
        overlay = result.styled(Style.of(CAMVID, [])).overlay(opacity)
        np.testing.assert_array_equal(overlay, before)
        overlay[:] = 0
        np.testing.assert_array_equal(frame.pixels, before)


@pytest.mark.parametrize(
    ("palette", "shown", "says"),
    [
        (random_palette(0)[:11], EVERYTHING, r"palette has shape \(11, 3\) and dtype uint8, but .* \(256, 3\), uint8$"),
        (np.zeros((256, 3)), EVERYTHING, r"palette has shape \(256, 3\) and dtype float64, but has to be"),
        (random_palette(0), EVERYTHING[:11], r"shown has shape \(11,\) and dtype bool, but has to be \(256,\), bool"),
        (random_palette(0), np.ones(256, np.uint8), r"shown has shape \(256,\) and dtype uint8, but has to be"),
    ],
)
def test_wrong_arrays_are_refused(palette: NDArray[np.uint8], shown: NDArray[np.bool_], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Style(palette, shown)
