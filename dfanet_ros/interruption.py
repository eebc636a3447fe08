"""Ctrl-C and SIGTERM as a question that a loop asks, so that what it has done so far is kept whole."""

from __future__ import annotations

import signal
from types import FrameType

EXIT_CODE = 130  # of a command that was interrupted, as shells have it
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within `with`, the first of these signals is only noted; a second one does what it did before.

    Attributes:
        requested: whether there was one.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Interruption:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
