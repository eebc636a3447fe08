"""Messages of several topics that belong to the same moment."""

from __future__ import annotations

from collections.abc import Collection

MOST_BYTES = 128 * 2**20  # of what waits: 145 frames of 640 x 480, 21 of 1920 x 1080


class Matcher:
    """Puts together what has exactly the same stamp.

    What waits is dropped when something that came later is complete, and the oldest of it when it takes more than
    `most_bytes`: a camera that is faster than the node, or a node that has stopped, fills no memory.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: dict[int, dict[str, bytes]] = {}  # by stamp, in the order of arrival: stamps may jump back
        self._bytes = 0

    def put(self, stamp: int, kind: str, message: bytes, needed: Collection[str]) -> dict[str, bytes] | None:
        """Take a message.

        Args:
            stamp: in ns.
            kind: what it is, e.g. `mask`; of two of the same stamp and kind the later counts.
            message: serialized.
            needed: the kinds that make a whole.

        Returns:
            All messages of that stamp, by kind, if those that are needed are among them.
        """
        group = self._waiting.setdefault(stamp, {})
        self._bytes += len(message) - len(group.get(kind, b""))
        group[kind] = message
        if group.keys() >= set(needed):
            while self._drop_oldest() is not group:
                pass
            return group
        while self._bytes > self._most_bytes and len(self._waiting) > 1:
            self._drop_oldest()
        return None

    def __len__(self) -> int:
        """How many stamps wait."""
        return len(self._waiting)

    def _drop_oldest(self) -> dict[str, bytes]:
        group = self._waiting.pop(next(iter(self._waiting)))
        self._bytes -= sum(map(len, group.values()))
        return group
