"""Who looks at what: browsers, and the frames of the cameras that they get.

A browser asks for each frame, when it has shown the one before: so a slow one skips frames, a paused one gets none, and
nothing queues on the way to any of them. What nobody asks for is not encoded, and soon not received either.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol

from dfanet_ros.live.cameras import NO_CAMERA
from dfanet_ros.live.packets import Matched, packet

LINGER = 5.0  # seconds without a question after which a viewer that is still there does not count as looking
STATE_PERIOD = 2.0  # seconds after which the state is sent though it has not changed, so that pages know we are there

State = dict[str, Any]


class Connection(Protocol):
    """How a viewer is reached."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a packet; returns when it is on its way."""

    async def send_json(self, data: State) -> None:
        """Send a state; likewise."""


class Feed:
    """The frames of one camera. Each is encoded once, whoever gets it; only the newest counts.

    Args:
        name: of the camera.
        encoder: where encoding happens.
        on_failure: gets a camera's name and what was wrong with a frame.
    """

    def __init__(self, name: str, encoder: Executor, on_failure: Callable[[str, Exception], None]) -> None:
        self.name = name
        self.viewers: set[Viewer] = set()
        self.packet: bytes | None = None
        self.number = 0  # of the packet's frame, counted from 1
        self._encoder = encoder
        self._on_failure = on_failure
        self._newest: Matched | None = None
        self._count = 0  # frames that have come
        self._task: asyncio.Task[None] | None = None

    @property
    def watched(self) -> bool:
        """Whether anybody looks at it."""
        return any(viewer.looks for viewer in self.viewers)

    def offer(self, matched: Matched) -> None:
        """Take a frame."""
        self._newest = matched
        self._count += 1
        self.advance()

    def advance(self) -> None:
        """Encode the newest frame if somebody waits for it."""
        if self._task is None and self._newest is not None and any(viewer.asks for viewer in self.viewers):
            self._task = asyncio.create_task(self._encode(self._newest, self._count))
            self._newest = None

    def forget(self) -> None:
        """Have no frame: it would be old when somebody looks again."""
        self._newest = self.packet = None

    async def _encode(self, matched: Matched, number: int) -> None:
        try:
            self.packet = await asyncio.get_running_loop().run_in_executor(
                self._encoder, packet, matched, self.name, number
            )
            self.number = number
        except Exception as error:  # whatever a message may hold
            self._on_failure(self.name, error)
        finally:
            self._task = None
        for viewer in self.viewers:
            viewer.wake()
        self.advance()


class Viewer:
    """One browser's view of one camera at a time."""

    def __init__(self) -> None:
        self.feed: Feed | None = None
        self.asks = False  # for a frame that it has not seen
        self._asked = -LINGER
        self._seen = 0
        self._wake = asyncio.Event()

    @property
    def looks(self) -> bool:
        """Whether it wants frames, or did so a moment ago."""
        return self.asks or time.monotonic() - self._asked < LINGER

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    def ask(self) -> None:
        """It wants a frame that it has not seen."""
        self.asks = True
        self._asked = time.monotonic()
        if self.feed is not None:
            self.feed.advance()
        self.wake()

    def turn_to(self, feed: Feed | None) -> None:
        """Look at another camera, or at none."""
        if self.feed is not None:
            self.feed.viewers.discard(self)
        self.feed, self._seen = feed, 0
        if feed is not None:
            feed.viewers.add(self)
            feed.advance()
        self.wake()

    async def serve(self, connection: Connection, state: Callable[[Viewer], State]) -> None:
        """Send what there is to send, as fast as the connection takes it, until it is cancelled."""
        sent: State | None = None
        due = 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            current = state(self)
            if current != sent or time.monotonic() >= due:
                sent, due = current, time.monotonic() + STATE_PERIOD
                await connection.send_json(current)
            feed = self.feed
            if self.asks and feed is not None and feed.packet is not None and feed.number > self._seen:
                self.asks, self._seen = False, feed.number
                await connection.send_bytes(feed.packet)


class Viewers:
    """All viewers and all feeds; to be used in the event loop's thread.

    Args:
        encoder: where frames are encoded.
        look_at: told which cameras somebody looks at, whenever that may have changed.
        on_failure: see `Feed`.
    """

    def __init__(
        self,
        encoder: Executor,
        look_at: Callable[[frozenset[str]], None],
        on_failure: Callable[[str, Exception], None],
    ) -> None:
        self._encoder = encoder
        self._look_at = look_at
        self._on_failure = on_failure
        self._viewers: dict[Viewer, str] = {}  # and which camera each has chosen; empty: none
        self._feeds: dict[str, Feed] = {}
        self._problems: dict[str, str] = {}  # of all cameras, in their order
        self._labels: dict[str, State] = {}  # by camera: the receiver says them once, feeds come and go with viewers

    # What the viewers do

    def join(self, viewer: Viewer) -> None:
        """A viewer has come."""
        self._viewers[viewer] = ""
        self._arrange()

    def leave(self, viewer: Viewer) -> None:
        """A viewer has gone."""
        del self._viewers[viewer]
        viewer.turn_to(None)
        self._arrange()

    def choose(self, viewer: Viewer, camera: str) -> None:
        """A viewer wants to see this camera, which may not be there yet; empty: any."""
        self._viewers[viewer] = camera
        self._arrange()

    def ask(self, viewer: Viewer) -> None:
        """A viewer wants its next frame."""
        looked = viewer.looks
        viewer.ask()
        if not looked:
            self._arrange()

    def state(self, viewer: Viewer) -> State:
        """What a viewer has to know beside the frames."""
        camera = self._camera_of(viewer)
        problem = self._problems.get(camera, f"There is no camera {camera}." if camera else NO_CAMERA)
        return {
            "cameras": [*self._problems],
            "camera": camera,
            "labels": self._labels.get(camera),
            "problem": problem,
        }

    # What the receiver says

    def cameras(self, problems: dict[str, str]) -> None:
        """Which cameras there are and why each has no frames; comes every second."""
        self._problems = problems
        self._labels = {camera: labels for camera, labels in self._labels.items() if camera in problems}
        self._arrange()
        for viewer in self._viewers:
            viewer.wake()

    def frame(self, camera: str, matched: Matched) -> None:
        """A frame has come."""
        if camera in self._feeds:
            self._feeds[camera].offer(matched)

    def labels(self, camera: str, labels: State) -> None:
        """A camera's classes have come."""
        self._labels[camera] = labels
        if camera in self._feeds:
            for viewer in self._feeds[camera].viewers:
                viewer.wake()

    def _camera_of(self, viewer: Viewer) -> str:
        """What a viewer has chosen; else what it sees, as long as that is there; else the first."""
        seen = viewer.feed.name if viewer.feed else ""
        return self._viewers[viewer] or (seen if seen in self._problems else next(iter(self._problems), ""))

    def _arrange(self) -> None:
        """Every viewer at its feed, no feed without a viewer, and received what is looked at."""
        for viewer in self._viewers:
            camera = self._camera_of(viewer)
            if camera and (viewer.feed is None or viewer.feed.name != camera):
                feed = self._feeds.setdefault(camera, Feed(camera, self._encoder, self._on_failure))
                viewer.turn_to(feed)
        self._feeds = {name: feed for name, feed in self._feeds.items() if feed.viewers}
        watched = frozenset(name for name, feed in self._feeds.items() if feed.watched)
        for name, feed in self._feeds.items():
            if name not in watched:
                feed.forget()
        self._look_at(watched)
