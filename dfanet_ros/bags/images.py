"""Images in bags: frames out of them, and results and labels into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.bags import BagError
from dfanet_ros.bags.reader import BagReader, typestore
from dfanet_ros.compressed_images import FORMATS, compress, frame_from_compressed
from dfanet_ros.frame import Frame
from dfanet_ros.image_messages import BadImage, frame_from_message, image_fields, stamp_of

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGES = (IMAGE, COMPRESSED_IMAGE)


@dataclass(frozen=True)
class BagFrame:
    """A message of an image topic.

    Attributes:
        number: its place among the messages of its topic, from 0.
        received: when it was, in ns.
        header: its header, rosbags' `std_msgs/msg/Header`; None if the bytes are no image message.
        frame: its pixels, a view on the message where its encoding allows it; None if they cannot be read.
        problem: why they cannot, else empty.
    """

    number: int
    received: int
    header: Any
    frame: Frame | None
    problem: str = ""

    @property
    def stamp(self) -> int | None:
        """The header's stamp in ns, if there is a header."""
        return stamp_of(self.header) if self.header is not None else None


def image_topics(bag: BagReader) -> list[str]:
    """The topics with images, raw or compressed, by name."""
    return sorted(topic for topic, kind in bag.topics.items() if kind in IMAGES)


def check_topic(bag: BagReader, topic: str, *kinds: str) -> None:
    """Raise BagError if the bag has no such topic, or it is of another type than these."""
    if topic not in bag.topics:
        raise BagError(f"there is no topic {topic} in {bag.path}; {bag.listing()}")
    if bag.topics[topic] not in kinds:
        raise BagError(f"topic {topic} is of type {bag.topics[topic]}, but has to be of {' or '.join(kinds)}")


def read_frames(bag: BagReader, topic: str) -> Iterator[BagFrame]:
    """All frames of an image topic, raw or compressed, in their order, also those that cannot be read."""
    to_frame = frame_from_message if bag.topics[topic] == IMAGE else frame_from_compressed
    for number, (_, received, data) in enumerate(bag.messages([topic])):
        header = None
        try:
            message = bag.decoded(topic, data)
            header = message.header
            yield BagFrame(number, received, header, to_frame(message))
        except (BagError, BadImage) as error:
            yield BagFrame(number, received, header, None, str(error))


def header_of(stamp: int, frame_id: str) -> Any:
    """A header with a stamp in ns."""
    types = typestore().types
    time = types["builtin_interfaces/msg/Time"](*divmod(stamp, 10**9))
    return types["std_msgs/msg/Header"](time, frame_id)


def image_bytes(pixels: NDArray[np.uint8], encoding: str, header: Any) -> memoryview:
    """The serialized image message of (H, W) or (H, W, channels) uint8, rows packed, with the given header."""
    data = np.ascontiguousarray(pixels).reshape(-1)
    message = typestore().types[IMAGE](header=header, data=data, **image_fields(pixels, encoding))
    return typestore().serialize_cdr(message, IMAGE)


def compressed_bytes(pixels: NDArray[np.uint8], encoding: str, header: Any, kind: str) -> memoryview:
    """The serialized compressed image message with the given header; for the rest, see `compress`."""
    data = compress(pixels, encoding, kind)
    message = typestore().types[COMPRESSED_IMAGE](header=header, format=FORMATS[encoding, kind], data=data)
    return typestore().serialize_cdr(message, COMPRESSED_IMAGE)
