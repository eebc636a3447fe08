"""The newest item of each of several sources, handed from the threads that receive to the one that works."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Holds at most one item a source: nothing queues, a newer item takes the place of the older."""

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self._changed = Condition()
        self._closed = False

    def put(self, source: int, item: Item) -> bool:
        """Store an item; says whether an older one of that source was dropped for it."""
        with self._changed:
            dropped = self._items.pop(source, None) is not None
            self._items[source] = item
            self._changed.notify()
        return dropped

    def take(self) -> dict[int, Item]:
        """Wait for items and take all there are, by source; empty once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            items, self._items = self._items, {}
            return {} if self._closed else items

    def close(self) -> None:
        """Let `take` return for good."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
