"""What a node should never be sent, and is: stamps and clocks that jump, impossible images, bad requests.

Each of these raises AssertionError if the node does not bear it; see also faults.py and mutations.py.
"""

from __future__ import annotations

from array import array
from typing import Any

from checked_stream import compressed_of
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters
from rig import NODE, TRANSITIONS, Rig
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage


def repeat_and_spoil_stamps(rig: Rig) -> None:
    """A bag in a loop, whose stamps jump back; then stamps before 0, of 0, and later than there is time."""
    bag = [rig.raw.frame(stamp=(100 + number, 5)) for number in range(10)]
    for frame in 2 * bag:
        rig.raw.exchange(frame)
    for stamp in ((-5, 7), (0, 0), (0, 2**32 - 1), (2**31 - 1, 999_999_999), (-(2**31), 2**32 - 1)):
        rig.raw.exchange(rig.raw.frame(stamp=stamp))


def jump_with_the_clock(rig: Rig) -> list[float]:
    """Simulated time jumps back, as that of a bag in a loop; at last, to before 0.

    Returns:
        The latencies (p50 and p99 in ms) that the node found after each jump; they have to be those of real frames.
    """
    clock = rig.peer.publisher("/clock", kind=Clock)
    assert rig.set("use_sim_time", True) == (True, "")
    assert rig.peer.spin_until(clock.get_subscription_count)
    latencies = []

    def tick(number: float) -> tuple[int, int]:
        now = Clock()
        now.clock.sec, now.clock.nanosec = int(number), round(number % 1 * 1e9)
        clock.publish(now)
        rig.idle(0.01)
        return now.clock.sec, now.clock.nanosec

    try:
        stamp = tick(2000)
        for start in (1000, 500, 10):
            rig.diagnosed(rig.raw)
            tick(start)
            rig.raw.exchange(rig.raw.frame(stamp=stamp))  # one from before the jump comes late
            now, said = float(start), {"clock": "0"}
            while not start <= float(said["clock"]) < now + 1 or said["latency p50 (ms)"] == "n/a":
                assert now < start + 100, f"no latency after the clock went to {start}: {said}"
                for _ in range(20):
                    now += 0.05
                    stamp = tick(now)
                    rig.raw.exchange(rig.raw.frame(stamp=stamp))
                said = rig.diagnosed(rig.raw)
            latencies += [float(said[f"latency {percentile} (ms)"]) for percentile in ("p50", "p99")]
        tick(-5)
        rig.node.wait_for_log("Seconds value must not be negative")
        rig.raw.exchange()
    finally:
        assert rig.set("use_sim_time", False) == (True, "")
        rig.peer.node.destroy_publisher(clock)
    assert all(-1000 <= latency <= 5000 for latency in latencies), f"latencies in ms: {latencies}"
    return latencies


def send_impossible_images(rig: Rig) -> int:
    """Images without pixels, and a few bytes that claim to be huge. Returns how many there were; all are refused."""
    raw: list[Any] = []
    for changes in (
        {"height": 0},
        {"width": 0, "step": 0},
        {"height": 0, "width": 0, "step": 0, "data": array("B")},
        {"height": 2**32 - 1},
        {"height": 2**32 - 1, "width": 2**32 - 1, "step": 2**32 - 1},
        {"step": 2**32 - 1},
        {"data": array("B")},
    ):
        image = rig.raw.frame()
        for name, value in changes.items():
            setattr(image, name, value)
        raw.append(image)
    huge_png = bytearray(compressed_of(0).data)
    huge_png[16:24] = b"\x00\x00\xea\x60" * 2  # 60000 x 60000
    long_chunk = bytearray(compressed_of(0).data)
    long_chunk[33:37] = b"\xff\xff\xff\xf0"
    huge_jpeg = bytearray(compressed_of(0, kind="jpeg").data)
    size = huge_jpeg.index(b"\xff\xc0") + 5
    huge_jpeg[size : size + 4] = b"\xff\xff\xff\xff"
    packed = [
        CompressedImage(data=array("B", data)) for data in (b"", huge_png, long_chunk, huge_jpeg, huge_jpeg[:-40])
    ]
    memory = rig.memory
    for stream, messages in ((rig.raw, raw), (rig.packed, packed)):
        before = rig.counters(stream)
        for message in messages:
            stream.send(message)
            rig.idle(0.05)
        after = rig.counters(stream)
        assert after["refused"] - before["refused"] == len(messages), (before, after)
    assert rig.memory - memory < 64, f"the memory grew from {memory:.0f} to {rig.memory:.0f} MiB"
    return len(raw) + len(packed)


def fail_at_one_camera(rig: Rig) -> None:
    """A frame that no JPEG can hold: it fails, but not the other camera's in the same batch."""
    overlays: list[CompressedImage] = []
    topic = f"{rig.raw.camera}/segmentation/overlay/compressed"
    subscription = rig.peer.node.create_subscription(CompressedImage, topic, overlays.append, 1)
    try:
        while not overlays:  # until the node knows of the subscriber
            rig.raw.exchange()
        assert rig.set("batch_wait", 1.0) == (True, "")
        before, sent, rig.failures = rig.counters(rig.raw), rig.packed.sent, rig.failures + 1
        rig.raw.send(rig.raw.frame((1, 70_000)))
        rig.packed.exchange()
        assert rig.packed.sent == sent + 1, "the other camera's frame was lost"
        assert rig.counters(rig.raw)["failed"] == before["failed"] + 1
    finally:
        rig.peer.node.destroy_subscription(subscription)
        assert rig.set("batch_wait", 0.0) == (True, "")


def send_bad_requests(rig: Rig) -> None:
    """Parameters that are not numbers, of a wrong type and of a type that does not exist; impossible transitions."""
    for name, value in (
        ("overlay_opacity", float("nan")),
        ("max_rate", float("inf")),
        ("max_rate", "fast"),
        ("outputs", []),
        ("outputs", [True]),
        ("silence_warn", -1.0),
        ("jpeg_quality", 2**62),
    ):
        accepted, reason = rig.set(name, value)
        assert not accepted and name in reason, f"{name} {value}: {reason}"
    # At what follows rclpy raises errors, so that there may be no answers to wait for.
    unknown = Parameter(name="max_rate", value=ParameterValue(type=77))
    _send(rig, SetParameters, "set_parameters", SetParameters.Request(parameters=[unknown]))
    rig.node.wait_for_log("77 is not a valid")
    for transition in ("configure", "activate", "cleanup"):  # impossible ones, for the node is active
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[transition]
        _send(rig, ChangeState, "change_state", request)
    assert rig.state == "active"


def _send(rig: Rig, kind: type[Any], service: str, request: Any) -> None:
    client = rig.peer.node.create_client(kind, f"{NODE}/{service}")
    assert client.wait_for_service(10)
    client.call_async(request)
    rig.idle(0.2)
    rig.peer.node.destroy_client(client)
