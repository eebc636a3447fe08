"""What a camera's last seconds were like: rates, latencies, silence and counters, without ROS."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

WINDOW = 10.0  # seconds that rates and latencies are of
JUMP = 1.0  # seconds back that are no quarrel of two threads, but another time: a bag played in a loop, say
MOST = 4096  # frames kept; only a clock that stands still makes it so many


@dataclass(frozen=True)
class Measured:
    """A camera over the last seconds; NaN where nothing can be said yet.

    Attributes:
        window: seconds that the rest is of.
        rate_in: frames a second that arrived.
        rate_out: results a second that were published.
        latency_p50: seconds that half of the results took at most, from the image's stamp.
        latency_p99: seconds that 99 % of them took at most.
        silence: seconds since the last frame, however long ago; since the beginning where none has come.
        counts: by how much each counter grew.
    """

    window: float
    rate_in: float
    rate_out: float
    latency_p50: float
    latency_p99: float
    silence: float
    counts: Mapping[str, int]


class Recorder:
    """A camera's last seconds. Each method may be called from any thread.

    The times, in seconds, are of one clock of the caller's choice. If it goes back, the recording begins anew.

    Args:
        window: seconds that are remembered.
    """

    def __init__(self, window: float = WINDOW) -> None:
        self._window = window
        self._lock = Lock()
        self._totals: Mapping[str, int] = {}
        self._arrivals: deque[float] = deque(maxlen=MOST)
        self._results: deque[tuple[float, float]] = deque(maxlen=MOST)
        self._history: deque[tuple[float, Mapping[str, int]]] = deque(maxlen=MOST)
        # Any time is before this one, hence the first that is heard of begins the recording.
        self._since = self._results_since = self._last_arrival = self._latest = math.inf

    def restart(self, now: float) -> None:
        """Forget what was: silence counts from now on."""
        with self._lock:
            self._begin(now)

    def forget_results(self, now: float) -> None:
        """Begin anew with results and their latencies."""
        with self._lock:
            self._results.clear()
            self._results_since = self._advanced(now)

    def arrived(self, now: float) -> None:
        """A frame has come."""
        with self._lock:
            self._last_arrival = self._advanced(now)
            self._arrivals.append(self._last_arrival)

    def silence(self, now: float) -> float:
        """Seconds since the last frame; since the beginning where none has come."""
        with self._lock:
            return max(0.0, now - self._last_arrival)

    def published(self, now: float, latency: float) -> None:
        """A result has gone out, `latency` seconds after the image's stamp; NaN if it has none."""
        with self._lock:
            self._results.append((self._advanced(now), latency))

    def measured(self, now: float, totals: Mapping[str, int], wanted: bool = True) -> Measured:
        """What the last seconds were like.

        Args:
            now: the time.
            totals: what the camera's counters have come to.
            wanted: whether somebody subscribes to a result; while nobody does, results are not waited for.
        """
        with self._lock:
            now = self._advanced(now)
            if not wanted:
                self._results.clear()
                self._results_since = now
            oldest = now - self._window
            while self._arrivals and self._arrivals[0] <= oldest:
                self._arrivals.popleft()
            while self._results and self._results[0][0] <= oldest:
                self._results.popleft()
            self._totals = dict(totals)
            self._history.append((now, self._totals))
            while self._history[1][0] <= oldest:
                self._history.popleft()
            before = self._history[0][1]
            arrivals, results = [*self._arrivals], [*self._results]
            since, results_since, silence = self._since, self._results_since, now - self._last_arrival
        latencies = [latency for _, latency in results if not math.isnan(latency)]
        p50, p99 = np.percentile(latencies, [50, 99]) if latencies else (math.nan, math.nan)
        return Measured(
            window=self._window,
            rate_in=_rate(arrivals, now, since, self._window),
            rate_out=_rate([time for time, _ in results], now, results_since, self._window),
            latency_p50=float(p50),
            latency_p99=float(p99),
            silence=silence,
            counts={name: count - before.get(name, 0) for name, count in totals.items()},
        )

    def _advanced(self, now: float) -> float:
        """The time to go by: never before the newest one heard of, for a thread may come late with an older one."""
        if now < self._latest - JUMP:
            self._begin(now)
        self._latest = max(self._latest, now)
        return self._latest

    def _begin(self, now: float) -> None:
        self._since = self._results_since = self._last_arrival = self._latest = now
        for times in (self._arrivals, self._results, self._history):
            times.clear()
        # The counters go on: what they counted before is not to be counted to the new time.
        self._history.append((-math.inf, self._totals))


def _rate(times: Sequence[float], now: float, since: float, window: float) -> float:
    """Events a second, of the times in the window; NaN where it is too early to tell.

    By the time from the first to the last event, so that it is right from the second event on; as soon as the next one
    is overdue by that, by the time from the first event until now.
    """
    count = len(times)
    if count < 2:
        return count / window if now - since >= window else math.nan
    span = times[-1] - times[0]
    return min((count - 1) / span, count / (now - times[0])) if span > 0 else math.nan
