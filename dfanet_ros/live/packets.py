"""A frame with its mask and its confidence, as the bytes that go to the browsers.

A packet is the length of its header (4 bytes, little-endian), the header (JSON) and two parts, whose lengths the header
has: the picture, a JPEG or PNG; and the planes, which are ids and, where there are any, confidences, one byte a pixel,
row by row and one plane after the other, each row as the difference (modulo 256) to the row above, deflated (zlib).

Not a PNG, though it would be as large and take as long: browsers that hide what canvas they draw on add noise to pixels
that a page reads back, and an id with noise is another class.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image

from dfanet_ros.compressed_images import frame_from_compressed
from dfanet_ros.image_messages import BadImage, frame_from_message

JPEG_QUALITY = 85
_JPEG = b"\xff\xd8"
_EXIF = b"Exif\0\0"
_EXIF_WITHIN = 2**12  # bytes: it is at the beginning, if at all


@dataclass(frozen=True)
class Matched:
    """Messages (CDR) of the same stamp.

    Attributes:
        stamp: in ns.
        latency: from the stamp to the arrival of the last of them, in ms; None if the stamp is 0.
        image: an `Image`, or a `CompressedImage` if `compressed`.
        mask: an `Image`, mono8.
        confidence: likewise, if there is one.
    """

    stamp: int
    latency: float | None
    image: bytes
    compressed: bool
    mask: bytes
    confidence: bytes | None


def packet(matched: Matched, camera: str, number: int) -> bytes:
    """The packet of a frame.

    Args:
        matched: its messages.
        camera: its name.
        number: that no other frame of the camera has.

    Raises:
        BadImage: something in it cannot be read, or mask and confidence differ in size.
    """
    mask = _plane(matched.mask)
    planes = [mask]
    if matched.confidence is not None:
        planes.append(_plane(matched.confidence))
        if planes[1].shape != mask.shape:
            raise BadImage(f"the confidence is {planes[1].shape}, but the mask {mask.shape}")
    picture, deflated = _picture(matched), _deflated(np.concatenate(planes))
    header = {
        "camera": camera,
        "number": number,
        "stamp": f"{matched.stamp // 10**9}.{matched.stamp % 10**9:09}",  # a number would lose its last digits
        "latency": matched.latency,
        "height": mask.shape[0],
        "width": mask.shape[1],
        "planes": ["ids", "confidence"][: len(planes)],
        "picture_bytes": len(picture),
        "planes_bytes": len(deflated),
    }
    text = json.dumps(header).encode()
    return b"".join([len(text).to_bytes(4, "little"), text, picture, deflated])


def _plane(message: bytes) -> NDArray[np.uint8]:
    """A mono8 message's pixels, (H, W) uint8."""
    frame = frame_from_message(deserialize_message(message, Image))
    if frame.encoding != "mono8":
        raise BadImage(f"its encoding is {frame.encoding}, but masks and confidences are mono8")
    return frame.pixels[:, :, 0]


def _picture(matched: Matched) -> bytes:
    """A JPEG; that of the camera, if it sends one that every browser shows as the node sees it."""
    if matched.compressed:
        compressed = deserialize_message(matched.image, CompressedImage)
        data = bytes(compressed.data)
        # With EXIF, a browser might turn it.
        if data.startswith(_JPEG) and _EXIF not in data[:_EXIF_WITHIN]:
            return data
        frame = frame_from_compressed(compressed)
    else:
        frame = frame_from_message(deserialize_message(matched.image, Image))
    if frame.encoding in ("bgr8", "mono8"):
        pixels = np.ascontiguousarray(frame.pixels)
    else:
        pixels = cv2.cvtColor(frame.rgb(), cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
    done, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise BadImage(f"OpenCV cannot write an image of {pixels.shape[0]} x {pixels.shape[1]} pixels as JPEG")
    return encoded.tobytes()


def _deflated(planes: NDArray[np.uint8]) -> bytes:
    """Rows as differences to the ones above, which deflate to some 70 % of what the rows themselves do."""
    differences = planes.copy()
    differences[1:] -= planes[:-1]
    return zlib.compress(differences, 1)
