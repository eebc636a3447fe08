"""Large images: config/fastdds.xml, with which a process talks to all others, and LARGE_DATA, if all have it.

With default settings on both sides, no image of 1080p arrives, best effort (transports.py has a table of all).
"""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from transports import Case, Shares, measure

from dfanet_ros.transports import LARGE_DATA

RECEIVE_BUFFER = Path("/proc/sys/net/core/rmem_max")
FRAMES = 20
# Half are enough: the processor may be busy, and the newest image takes the place of the one before.
ENOUGH = 0.5

DEFAULTS = Case("default", "default", "1080p")
OTHERS = Case("LARGE_DATA", "LARGE_DATA", "1080p")
SAME = Case("fastdds.xml", "fastdds.xml", "1080p")


@pytest.fixture(scope="module")
def with_profile() -> dict[Case, Shares]:
    """What arrives where the node has config/fastdds.xml, as the launch files give it."""
    return measure("fastdds.xml", [DEFAULTS, OTHERS, SAME], FRAMES)


def enough(shares: Shares) -> bool:
    return None not in (shares.frames, shares.masks) and min(shares.frames or 0, shares.masks or 0) >= ENOUGH


@pytest.mark.parametrize("case", [OTHERS, SAME], ids=lambda case: case.camera)
def test_the_launch_files_node_gets_best_effort_images(with_profile: dict[Case, Shares], case: Case) -> None:
    assert enough(with_profile[case]), with_profile


def test_the_launch_files_node_sees_processes_with_default_transports(with_profile: dict[Case, Shares]) -> None:
    if int(RECEIVE_BUFFER.read_text()) < 4 << 20:
        pytest.skip("net.core.rmem_max is below 4 MB: the kernel has no room for an image")
    assert enough(with_profile[DEFAULTS]), with_profile


def test_the_launch_files_node_gets_reliable_images_from_default_transports() -> None:
    shares = measure("fastdds.xml", [DEFAULTS], FRAMES, reliability="reliable")
    assert enough(shares[DEFAULTS]), shares


def test_frames_of_a_camera_with_the_profile_reach_a_node_without() -> None:
    case = Case("fastdds.xml", "default", "1080p")
    shares = measure("default", [case], FRAMES)[case]
    assert shares.frames is not None and shares.frames >= ENOUGH, shares


def test_large_data_is_enough_where_all_have_it() -> None:
    case = Case(LARGE_DATA, LARGE_DATA, "1080p")
    shares = measure(LARGE_DATA, [case], FRAMES)[case]
    assert enough(shares), shares
