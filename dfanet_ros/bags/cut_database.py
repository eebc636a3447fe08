"""What can still be read of an SQLite file of which a part is missing."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from dfanet_ros.bags.storage import Message, uncompressed


class CutDatabase:
    """An SQLite file, read in the order in which it was written, up to what is missing; a `Storage`.

    Raises:
        sqlite3.Error: nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)
        # Else SQLite refuses a file that is shorter than its header says.
        self._connection.execute("PRAGMA writable_schema = ON")
        self._channels: dict[int, str] = {}  # topics
        self.topics: dict[str, str] = {}
        for number, topic, kind in self._connection.execute("SELECT id, name, type FROM topics"):
            self._channels[number] = topic
            self.topics[topic] = kind
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
        """See `Storage`."""
        self._connection.close()

    def _scan(self) -> Iterator[Message]:
        # Not in the order of time, for the index of times may be what is missing.
        rows = self._connection.execute("SELECT topic_id, timestamp, data FROM messages ORDER BY rowid")
        with suppress(sqlite3.Error):
            for number, received, data in rows:
                if number in self._channels:
                    yield self._channels[number], received, data
