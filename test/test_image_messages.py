"""Image messages to frames and back: any step, either byte order, every encoding."""

from __future__ import annotations

from array import array
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("sensor_msgs", reason="ROS 2 messages are not installed")

from std_msgs.msg import Header

from dfanet_ros.image_messages import (
    ENCODINGS,
    IDS,
    BadImage,
    frame_from_message,
    ids_from_message,
    message_from_pixels,
)

DEPTHS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}


def message(pixels: NDArray[Any], encoding: str, padding: int = 0, big_endian: bool = False) -> SimpleNamespace:
    """The fields of an image message: `pixels` (H, W, bytes a pixel), each row followed by `padding` bytes of 0xee."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(pixels.shape[0], -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big_endian),
        step=padded.shape[1],
        data=array("B", padded.tobytes()),
    )


sizes = st.integers(1, 12)


@settings(deadline=None, derandomize=True)
@given(encoding=st.sampled_from(sorted(DEPTHS)), height=sizes, width=sizes, padding=st.integers(0, 7))
def test_8_bit_images_are_viewed_in_place(encoding: str, height: int, width: int, padding: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, DEPTHS[encoding]), np.uint8)
    given_message = message(pixels, encoding, padding)
    frame = frame_from_message(given_message)
    assert frame.encoding == encoding
    np.testing.assert_array_equal(frame.pixels, pixels)
    given_message.data[0] ^= 0xFF  # a view sees what happens to the bytes
    assert frame.pixels[0, 0, 0] == pixels[0, 0, 0] ^ 0xFF


@settings(deadline=None, derandomize=True)
@given(height=sizes, width=sizes, padding=st.integers(0, 3), big_endian=st.booleans())
def test_mono16_in_either_byte_order(height: int, width: int, padding: int, big_endian: bool) -> None:
    values = np.random.default_rng(1).integers(0, 65535, (height, width, 1), np.uint16, endpoint=True)
    stored = values.astype(">u2" if big_endian else "<u2")
    frame = frame_from_message(message(stored, "mono16", padding, big_endian))
    assert frame.encoding == "mono8"
    np.testing.assert_array_equal(frame.pixels, np.rint(values / 257).astype(np.uint8))


@pytest.mark.parametrize(
    ("encoding", "pattern"),
    [("bayer_rggb8", "RGGB"), ("bayer_bggr8", "BGGR"), ("bayer_gbrg8", "GBRG"), ("bayer_grbg8", "GRBG")],
)
@pytest.mark.parametrize("padding", [0, 3])
def test_bayer_patterns(encoding: str, pattern: str, padding: int) -> None:
    """A plain colour, seen through the pattern's filters, comes back as that colour."""
    color = {"R": 200, "G": 120, "B": 30}
    tile = np.array([color[letter] for letter in pattern], np.uint8).reshape(2, 2)
    mosaic = np.tile(tile, (4, 5))[:, :, None]
    frame = frame_from_message(message(mosaic, encoding, padding))
    assert frame.pixels.shape == (8, 10, 3) and frame.encoding == "rgb8"
    np.testing.assert_array_equal(frame.pixels[1:-1, 1:-1], np.broadcast_to([200, 120, 30], (6, 8, 3)))


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
@pytest.mark.parametrize("padding", [0, 3])
def test_yuv422(encoding: str, padding: int) -> None:
    """ITU-R BT.601: the luma of each pixel, the colour of each pair of pixels."""
    rng = np.random.default_rng(2)
    luma = rng.integers(60, 180, (4, 6)).astype(float)
    u, v = (rng.integers(100, 150, (4, 3)).astype(float) for _ in range(2))
    first, second = (0, 1) if encoding in ("yuv422_yuy2", "yuyv") else (1, 0)
    packed = np.empty((4, 6, 2), np.uint8)
    packed[:, :, first] = luma
    packed[:, 0::2, second] = u
    packed[:, 1::2, second] = v
    y, u, v = 1.164 * (luma - 16), np.repeat(u, 2, 1) - 128, np.repeat(v, 2, 1) - 128
    expected = np.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u], 2)
    frame = frame_from_message(message(packed, encoding, padding))
    assert np.abs(frame.pixels - expected.clip(0, 255)).max() < 1.5


@pytest.mark.parametrize("encoding", IDS)
def test_ids_are_viewed_in_place(encoding: str) -> None:
    ids = np.random.default_rng(0).integers(0, 255, (4, 5), np.uint8)
    given_message = message(ids[:, :, None], encoding, padding=3)
    found = ids_from_message(given_message)
    np.testing.assert_array_equal(found, ids)
    given_message.data[0] ^= 0xFF
    assert found[0, 0] == ids[0, 0] ^ 0xFF


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoding": "mono16"}, "encoding 'mono16' has to be mono8 or 8UC1, for these are ids"),
        ({"height": 0}, "has no pixels: its height is 0 and its width 5"),
        ({"step": 4}, "step is 4, but a row of 5 pixels in 8UC1 takes 5 bytes"),
        ({"data": array("B", bytes(19))}, "there are 19 bytes of data, but 4 rows of 5 bytes take 20"),
    ],
    ids=str,
)
def test_what_is_no_ids_is_refused(changes: dict[str, Any], says: str) -> None:
    broken = message(np.zeros((4, 5, 1), np.uint8), "8UC1")
    vars(broken).update(changes)
    with pytest.raises(BadImage, match=says):
        ids_from_message(broken)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"encoding": "jpeg"}, "encoding 'jpeg' is not one of rgb8, bgr8"),
        ({"encoding": ""}, "encoding '' is not one of"),
        ({"height": 0}, "has no pixels: its height is 0 and its width 6"),
        ({"width": 0}, "has no pixels"),
        ({"step": 17}, "step is 17, but a row of 6 pixels in rgb8 takes 18 bytes"),
        ({"step": 0}, "step is 0, but"),
        ({"data": array("B", bytes(71))}, "there are 71 bytes of data, but 4 rows of 18 bytes take 72"),
        ({"data": array("B")}, "there are 0 bytes of data"),
        ({"width": 2**31, "step": 2**32 - 1}, "step is 4294967295, but"),
        ({"height": 2**32 - 1}, "bytes of data, but 4294967295 rows"),
        ({"encoding": "yuyv", "width": 5}, "the width is 5, but in yuyv two pixels share their colour"),
        ({"encoding": "bayer_rggb8", "height": 1}, "a Bayer pattern has at least 2 x 2"),
    ],
    ids=str,
)
def test_broken_images_are_refused_with_a_sentence(changes: dict[str, Any], says: str) -> None:
    broken = message(np.zeros((4, 6, 3), np.uint8), "rgb8")
    vars(broken).update(changes)
    with pytest.raises(BadImage, match=says):
        frame_from_message(broken)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    encoding=st.sampled_from(ENCODINGS) | st.text(max_size=8),
    height=st.integers(0, 9) | st.integers(0, 2**32 - 1),
    width=st.integers(0, 9) | st.integers(0, 2**32 - 1),
    step=st.integers(0, 40) | st.integers(0, 2**32 - 1),
    big_endian=st.integers(0, 255),
    size=st.integers(0, 400),
)
def test_any_message_gives_a_frame_or_a_sentence(
    encoding: str, height: int, width: int, step: int, big_endian: int, size: int
) -> None:
    anything = SimpleNamespace(
        encoding=encoding, height=height, width=width, step=step, is_bigendian=big_endian, data=array("B", bytes(size))
    )
    try:
        frame = frame_from_message(anything)
    except BadImage as error:
        assert str(error)
    else:
        assert frame.size == (height, width)
        assert frame.rgb().shape == (height, width, 3)


@settings(deadline=None, derandomize=True)
@given(height=sizes, width=sizes, channels=st.sampled_from([None, 3]), sliced=st.booleans())
def test_pixels_become_a_packed_message(height: int, width: int, channels: int | None, sliced: bool) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    pixels = np.random.default_rng(3).integers(0, 255, shape, np.uint8)
    given_pixels = np.repeat(pixels, 2, 1)[:, ::2] if sliced else pixels
    header = Header(frame_id="front")
    header.stamp.sec, header.stamp.nanosec = 12, 345
    result = message_from_pixels(given_pixels, "mono8" if channels is None else "rgb8", header)
    assert (result.height, result.width, result.step) == (height, width, width * (channels or 1))
    assert bytes(result.data) == pixels.tobytes()
    assert result.header == header
    if channels:
        np.testing.assert_array_equal(frame_from_message(result).pixels, pixels)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_conversions_are_those_of_cv_bridge(encoding: str) -> None:
    cv_bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed (it comes with ROS 2 from apt)")
    if int(np.__version__.split(".")[0]) >= 2:
        pytest.skip("cv_bridge's builds for NumPy 1 crash with NumPy 2 (vision_opencv#535)")
    depth = DEPTHS.get(encoding, 2 if encoding in ("mono16", "yuv422", "uyvy", "yuv422_yuy2", "yuyv") else 1)
    pixels = np.random.default_rng(5).integers(0, 255, (8, 12, depth), np.uint8)
    result = message_from_pixels(pixels, encoding, Header())
    try:
        expected = cv_bridge.CvBridge().imgmsg_to_cv2(result, "rgb8")
    except cv_bridge.CvBridgeError as error:
        pytest.skip(f"this cv_bridge does not know {encoding}: {error}")
    frame = frame_from_message(result)
    np.testing.assert_array_equal(frame.rgb(), expected)


def test_opencv_4_and_5_have_what_is_used() -> None:
    for name in ("COLOR_BayerBG2RGB", "COLOR_YUV2RGB_UYVY", "COLOR_YUV2RGB_YUY2", "INTER_NEAREST_EXACT"):
        assert hasattr(cv2, name)
