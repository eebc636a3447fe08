"""Compressed images to frames and back: every format, damaged data, and the messages of image_transport."""

from __future__ import annotations

import struct
import zlib
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

from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from dfanet_ros import compressed_images
from dfanet_ros.compressed_images import MAX_PIXELS, compressed_from_pixels, frame_from_compressed
from dfanet_ros.image_messages import BadImage, frame_from_message, message_from_pixels

HEADER = Header(frame_id="front")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)


def message(data: bytes, format: str = "") -> SimpleNamespace:
    return SimpleNamespace(format=format, data=array("B", data))


def encoded(extension: str, pixels: NDArray[Any], *options: int) -> bytes:
    """A file's bytes; `pixels` in OpenCV's order."""
    done, data = cv2.imencode(extension, pixels, options)
    assert done
    return data.tobytes()


def random_pixels(seed: int, *shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def smooth_pixels(height: int, width: int) -> NDArray[np.uint8]:
    """A photograph of a sort: RGB (H, W, 3)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + 2 * x, 200 - 3 * y, 90 + x + y], 2).clip(0, 255).astype(np.uint8)


def png(height: int, width: int, depth: int, color_type: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file of its parts; each of the `rows` begins with a filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    file = PNG_SIGNATURE
    for name, data in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        file += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return file


def jpeg_that_claims(height: int, width: int, progressive: bool = False) -> bytes:
    """A small JPEG whose header has another size."""
    data = bytearray(encoded(".jpg", smooth_pixels(16, 16), cv2.IMWRITE_JPEG_PROGRESSIVE, int(progressive)))
    start = data.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    data[start + 5 : start + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def jpeg_with_exif(pixels: NDArray[np.uint8], orientation: int, thumbnail: bytes = b"") -> bytes:
    """A JPEG with an orientation, and a thumbnail in the same segment."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0) + thumbnail
    segment = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + encoded(".jpg", pixels)[2:]


# Round trips


@settings(deadline=None, derandomize=True)
@given(height=sizes, width=sizes, seed=seeds, sliced=st.booleans())
def test_png_keeps_every_id(height: int, width: int, seed: int, sliced: bool) -> None:
    ids = random_pixels(seed, height, width)
    given_ids = np.repeat(ids, 2, 1)[:, ::2] if sliced else ids
    frame = frame_from_compressed(compressed_from_pixels(given_ids, "mono8", HEADER, "png"))
    assert frame.encoding == "mono8"
    np.testing.assert_array_equal(frame.pixels, ids[:, :, None])


@settings(deadline=None, derandomize=True)
@given(height=sizes, width=sizes, seed=seeds, sliced=st.booleans())
def test_png_keeps_every_color(height: int, width: int, seed: int, sliced: bool) -> None:
    colors = random_pixels(seed, height, width, 3)
    given_colors = np.repeat(colors, 2, 1)[:, ::2] if sliced else colors
    frame = frame_from_compressed(compressed_from_pixels(given_colors, "rgb8", HEADER, "png"))
    assert frame.encoding == "bgr8"
    np.testing.assert_array_equal(frame.rgb(), colors)


@settings(deadline=None, derandomize=True)
@given(height=sizes, width=sizes, quality=st.integers(90, 100))
def test_jpeg_is_close(height: int, width: int, quality: int) -> None:
    colors = smooth_pixels(height, width)
    frame = frame_from_compressed(compressed_from_pixels(colors, "rgb8", HEADER, "jpeg", quality))
    assert frame.encoding == "bgr8" and frame.size == (height, width)
    assert np.abs(frame.rgb().astype(int) - colors).mean() < 4
    grey = np.ascontiguousarray(colors[:, :, 0])
    frame = frame_from_compressed(compressed_from_pixels(grey, "mono8", HEADER, "jpeg", quality))
    assert frame.encoding == "mono8"
    assert np.abs(frame.pixels[:, :, 0].astype(int) - grey).mean() < 2


def test_jpeg_quality_counts() -> None:
    colors = random_pixels(0, 48, 64, 3)
    small, large = (len(compressed_from_pixels(colors, "rgb8", HEADER, "jpeg", q).data) for q in (20, 95))
    assert small < large / 2


@pytest.mark.parametrize(
    ("encoding", "kind", "format", "magic"),
    [
        ("mono8", "png", "mono8; png compressed ", PNG_SIGNATURE),
        ("rgb8", "png", "rgb8; png compressed bgr8", PNG_SIGNATURE),
        ("mono8", "jpeg", "mono8; jpeg compressed mono8", b"\xff\xd8\xff"),
        ("rgb8", "jpeg", "rgb8; jpeg compressed bgr8", b"\xff\xd8\xff"),
    ],
)
def test_messages_are_those_of_compressed_image_transport(encoding: str, kind: str, format: str, magic: bytes) -> None:
    """The texts are those of compressed_publisher.cpp (image_transport_plugins, humble to rolling)."""
    pixels = random_pixels(0, 6, 8) if encoding == "mono8" else random_pixels(0, 6, 8, 3)
    header = Header(frame_id="front")
    header.stamp.sec, header.stamp.nanosec = 12, 345
    result = compressed_from_pixels(pixels, encoding, header, kind)
    assert result.format == format
    assert result.header == header
    assert isinstance(result.data, array) and bytes(result.data).startswith(magic)
    arrived = deserialize_message(serialize_message(result), CompressedImage)
    assert arrived == result
    np.testing.assert_array_equal(frame_from_compressed(arrived).pixels, frame_from_compressed(result).pixels)


@pytest.mark.parametrize(("encoding", "kind"), [("bgr8", "png"), ("mono8", "tiff"), ("rgb8", "")])
def test_other_encodings_and_kinds_are_refused_with_a_sentence(encoding: str, kind: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{encoding} pixels as {kind}: they have to be mono8 or rgb8, and become png"
    ):
        compressed_from_pixels(random_pixels(0, 4, 4, 3), encoding, HEADER, kind)


def test_sizes_that_a_format_does_not_know_are_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"cannot write pixels of shape \(1, 70000\) as jpeg"):
        compressed_from_pixels(np.zeros((1, 70000), np.uint8), "mono8", HEADER, "jpeg")


def test_older_opencv_without_filters_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed_images, "_PNG_OPTIONS", compressed_images._PNG_OPTIONS[:2])
    ids = random_pixels(0, 6, 8)
    frame = frame_from_compressed(compressed_from_pixels(ids, "mono8", HEADER, "png"))
    np.testing.assert_array_equal(frame.pixels[:, :, 0], ids)


# What others send


@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".tiff", ".webp"])
@pytest.mark.parametrize("format", ["", "jpeg", "png", "rgb8; jpeg compressed rgb8", "bgr8; png compressed bgr8"])
def test_the_data_say_what_they_are(extension: str, format: str) -> None:
    """Publishers that write `compressed rgb8` send JPEGs like all others: nothing is swapped."""
    colors = smooth_pixels(30, 40)
    frame = frame_from_compressed(message(encoded(extension, colors[:, :, ::-1]), format))
    assert frame.encoding == "bgr8"
    assert np.abs(frame.rgb().astype(int) - colors).mean() < 5


def test_grey_files_are_mono8() -> None:
    grey = smooth_pixels(30, 40)[:, :, 0]
    for extension in (".jpg", ".png", ".bmp", ".tiff"):
        frame = frame_from_compressed(message(encoded(extension, grey)))
        assert frame.encoding == "mono8" and frame.pixels.shape == (30, 40, 1)
        assert np.abs(frame.pixels[:, :, 0].astype(int) - grey).mean() < 2


@pytest.mark.parametrize("pattern", ["bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"])
@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_a_mosaic_becomes_the_colors_of_the_same_image_sent_raw(pattern: str, extension: str) -> None:
    mosaic = np.kron(random_pixels(3, 6, 8), np.ones((8, 8), np.uint8))
    data = encoded(extension, mosaic)
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    raw = frame_from_message(message_from_pixels(stored.astype(np.uint8), pattern, HEADER))
    kind = "png" if extension == ".png" else "jpeg"
    frame = frame_from_compressed(message(data, f"{pattern}; {kind} compressed "))
    assert frame.encoding == raw.encoding == "rgb8"
    np.testing.assert_array_equal(frame.pixels, raw.pixels)
    # What has become grey before it was compressed is grey.
    assert frame_from_compressed(message(data, f"{pattern}; {kind} compressed mono8")).encoding == "mono8"


def test_colors_are_not_copied_after_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = random_pixels(0, 6, 8, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded)
    assert np.shares_memory(frame_from_compressed(message(b"anything")).pixels, decoded)


@settings(deadline=None, derandomize=True)
@given(height=sizes, width=sizes, seed=seeds, colors=st.booleans(), extension=st.sampled_from([".png", ".tiff"]))
def test_16_bits_are_scaled_as_mono16_is(height: int, width: int, seed: int, colors: bool, extension: str) -> None:
    values = random_pixels(seed, height, width, *([3] if colors else []), dtype=np.uint16)
    frame = frame_from_compressed(message(encoded(extension, values), "mono16; png compressed "))
    assert frame.encoding == ("bgr8" if colors else "mono8")
    np.testing.assert_array_equal(frame.pixels, np.rint(values / 257).astype(np.uint8).reshape(height, width, -1))


def test_alpha_is_dropped() -> None:
    pixels = random_pixels(0, 5, 7, 4)
    frame = frame_from_compressed(message(encoded(".png", pixels)))
    assert frame.encoding == "bgr8"
    np.testing.assert_array_equal(frame.pixels, pixels[:, :, :3])
    grey_and_alpha = png(1, 2, 8, 4, bytes([0, 10, 255, 200, 0]))
    np.testing.assert_array_equal(frame_from_compressed(message(grey_and_alpha)).rgb()[0, :, 0], [10, 200])


def test_palettes_and_single_bits() -> None:
    palette = png(1, 2, 8, 3, bytes([0, 0, 1]), (b"PLTE", bytes([1, 2, 3, 4, 5, 6])))
    np.testing.assert_array_equal(frame_from_compressed(message(palette)).rgb(), [[[1, 2, 3], [4, 5, 6]]])
    bits = png(1, 8, 1, 0, bytes([0, 0b10100000]))
    np.testing.assert_array_equal(frame_from_compressed(message(bits)).pixels[0, :, 0], [255, 0, 255, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_does_not_turn_the_image(orientation: int) -> None:
    colors = smooth_pixels(30, 40)
    plain = frame_from_compressed(message(encoded(".jpg", colors)))
    turned = frame_from_compressed(message(jpeg_with_exif(colors, orientation)))
    np.testing.assert_array_equal(turned.pixels, plain.pixels)


def test_the_size_is_not_that_of_the_thumbnail() -> None:
    thumbnail = jpeg_that_claims(60000, 60000)
    assert frame_from_compressed(message(jpeg_with_exif(smooth_pixels(30, 40), 1, thumbnail))).size == (30, 40)


@pytest.mark.parametrize("after", [b"", b"\0" * 100, b"\xff\xda junk"])
def test_what_follows_a_jpeg_does_not_matter(after: bytes) -> None:
    assert frame_from_compressed(message(encoded(".jpg", smooth_pixels(30, 40)) + after)).size == (30, 40)


# What is refused


@pytest.mark.parametrize(
    ("data", "format", "says"),
    [
        (b"", "jpeg", "there are no data"),
        (b"abc", "jpeg", "cannot decode its 3 bytes of format 'jpeg'"),
        (
            encoded(".png", random_pixels(0, 6, 8, dtype=np.uint16)),
            "bayer_rggb16; png compressed ",
            "it is bayer_rggb16 in uint16, but Bayer patterns are read as bayer_rggb8, bayer_bggr8,",
        ),
        (b"\0" * 5000, "h264", "cannot decode its 5000 bytes of format 'h264'"),
        (b"\xff\xd8\xff", "", "cannot decode its 3 bytes of format ''"),
        (PNG_SIGNATURE, "png", "the PNG was cut off: its 8 bytes end before"),
        (png(4, 4, 8, 0, b"\0" * 7), "png", "cannot decode its 68 bytes of format 'png'"),
        (b"\0" * 12 + PNG_SIGNATURE, "16UC1; compressedDepth png", r"depth image \(compressedDepth\)"),
        (encoded(".tiff", np.zeros((4, 5, 3), np.float32)), "tiff", "its pixels are 3 x float32, but have to be"),
        (encoded(".tiff", np.zeros((4, 5), np.int16)), "", "its pixels are 1 x int16, but have to be"),
    ],
    ids=range(10),
)
def test_what_cannot_be_read_is_refused_with_a_sentence(data: bytes, format: str, says: str) -> None:
    with pytest.raises(BadImage, match=says):
        frame_from_compressed(message(data, format))


@pytest.mark.parametrize(("extension", "name"), [(".jpg", "JPEG"), (".png", "PNG")])
@pytest.mark.parametrize("kept", [-1, -2, -50, 2000, 700])
def test_cut_off_images_are_refused(extension: str, name: str, kept: int) -> None:
    """By every version of OpenCV alike: some give what there is, the rest grey."""
    data = encoded(extension, random_pixels(0, 60, 80, 3))
    with pytest.raises(BadImage, match=f"the {name} was cut off"):
        frame_from_compressed(message(data[:kept]))


def test_chunks_that_claim_to_be_huge_are_refused_before_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    data = png(4, 4, 8, 0, bytes(20))
    for name in (b"IHDR", b"IDAT"):
        place = data.index(name) - 4
        with pytest.raises(BadImage, match="the PNG was cut off"):
            frame_from_compressed(message(data[:place] + b"\xff\xff\xff\xf0" + data[place + 4 :]))


@pytest.mark.parametrize(
    "data",
    [
        jpeg_that_claims(20000, 20000),
        jpeg_that_claims(20000, 20000, progressive=True),
        jpeg_that_claims(65500, 65500),
        b"\xff\xd8junk\xff\xff\xff\x00" + jpeg_that_claims(20000, 20000)[2:],
        png(20000, 20000, 8, 2, b"\0" * 100),
        png(2**31 - 1, 2**31 - 1, 16, 6, b"\0" * 100),
    ],
    ids=range(6),
)
def test_huge_sizes_are_refused_before_memory_is_taken(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", None)
    with pytest.raises(BadImage, match=rf"claims to have \d+ x \d+ pixels, but at most {MAX_PIXELS} are read"):
        frame_from_compressed(message(data))


def test_opencvs_own_limit_is_a_sentence_too() -> None:
    bitmap = bytearray(encoded(".bmp", np.zeros((4, 4, 3), np.uint8)))
    bitmap[18:26] = struct.pack("<ii", 2**20, 2**20)
    with pytest.raises(BadImage, match=r"cannot decode its 102 bytes of format 'bmp': .*CV_IO_MAX_IMAGE_PIXELS"):
        frame_from_compressed(message(bytes(bitmap), "bmp"))


def test_headers_are_read_in_linear_time() -> None:
    """Long runs of what begins a marker and is none."""
    for data in (b"\xff\xd8" + b"\xff" * 2_000_000, b"\xff\xd8" + b"\xff\x00" * 1_000_000, b"\xff\xd8" * 1_000_000):
        with pytest.raises(BadImage):
            frame_from_compressed(message(data))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    start=st.sampled_from(
        [b"", b"\xff\xd8\xff", PNG_SIGNATURE, b"BM", b"II*\0", b"MM\0*", b"RIFF", b"GIF89a", b"P6\n"]
    ),
    rest=st.binary(max_size=300),
    format=st.text(max_size=8),
)
def test_any_bytes_give_a_frame_or_a_sentence(start: bytes, rest: bytes, format: str) -> None:
    check_anything(start + rest, format)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    extension=st.sampled_from([".jpg", ".png"]),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    length=st.integers(1, 3000),
)
def test_damaged_images_give_a_frame_or_a_sentence(extension: str, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(encoded(extension, smooth_pixels(24, 32)))
    for place, value in changes:
        data[place % len(data)] = value
    check_anything(bytes(data[:length]), extension)


def check_anything(data: bytes, format: str) -> None:
    try:
        frame = frame_from_compressed(message(data, format))
    except BadImage as error:
        assert str(error)
    else:
        assert frame.pixels.dtype == np.uint8
        assert frame.encoding == {1: "mono8", 3: "bgr8"}[frame.pixels.shape[2]]
        assert frame.rgb().shape == (*frame.size, 3)
