"""What can be read of an SQLite file that rosbags cannot read: a part of it is missing, or in another file."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from dfanet_ros.bags import BagError
from dfanet_ros.bags.storage import Message, plain, uncompressed, write_ahead_log

ROWS = "SELECT rowid, topic_id, timestamp, data FROM messages"


class CutDatabase:
    """An SQLite file, read up to what is missing, with its write-ahead log if it has one; a `Storage`.

    Raises:
        sqlite3.Error: nothing of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self._name = path.name
        self._channels: dict[int, str] = {}  # topics
        self.topics: dict[str, str] = {}
        self.latched: frozenset[str] = frozenset()
        self.problem = ""
        log = write_ahead_log(path)
        try:
            self._connect(path, "mode=ro" if log else "immutable=1")
        except sqlite3.Error as error:
            if log is None:
                raise
            self.problem = f"{log.name}, which has its last messages, cannot be read ({plain(error)})"
            try:
                self._connect(path, "immutable=1")  # as if there were no log
            except sqlite3.Error:  # the first messages, too, are in the log
                raise sqlite3.OperationalError(self.problem) from error
        counts: Counter[str] = Counter()
        self._rows: list[tuple[int, int, str]] = []  # time in ns, number, topic
        # Not sorted by SQLite, for its index of times may be what is missing.
        for row, (topic, received, _) in self._read(f"{ROWS} ORDER BY rowid"):
            counts[topic] += 1
            self._rows.append((received, row, topic))
        self._rows.sort()
        self.counts = {topic: counts[topic] for topic in self.topics}

    def messages(self, topics: Collection[str]) -> Iterator[Message]:
        """See `Storage`."""
        for _, row, topic in self._rows:
            if topic in topics:
                yield from (message for _, message in self._read(f"{ROWS} WHERE rowid = {row}"))

    def close(self) -> None:
        """See `Storage`."""
        self._connection.close()

    def _connect(self, path: Path, mode: str) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        # Else SQLite refuses a file that is shorter than its header says.
        self._connection.execute("PRAGMA writable_schema = ON")
        for number, topic, kind in self._connection.execute("SELECT id, name, type FROM topics"):
            self._channels[number] = topic
            self.topics[topic] = kind

    def _read(self, query: str) -> Iterator[tuple[int, Message]]:
        """The rows that it gives and their messages, up to what is missing; damaged ones are left out."""
        try:
            for row, number, received, data in self._connection.execute(query):
                try:
                    message = self._message(number, received, data)
                except BagError as error:
                    self._damaged(error)
                else:
                    yield row, message
        except sqlite3.Error as error:
            self._damaged(error)

    def _message(self, number: object, received: object, data: object) -> Message:
        """The message of a row, of which SQLite does not say whether somebody has written it so."""
        if number in self._channels and isinstance(received, int) and isinstance(data, bytes):
            return self._channels[number], received, uncompressed(data)
        raise BagError("a row is no message")

    def _damaged(self, error: Exception) -> None:
        self.problem = self.problem or f"{self._name} is cut off or damaged ({plain(error)})"
