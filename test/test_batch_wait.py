"""`batch_wait` over DDS: for whom the node waits, and for how long."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from brightness import save_brightness_weights
from ros_harness import NodeProcess, Peer, next_domain
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dfanet_ros.image_messages import message_from_pixels

SIZE = (32, 48)
CAMERAS = ("/left", "/right")
WAIT, APART = 0.5, 0.1  # seconds


class Cameras:
    """Two cameras, and when (s) the masks of their frames arrive."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.publishers = [peer.publisher(f"{camera}/image_raw") for camera in CAMERAS]
        self.arrived: dict[int, float] = {}  # by the seconds of the stamp

        def receive(mask: Image) -> None:  # not when it was published: Humble's rclpy does not say
            self.arrived[mask.header.stamp.sec] = time.time()

        self.masks = [
            peer.node.create_subscription(Image, f"{camera}/segmentation/mask", receive, 10) for camera in CAMERAS
        ]

    def send(self, number: int) -> tuple[int, float]:
        """A frame of one camera: what its mask is found by, and when it was sent (s)."""
        image = self.peer.stamp(message_from_pixels(np.zeros((*SIZE, 3), np.uint8), "rgb8", Header()))
        sent = time.time()
        self.publishers[number].publish(image)
        return image.header.stamp.sec, sent

    def wait_for(self, *frames: int, timeout: float = 10.0) -> bool:
        return self.peer.spin_until(lambda: self.arrived.keys() >= {*frames}, timeout)


@pytest.fixture(scope="module")
def cameras(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cameras]:
    """Two cameras that have been answered by a node of their own."""
    folder, domain = tmp_path_factory.mktemp("node"), next_domain()
    save_brightness_weights(folder / "brightness.safetensors", SIZE)
    topics = ", ".join(f"{camera}/image_raw" for camera in CAMERAS)
    parameters = {"weights": folder / "brightness.safetensors", "backbone": "xception_b", "image_topics": f"[{topics}]"}
    with NodeProcess(domain, folder / "node.log", **parameters) as node, Peer(domain) as peer:
        node.wait_until_ready()
        both = Cameras(peer)
        for number in range(len(CAMERAS)):  # the node may not know us at the first frames
            assert any(both.wait_for(both.send(number)[0], timeout=2.0) for _ in range(20))
        yield both


def test_frames_that_come_within_the_wait_are_one_batch(cameras: Cameras) -> None:
    assert cameras.peer.set_parameter("/segmentation_node", "batch_wait", WAIT) == (True, "")
    whole = []
    for _ in range(3):
        first, start = cameras.send(0)
        time.sleep(APART)
        second, later = cameras.send(1)
        assert cameras.wait_for(first, second)
        assert cameras.arrived[first] > later, "the first frame waits for the second"
        whole.append(cameras.arrived[second] - start)
    assert min(whole) < WAIT, "with frames of all cameras there is nothing to wait for"


def test_a_silent_camera_delays_the_others_by_the_wait_only(cameras: Cameras) -> None:
    assert cameras.peer.set_parameter("/segmentation_node", "batch_wait", WAIT) == (True, "")
    latencies = []
    for _ in range(3):
        frame, sent = cameras.send(0)
        assert cameras.wait_for(frame)
        latencies.append(cameras.arrived[frame] - sent)
    assert min(latencies) >= WAIT
    assert min(latencies) < 2 * WAIT


def test_without_a_wait_no_frame_waits(cameras: Cameras) -> None:
    assert cameras.peer.set_parameter("/segmentation_node", "batch_wait", 0.0) == (True, "")
    latencies = []
    for number in (0, 1, 0, 1):
        frame, sent = cameras.send(number)
        assert cameras.wait_for(frame)
        latencies.append(cameras.arrived[frame] - sent)
    assert min(latencies) < WAIT


def test_a_camera_whose_masks_nobody_wants_is_not_waited_for(cameras: Cameras) -> None:
    assert cameras.peer.set_parameter("/segmentation_node", "batch_wait", WAIT) == (True, "")
    cameras.peer.node.destroy_subscription(cameras.masks.pop())
    latencies = []
    for _ in range(6):  # the node may not know at once that nobody subscribes any more
        cameras.send(1)
        cameras.peer.spin_for(APART)
        frame, sent = cameras.send(0)
        assert cameras.wait_for(frame)
        latencies.append(cameras.arrived[frame] - sent)
    assert min(latencies) < WAIT
