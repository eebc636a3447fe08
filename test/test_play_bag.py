"""The player of bags over real DDS: what it publishes, when, and what it says of bags that it cannot play."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")

from bag_files import STRING, text, write_bag
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import Peer, next_domain
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import String

from dfanet_ros.bags import BagError
from dfanet_ros.bags.images import header_of, image_bytes
from dfanet_ros.bags.reader import BagReader, typestore
from dfanet_ros.bags.writer import BagWriter
from dfanet_ros.play_bag import Player

IMAGES, TEXTS, ODOMETRY = "/camera/image_raw", "/texts", "/odometry"
START = 1_700_000_000 * 10**9
TIMES = [0.0, 0.1, 0.15, 0.5, 0.5, 0.9, 1.2]  # seconds of the images


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images at odd times, texts between them, and a topic of a type that PyPI's ROS does not have."""
    path = tmp_path_factory.mktemp("bag") / "bag"
    types = {IMAGES: "sensor_msgs/msg/Image", TEXTS: "std_msgs/msg/String", ODOMETRY: "nav_msgs/msg/Odometry"}
    with BagWriter(path, types) as writer:
        for number, seconds in enumerate(TIMES):
            received = START + round(seconds * 1e9)
            pixels = np.random.default_rng(number).integers(0, 256, (24, 32, 3), np.uint8)
            # Stamped before they were received, as those of real cameras are.
            writer.write(IMAGES, received, image_bytes(pixels, "rgb8", header_of(received - 10**7, "camera")))
            text = typestore().types["std_msgs/msg/String"](f"after image {number}")
            writer.write(TEXTS, received + 1000, typestore().serialize_cdr(text, "std_msgs/msg/String"))
    return path


@contextmanager
def player(domain: int, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dfanet_ros.play_bag", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def fake_player(publisher: Callable[[], object], kind: str = STRING) -> Player:
    """A player whose publishers are others; plays at once."""
    node: Any = SimpleNamespace(create_publisher=lambda *_: publisher())
    return Player(node, {TEXTS: kind}, 1e6, (), clock=True, stopped=lambda: False)


class Listener:
    """Keeps the serialized messages of both topics, and when they came, and the times on /clock."""

    def __init__(self, peer: Peer, images: str = IMAGES) -> None:
        self.came: list[tuple[str, bytes, float]] = []
        self.clock: list[int] = []
        for name, kind, topic in ((IMAGES, Image, images), (TEXTS, String, TEXTS)):
            peer.node.create_subscription(kind, topic, partial(self._receive, name), 10, raw=True)
        peer.node.create_subscription(Clock, "/clock", self._tell, 1000)

    def of(self, topic: str) -> list[bytes]:
        return [message for name, message, _ in self.came if name == topic]

    @property
    def jumps(self) -> int:
        """How often the time has jumped back."""
        return int((np.diff(self.clock) < 0).sum())

    def _receive(self, topic: str, message: bytes) -> None:
        self.came.append((topic, message, time.monotonic()))

    def _tell(self, message: Clock) -> None:
        self.clock.append(message.clock.sec * 10**9 + message.clock.nanosec)


def recorded(bag: Path, topic: str) -> list[bytes]:
    """The messages of a topic as they arrive: DDS fills them up to whole words."""
    with BagReader(bag) as reader:
        messages = [bytes(message) for _, _, message in reader.messages([topic])]
    return [message + bytes(-len(message) % 4) for message in messages]


def test_messages_come_to_the_byte_in_order_in_their_time_and_with_the_clock(bag: Path) -> None:
    domain = next_domain()
    with Peer(domain) as peer:
        listener = Listener(peer)
        with player(domain, bag, "--clock", "--wait", 30, "--topics", IMAGES, TEXTS) as process:
            assert peer.spin_until(lambda: process.poll() is not None, 60)
            output, errors = process.communicate()
        peer.spin_for(0.2)
    assert (process.returncode, errors) == (0, "")
    assert output == f"played 14 messages of {bag}\n"
    for topic in (IMAGES, TEXTS):
        assert listener.of(topic) == recorded(bag, topic)
    times = np.array([came for topic, _, came in listener.came if topic == IMAGES])
    # None comes before its time; that some come late is the machine's doing.
    lateness = (times - times[0]) - TIMES
    assert lateness.min() > -0.1
    assert np.median(lateness) < 0.2
    assert listener.clock == sorted(listener.clock)
    assert (listener.clock[0], listener.clock[-1]) == (START, START + round(TIMES[-1] * 1e9) + 1000)
    assert len(listener.clock) > 40, "the time passes between the messages, too"


def test_rate_remapping_and_chosen_topics(bag: Path) -> None:
    domain = next_domain()
    with Peer(domain) as peer:
        listener = Listener(peer, images="/front/image_raw")
        remap = ("--ros-args", "-r", f"{IMAGES}:=/front/image_raw")
        with player(domain, bag, "--rate", 0.5, "--wait", 30, "--topics", IMAGES, *remap) as process:
            assert peer.spin_until(lambda: process.poll() is not None, 60)
        peer.spin_for(0.2)
    assert process.returncode == 0
    assert listener.of(IMAGES) == recorded(bag, IMAGES)
    assert not listener.of(TEXTS) and not listener.clock
    assert 2.2 < listener.came[-1][2] - listener.came[0][2] < 5


def test_loop_begins_again_with_its_time_until_interrupted(bag: Path) -> None:
    domain = next_domain()
    with Peer(domain) as peer:
        listener = Listener(peer)
        arguments = (bag, "--loop", "--clock", "--wait", 30, "--topics", IMAGES)
        with player(domain, *arguments) as process:
            assert peer.spin_until(lambda: listener.jumps >= 2 and len(listener.of(IMAGES)) >= 2 * len(TIMES), 60)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 130
    played = recorded(bag, IMAGES)
    assert listener.of(IMAGES)[: 2 * len(TIMES)] == played + played


def test_time_does_not_jump_back_in_one_round() -> None:
    """Also where messages are out of order, as in an MCAP file without its index."""
    published: list[int] = []

    class Publisher:
        def publish(self, message: object) -> None:
            if isinstance(message, Clock):
                published.append(message.clock.sec * 10**9 + message.clock.nanosec)

        def wait_for_all_acked(self, _: object) -> None: ...

    player = fake_player(Publisher)
    for _ in range(2):
        assert player.play([(TEXTS, START + after, text("-")) for after in (0, 5000, 2000, 7000)]) == 4
        assert published == sorted(published)
        assert {START, START + 5000, START + 7000} <= {*published} and START + 2000 not in published
        published.clear()


@pytest.mark.skipif(importlib.util.find_spec("nav_msgs") is not None, reason="nav_msgs is installed here")
def test_types_that_are_not_installed_are_left_out_or_refused(bag: Path) -> None:
    with player(next_domain(), bag, "--rate", 10) as process:
        output, errors = process.communicate(timeout=60)
    assert f"note: {ODOMETRY} is not played: the message type nav_msgs/msg/Odometry is not installed" in errors
    assert (process.returncode, output) == (0, f"played 14 messages of {bag}\n")
    with player(next_domain(), bag, "--topics", ODOMETRY) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "error: the message type nav_msgs/msg/Odometry is not installed\n")


@pytest.mark.parametrize("kind", ["", "/", "__schemaless__", "std_msgs/msg/None"])
def test_what_is_no_type_is_refused(kind: str) -> None:
    with pytest.raises(BagError, match=f"the message type {kind} is not installed"):
        fake_player(object, kind)


def test_what_cannot_be_opened_is_said(bag: Path, tmp_path: Path) -> None:
    shutil.copytree(bag, tmp_path / "bag")
    (tmp_path / "bag/metadata.yaml").unlink()
    (tmp_path / "bag/metadata.yaml").mkdir()
    with player(next_domain(), tmp_path / "bag") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == f"error: [Errno 21] Is a directory: '{tmp_path}/bag/metadata.yaml'\n"


def test_what_was_latched_comes_to_late_subscribers(tmp_path: Path) -> None:
    domain, latched, passing = next_domain(), "/latched", "/passing"
    messages = [(latched, START, text("for all")), (passing, START, text("gone")), (passing, START + 10**11, text("-"))]
    bag = write_bag(tmp_path / "bag", dict.fromkeys((latched, passing), STRING), messages, latched=[latched])
    came: list[str] = []
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with Peer(domain) as peer, player(domain, bag):
        assert peer.spin_until(lambda: peer.node.count_publishers(passing) > 0, 60)
        peer.spin_for(1)  # by now, both have been played
        peer.node.create_subscription(String, passing, lambda message: came.append(message.data), 1)
        peer.node.create_subscription(String, latched, lambda message: came.append(message.data), qos)
        assert peer.spin_until(lambda: bool(came), 60)
        peer.spin_for(0.5)
    assert came == ["for all"]


def test_waits_only_so_long(bag: Path) -> None:
    with player(next_domain(), bag, "--rate", 10, "--wait", 0.2, "--topics", TEXTS) as process:
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (0, f"played 7 messages of {bag}\n")
    assert f"note: nobody subscribes to {TEXTS}; playing all the same" in errors


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["/none"], 1, "error: there is no bag /none"),
        (["{bag}", "--topics", "/a", TEXTS, "/b"], 1, "error: there is no topic /a and no /b in the bag; it has "),
        (["{bag}", "--rate", "0"], 2, "--rate is 0, but has to be more than 0"),
        (["{bag}", "--wait", "-1"], 2, "--wait is -1, but has to be 0 or more"),
        (["{bag}", "--delay", "-1"], 2, "--delay is -1, but has to be 0 or more"),
    ],
    ids=str,
)
def test_what_cannot_be_played_is_said(bag: Path, arguments: list[str], code: int, says: str) -> None:
    with player(next_domain(), *(argument.format(bag=bag) for argument in arguments)) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert says in errors and "Traceback" not in errors
