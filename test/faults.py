"""What happens to a node in the field. Each fault raises AssertionError if the node does not bear it.

test_faults.py does each of them once, soak.py more often; see also bad_input.py and mutations.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from checked_stream import SIZE
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rig import OUTPUTS, Rig
from ros_harness import kill
from sensor_msgs.msg import CompressedImage, Image

from dfanet_ros.image_messages import ENCODINGS

SIZES = ((96, 128), (98, 132), (240, 320), (33, 50), (480, 640), (2, 2))


def start_process(program: str, rig: Rig, *arguments: str) -> subprocess.Popen[bytes]:
    """A program that lies beside this one, among those that the node talks to."""
    path = Path(__file__).with_name(program)
    return subprocess.Popen(
        [sys.executable, str(path), *arguments], env={**os.environ, "ROS_DOMAIN_ID": str(rig.domain)}
    )


def kill_the_node(rig: Rig) -> float:
    """SIGKILL mid-stream and start again, while the camera goes on.

    Returns:
        Seconds from the new node's start to its first mask.
    """
    rig.raw.exchange()
    for _ in range(10):
        rig.raw.send(rig.raw.frame())
    kill(rig.node.process)
    rig.idle(0.2)  # for what it sent before
    start = time.monotonic()
    rig.start()
    before = rig.raw.right
    while rig.raw.right == before:
        rig.raw.send(rig.raw.frame())
        rig.idle(0.02)
        assert time.monotonic() - start < 60, f"no mask in 60 s; the log:\n{rig.node.text}"
    return time.monotonic() - start


def replace_the_camera(rig: Rig) -> None:
    """The camera's process is killed; another one comes, with frames of another size; at last the first again."""
    for size in ((240, 320), SIZE):
        frames = [rig.raw.frame(size, "bgr8") for _ in range(5)]
        files = [rig.folder / f"frame_{number}" for number in range(len(frames))]
        for file, frame in zip(files, frames, strict=True):
            file.write_bytes(serialize_message(frame))
        wanted = rig.raw.right + 20
        for _ in range(3):  # a new one may be deaf for what the killed one has left, which is no fault of the node's
            camera = start_process("camera_process.py", rig, rig.raw.topic, "50", *map(str, files))
            try:
                if rig.peer.spin_until(lambda wanted=wanted: rig.raw.right >= wanted, 20):
                    break
            finally:
                kill(camera)
        assert rig.raw.right >= wanted, (
            f"no masks of 3 cameras that came one after the other; the log:\n{rig.node.text}"
        )
    rig.raw.exchange()


def change_size_and_encoding(rig: Rig) -> int:
    """Every frame has another encoding, size and padding than the one before. Returns how many there were."""
    count = 0
    for shift in range(len(ENCODINGS)):
        for number, size in enumerate(SIZES):
            rig.raw.exchange(rig.raw.frame(size, ENCODINGS[(shift + number) % len(ENCODINGS)], padding=number % 4))
            rig.packed.exchange(rig.packed.frame(size, ("png", "jpeg")[shift % 2]))
            count += 2
    return count


def flood(rig: Rig, seconds: float = 3.0) -> dict[str, float]:
    """Frames at ten times the rate that a slow network can do.

    Returns:
        Rates that the node can do, that it got, and of its masks, in Hz; by how much its memory grew, in MiB.
    """
    rig.configure_anew(input_height=1024, input_width=1024)
    try:
        rig.raw.exchange()
        start = time.monotonic()
        for _ in range(10):
            rig.raw.exchange()
        rate = 10 / (time.monotonic() - start)
        memory, masks, sent = rig.memory, len(rig.raw.numbers), rig.raw.sent
        start = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            while rig.raw.sent < sent + 10 * rate * (now - start):
                last = rig.raw.frame()
                rig.raw.send(last)
            rig.idle(0.001)
        got = (rig.raw.sent - sent) / seconds
        number = int(last.header.frame_id.rpartition(" ")[2])
        assert rig.peer.spin_until(lambda: rig.raw.numbers[-1] == number, 20), "the newest frame has no mask"
        numbers = rig.raw.numbers[masks:]
        assert numbers == sorted(set(numbers)), "the masks did not come in order"
        assert len(numbers) >= 0.1 * rate * seconds, (
            f"{len(numbers)} masks in {seconds} s, but {rate:.1f} Hz without flood"
        )
        counters = rig.counters(rig.raw)
        assert counters["superseded"] > counters["published"], counters
        grown = rig.memory - memory
        assert grown < 64, f"the memory grew by {grown:.0f} MiB"
    finally:
        rig.configure_anew(input_height=0, input_width=0)
    return {"possible": rate, "sent": got, "masks": len(numbers) / seconds, "grown": grown}


def come_and_go(rig: Rig, times: int = 100, viewers: int = 3) -> None:
    """Subscribers of every output come and go while frames arrive; viewers with a process of their own are killed."""
    watched = f"{rig.raw.camera}/segmentation/overlay"
    # Not in this process: when Fast DDS 3.2.3 destroys a participant, it may wait for ever for the end of a TCP message
    # (eProsima/Fast-DDS#6066).
    processes = [start_process("viewer_process.py", rig, watched) for _ in range(viewers)]
    try:
        for number in range(times):
            rig.raw.send(rig.raw.frame())
            topic = f"{rig.raw.camera}/segmentation/{OUTPUTS[number % len(OUTPUTS)]}"
            kind: type[Any] = Image
            if number % 3 == 2:
                topic, kind = f"{topic}/compressed", CompressedImage
            subscription = rig.peer.node.create_subscription(kind, topic, lambda _: None, QoSProfile(depth=1))
            rig.idle(0.02)
            rig.peer.node.destroy_subscription(subscription)
        assert rig.peer.spin_until(lambda: rig.peer.node.count_subscribers(watched) >= viewers), "no viewer came"
        for process in processes:
            rig.raw.send(rig.raw.frame())
            kill(process)
            rig.raw.exchange()
    finally:
        for process in processes:
            kill(process)


def change_outputs_under_load(rig: Rig, times: int = 20) -> None:
    """Publishers vanish and appear while the node publishes."""
    try:
        for number in range(times):
            for _ in range(5):
                rig.raw.send(rig.raw.frame())
            outputs = [["mask"], ["overlay"], ["confidence", "mask"], ["color_mask"]][number % 4]
            assert rig.set("outputs", outputs) == (True, "")
    finally:
        assert rig.set("outputs", OUTPUTS) == (True, "")
    rig.raw.exchange()


def lose_the_weights(rig: Rig) -> None:
    """The weights' file is gone between cleanup and configure: a sentence says so; once it is back, all is well."""
    assert rig.change("deactivate") and rig.change("cleanup")
    hidden = rig.weights.rename(rig.folder / "elsewhere")
    try:
        assert not rig.change("configure") and rig.state == "unconfigured"
        rig.node.wait_for_log(f"cannot configure: cannot load the weights '{rig.weights}': there is no such file")
    finally:
        hidden.rename(rig.weights)
    assert rig.change("configure") and rig.change("activate")
    rig.raw.exchange()
