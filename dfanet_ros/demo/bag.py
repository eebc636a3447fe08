"""The demo's bags: a camera's images, and what the node publishes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.bags.images import IMAGE
from dfanet_ros.bags.reader import BagReader
from dfanet_ros.bags.writer import BagWriter
from dfanet_ros.serialized import serialized, with_stamp


def write_frames(path: Path, topic: str, images: Iterable[NDArray[np.uint8]], rate: float) -> None:
    """Write RGB images as a bag of a camera with `rate` frames a second."""
    with BagWriter(path, {topic: IMAGE}) as bag:
        for number, image in enumerate(images, 1):
            stamp = round(number * 1e9 / rate)
            bag.write(topic, stamp, with_stamp(serialized(image), stamp))


def read_messages(path: Path, topic: str) -> Iterator[bytes]:
    """The serialized images of a topic, in their order."""
    with BagReader(path) as bag:
        for _, _, message in bag.messages([topic]):
            yield message
