"""What happens to a node in the field: it neither dies nor publishes a mask that is not its frame's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import bad_input
import faults
from mutations import send_strange_messages
from rig import Rig

pytestmark = pytest.mark.timeout(300)  # on a busy machine, and with three cameras
STRANGE_MESSAGES = 400  # 10,000 in soak.py


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with Rig(tmp_path_factory.mktemp("faults")) as rig:
        rig.node.wait_until_ready()
        yield rig


@pytest.fixture
def rig(shared: Rig) -> Iterator[Rig]:
    """A node that does well before and after the fault; a new one where the test before has killed it."""
    if shared.node.process.poll() is not None:
        shared.start()
    shared.check()
    yield shared
    shared.check()


def test_a_killed_node_is_replaced_by_a_new_one(rig: Rig) -> None:
    faults.kill_the_node(rig)


def test_a_camera_is_killed_and_replaced(rig: Rig) -> None:
    faults.replace_the_camera(rig)


def test_size_and_encoding_change_from_frame_to_frame(rig: Rig) -> None:
    faults.change_size_and_encoding(rig)


def test_stamps_repeat_and_lie_outside_of_time(rig: Rig) -> None:
    bad_input.repeat_and_spoil_stamps(rig)


def test_simulated_time_jumps_back(rig: Rig) -> None:
    bad_input.jump_with_the_clock(rig)


def test_a_flood_of_frames(rig: Rig) -> None:
    faults.flood(rig)


def test_strange_messages(rig: Rig) -> None:
    became = send_strange_messages(rig, STRANGE_MESSAGES)
    assert became["refused"] > 0.4 * STRANGE_MESSAGES and became["published"] > 0, became


def test_impossible_images(rig: Rig) -> None:
    bad_input.send_impossible_images(rig)


def test_a_frame_that_fails_takes_no_other_with_it(rig: Rig) -> None:
    bad_input.fail_at_one_camera(rig)


def test_bad_requests(rig: Rig) -> None:
    bad_input.send_bad_requests(rig)


def test_subscribers_come_and_go(rig: Rig) -> None:
    faults.come_and_go(rig)


def test_outputs_change_under_load(rig: Rig) -> None:
    faults.change_outputs_under_load(rig)


def test_weights_are_lost_and_found(rig: Rig) -> None:
    faults.lose_the_weights(rig)
