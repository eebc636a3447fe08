"""The node's states: every transition, over real services; what fails is said and can be tried again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from brightness import blocks, save_brightness_weights
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from ros_harness import NodeProcess, Peer, next_domain
from std_msgs.msg import Header

from dfanet_ros.image_messages import message_from_pixels

SIZE = (96, 128)
NODE = "/segmentation_node"
MASK = "/camera/segmentation/mask"
TRANSITIONS = {"configure": 1, "cleanup": 2, "activate": 3, "deactivate": 4}
SHUTDOWN = {"unconfigured": 5, "inactive": 6, "active": 7}  # by the state before
WAY = {"unconfigured": (), "inactive": ("configure",), "active": ("configure", "activate")}  # to a state
FAILING = str(Path(__file__).with_name("failing_node.py"))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "brightness.safetensors"
    save_brightness_weights(path, SIZE)
    return path


@pytest.fixture
def peer_and_domain() -> Iterator[tuple[Peer, int]]:
    domain = next_domain()
    with Peer(domain) as peer:
        yield peer, domain


def start(log: Path, domain: int, default_weights: Path, **parameters: Any) -> NodeProcess:
    defaults = {"weights": default_weights, "backbone": "xception_b", "image_topics": "[/camera/image_raw]"}
    return NodeProcess(domain, log, **{**defaults, **parameters})


def state(peer: Peer) -> str:
    return peer.call(GetState, f"{NODE}/get_state", GetState.Request()).current_state.label


def change(peer: Peer, transition: str) -> bool:
    request = ChangeState.Request()
    request.transition.id = SHUTDOWN[state(peer)] if transition == "shutdown" else TRANSITIONS[transition]
    return peer.call(ChangeState, f"{NODE}/change_state", request).success


def frame(seed: int = 0) -> Any:
    return message_from_pixels(blocks(*SIZE, seed=seed)[0], "mono8", Header(frame_id="camera"))


def test_the_whole_life(weights: Path, tmp_path: Path, peer_and_domain: tuple[Peer, int]) -> None:
    peer, domain = peer_and_domain
    publisher = peer.publisher("/camera/image_raw")
    peer.subscribe(MASK)
    with start(tmp_path / "node.log", domain, weights, autostart=False) as node:
        assert state(peer) == "unconfigured"
        assert publisher.get_subscription_count() == 0
        for _ in range(2):  # a second life is as the first
            assert change(peer, "configure") and state(peer) == "inactive"
            peer.spin_for(0.5)
            assert publisher.get_subscription_count() == 0
            assert change(peer, "activate") and state(peer) == "active"
            peer.exchange(publisher, frame(), MASK)
            assert change(peer, "deactivate") and state(peer) == "inactive"
            assert peer.spin_until(lambda: publisher.get_subscription_count() == 0)
            assert change(peer, "activate")
            peer.exchange(publisher, frame(1), MASK)
            assert change(peer, "deactivate")
            assert change(peer, "cleanup") and state(peer) == "unconfigured"
            assert peer.spin_until(lambda: not peer.node.get_publishers_info_by_topic(MASK))
        assert node.stop() == 0
        assert "Traceback" not in node.text and "[ERROR]" not in node.text


@pytest.mark.parametrize("before", SHUTDOWN)
def test_shutdown_takes_everything_back(
    weights: Path, tmp_path: Path, peer_and_domain: tuple[Peer, int], before: str
) -> None:
    peer, domain = peer_and_domain
    publisher = peer.publisher("/camera/image_raw")
    peer.subscribe("/diagnostics", kind=DiagnosticArray)
    with start(tmp_path / "node.log", domain, weights, autostart=False) as node:
        assert all(change(peer, transition) for transition in WAY[before])
        assert change(peer, "shutdown") and state(peer) == "finalized"
        assert peer.spin_until(lambda: not peer.node.get_publishers_info_by_topic(MASK))
        assert peer.spin_until(lambda: publisher.get_subscription_count() == 0)
        arrays = peer.received["/diagnostics"]  # some of them are from the time before
        said = ["no network is loaded: the node is finalized"]
        assert peer.spin_until(lambda: arrays and [status.message for status in arrays[-1].status] == said), arrays[-1:]
        assert node.stop() == 0
        assert "[ERROR]" not in node.text


@pytest.mark.parametrize(
    ("step", "before", "transition", "after"),
    [
        ("Segmenter.warm_up", "unconfigured", "configure", "unconfigured"),
        ("Camera.subscribe", "inactive", "activate", "inactive"),
        ("Camera.unsubscribe", "active", "deactivate", "unconfigured"),
        ("Outputs.destroy", "inactive", "cleanup", "unconfigured"),
        ("Segmenter.close", "inactive", "cleanup", "unconfigured"),
        ("Segmenter.close", "active", "shutdown", "unconfigured"),
    ],
)
def test_a_transition_that_fails_says_why_and_can_be_tried_again(
    weights: Path,
    tmp_path: Path,
    peer_and_domain: tuple[Peer, int],
    step: str,
    before: str,
    transition: str,
    after: str,
) -> None:
    peer, domain = peer_and_domain
    peer.subscribe(MASK)
    publisher = peer.publisher("/camera/image_raw")
    with start(tmp_path / "node.log", domain, weights, autostart=False, program=(FAILING, step)) as node:
        assert all(change(peer, earlier) for earlier in WAY[before]) and state(peer) == before
        assert not change(peer, transition)
        assert state(peer) == after
        node.wait_for_log(rf"(?s)\[ERROR\].*cannot {transition}: Traceback.*RuntimeError: {step} fails for once")
        if after == "inactive":
            assert change(peer, "activate") and change(peer, "deactivate") and change(peer, "cleanup")
        assert peer.spin_until(lambda: not peer.node.get_publishers_info_by_topic(MASK) or step == "Outputs.destroy")
        assert change(peer, "configure") and change(peer, "activate") and state(peer) == "active"
        peer.exchange(publisher, frame(), MASK)
        assert node.stop() == 0
        assert node.text.count("[ERROR]") == 1


def test_weights_that_vanish_between_cleanup_and_configure(
    weights: Path, tmp_path: Path, peer_and_domain: tuple[Peer, int]
) -> None:
    peer, domain = peer_and_domain
    publisher = peer.publisher("/camera/image_raw")
    peer.subscribe(MASK)
    with start(tmp_path / "node.log", domain, weights) as node:
        node.wait_until_ready()
        peer.exchange(publisher, frame(), MASK)
        assert change(peer, "deactivate") and change(peer, "cleanup")
        hidden = weights.rename(tmp_path / "elsewhere")
        assert not change(peer, "configure") and state(peer) == "unconfigured"
        node.wait_for_log(rf"\[ERROR\].*cannot configure: cannot load the weights '{weights}': there is no such file")
        hidden.rename(weights)
        assert change(peer, "configure") and change(peer, "activate")
        peer.exchange(publisher, frame(2), MASK)
        assert node.stop() == 0


@pytest.mark.parametrize(
    ("parameters", "says", "remedy"),
    [
        ({"weights": "/no/such.safetensors"}, "'/no/such.safetensors': there is no such file", "weights"),
        ({"weights": __file__}, "not a whole .safetensors file", "weights"),
        (
            {"backbone": "xception_a"},
            "are of dfanet with xception_b, but dfanet with xception_a was",
            "backbone",
        ),
        (
            {"network": "fast_scnn", "backbone": "auto"},
            "are of dfanet with xception_b, but fast_scnn with xception_b was",
            "network",
        ),
        ({"device": "tpu"}, "device is 'tpu', but has to be auto, cpu, cuda or cuda:N", "device"),
        ({"precision": "fp16", "device": "cpu"}, "the CPU has no fp16 arithmetic", "precision"),
        ({"image_topics": "[/a/x, /a/y]"}, "2 of these would publish to /a/segmentation/mask", "image_topics"),
        ({"image_topics": "['a b']"}, "parameter image_topics has 'a b', which is not a topic name", "image_topics"),
        ({"class_filter": "[road, cra]"}, r"no class 'cra' \(did you mean 'car'\?\)", "class_filter"),
        ({"class_colors": "[road=red]"}, "'road=red' has to be a class and its colour", "class_colors"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_configured_can_be_mended(
    weights: Path,
    tmp_path: Path,
    peer_and_domain: tuple[Peer, int],
    parameters: dict[str, object],
    says: str,
    remedy: str,
) -> None:
    peer, domain = peer_and_domain
    right = {
        "weights": str(weights),
        "backbone": "xception_b",
        "network": "dfanet",
        "device": "cpu",
        "precision": "fp32",
        "image_topics": ["/camera/image_raw"],
        "class_filter": ["road"],
        "class_colors": ["road=#ff0000"],
    }
    with start(tmp_path / "node.log", domain, weights, **parameters) as node:
        node.wait_for_log(rf"\[ERROR\].*cannot configure: .*{says}")
        node.wait_for_log(rf"the node stays unconfigured: .* ros2 lifecycle set {NODE} configure")
        assert state(peer) == "unconfigured"
        assert peer.set_parameter(NODE, remedy, right[remedy]) == (True, "")
        assert change(peer, "configure") and change(peer, "activate")
        peer.subscribe(MASK)
        peer.exchange(peer.publisher("/camera/image_raw"), frame(), MASK)
        assert node.stop() == 0
        assert "Traceback" not in node.text


def test_parameters_are_neither_deleted_nor_refused_for_being_what_they_are(
    weights: Path, tmp_path: Path, peer_and_domain: tuple[Peer, int]
) -> None:
    peer, domain = peer_and_domain
    with start(tmp_path / "node.log", domain, weights, class_filter="[road]") as node:
        node.wait_until_ready()
        assert peer.set_parameter(NODE, "class_filter", None) == (
            False,
            "parameter class_filter cannot be deleted: set it, to [''], say",
        )
        assert peer.set_parameter(NODE, "class_filter", ["car"]) == (True, "")
        assert peer.set_parameter(NODE, "backbone", "xception_b") == (True, "")
        assert not peer.set_parameter(NODE, "backbone", "xception_a")[0]
        assert node.stop() == 0


def test_topics_that_are_remapped_again_are_refused(tmp_path: Path, weights: Path) -> None:
    swapped = ["-r", "/left/image_raw:=/right/image_raw", "-r", "/right/image_raw:=/left/image_raw"]
    parameters = {"weights": weights, "backbone": "xception_b", "image_topics": "[/left/image_raw]"}
    with NodeProcess(next_domain(), tmp_path / "node.log", *swapped, **parameters) as node:
        node.wait_for_log(r"'/left/image_raw', which is remapped to /right/image_raw and that one to /left/image_raw")
        assert node.stop() == 0


def test_a_preparation_that_is_interrupted_does_not_hold_up_the_end(tmp_path: Path, weights: Path) -> None:
    pytest.importorskip("openvino")
    environment = {**os.environ, "ROS_DOMAIN_ID": str(next_domain()), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    parameters = {"weights": weights, "backbone": "xception_b", "engine": "openvino"}
    with NodeProcess(0, tmp_path / "node.log", environment=environment, **parameters) as node:
        node.wait_for_log("preparing the network for openvino")
        begun = time.monotonic()
        assert node.stop() == 0
        assert time.monotonic() - begun < 5
        node.wait_for_log("cannot configure: the network was not prepared to its end")
