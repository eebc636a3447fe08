"""What goes out on /diagnostics."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("diagnostic_msgs", reason="ROS 2 messages are not installed")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.serialization import deserialize_message, serialize_message
from test_recorder import START, feed

from dfanet_ros.diagnostics import NetworkFacts, Thresholds, camera_status, network_status
from dfanet_ros.recorder import Measured, Recorder

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
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


def status(
    measured: Measured = WELL, thresholds: Thresholds = THRESHOLDS, wanted: bool = True, subscribed: bool = True
) -> DiagnosticStatus:
    return camera_status("segmenter", "/front/image_raw", "robot", TOTALS, measured, thresholds, wanted, subscribed)


def values_of(status: DiagnosticStatus) -> dict[str, str]:
    values = {pair.key: pair.value for pair in status.values}
    assert len(values) == len(status.values)
    return values


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
