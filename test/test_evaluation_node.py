"""The evaluation node over real DDS: masks and labels in, measures out."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("std_srvs.srv", reason="the package std_srvs is not installed")

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import NodeProcess, Peer, next_domain
from sensor_msgs.msg import Image
from std_msgs.msg import Float64, Header, String
from std_srvs.srv import Trigger

from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.label_set import CAMVID, STREET_SCENES
from dfanet_ros.metrics import ConfusionMatrix

MASK, LABEL, CLASSES = "/camera/segmentation/mask", "/camera/label", "/camera/segmentation/label_info_json"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIZE = (12, 16)
STAMPS = itertools.count(1)


class Bench:
    """The node, and a peer that publishes what it compares."""

    def __init__(self, node: NodeProcess, peer: Peer) -> None:
        self.node, self.peer = node, peer
        self.publishers = {topic: peer.node.create_publisher(Image, topic, 10) for topic in (MASK, LABEL)}
        self.classes = peer.node.create_publisher(String, CLASSES, LATCHED)
        peer.subscribe("/camera/evaluation/metrics", kind=String)
        peer.subscribe("/camera/evaluation/miou", kind=Float64)
        peer.subscribe("/diagnostics", kind=DiagnosticArray)
        publishers = [*self.publishers.values(), self.classes]
        assert peer.spin_until(lambda: all(publisher.get_subscription_count() for publisher in publishers))
        assert peer.spin_until(lambda: peer.received["/camera/evaluation/metrics"])

    def publish(self, topic: str, stamp: int, pixels: np.ndarray, encoding: str = "mono8") -> None:
        header = Header(frame_id="camera")
        header.stamp.sec, header.stamp.nanosec = stamp, 999_999_999
        self.publishers[topic].publish(message_from_pixels(pixels, encoding, header))

    def reset(self) -> Trigger.Response:
        return self.peer.call(Trigger, "/camera/evaluation_node/reset", Trigger.Request())

    def metrics(self, **counts: int) -> dict[str, Any]:
        """The measures once these counts are among them."""
        messages = self.peer.received["/camera/evaluation/metrics"]
        messages.clear()
        latest: dict[str, Any] = {}

        def come() -> bool:
            latest.update(json.loads(messages[-1].data) if messages else {})
            return counts.items() <= latest.items()

        assert self.peer.spin_until(come), f"not {counts}, but {latest}; the log:\n{self.node.text}"
        return latest


def start(domain: int, log: Path, **parameters: Any) -> NodeProcess:
    return NodeProcess(domain, log, "-r", "__ns:=/camera", module="evaluation_node", **parameters)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    domain = next_domain()
    with start(domain, tmp_path_factory.mktemp("log") / "node.log") as node, Peer(domain) as peer:
        yield Bench(node, peer)


@pytest.fixture
def bench(shared: Bench) -> Bench:
    shared.classes.publish(String(data=STREET_SCENES.to_json()))
    assert shared.reset().success
    return shared


def ids(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, len(STREET_SCENES), size, np.uint8)


def test_measures_are_those_of_the_frames(bench: Bench) -> None:
    expected = ConfusionMatrix(len(STREET_SCENES))
    for number in range(4):
        mask, truth = ids(number), np.where(ids(10 + number) > 5, ids(20 + number), ids(number)).astype(np.uint8)
        truth[:2] = 255
        expected.update(truth, mask)
        stamp, parts = next(STAMPS), [(MASK, mask), (LABEL, truth)]
        for topic, pixels in parts if number % 2 else reversed(parts):
            bench.publish(topic, stamp, pixels, "8UC1" if topic == LABEL else "mono8")
    metrics = bench.metrics(frames=4)
    assert metrics["confusion"] == expected.counts.tolist()
    assert metrics["miou"] == pytest.approx(expected.miou())
    assert metrics["pixel_accuracy"] == pytest.approx(expected.pixel_accuracy())
    assert [entry["name"] for entry in metrics["classes"]] == STREET_SCENES.names
    assert metrics["refused"] == metrics["masks_without_label"] == metrics["labels_without_mask"] == 0
    mious = bench.peer.received["/camera/evaluation/miou"]
    assert bench.peer.spin_until(lambda: mious and mious[-1].data == pytest.approx(expected.miou()))


def test_other_stamps_do_not_match(bench: Bench) -> None:
    common = next(STAMPS)
    for topic, others in ((MASK, 1), (LABEL, 3)):
        bench.publish(topic, common, ids(0))
        for _ in range(others):
            bench.publish(topic, next(STAMPS), ids(0))
    metrics = bench.metrics(frames=1, masks_without_label=1, labels_without_mask=3)
    assert metrics["miou"] == 100


def test_what_does_not_fit_is_counted_and_said_and_the_next_frame_counts(bench: Bench) -> None:
    for mask, truth in ((ids(0), ids(0, (16, 12))), (ids(0), ids(0) + 200), (ids(0) + 100, ids(0))):
        stamp = next(STAMPS)
        bench.publish(MASK, stamp, mask)
        bench.publish(LABEL, stamp, truth)
    bench.publish(LABEL, next(STAMPS), np.zeros((4, 4, 3), np.uint8), "rgb8")
    bench.publish(MASK, stamp := next(STAMPS), ids(1))
    bench.publish(LABEL, stamp, ids(1))
    metrics = bench.metrics(frames=1, refused=3, unreadable=1)
    assert metrics["miou"] == 100
    bench.node.wait_for_log(r"a frame was not compared: the label is \(16, 12\) but the prediction \(12, 16\)")

    def warns() -> bool:
        statuses = [status for array in bench.peer.received["/diagnostics"] for status in array.status]
        return any(
            status.level == b"\1"
            and status.name == f"camera/evaluation_node: {MASK} against {LABEL}"
            and status.message == "mIoU 100.00 % of 1 frames; some could not be compared (see the log)"
            and ("refused", "3") in [(value.key, value.value) for value in status.values]
            for status in statuses
        )

    assert bench.peer.spin_until(warns)


def test_reset_forgets_the_frames(bench: Bench) -> None:
    for topic in (MASK, LABEL):
        bench.publish(topic, 1_000_000, ids(0))
    bench.metrics(frames=1)
    assert bench.reset().message == "forgot 1 frames"
    assert bench.metrics(frames=0)["miou"] is None


def test_other_classes_begin_anew(bench: Bench) -> None:
    for topic in (MASK, LABEL):
        bench.publish(topic, 1_000_001, ids(0))
    bench.metrics(frames=1)
    bench.classes.publish(String(data=CAMVID.to_json()))
    assert bench.metrics(frames=0, label_set="camvid")["classes"][0]["name"] == CAMVID.names[0]
    bench.classes.publish(String(data="no classes"))
    bench.node.wait_for_log("the classes are others now")
    bench.metrics(label_set="camvid")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_file_has_what_came_before_the_classes_too_and_is_written_at_the_end(
    tmp_path: Path, number: signal.Signals
) -> None:
    domain, out = next_domain(), tmp_path / "new folder" / "metrics.json"
    with start(domain, tmp_path / "log", out=out) as node, Peer(domain) as peer:
        bench = Bench(node, peer)
        for topic in (MASK, LABEL):
            bench.publish(topic, 7, ids(3))
        waiting = bench.metrics(labels_without_mask=1, masks_without_label=1)
        assert "miou" not in waiting
        bench.classes.publish(String(data=STREET_SCENES.to_json()))
        metrics = bench.metrics(frames=1)
        bench.publish(MASK, 8, ids(4))
        metrics = bench.metrics(frames=1, masks_without_label=1)
        assert node.stop(number) == 0
        assert "mIoU: 100.00 (frames 1, refused 0," in node.text and "Traceback" not in node.text
    assert json.loads(out.read_text()) == metrics


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"mask_topic": "label"}, "parameters mask_topic and label_topic are both /camera/label: they have to differ"),
        ({"label_topic": "a//b"}, "parameter label_topic has 'a//b', which is not a topic name"),
        ({"reliability": "none"}, "parameter reliability is 'none', but has to be one of best_effort, reliable"),
        ({"out": "/"}, "parameter out is '/', which is a folder"),
        ({"out": "/dev/null/a.json"}, "parameter out is '/dev/null/a.json', which cannot be written: "),
    ],
    ids=str,
)
def test_wrong_parameters_end_it_with_a_sentence(tmp_path: Path, parameters: dict[str, Any], says: str) -> None:
    with start(next_domain(), tmp_path / "log", **parameters) as node:
        assert node.wait_for_exit() == 1
        assert says in node.text and "Traceback" not in node.text


def test_file_that_can_no_longer_be_written_is_said(tmp_path: Path) -> None:
    out = tmp_path / "metrics.json"
    with start(next_domain(), tmp_path / "log", out=out) as node:
        node.wait_for_log("comparing /camera/segmentation/mask against /camera/label")
        assert json.loads(out.read_text())["frames"] == 0
        out.unlink()
        out.mkdir()
        assert node.stop() == 1
        assert "the measures cannot be written: " in node.text and "Traceback" not in node.text
