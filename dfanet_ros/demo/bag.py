"""Images in rosbag2 bags (MCAP), written and read without ROS's own rosbag2, which PyPI does not have."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from dfanet_ros.demo.serialized import serialized, with_stamp


class BagWriter:
    """A bag of images, open from `with` on; what was written before an interruption stays readable."""

    def __init__(self, path: Path, topics: Iterable[str]) -> None:
        _remove_bag(path)
        # Version 9 of the format is that of Jazzy and Kilted.
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self._topics = topics

    def __enter__(self) -> BagWriter:
        self._writer.open()
        types = get_typestore(Stores.ROS2_JAZZY)
        self._connections = {
            topic: self._writer.add_connection(topic, "sensor_msgs/msg/Image", typestore=types)
            for topic in self._topics
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, topic: str, time: int, message: bytes) -> None:
        """Add a serialized image that was received at `time` (ns)."""
        self._writer.write(self._connections[topic], time, message)


def write_frames(path: Path, topic: str, images: Iterable[NDArray[np.uint8]], rate: float) -> None:
    """Write RGB images as a bag of a camera with `rate` frames a second."""
    with BagWriter(path, [topic]) as bag:
        for number, image in enumerate(images, 1):
            stamp = round(number * 1e9 / rate)
            bag.write(topic, stamp, with_stamp(serialized(image), stamp))


def read_messages(path: Path, topic: str) -> Iterator[bytes]:
    """The serialized images of a topic, in their order."""
    with Reader(path) as reader:
        connections = [connection for connection in reader.connections if connection.topic == topic]
        for _, _, message in reader.messages(connections):
            yield message


def _remove_bag(path: Path) -> None:
    """Make room for a bag, but delete nothing that is not one."""
    if not path.exists():
        return
    if not path.is_dir() or any(file.name != "metadata.yaml" and file.suffix != ".mcap" for file in path.iterdir()):
        raise ValueError(f"{path} is in the way: it is not a bag of an earlier run, so it is not overwritten")
    shutil.rmtree(path)
