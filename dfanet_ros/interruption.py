"""How processes end: Ctrl-C and SIGTERM as a question that a loop asks, and a limit for taking ROS down."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 130  # of a command that was interrupted, as shells have it
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def requests_to_end() -> list[signal.Signals]:
    """What asks a process to end, beside Ctrl-C: SIGTERM, and SIGHUP of a closed terminal unless `nohup` ignores it."""
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM] if ignored else [signal.SIGTERM, signal.SIGHUP]


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


@contextmanager
def taking_down(seconds: int = 5) -> Iterator[None]:
    """Within `with`, ROS is taken down: if that hangs, the system ends the process by SIGALRM.

    Fast DDS, with LARGE_DATA, may wait for ever for a connection to a process that says nothing
    (eProsima/Fast-DDS#6066), and holds Python's lock meanwhile, so that no other thread could end us. Main thread only.
    """
    handler = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    before = signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        signal.alarm(before)
