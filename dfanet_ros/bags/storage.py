"""Parts of a bag that messages are read from."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rosbags.interfaces import ConnectionExtRosbag2, QosDurability
from rosbags.rosbag2 import Reader

from dfanet_ros.bags import BagError

if sys.version_info >= (3, 14):
    from compression import zstd
else:  # which rosbags brings
    from backports import zstd

Message = tuple[str, int, bytes]  # topic, time of receipt in ns, serialized (CDR)

_ZSTD = b"\x28\xb5\x2f\xfd"  # how zstd data begin; CDR begins with a zero
_BLOCK = 2**20  # bytes


class Storage(Protocol):
    """A file of a bag that is open.

    Attributes:
        topics: their types, like `sensor_msgs/msg/Image`, by name.
        counts: how many messages each has.
        latched: topics whose messages are for later subscribers, too (transient local), as far as that is known.
        problem: what of it cannot be read, as a sentence without its point; empty as long as all can.
    """

    topics: dict[str, str]
    counts: dict[str, int]
    latched: frozenset[str]
    problem: str

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """The messages of these topics in the order in which they were received; ends at what cannot be read."""

    def close(self) -> None:
        """Close its files."""


class WholeStorage:
    """A file that has its index, read by rosbags.

    Raises:
        BagError: rosbags would leave out a part of it.
        Exception: of many kinds, if it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        if log := write_ahead_log(path):
            raise BagError(f"rosbags does not read {log.name}")
        self._reader = Reader(path)
        self._reader.open()
        # rosbags looks at the order in time of chunks only, and ends at the first message outside of them that breaks
        # it; an SQLite file has none.
        if self._reader.message_count and not getattr(self._reader.storage, "chunks", True):
            self._reader.close()
            raise BagError("its messages are in no chunks")
        infos = self._reader.topics
        self.topics = {name: info.connections[0].msgtype for name, info in infos.items()}
        self.counts = {name: info.msgcount for name, info in infos.items()}
        self.latched = frozenset(filter(self._is_latched, infos))
        self.problem = ""

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """See `Storage`."""
        chosen = [connection for connection in self._reader.connections if connection.topic in topics]
        if not chosen:
            return  # for rosbags, no connection means all
        messages = self._reader.messages(chosen)
        given = 0
        while True:
            try:
                connection, received, data = next(messages)
                message = uncompressed(data)
            except StopIteration:
                return
            except Exception as error:  # rosbags lets through what SQLite, zstd, lz4 and struct raise
                self.problem = f"{self._name} is damaged after {given} messages ({plain(error)})"
                return
            yield connection.topic, received, message
            given += 1

    def close(self) -> None:
        """See `Storage`."""
        self._reader.close()

    def _is_latched(self, topic: str) -> bool:
        """Whether all who published there when it was recorded offered it so."""
        offered = [
            profile.durability
            for connection in self._reader.topics[topic].connections
            if isinstance(connection.ext, ConnectionExtRosbag2)
            for profile in connection.ext.offered_qos_profiles
        ]
        return bool(offered) and all(durability == QosDurability.TRANSIENT_LOCAL for durability in offered)


def uncompressed(data: bytes) -> bytes:
    """A message, decompressed if it is compressed by itself, which a file without its folder does not say.

    Raises:
        BagError: it is damaged.
    """
    try:
        return zstd.decompress(data) if data[:4] == _ZSTD else data
    except zstd.ZstdError as error:
        raise BagError(f"a message cannot be decompressed: {plain(error)}") from error


def write_ahead_log(path: Path) -> Path | None:
    """What SQLite has written beside a database and not into it, as the recorder was killed; None if there is none."""
    log = path.with_name(f"{path.name}-wal")
    return log if log.is_file() and log.stat().st_size else None


def unpack(path: Path, folder: Path) -> Path:
    """A file compressed by zstd, decompressed into the folder, as far as it goes."""
    unpacked = folder / path.stem
    decompressor = zstd.ZstdDecompressor()
    with path.open("rb") as packed, unpacked.open("wb") as file, suppress(zstd.ZstdError):
        while not decompressor.eof and (block := packed.read(_BLOCK)):
            file.write(decompressor.decompress(block))
    return unpacked


def plain(error: Exception) -> str:
    """What an error says, in one line and without a point."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
