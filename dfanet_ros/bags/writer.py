"""Bags (rosbag2, MCAP) written without ROS."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from dfanet_ros.bags import BagError
from dfanet_ros.bags.reader import typestore
from dfanet_ros.writing import writing


class BagWriter:
    """A bag to be written, open within `with`; ended by an exception, it holds what was written until then.

    Args:
        path: its folder. A bag that is there already is overwritten, anything else is not.
        topics: their types, like `sensor_msgs/msg/Image`, by name.
        compress: whether by zstd, in a way that all readers of MCAP know; masks become a fiftieth.

    Raises:
        BagError: something that is no bag is in the way, or a type is none of ROS 2's own.
    """

    def __init__(self, path: Path, topics: Mapping[str, str], compress: bool = False) -> None:
        for topic, kind in topics.items():
            if kind not in typestore().fielddefs:
                raise BagError(
                    f"topic {topic} is to be of type {kind}, which is none of the types that come with ROS 2"
                )
        _remove_bag(path)
        # Version 8 has the topics' QoS as a text, which every later ROS 2 reads; 9 has a list, which Humble refuses.
        self._writer = Writer(path, version=8, storage_plugin=StoragePlugin.MCAP)
        if compress:
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._topics = topics

    def __enter__(self) -> BagWriter:
        self._writer.open()
        self._connections = {
            topic: self._writer.add_connection(topic, kind, typestore=typestore())
            for topic, kind in self._topics.items()
        }
        return self

    def __exit__(self, *_: object) -> None:
        # Not the writer's own __exit__, which after an exception writes neither index nor metadata.
        with writing(self._writer.path):
            try:
                self._writer.close()
            except OSError:
                self._writer.abort()  # which closes the file
                raise

    def write(self, topic: str, received: int, message: bytes | memoryview) -> None:
        """Add a serialized message (CDR) that was received at this time (ns since the epoch)."""
        with writing(self._writer.path):
            self._writer.write(self._connections[topic], received, message)


def _remove_bag(path: Path) -> None:
    """Make room for a bag, but delete nothing that is not one."""
    if not path.exists():
        return
    # Ours are named after their folder; recordings of `ros2 bag` are not (NAME_0.mcap).
    if not path.is_dir() or {file.name for file in path.iterdir()} - {"metadata.yaml", f"{path.name}.mcap"}:
        raise BagError(f"{path} is in the way: it is not a bag of an earlier run, so it is not overwritten")
    shutil.rmtree(path)
