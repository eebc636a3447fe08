"""What goes out on /diagnostics, by a clock that is moved by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("diagnostic_msgs", reason="ROS 2 messages are not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message, serialize_message

from dfanet_ros.diagnostics import (
    MOST,
    Measured,
    NetworkFacts,
    Recorder,
    Thresholds,
    camera_status,
    network_status,
)

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
START = 1_750_000_000.0  # as a computer's clock is today
THRESHOLDS = Thresholds(latency_warn=0.5, latency_error=2.0, rate_warn=10.0, silence_warn=2.0, silence_error=10.0)
WELL = Measured(
    window=10.0,
    rate_in=30.0,
    rate_out=14.93,
    latency_p50=0.061,
    latency_p99=0.0984,
    silence=0.03,
    counts={"received": 300, "published": 149, "superseded": 151, "refused": 0, "failed": 0},
)
TOTALS = {"received": 9000, "published": 4470, "superseded": 4529, "refused": 1, "failed": 0}
FACTS = NetworkFacts(
    weights="camvid",
    network="dfanet with xception_a",
    classes=11,
    input_size=(512, 1024),
    device="cuda",
    precision="fp16",
    engine="torch (asked for)",
    gpu_memory=(6 * 2**30, 8 * 2**30),
)


def feed(recorder: Recorder, start: float, stop: float, rate: float, latency: float = 0.1) -> None:
    """Frames from `start` on, each published `latency` later, all of them until `stop`."""
    arrivals = np.arange(start, stop - latency, 1 / rate)
    for time, what in sorted([(time, "in") for time in arrivals] + [(time + latency, "out") for time in arrivals]):
        if what == "in":
            recorder.arrived(time)
        else:
            recorder.published(time, latency)


def status(
    measured: Measured = WELL, thresholds: Thresholds = THRESHOLDS, wanted: bool = True, subscribed: bool = True
) -> DiagnosticStatus:
    return camera_status("segmenter", "/front/image_raw", "robot", TOTALS, measured, thresholds, wanted, subscribed)


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    values = {pair.key: pair.value for pair in status.values}
    assert len(values) == len(status.values)
    return values


# The recorder


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


# The camera's status


def test_a_camera_that_does_well() -> None:
    result = status()
    assert (result.level, result.name, result.hardware_id) == (OK, "segmenter: /front/image_raw", "robot")
    assert result.message == "segmenting 14.9 Hz"
    assert values_of(result) == {
        "topic": "/front/image_raw",
        "rate in (Hz)": "30.0",
        "rate out (Hz)": "14.9",
        "latency p50 (ms)": "61.0",
        "latency p99 (ms)": "98.4",
        "time since the last image (s)": "0.0",
        "received": "9000",
        "received in the last 10 s": "300",
        "published": "4470",
        "published in the last 10 s": "149",
        "superseded": "4529",
        "superseded in the last 10 s": "151",
        "refused": "1",
        "refused in the last 10 s": "0",
        "failed": "0",
        "failed in the last 10 s": "0",
    }


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        ({"latency_p99": 0.5}, OK, "segmenting 14.9 Hz"),
        ({"latency_p99": 0.812}, WARN, "latency p99 is 812 ms, over 500 ms"),
        ({"latency_p99": 2.0}, WARN, "latency p99 is 2000 ms, over 500 ms"),
        ({"latency_p99": 2.1}, ERROR, "latency p99 is 2100 ms, over 2000 ms"),
        ({"latency_p99": -3.0}, OK, "segmenting 14.9 Hz"),
        (
            {"latency_p99": -90.0},
            WARN,
            "latency p99 is -90000 ms: the images seem to be stamped by another clock (use_sim_time?)",
        ),
        ({"latency_p99": math.nan}, OK, "segmenting 14.9 Hz"),
        (
            {"latency_p99": 90.0},
            ERROR,
            "latency p99 is 90000 ms, over 2000 ms: the images seem to be stamped by another clock (use_sim_time?)",
        ),
        ({"rate_out": 10.0}, OK, "segmenting 10.0 Hz"),
        ({"rate_out": 9.9}, WARN, "segmenting 9.9 Hz, under 10 Hz"),
        ({"rate_out": math.nan}, OK, "waiting for the first results"),
        ({"silence": 1.99}, OK, "segmenting 14.9 Hz"),
        ({"silence": 2.0}, WARN, "no image for 2 s"),
        ({"silence": 9.8}, WARN, "no image for 10 s"),
        ({"silence": 10.0}, ERROR, "no image for 10 s"),
        ({"silence": 6.0, "latency_p99": 9.0, "rate_out": 0.0}, WARN, "no image for 6 s"),
        (
            {"latency_p99": 2.1, "rate_out": 0.4},
            ERROR,
            "latency p99 is 2100 ms, over 2000 ms; segmenting 0.4 Hz, under 10 Hz",
        ),
        (
            {"counts": {"published": 3, "refused": 2, "failed": 1}},
            WARN,
            "2 of the images in 10 s could not be read (see the log); "
            "1 of the images in 10 s could not be segmented (see the log)",
        ),
        (
            {"counts": {"published": 0, "refused": 300}},
            ERROR,
            "300 of the images in 10 s could not be read (see the log)",
        ),
        ({"counts": {"superseded": 100, "throttled": 5, "unwanted": 7}}, OK, "segmenting 14.9 Hz"),
    ],
    ids=str,
)
def test_levels_of_a_camera(changes: dict[str, object], level: bytes, message: str) -> None:
    result = status(replace(WELL, **changes))  # type: ignore[arg-type]
    assert (result.level, result.message) == (level, message)


def test_without_a_least_rate_none_is_too_low() -> None:
    thresholds = replace(THRESHOLDS, rate_warn=0.0)
    assert status(replace(WELL, rate_out=0.0, counts={}), thresholds).level == OK
    stuck = status(replace(WELL, rate_out=0.0, counts={"received": 300, "superseded": 300}), thresholds)
    assert (stuck.level, stuck.message) == (ERROR, "no result in 10 s, though images come")


def test_a_camera_whose_results_nobody_wants() -> None:
    unwanted = replace(WELL, rate_out=math.nan, latency_p50=math.nan, latency_p99=math.nan)
    result = status(unwanted, wanted=False)
    assert (result.level, result.message) == (OK, "nobody subscribes to a result")
    values = values_of(result)
    assert values["rate out (Hz)"] == values["latency p50 (ms)"] == values["latency p99 (ms)"] == "n/a"
    assert status(replace(unwanted, rate_out=0.0), wanted=False).level == OK
    assert status(replace(unwanted, silence=11.0), wanted=False).level == ERROR  # a broken camera is one all the same


def test_a_camera_of_an_inactive_node_is_not_silent() -> None:
    result = status(replace(WELL, silence=600.0), subscribed=False)
    assert (result.level, result.message) == (OK, "not subscribed, for the node is not active")


def test_an_error_may_come_before_the_warning() -> None:
    """Nobody keeps a user from setting silence_error below silence_warn."""
    thresholds = replace(THRESHOLDS, silence_warn=60.0, silence_error=5.0, latency_warn=9.0, latency_error=1.0)
    assert status(replace(WELL, silence=6.0), thresholds).level == ERROR
    assert status(replace(WELL, latency_p99=1.5), thresholds).level == ERROR


def test_from_the_recorder_to_the_status() -> None:
    recorder = Recorder()
    feed(recorder, START, START + 12, 20, latency=0.7)
    totals = {"received": 226, "published": 226, "unwanted": 0}
    measured = recorder.measured(START + 12, totals)
    late = camera_status("segmenter", "/a/image", "", totals, measured, THRESHOLDS, wanted=True)
    assert (late.level, late.message) == (WARN, "latency p99 is 700 ms, over 500 ms")
    assert values_of(late)["rate out (Hz)"] == "20.0"
    measured = recorder.measured(START + 17, totals)
    silent = camera_status("segmenter", "/a/image", "", totals, measured, THRESHOLDS, wanted=True)
    assert (silent.level, silent.message) == (WARN, "no image for 6 s")


# The network's status, and the messages


def test_a_network_on_cuda() -> None:
    result = network_status("segmenter", "robot", "active", FACTS)
    assert (result.level, result.name, result.hardware_id) == (OK, "segmenter: network", "robot")
    assert result.message == "dfanet with xception_a in fp16 on cuda; the node is active"
    assert values_of(result) == {
        "lifecycle state": "active",
        "weights": "camvid",
        "network": "dfanet with xception_a",
        "classes": "11",
        "input height x width": "512 x 1024",
        "device": "cuda",
        "precision": "fp16",
        "engine": "torch (asked for)",
        "GPU memory used (MiB)": "2048",
        "GPU memory total (MiB)": "8192",
    }


def test_a_network_on_the_cpu_has_no_gpu_memory() -> None:
    values = values_of(network_status("segmenter", "", "inactive", replace(FACTS, device="cpu", gpu_memory=None)))
    assert not [key for key in values if "GPU" in key]


@pytest.mark.parametrize("state", ["unconfigured", "finalized"])
def test_no_network(state: str) -> None:
    result = network_status("segmenter", "", state, None)
    assert (result.level, result.message) == (WARN, f"no network is loaded: the node is {state}")
    assert values_of(result) == {"lifecycle state": state}


def test_the_messages_survive_serialisation() -> None:
    array = DiagnosticArray(
        status=[status(), status(replace(WELL, silence=20.0)), network_status("a", "", "active", FACTS)]
    )
    array.header.stamp.sec, array.header.stamp.nanosec = 12, 345
    arrived = deserialize_message(serialize_message(array), DiagnosticArray)
    assert arrived == array
    assert [s.level for s in arrived.status] == [OK, ERROR, OK]
    assert values_of(arrived.status[0])["latency p99 (ms)"] == "98.4"
