"""Bags for tests, of every kind that there is."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from dfanet_ros.bags.images import header_of, image_bytes
from dfanet_ros.bags.reader import typestore

STRING = "std_msgs/msg/String"
KINDS = [
    (StoragePlugin.MCAP, CompressionMode.NONE),
    (StoragePlugin.MCAP, CompressionMode.STORAGE),
    (StoragePlugin.MCAP, CompressionMode.FILE),
    (StoragePlugin.MCAP, CompressionMode.MESSAGE),
    (StoragePlugin.SQLITE3, CompressionMode.NONE),
    (StoragePlugin.SQLITE3, CompressionMode.FILE),
    (StoragePlugin.SQLITE3, CompressionMode.MESSAGE),
]
EVER = QosTime(2**31 - 1, 2**32 - 1)
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    EVER,
    EVER,
    QosLiveliness.AUTOMATIC,
    EVER,
    False,
)

Message = tuple[str, int, bytes | memoryview]


def write_bag(
    path: Path,
    topics: dict[str, str],
    messages: Iterable[Message],
    storage: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
    latched: Collection[str] = (),
) -> Path:
    """A bag that rosbags writes, with messages (topic, time of receipt in ns, bytes)."""
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {
            topic: writer.add_connection(
                topic, kind, typestore=typestore(), offered_qos_profiles=[LATCHED] if topic in latched else []
            )
            for topic, kind in topics.items()
        }
        for topic, received, data in messages:
            writer.write(connections[topic], received, data)
    return path


def storage_file(bag: Path) -> Path:
    """The bag's only file beside its metadata."""
    (file,) = (path for path in bag.iterdir() if path.name != "metadata.yaml")
    return file


def text(words: str) -> bytes:
    """A serialized text message."""
    return bytes(typestore().serialize_cdr(typestore().types[STRING](words), STRING))


def image(pixels: NDArray[np.uint8], stamp: int, encoding: str = "rgb8", frame_id: str = "camera") -> memoryview:
    """A serialized image message with a stamp in ns."""
    return image_bytes(pixels, encoding, header_of(stamp, frame_id))
