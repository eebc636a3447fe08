"""`python -m dfanet_ros.benchmark` on a small network: the real nodes over real DDS."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros_harness import next_domain

ROOT = Path(__file__).parents[1]


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dfanet_ros.benchmark", "--rounds", "1", *arguments],
        cwd=ROOT,
        env={**os.environ, "ROS_DOMAIN_ID": str(next_domain())},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        process.terminate()  # not killed: it has to end its nodes
        output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def rows(markdown: str) -> dict[str, list[float]]:
    """The numbers of each row of the table, by its first column."""
    lines = [line.strip("| ").split("|") for line in markdown.partition("|---:|\n")[2].splitlines()]
    return {name.strip(): [float(value) for value in values] for name, *values in lines}


def test_one_node_is_compared_with_one_node_for_each_camera(random_weights: Path) -> None:
    small = ["--weights", str(random_weights), "--input-height", "64", "--input-width", "96"]
    finished = benchmark("--cameras", "2", "--rate", "4", "--seconds", "1.5", *small)
    assert finished.returncode == 0, finished.stderr
    assert "| 2 cameras, 640 x 480 | one node | 2 nodes | ratio |" in finished.stdout
    table = rows(finished.stdout)
    assert len(table) == (9 if "GPU memory" in finished.stdout else 8)
    for name, (one, many, ratio) in table.items():
        assert min(one, many) > 0, f"{name} has to be measured of both"
        assert ratio == pytest.approx(one / many, rel=0.1, abs=0.01)
    throughput = table["4 frames/s a camera: masks/s of all cameras"]
    assert max(throughput[:2]) <= 8.1, "no more masks than frames"
    assert table["memory, MB (RSS of all nodes)"][2] < 0.8, "one process is smaller than two"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cameras", "0"], "--cameras is 0, but has to be from 1 to 64"),
        (["--seconds", "0"], "--seconds is 0, but has to be more than 0 and at most 3600"),
        (["--cameras", "2", "--weights", "nothing"], "nothing"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(arguments: list[str], says: str) -> None:
    finished = benchmark(*arguments)
    assert finished.returncode != 0
    assert says in finished.stderr
    assert "Traceback" not in finished.stderr
