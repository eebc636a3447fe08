"""Frames in memory: any layout, and pixels that are views on somebody else's bytes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.frame import RGB_CHANNELS, Frame

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
sizes = st.integers(1, 40)


@settings(deadline=None, derandomize=True)
@given(
    encoding=st.sampled_from(sorted(RGB_CHANNELS)),
    height=sizes,
    width=sizes,
    padding=st.integers(0, 9),
    offset=st.integers(0, 5),
    view=st.sampled_from(["rows padded", "columns left out", "upside down", "mirrored", "read only"]),
)
def test_rgb_is_what_the_channels_say(
    encoding: str, height: int, width: int, padding: int, offset: int, view: str
) -> None:
    channels = CHANNELS[encoding]
    step = width * channels + padding
    data = np.random.default_rng(height * width).integers(0, 255, offset + height * step, np.uint8)
    pixels = np.ndarray((height, width, channels), np.uint8, data.data, offset, (step, channels, 1))
    if view == "columns left out":
        pixels = pixels[:, ::2]
    elif view == "upside down":
        pixels = pixels[::-1]
    elif view == "mirrored":
        pixels = pixels[:, ::-1]
    elif view == "read only":
        pixels.setflags(write=False)
    before = data.copy()
    rgb = Frame(pixels, encoding).rgb()
    np.testing.assert_array_equal(rgb, pixels[:, :, list(RGB_CHANNELS[encoding])])
    assert rgb.dtype == np.uint8 and rgb.flags.c_contiguous and rgb.shape == (*pixels.shape[:2], 3)
    np.testing.assert_array_equal(data, before)


@pytest.mark.parametrize("encoding", sorted(RGB_CHANNELS))
def test_rgb_is_a_copy_unless_it_is_packed_rgb_already(encoding: str) -> None:
    pixels = np.zeros((4, 6, CHANNELS[encoding]), np.uint8)
    assert np.shares_memory(Frame(pixels, encoding).rgb(), pixels) == (encoding == "rgb8")
