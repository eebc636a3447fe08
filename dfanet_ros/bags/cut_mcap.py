"""What can be read of an MCAP file without its index: the recorder was killed, or the disk full, or it had none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from mcap.records import Channel, Chunk, McapRecord, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, breakup_chunk

from dfanet_ros.bags import BagError
from dfanet_ros.bags.storage import Message, plain, uncompressed

SCHEMALESS = "__schemaless__"  # what rosbags, too, calls the type of messages without one


class CutMcap:
    """An MCAP file, read from its beginning to the last record that is whole; a `Storage`.

    Damaged chunks and messages are left out. The messages of a chunk are sorted by time. Chunks, and messages outside
    of them, are so, too, but chunks come one after the other, also where their times overlap.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schemas: dict[int, str] = {}  # types
        self._channels: dict[int, str] = {}  # topics
        self._places: list[tuple[int, int]] = []  # of chunks and of messages outside of them: time in ns, byte
        self.topics: dict[str, str] = {}
        self.latched: frozenset[str] = frozenset()
        self.problem = ""
        counts: Counter[str] = Counter()
        with path.open("rb") as file:
            place = 0
            try:
                for record in StreamReader(file, emit_chunks=True).records:
                    if messages := [*self._messages(record)]:
                        counts.update(topic for topic, _, _ in messages)
                        self._places.append((messages[0][1], place))
                    place = file.tell()
            except Exception as error:  # mcap and struct raise many kinds, which all say that the bytes are not right
                self._damaged(error)
        self._places.sort()
        self.counts = {topic: counts[topic] for topic in self.topics}

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """See `Storage`."""
        with self._path.open("rb") as file:
            for _, place in self._places:
                file.seek(place)
                record = next(StreamReader(file, skip_magic=True, emit_chunks=True).records)
                yield from (message for message in self._messages(record) if message[0] in topics)

    def close(self) -> None:
        """Nothing is open between two messages."""

    def _messages(self, record: McapRecord) -> Iterator[Message]:
        """Those of a chunk in the order of time, or the one that the record is; learns the topics on the way."""
        try:
            parts = breakup_chunk(record, validate_crc=True) if isinstance(record, Chunk) else [record]
        except Exception as error:  # of mcap, zstd, lz4 or struct
            self._damaged(error)
            return
        for part in sorted(parts, key=lambda part: part.log_time if isinstance(part, McapMessage) else -1):
            if isinstance(part, Schema):
                self._schemas[part.id] = part.name
            elif isinstance(part, Channel):
                self._channels[part.id] = part.topic
                self.topics[part.topic] = self._schemas.get(part.schema_id, SCHEMALESS)
            elif isinstance(part, McapMessage) and part.channel_id in self._channels:
                try:
                    data = uncompressed(part.data)
                except BagError as error:
                    self._damaged(error)
                else:
                    yield self._channels[part.channel_id], part.log_time, data

    def _damaged(self, error: Exception) -> None:
        self.problem = self.problem or f"{self._path.name} is cut off or damaged ({plain(error)})"
