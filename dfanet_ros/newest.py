"""The newest item of each of several sources, handed from the thread that receives to the one that works."""

from __future__ import annotations

from threading import Condition
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Newest(Generic[Item]):
    """Holds at most one item a source: nothing queues, a newer item takes the place of the older."""

    def __init__(self) -> None:
        self._items: dict[int, Item] = {}
        self._changed = Condition()

    def put(self, source: int, item: Item) -> bool:
        """Store an item; says whether an older one of that source was dropped for it."""
        with self._changed:
            dropped = self._items.pop(source, None) is not None
            self._items[source] = item
            self._changed.notify()
        return dropped

    def take(self, sources: int, wait: float = 0.0) -> dict[int, Item]:
        """Take all items there are, by source.

        Args:
            sources: how many sources items are expected of: with so many items there is nothing to wait for.
            wait: longest time in seconds to wait for the items of further sources, if there is any item.
        """
        with self._changed:
            if self._items and wait:
                self._changed.wait_for(lambda: len(self._items) >= sources, wait)
            items, self._items = self._items, {}
        return items
