"""A camera's last seconds, by a clock that is moved by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.recorder import MOST, Recorder

START = 1_750_000_000.0  # as a computer's clock is today


def feed(recorder: Recorder, start: float, stop: float, rate: float, latency: float = 0.1) -> None:
    """Frames from `start` on, each published `latency` later, all of them until `stop`."""
    arrivals = np.arange(start, stop - latency, 1 / rate)
    for time, what in sorted([(time, "in") for time in arrivals] + [(time + latency, "out") for time in arrivals]):
        if what == "in":
            recorder.arrived(time)
        else:
            recorder.published(time, latency)


@settings(deadline=None, derandomize=True)
@given(rate=st.floats(0.5, 120), frames=st.integers(2, 500), late=st.floats(0.01, 0.99))
def test_a_steady_rate_is_known_from_the_second_frame_on(rate: float, frames: int, late: float) -> None:
    recorder = Recorder()
    recorder.restart(START)
    first = START + 3.3  # nothing counts before the first frame: cameras are discovered late
    for number in range(frames):
        recorder.arrived(first + number / rate)
        recorder.published(first + number / rate, 0.05)
    measured = recorder.measured(first + (frames - 1 + late) / rate, {})
    assert measured.rate_in == pytest.approx(rate, rel=1e-4)
    assert measured.rate_out == pytest.approx(rate, rel=1e-4)
    assert measured.silence == pytest.approx(late / rate, abs=1e-6)


def test_the_rate_falls_in_silence_and_is_right_again_after_it() -> None:
    recorder = Recorder()
    feed(recorder, 0, 20, 15)
    rates = [recorder.measured(20 + seconds, {}).rate_out for seconds in (0, 1, 2, 5, 9, 9.9)]
    assert rates[0] == pytest.approx(15, rel=0.02)
    assert rates == sorted(rates, reverse=True) and rates[3] == pytest.approx(7.5, rel=0.05)
    gone = recorder.measured(31, {})
    assert gone.rate_in == gone.rate_out == 0
    assert gone.silence == pytest.approx(11.1, abs=0.1)
    assert recorder.measured(3631, {}).silence == pytest.approx(3611, abs=0.2)
    feed(recorder, 4000, 4000.35, 15)
    assert recorder.measured(4000.35, {}).rate_in == pytest.approx(15, rel=0.3)
    assert recorder.measured(4000.35, {}).rate_out == pytest.approx(15, rel=0.01)


def test_nothing_is_said_too_early() -> None:
    recorder = Recorder()
    measured = recorder.measured(START, {})
    assert math.isnan(measured.rate_in) and math.isnan(measured.rate_out) and measured.silence == 0
    recorder.arrived(START + 1)
    assert math.isnan(recorder.measured(START + 1, {}).rate_in)
    assert recorder.measured(START + 10, {}).rate_in == pytest.approx(0.1)
    assert recorder.measured(START + 10, {}).rate_out == 0
    assert recorder.measured(START + 12, {}).rate_in == 0


def test_a_clock_that_stands_still_has_no_rates() -> None:
    recorder = Recorder()
    for _ in range(3 * MOST):
        recorder.arrived(0.0)
        recorder.published(0.0, 0.1)
    measured = recorder.measured(0.0, {})
    assert math.isnan(measured.rate_in) and math.isnan(measured.rate_out)
    assert measured.latency_p99 == pytest.approx(0.1)
    assert len(recorder._arrivals) == len(recorder._results) == MOST


@settings(deadline=None, derandomize=True)
@given(latencies=st.lists(st.floats(-1, 10), min_size=1, max_size=80))
def test_percentiles_are_those_of_numpy(latencies: list[float]) -> None:
    recorder = Recorder()
    for number, latency in enumerate(latencies):
        recorder.published(START + 0.1 * number, latency)
    measured = recorder.measured(START + 8, {})
    assert (measured.latency_p50, measured.latency_p99) == tuple(np.percentile(latencies, [50, 99]))


def test_results_without_a_latency_are_counted_all_the_same() -> None:
    recorder = Recorder()
    for number in range(20):
        recorder.published(START + 0.1 * number, math.nan)
    measured = recorder.measured(START + 2, {})
    assert measured.rate_out == pytest.approx(10, rel=0.01)
    assert math.isnan(measured.latency_p50) and math.isnan(measured.latency_p99)
    recorder.published(START + 2, 0.3)
    assert recorder.measured(START + 2, {}).latency_p50 == pytest.approx(0.3)


def test_silence_is_known_between_two_measures() -> None:
    recorder = Recorder()
    recorder.restart(START)
    assert recorder.silence(START + 3) == 3
    recorder.arrived(START + 4)
    assert recorder.silence(START + 4.5) == 0.5
    assert recorder.silence(START + 3.9) == 0  # a thread that comes late


def test_what_is_older_than_the_window_is_forgotten() -> None:
    recorder = Recorder(window=5)
    feed(recorder, 0, 5, 10, latency=3)
    feed(recorder, 10, 14, 20, latency=0.2)
    measured = recorder.measured(14, {})
    assert measured.window == 5
    assert measured.rate_in == pytest.approx(20, rel=0.05) and measured.latency_p99 == pytest.approx(0.2)
    assert len(recorder._arrivals) < 90


@pytest.mark.parametrize("back", [1.5, 60.0, START])
def test_a_clock_that_goes_back_begins_anew(back: float) -> None:
    recorder = Recorder()
    feed(recorder, START, START + 20, 30, latency=0.4)
    recorder.measured(START + 20, {"received": 600})
    now = START + 20 - back
    recorder.arrived(now)
    measured = recorder.measured(now, {"received": 601})
    assert math.isnan(measured.rate_in) and math.isnan(measured.rate_out) and math.isnan(measured.latency_p99)
    assert measured.silence == 0 and measured.counts == {"received": 1}
    feed(recorder, now + 0.1, now + 2, 10, latency=0.2)
    measured = recorder.measured(now + 2, {"received": 620})
    assert measured.rate_in == pytest.approx(10, rel=0.1) and measured.rate_out == pytest.approx(10, rel=0.1)
    assert measured.latency_p99 == pytest.approx(0.2) and measured.counts == {"received": 20}


def test_the_first_call_after_a_jump_may_be_any() -> None:
    recorder = Recorder()
    recorder.published(START, 0.1)
    recorder.published(5.0, 0.2)
    assert recorder.measured(5.0, {}).latency_p50 == pytest.approx(0.2)
    recorder.measured(1.0, {})
    assert recorder.measured(4.0, {}).silence == 3


def test_a_thread_that_comes_late_is_no_jump() -> None:
    recorder = Recorder()
    feed(recorder, START, START + 5, 30)
    recorder.arrived(START + 4.5)
    measured = recorder.measured(START + 4.4, {})
    assert measured.rate_out == pytest.approx(30, rel=0.05)
    assert measured.silence >= 0


def test_restart_forgets() -> None:
    recorder = Recorder()
    feed(recorder, START, START + 5, 30)
    recorder.restart(START + 100)
    measured = recorder.measured(START + 101.5, {})
    assert measured.silence == 1.5 and math.isnan(measured.rate_in)


def test_results_are_forgotten_without_silence() -> None:
    recorder = Recorder()
    for second in range(8):
        recorder.published(second, 3.0)
        recorder.forget_results(second + 0.5)
    recorder.published(8, 0.1)
    measured = recorder.measured(9.0, {})
    assert measured.latency_p99 == 0.1
    assert recorder.silence(9.0) == 9.0, "no frame has come since the beginning"


def test_results_are_waited_for_only_while_somebody_wants_them() -> None:
    recorder = Recorder()
    for second in range(60):
        recorder.arrived(second)
        measured = recorder.measured(second, {}, wanted=False)
    assert math.isnan(measured.rate_out)
    recorder.published(60.0, 0.1)
    recorder.published(60.1, 0.1)
    assert recorder.measured(60.15, {}).rate_out == pytest.approx(10)
    measured = recorder.measured(62, {}, wanted=False)
    assert math.isnan(measured.rate_out) and math.isnan(measured.latency_p50)
    assert math.isnan(recorder.measured(71.9, {}).rate_out)
    assert recorder.measured(72, {}).rate_out == 0


def test_counts_of_the_last_window() -> None:
    recorder = Recorder()
    assert recorder.measured(START, {"received": 4}).counts == {"received": 4}  # the first seconds: since the start
    for second in range(1, 61):
        measured = recorder.measured(START + second, {"received": 4 + 30 * second, "refused": second // 30})
    assert measured.counts == {"received": 300, "refused": 1}
    assert recorder.measured(START + 75, {"received": 1804, "refused": 2}).counts == {"received": 0, "refused": 0}


def test_threads() -> None:
    """They share a clock, and each may be late: what is kept is in order all the same."""
    recorder = Recorder()
    ticks = itertools.count()
    failures: list[Exception] = []

    def repeat(call: Callable[[float], object], times: int) -> None:
        try:
            for _ in range(times):
                call(START + 1e-5 * next(ticks))
        except Exception as error:
            failures.append(error)

    calls: list[tuple[Callable[[float], object], int]] = [
        (recorder.arrived, 20_000),
        (lambda now: recorder.published(now, 0.1), 20_000),
        (lambda now: recorder.measured(now, {}), 400),
    ]
    threads = [Thread(target=repeat, args=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    arrivals, results = [*recorder._arrivals], [time for time, _ in recorder._results]
    assert len(arrivals) == len(results) == MOST
    assert arrivals == sorted(arrivals) and results == sorted(results)
    measured = recorder.measured(START + 1e-5 * next(ticks), {})
    assert measured.rate_in > 1000 and measured.rate_out > 1000 and measured.latency_p50 == pytest.approx(0.1)
