"""The launch files as users start them: real processes, a frame in, its mask out."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("launch_pytest", reason="launch_pytest is not installed (it comes from apt)")
pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed (it comes from apt)")

import launch_pytest
from ament_index_python.packages import get_package_share_directory
from brightness import blocks, save_brightness_weights
from launch import LaunchContext, LaunchDescription
from launch.actions import IncludeLaunchDescription, RegisterEventHandler
from launch.event_handlers import OnProcessStart
from launch.events.process import ProcessStarted
from rcl_interfaces.srv import GetParameters
from ros_harness import TRANSPORTS, Peer, next_domain
from std_msgs.msg import Header

from dfanet_ros.image_messages import message_from_pixels
from dfanet_ros.parameters import PARAMETERS

SIZE = (96, 128)

Launched = tuple[LaunchDescription, list[int]]  # what is started, and the processes' ids as they start


def launched(file: str, folder: Path, *others: dict[str, str], **arguments: str) -> Launched:
    """The launch file with arguments, and once more with each of `others`."""
    save_brightness_weights(folder / "brightness.safetensors", SIZE)
    network = {"weights": str(folder / "brightness.safetensors"), "backbone": "xception_b"}
    pids: list[int] = []

    def note(event: ProcessStarted, _: LaunchContext) -> None:
        pids.append(event.pid)

    path = Path(get_package_share_directory("dfanet_ros")) / "launch" / file
    started = RegisterEventHandler(OnProcessStart(on_start=note))
    included = [
        IncludeLaunchDescription(str(path), launch_arguments={**network, **given}.items())
        for given in (arguments, *others)
    ]
    return LaunchDescription([started, *included]), pids


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where nobody else is, for what is launched too; no transports are chosen, and none are left behind."""
    for name in TRANSPORTS:
        monkeypatch.setenv(name, "")  # so that it is restored, for launch changes the environment of this process
        monkeypatch.delenv(name)
    number = next_domain()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
    return number


@launch_pytest.fixture
def one_camera(domain: int, tmp_path: Path) -> Launched:
    return launched("segmentation.launch.py", tmp_path, image_topics="[/camera/image_raw]", respawn="true")


@launch_pytest.fixture
def user_chose(domain: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Launched:
    monkeypatch.setenv("FASTDDS_BUILTIN_TRANSPORTS", "LARGE_DATA")
    return launched("segmentation.launch.py", tmp_path, image_topics="[/camera/image_raw]")


@launch_pytest.fixture
def in_a_namespace(domain: int, tmp_path: Path) -> Launched:
    file = tmp_path / "parameters.yaml"
    file.write_text("/**:\n  ros__parameters:\n    overlay_opacity: 0.25\n    jpeg_quality: 50\n")
    arguments = {"namespace": "robot", "params_file": str(file), "jpeg_quality": "70"}
    return launched("segmentation.launch.py", tmp_path, image_topics="[front/image_raw, /left/image_raw]", **arguments)


@launch_pytest.fixture
def two_cameras(domain: int, tmp_path: Path) -> Launched:
    return launched("multi_camera.launch.py", tmp_path, cameras="[front, left]")


@launch_pytest.fixture
def two_robots(domain: int, tmp_path: Path) -> Launched:
    file = tmp_path / "parameters.yaml"
    file.write_text("/**:\n  ros__parameters:\n    jpeg_quality: 50\n")
    first, second = (
        {"namespace": robot, "cameras": "[front]", "params_file": str(file), "autostart": "True"}
        for robot in ("one", "two")
    )
    return launched("multi_camera.launch.py", tmp_path, second, **first)


def segmented(peer: Peer, camera: str, seed: int) -> None:
    """A frame of this camera comes back as the right mask with the same header."""
    red, ids, certain = blocks(*SIZE, seed)
    image = message_from_pixels(np.stack([red, red, red], 2), "rgb8", Header(frame_id=f"{camera} {seed}"))
    topic = f"{camera}/segmentation/mask"
    peer.subscribe(topic)
    (mask,) = peer.exchange(peer.publisher(f"{camera}/image_raw"), image, topic, timeout=60)
    assert mask.header == image.header
    np.testing.assert_array_equal(np.frombuffer(bytes(mask.data), np.uint8).reshape(SIZE)[certain], ids[certain])


def transports(pid: int) -> dict[str, str]:
    """The choice of transports in the environment of a process."""
    entries = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return {name: value for name, _, value in (entry.partition("=") for entry in entries) if name in TRANSPORTS}


@pytest.mark.launch(fixture=one_camera)
def test_a_camera_is_segmented_again_after_the_node_was_killed(one_camera: Launched, domain: int) -> None:
    pids = one_camera[1]
    with Peer(domain) as peer:
        segmented(peer, "/camera", seed=0)
        (profiles,) = transports(pids[0]).values()
        assert Path(profiles).samefile(Path(get_package_share_directory("dfanet_ros")) / "config/fastdds.xml")
        os.kill(pids[0], signal.SIGKILL)
        assert peer.spin_until(lambda: len(pids) == 2), "the node has to be started again"
        segmented(peer, "/camera", seed=1)


@pytest.mark.launch(fixture=user_chose)
def test_transports_that_the_user_chose_stay(user_chose: Launched, domain: int) -> None:
    with Peer(domain) as peer:
        segmented(peer, "/camera", seed=2)
    assert transports(user_chose[1][0]) == {"FASTDDS_BUILTIN_TRANSPORTS": "LARGE_DATA"}


@pytest.mark.launch(fixture=in_a_namespace)
def test_an_argument_beats_the_params_file_and_a_namespace_holds_relative_topics(
    in_a_namespace: Launched, domain: int
) -> None:
    names = ["overlay_opacity", "jpeg_quality", "max_rate"]
    with Peer(domain) as peer:
        for camera in ("/robot/front", "/left"):
            segmented(peer, camera, seed=4)
        request = GetParameters.Request(names=names)
        opacity, quality, rate = peer.call(GetParameters, "/robot/segmentation_node/get_parameters", request).values
    assert (opacity.double_value, quality.integer_value, rate.double_value) == (0.25, 70, 0.0)


@pytest.mark.launch(fixture=two_cameras)
def test_cameras_share_one_node(two_cameras: Launched, domain: int) -> None:
    with Peer(domain) as peer:
        for camera in ("/front", "/left"):
            segmented(peer, camera, seed=3)
    assert len(two_cameras[1]) == 1


@pytest.mark.launch(fixture=two_robots)
def test_included_twice_the_first_ones_defaults_are_not_given_to_the_second(two_robots: Launched, domain: int) -> None:
    with Peer(domain) as peer:
        for robot in ("one", "two"):
            segmented(peer, f"/{robot}/front", seed=5)
            request = GetParameters.Request(names=["jpeg_quality"])
            (quality,) = peer.call(GetParameters, f"/{robot}/segmentation_node/get_parameters", request).values
            assert quality.integer_value == 50, f"the params file counts for {robot}"


OWN_ARGUMENTS = {
    "segmentation.launch.py": {"params_file", "namespace", "respawn", "rviz", "log_level", "use_sim_time"},
    "multi_camera.launch.py": {"cameras", "image_name"},
    "demo.launch.py": {"source", "live"},
    "evaluate.launch.py": {"bag", "label_topic"},
}


@pytest.mark.parametrize("file", OWN_ARGUMENTS)
def test_arguments_are_listed_with_choices(file: str) -> None:
    if shutil.which("ros2") is None:
        pytest.skip("the command ros2 is not installed (it comes from apt)")
    shown = subprocess.run(
        ["ros2", "launch", "dfanet_ros", file, "--show-args"], capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
    texts = dict(re.findall(r"^ +'(\w+)':\n +(.*)$", shown.stdout, re.MULTILINE))
    assert texts.keys() >= OWN_ARGUMENTS[file] | {parameter.name for parameter in PARAMETERS}
    for parameter in PARAMETERS:
        if parameter.choices and not isinstance(parameter.default, list):
            assert f"Valid choices are: {[*parameter.choices]}" in texts[parameter.name]
