"""Image messages as the bytes (CDR) that go over the wire and into bags."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dfanet_ros.image_messages import frame_from_message, message_from_pixels

_STAMP = struct.Struct("<iI")  # seconds and nanoseconds, the first fields of an image
_STAMP_AT = 4  # after the bytes that every serialized message starts with


def serialized(image: NDArray[np.uint8]) -> bytes:
    """An RGB image (H, W, 3) as a camera publishes it, with stamp 0."""
    return serialize_message(message_from_pixels(image, "rgb8", Header(frame_id="camera")))


def stamp_of(message: bytes) -> int:
    """The header's stamp in ns."""
    seconds, nanoseconds = _STAMP.unpack_from(message, _STAMP_AT)
    return int(seconds) * 10**9 + int(nanoseconds)


def with_stamp(message: bytes, stamp: int) -> bytes:
    """The same message with another stamp (ns)."""
    rest = memoryview(message)[_STAMP_AT + _STAMP.size :]
    return b"".join((message[:_STAMP_AT], _STAMP.pack(*divmod(stamp, 10**9)), rest))


def pixels_of(message: bytes) -> NDArray[np.uint8]:
    """The pixels (H, W, channels)."""
    return frame_from_message(deserialize_message(message, Image)).pixels
