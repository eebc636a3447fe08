"""sensor_msgs/Image to frames and back.

8-bit colour and mono images are viewed in place, with any `step`. The others are converted by OpenCV to the same
pixels that cv_bridge gives (a test compares them where cv_bridge is installed). cv_bridge itself is not used: it shears
images whose step is no multiple of the pixel's size, and its builds for NumPy 1 crash with NumPy 2 (vision_opencv#535).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.frame import RGB_CHANNELS, Frame

if TYPE_CHECKING:
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

# OpenCV names a Bayer pattern by its second row's second and third pixel, ROS by its first two rows.
BAYER = {
    "bayer_rggb8": cv2.COLOR_BayerBG2RGB,
    "bayer_bggr8": cv2.COLOR_BayerRG2RGB,
    "bayer_gbrg8": cv2.COLOR_BayerGR2RGB,
    "bayer_grbg8": cv2.COLOR_BayerGB2RGB,
}
_YUV422 = {
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUY2,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
}
_BYTES_PER_PIXEL = {
    "rgb8": 3,
    "bgr8": 3,
    "rgba8": 4,
    "bgra8": 4,
    "mono8": 1,
    "mono16": 2,
    **dict.fromkeys(BAYER, 1),
    **dict.fromkeys(_YUV422, 2),
}
ENCODINGS = tuple(_BYTES_PER_PIXEL)
IDS = ("mono8", "8UC1")  # the encodings of class ids; the second is what cv_bridge calls a matrix without a colour


class BadImage(ValueError):
    """An image message that cannot be read; the text says what is wrong with it."""


class ImageMessage(Protocol):
    """The fields of sensor_msgs/Image that are read here; the bytes are rclpy's array or, from a bag, NumPy's."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: array[int] | NDArray[np.uint8]


def frame_from_message(message: ImageMessage) -> Frame:
    """The message's pixels as a frame; a view on its data where the encoding allows it.

    Raises:
        BadImage: unknown encoding, no pixels, a step too small for the width, or less data than step x height.
    """
    width, encoding = message.width, message.encoding
    if encoding not in _BYTES_PER_PIXEL:
        raise BadImage(f"encoding '{encoding}' is not one of {', '.join(ENCODINGS)}")
    pixels = _viewed(message, _BYTES_PER_PIXEL[encoding])
    if encoding in RGB_CHANNELS:
        return Frame(pixels, encoding)
    if encoding == "mono16":
        return Frame(mono8_from_mono16(pixels, bool(message.is_bigendian)), "mono8")
    if encoding in _YUV422:
        if width % 2:
            raise BadImage(f"the width is {width}, but in {encoding} two pixels share their colour: it has to be even")
        return Frame(_converted(pixels, _YUV422[encoding]))
    return frame_from_bayer(pixels, encoding)


def frame_from_bayer(pixels: NDArray[np.uint8], encoding: str) -> Frame:
    """A camera's raw mosaic, (H, W, 1), as a frame.

    Raises:
        BadImage: it is smaller than the pattern.
    """
    height, width = pixels.shape[:2]
    if height < 2 or width < 2:
        raise BadImage(f"the image is {height} x {width}, but a Bayer pattern has at least 2 x 2 pixels")
    return Frame(_converted(pixels, BAYER[encoding]))


def ids_from_message(message: ImageMessage) -> NDArray[np.uint8]:
    """The class ids of a mask or label, (H, W) uint8; a view on the message's data.

    Raises:
        BadImage: an encoding that is none of `IDS`, or as `frame_from_message`.
    """
    if message.encoding not in IDS:
        raise BadImage(f"encoding '{message.encoding}' has to be {' or '.join(IDS)}, for these are ids")
    return _viewed(message, 1)[:, :, 0]


def stamp_of(header: Header) -> int:
    """A header's stamp in ns; unlike with rclpy's Time, it may be before 0."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def message_from_pixels(pixels: NDArray[np.uint8], encoding: str, header: Header) -> Image:
    """An image message of (H, W) or (H, W, channels) uint8, rows packed, with the given header."""
    from sensor_msgs.msg import Image  # not at the top: bags are read and written without ROS

    # Assigning an array('B') skips rclpy's check of every element, which takes longer than the network.
    data = array("B")
    data.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return Image(header=header, data=data, **image_fields(pixels, encoding))


def image_fields(pixels: NDArray[np.uint8], encoding: str) -> dict[str, Any]:
    """The fields of an image message of (H, W) or (H, W, channels) uint8, rows packed, but for header and data."""
    height, width = pixels.shape[:2]
    step = pixels.nbytes // height
    return {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0, "step": step}


def mono8_from_mono16(pixels: NDArray[np.uint8], big_endian: bool) -> NDArray[np.uint8]:
    """Two bytes a pixel to (H, W, 1) uint8: the whole range of 16 bits onto the whole range of 8, rounded."""
    values = np.ascontiguousarray(pixels).view(">u2" if big_endian else "<u2").astype(np.uint16, copy=False)
    scaled = cv2.convertScaleAbs(values, alpha=255 / 65535)
    return scaled.reshape(*values.shape[:2], 1).astype(np.uint8, copy=False)


def _viewed(message: ImageMessage, depth: int) -> NDArray[np.uint8]:
    """The message's bytes as (H, W, depth) uint8, whatever they mean."""
    height, width, step = message.height, message.width, message.step
    if height < 1 or width < 1:
        raise BadImage(f"the image has no pixels: its height is {height} and its width {width}")
    if step < width * depth:
        raise BadImage(f"step is {step}, but a row of {width} pixels in {message.encoding} takes {width * depth} bytes")
    size = len(message.data)
    if size < step * height:
        raise BadImage(f"there are {size} bytes of data, but {height} rows of {step} bytes take {step * height}")
    return np.ndarray((height, width, depth), np.uint8, message.data, strides=(step, depth, 1))


def _converted(pixels: NDArray[np.uint8], code: int) -> NDArray[np.uint8]:
    return cv2.cvtColor(np.ascontiguousarray(pixels), code).astype(np.uint8, copy=False)
