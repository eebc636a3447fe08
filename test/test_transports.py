"""config/fastdds.xml: a node with it talks to processes with LARGE_DATA and to processes without, large images too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from brightness import save_brightness_weights
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_harness import NodeProcess, Peer, next_domain
from std_msgs.msg import Header

from dfanet_ros.image_messages import message_from_pixels

PROFILE = Path(__file__).parents[1] / "config/fastdds.xml"
RECEIVE_BUFFER = Path("/proc/sys/net/core/rmem_max")
SIZE = (720, 1280)
FRAMES = 10


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a node runs with the profile; the topic of its second camera is reliable."""
    folder, domain = tmp_path_factory.mktemp("node"), next_domain()
    save_brightness_weights(folder / "brightness.safetensors", (96, 128))
    topics = {"best_effort": "/best_effort/image_raw", "reliable": "/reliable/image_raw"}
    with pytest.MonkeyPatch.context() as patch:
        # Fast DDS 3 knows the first one, Fast DDS 2 (Jazzy) the second.
        patch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(PROFILE))
        patch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(PROFILE))
        node = NodeProcess(
            domain,
            folder / "node.log",
            *("-p", f"qos_overrides.{topics['reliable']}.subscription.reliability:=reliable"),
            image_topics=f"[{', '.join(topics.values())}]",
            weights=folder / "brightness.safetensors",
            backbone="xception_b",
        )
    with node:
        node.wait_until_ready()
        yield domain


@pytest.mark.parametrize("transports", ["DEFAULT", "LARGE_DATA"])
@pytest.mark.parametrize("reliability", ["best_effort", "reliable"])
def test_large_images_arrive_in_both_directions(
    domain: int, reliability: str, transports: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if (transports, reliability) == ("DEFAULT", "best_effort") and int(RECEIVE_BUFFER.read_text()) < 4 << 20:
        pytest.skip("net.core.rmem_max is below 4 MB: the kernel has no room for an image")
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", transports)  # of the participant that is made next
    policy = ReliabilityPolicy[reliability.upper()]
    topic = f"/{reliability}/segmentation/color_mask"
    image = message_from_pixels(np.full((*SIZE, 3), 128, np.uint8), "rgb8", Header())
    with Peer(domain) as peer:
        peer.subscribe(topic, qos=QoSProfile(depth=1, reliability=policy))
        publisher = peer.publisher(f"/{reliability}/image_raw", policy)
        peer.exchange(publisher, image, topic)
        arrived = 0
        for _ in range(FRAMES):
            publisher.publish(peer.stamp(image))
            arrived += peer.spin_until(lambda: peer.result(image, topic), 4.0)  # a lost part is sent again after 3 s
    assert arrived >= 0.8 * FRAMES, "with default settings on both sides none does, best effort"
