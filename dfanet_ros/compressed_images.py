"""sensor_msgs/CompressedImage to frames, and results to it, as image_transport's `compressed` does it."""

from __future__ import annotations

import re
import sys
from array import array
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.frame import Frame
from dfanet_ros.image_messages import BAYER, BadImage, frame_from_bayer, mono8_from_mono16

if TYPE_CHECKING:
    from sensor_msgs.msg import CompressedImage
    from std_msgs.msg import Header

MAX_PIXELS = 2**26  # of a JPEG or PNG: 8192 x 8192, 192 MiB in colour

# Grey or colour, 8 or 16 bits, without alpha; not turned as EXIF says, for camera_info describes the pixels as stored.
_AS_STORED = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION

# What a message's `format` is, by pixels and kind. PNG without "mono8" at the end: so does compressed_image_transport.
FORMATS = {
    ("mono8", "png"): "mono8; png compressed ",
    ("rgb8", "png"): "rgb8; png compressed bgr8",
    ("mono8", "jpeg"): "mono8; jpeg compressed mono8",
    ("rgb8", "jpeg"): "rgb8; jpeg compressed bgr8",
}

# IMWRITE_PNG_COMPRESSION is left alone: without it zlib works at its fastest level and each row is filtered in one way.
# With it (be it level 0) libpng tries all filters on each row, which takes three times as long.
_PNG_OPTIONS = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # not in OpenCV 4.11 and older
    _PNG_OPTIONS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff])")
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_JPEG_SIZES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_SCAN = 0xDA
_JPEG_END = b"\xff\xd9"


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage that are read here; see `ImageMessage`."""

    format: str
    data: array[int] | NDArray[np.uint8]


def frame_from_compressed(message: CompressedMessage) -> Frame:
    """The message's pixels as a frame, `mono8`, `bgr8` or `rgb8`: JPEG, PNG and whatever else OpenCV reads.

    Which format the data are of is seen from the data: what drivers write to the message's `format` is not uniform.
    Only that one channel is a Bayer pattern has to be said there. 16 bits become 8 as those of `mono16` images do.

    Raises:
        BadImage: no data, data that cannot be decoded or were cut off, a JPEG or PNG of more than `MAX_PIXELS`,
            numbers other than 8 or 16 bits without sign, a depth image, or a Bayer pattern of 16 bits.
    """
    data = bytes(message.data)
    if not data:
        raise BadImage("there are no data")
    if "compressedDepth" in message.format:
        raise BadImage("this is a depth image (compressedDepth): name the topic of the camera's colour or mono images")
    _check_header(data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), _AS_STORED)
    except cv2.error as error:
        raise BadImage(f"{_cannot_decode(message)}: {' '.join(str(error).split())}") from error
    if pixels is None:
        raise BadImage(_cannot_decode(message))
    return _frame(pixels, _bayer_pattern(message.format))


def _bayer_pattern(text: str) -> str:
    """The encoding that was compressed if it is a camera's raw mosaic, still; else nothing.

    As "bayer_rggb8; png compressed ". Where it says "compressed mono8" at the end, the mosaic has become grey before.
    """
    encoding, _, compression = text.partition(";")
    return encoding.strip() if encoding.startswith("bayer_") and "mono" not in compression else ""


def compressed_from_pixels(
    pixels: NDArray[np.uint8], encoding: str, header: Header, kind: str, jpeg_quality: int = 95
) -> CompressedImage:
    """A compressed image message with the given header; for the rest, see `compress`."""
    from sensor_msgs.msg import CompressedImage  # not at the top: bags are read and written without ROS

    encoded = compress(pixels, encoding, kind, jpeg_quality)
    # Assigning an array('B') skips rclpy's check of every element.
    data = array("B")
    data.frombytes(encoded.data.cast("B"))
    return CompressedImage(header=header, format=FORMATS[encoding, kind], data=data)


def compress(pixels: NDArray[np.uint8], encoding: str, kind: str, jpeg_quality: int = 95) -> NDArray[np.uint8]:
    """The bytes of an image file, (N,) uint8.

    Args:
        pixels: (H, W) uint8 with encoding `mono8`, or (H, W, 3) uint8 with `rgb8`.
        encoding: of the pixels.
        kind: `png` (lossless, as class ids need it) or `jpeg`.
        jpeg_quality: 0 to 100.

    Raises:
        ValueError: another encoding or kind, or OpenCV cannot write it (a JPEG has at most 65500 pixels a side).
    """
    if (encoding, kind) not in FORMATS:
        raise ValueError(f"{encoding} pixels as {kind}: they have to be mono8 or rgb8, and become png or jpeg")
    ordered = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if encoding == "rgb8" else pixels
    options = _PNG_OPTIONS if kind == "png" else [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    try:
        done, encoded = cv2.imencode(f".{kind}", ordered, options)
    except cv2.error:  # older than 4.11; newer ones say False
        done = False
    if not done:
        raise ValueError(f"OpenCV cannot write pixels of shape {pixels.shape} as {kind}")
    return encoded


def _cannot_decode(message: CompressedMessage) -> str:
    return f"OpenCV cannot decode its {len(message.data)} bytes of format '{message.format}'"


def _frame(pixels: NDArray[np.generic], bayer: str) -> Frame:
    height, width = pixels.shape[:2]
    channels = pixels.size // (height * width)
    if channels not in (1, 3) or pixels.dtype not in (np.uint8, np.uint16):
        raise BadImage(f"its pixels are {channels} x {pixels.dtype}, but have to be 1 or 3 x uint8 or uint16")
    if channels == 1 and bayer and (bayer not in BAYER or pixels.dtype != np.uint8):
        raise BadImage(f"it is {bayer} in {pixels.dtype}, but Bayer patterns are read as {', '.join(BAYER)} only")
    if pixels.dtype == np.uint16:
        halves = pixels.view(np.uint8).reshape(height, width * channels, 2)
        pixels = mono8_from_mono16(halves, sys.byteorder == "big")
    stored = pixels.reshape(height, width, channels).astype(np.uint8, copy=False)
    if channels == 1 and bayer:
        return frame_from_bayer(stored, bayer)
    return Frame(stored, "mono8" if channels == 1 else "bgr8")


def _check_header(data: bytes) -> None:
    """Raises BadImage for what OpenCV would begin to read: some damaged bytes can cost gigabytes, and seconds."""
    if data.startswith(_PNG):
        _check_png(data)
    elif data.startswith(_JPEG):
        _check_jpeg(data)


def _check_png(data: bytes) -> None:
    """Goes from chunk to chunk: OpenCV 4.11 sets aside what a chunk claims to have, even 4 GiB for a 20-byte file."""
    _check_size(int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big"))
    position, name = len(_PNG), b""
    while name != b"IEND":
        name = data[position + 4 : position + 8]
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        if position > len(data):
            raise BadImage(f"the PNG was cut off: its {len(data)} bytes end before its chunk IEND does")


def _check_jpeg(data: bytes) -> None:
    """Goes from marker to marker, as libjpeg does, past a thumbnail in EXIF, up to the first scan."""
    position = len(_JPEG)
    while found := _JPEG_MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker in _JPEG_WITHOUT_LENGTH:
            continue
        if marker in _JPEG_SIZES:
            _check_size(
                int.from_bytes(data[position + 3 : position + 5], "big"),
                int.from_bytes(data[position + 5 : position + 7], "big"),
            )
        elif marker == _JPEG_SCAN:
            # OpenCV 4.11 and newer refuse it; older ones fill the rest with grey, and nobody sees it from the mask.
            if data.find(_JPEG_END, position) < 0:
                raise BadImage(f"the JPEG was cut off: its {len(data)} bytes have no end marker")
            return
        position += int.from_bytes(data[position : position + 2], "big")


def _check_size(height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise BadImage(f"it claims to have {height} x {width} pixels, but at most {MAX_PIXELS} are read")
