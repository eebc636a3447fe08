"""What can still be read of an MCAP file whose recorder was killed, whose disk was full, or which is not all there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from mcap.records import Channel, Chunk, McapRecord, Schema
from mcap.records import Message as McapMessage
from mcap.stream_reader import StreamReader, breakup_chunk

from dfanet_ros.bags.storage import Message, uncompressed


class CutMcap:
    """An MCAP file without its index, read from its beginning to its last whole chunk; a `Storage`.

    A damaged chunk in the middle is left out. The messages come in the file's order, which recorders keep close to that
    of their receipt; those of one chunk are sorted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._schemas: dict[int, str] = {}  # types
        self._channels: dict[int, str] = {}  # topics
        self.topics: dict[str, str] = {}
        self.latched: frozenset[str] = frozenset()
        self.problem = ""
        counts = Counter(topic for topic, _, _ in self._scan())
        self.counts = {topic: counts[topic] for topic in self.topics}

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """See `Storage`."""
        for topic, received, data in self._scan():
            if topic in topics:
                yield topic, received, uncompressed(data)

    def close(self) -> None:
        """Nothing is open between two messages."""

    def _scan(self) -> Iterator[Message]:
        """All messages as they are stored; learns the topics on the way."""
        # mcap and struct raise errors of many kinds, which all say that the bytes are not right.
        with self._path.open("rb") as file, suppress(Exception):
            for record in StreamReader(file, emit_chunks=True).records:
                yield from self._messages(_parts(record))

    def _messages(self, records: list[McapRecord]) -> Iterator[Message]:
        for record in records:
            if isinstance(record, Schema):
                self._schemas[record.id] = record.name
            elif isinstance(record, Channel):
                self._channels[record.id] = record.topic
                self.topics[record.topic] = self._schemas.get(record.schema_id, "")
            elif isinstance(record, McapMessage) and record.channel_id in self._channels:
                yield self._channels[record.channel_id], record.log_time, record.data


def _parts(record: McapRecord) -> list[McapRecord]:
    """The records of a chunk, messages in the order of time, none if it is damaged; another record is by itself."""
    if not isinstance(record, Chunk):
        return [record]
    with suppress(Exception):  # of mcap, zstd, lz4 or struct
        parts = breakup_chunk(record, validate_crc=True)
        return sorted(parts, key=lambda part: part.log_time if isinstance(part, McapMessage) else -1)
    return []
