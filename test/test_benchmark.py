"""`python -m dfanet_ros.benchmark` on a small network: the real nodes over real DDS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pytest
import torch

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from conftest import lively_network
from rclpy.subscription import Subscription
from ros_harness import next_domain

from dfanet_ros.benchmark import feed
from dfanet_ros.benchmark.results import Measured, device_table, engine_table, node_table
from dfanet_ros.benchmark.start import Started, table
from dfanet_ros.benchmark.yardsticks import KERNELS, Work, Yardsticks, work_of

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[1]
needs_newer_rclpy = pytest.mark.skipif(
    not hasattr(Subscription, "get_publisher_count"), reason="rclpy of Humble says neither publishers nor their times"
)


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "dfanet_ros.benchmark", "--rounds", "1", *arguments],
        cwd=ROOT,
        # One thread: two wait for each other on a busy machine.
        env={**os.environ, "ROS_DOMAIN_ID": str(next_domain()), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=280)  # more than it waits for its nodes
    except subprocess.TimeoutExpired:
        process.terminate()  # not killed: it has to end its nodes
        output, errors = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def rows(markdown: str) -> dict[str, list[float]]:
    """The numbers of each row of the table, by its first column."""
    return {name: [float(value) for value in values] for name, values in cells(markdown).items()}


def cells(markdown: str) -> dict[str, list[str]]:
    lines = [line.strip("| ").split("|") for line in markdown.partition("|---:|\n")[2].splitlines()]
    return {name.strip(): values for name, *values in lines}


def rounding(printed: str) -> float:
    """By how much a number may differ from what is printed."""
    return 0.5 * 10.0 ** -len(printed.strip().partition(".")[2])


@needs_newer_rclpy
def test_every_engine_is_measured(random_weights: Path, tmp_path: Path) -> None:
    """Network, segmenter and node with PyTorch, which is everywhere; the table has what the JSON has."""
    weights = ["--weights", str(random_weights), "--sizes", "64x96", "90x122", "--batches", "1", "3"]
    finished = benchmark(*weights, "--engines", "torch", "--device", "cpu", "--out", str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    stored = json.loads((tmp_path / "benchmark.json").read_text())
    measured = [Measured(**{**row, "size": tuple(row["size"])}) for row in stored["measured"]]
    assert [(row.precision, row.size, row.batch) for row in measured] == [
        (precision, size, batch) for size in ((64, 96), (90, 122)) for precision in ("fp32", "bf16") for batch in (1, 3)
    ]
    for row in measured:
        assert 0 < row.floor < median(row.network)
        assert len(row.segmenter) == len(row.network) == len(row.eager) > 0
        assert row.same == 100 if row.precision == "fp32" else 80 < row.same < 100  # close classes
        assert bool(row.frame and row.latency) == (row.size == (64, 96) and row.batch == 1)
    assert engine_table(measured) in finished.stdout
    assert node_table(measured) in finished.stdout
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_engines_are_measured_without_ros(random_weights: Path) -> None:
    code = """
import runpy, sys
sys.modules["rclpy"] = None
runpy.run_module("dfanet_ros.benchmark", run_name="__main__")
"""
    arguments = ["--no-node", "--rounds", "1", "--weights", random_weights, "--sizes", "64x96", "--device", "cpu"]
    command = [sys.executable, "-c", code, *map(str, arguments), "--engines", "torch"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert finished.returncode == 0, finished.stderr
    assert "| 64 x 96 | 1 | torch fp32 |" in finished.stdout


def test_ratios_are_to_pytorch_and_to_the_floor() -> None:
    reference = Measured("w", "torch", "fp32", (8, 8), 1, 1.0, [10.0, 30.0, 20.0], [25.0], eager=[50.0])
    other = Measured("w", "openvino", "bf16", (8, 8), 1, 2.0, [4.0], [5.0], eager=[50.0], same=99.876)
    rows = engine_table([reference, other]).splitlines()
    assert rows[2] == "| w | 8 x 8 | 1 | torch fp32 | 20.0 | 1.00 | 20.0 | 25.0 | 20 % | 0.50 | 100.00 % |"
    assert rows[3] == "| w | 8 x 8 | 1 | openvino bf16 | 4.00 | 0.20 | 2.0 | 5.00 | 20 % | 0.10 | 99.88 % |"


def test_frames_a_second_on_a_gpu() -> None:
    row = Measured("w", "cuda_graph", "fp16", (8, 8), 8, 0.4, [0.5], [5.0], [0.7, 1.0, 0.8])
    on_cpu = Measured("w", "torch", "fp32", (8, 8), 8, 0.4, [0.5], [5.0])
    assert device_table([row, on_cpu]).splitlines()[2:] == ["| w | 8 x 8 | 8 | cuda_graph fp16 | 0.800 | 10000 | 2.0 |"]


def test_a_depthwise_convolution_goes_with_the_next_kernel() -> None:
    """DFANet A: the stem, three separable convolutions in each of 42 blocks, 9 projections, and the decoder's."""
    work = work_of(lively_network(), (64, 96))
    assert work.kernels > 1 + 3 * 42 + 9
    assert work.kernels < 200


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_the_floor_of_a_gpu_counts_kernels() -> None:
    yardsticks = Yardsticks(torch.device("cuda"))
    yardsticks.measure("fp16")
    assert 1e-7 < yardsticks.seconds_per_kernel < 1e-4
    kernels = 1000 * yardsticks.seconds_per_kernel
    assert yardsticks.floor(Work(0, 0, 1000), 1, "fp16") == pytest.approx(1e3 * kernels)


def test_the_floor_is_the_longer_of_arithmetic_and_memory() -> None:
    class OneLayer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Conv2d(3, 5, 3, stride=2, padding=1)

        def coarse_logits(self, images: torch.Tensor) -> torch.Tensor:
            return self.layer(images)

    work = work_of(OneLayer(), (8, 12))
    outputs = 5 * 4 * 6
    assert work == (2 * outputs * 3 * 9, 3 * 8 * 12 + outputs + 5 * 3 * 9 + 5, 1)
    yardsticks = Yardsticks(torch.device("cpu"))
    yardsticks.measure("fp32")
    rate, copied = yardsticks.operations_per_second("fp32"), yardsticks.bytes_per_second
    assert rate > 1e8 and copied > 1e8
    assert yardsticks.floor(Work(rate, 0), 2, "fp32") == pytest.approx(2000)
    assert yardsticks.floor(Work(0, copied), 3, "fp32") == pytest.approx(12000)
    assert yardsticks.floor(Work(rate, copied, 100), 1, "fp32") == pytest.approx(4000), "no kernels on the CPU"
    yardsticks.seconds["kernels"] = [KERNELS * 1e-2]
    assert yardsticks.floor(Work(rate, copied, 100), 1, "fp32") == pytest.approx(5000)


@needs_newer_rclpy
def test_one_node_is_compared_with_one_node_for_each_camera(random_weights: Path) -> None:
    small = ["--weights", str(random_weights), "--sizes", "64x96", "--engines", "torch"]
    finished = benchmark("--cameras", "2", "--rate", "4", "--seconds", "1.5", *small)
    assert finished.returncode == 0, finished.stderr
    assert "| 2 cameras, 640 x 480 | one node | 2 nodes | ratio |" in finished.stdout
    table = rows(finished.stdout)
    assert len(table) == (9 if "GPU memory" in finished.stdout else 8)
    for name, (one, many, ratio) in table.items():
        assert min(one, many) > 0, f"{name} has to be measured of both"
        of_one, of_many, _ = map(rounding, cells(finished.stdout)[name])
        assert (one - of_one) / (many + of_many) - 0.006 < ratio < (one + of_one) / (many - of_many) + 0.006
    throughput = table["4 frames/s a camera: masks/s of all cameras"]
    assert max(throughput[:2]) <= 8.1, "no more masks than frames"
    resident = table["memory, MB (RSS of all nodes)"]
    together = table["memory, MB (what the nodes share counts once)"]
    assert resident[2] < 0.8, "one process is smaller than two"
    assert together[0] == resident[0], "one node shares nothing with itself"
    assert resident[1] / 2 < together[1] < resident[1]


def test_the_start_is_measured(random_weights: Path, tmp_path: Path) -> None:
    """Step by step, in the order in which they happen; the table has what the JSON has."""
    weights = ["--weights", str(random_weights), "--sizes", "64x96", "--device", "cpu"]
    finished = benchmark("--start", *weights, "--engines", "torch", "--rounds", "2", "--out", str(tmp_path))
    assert finished.returncode == 0, finished.stderr
    stored = json.loads((tmp_path / "start.json").read_text())
    (row,) = (Started(**row) for row in stored["measured"])
    assert row.engine == "torch"
    *steps, end = row.seconds
    assert {"node made", "engine ready", "node active", "first mask received"} <= {*steps}
    assert end == "Ctrl-C to its end"
    for number in range(2):
        moments = [row.seconds[step][number] for step in steps]
        assert moments[0] > 0 and moments == sorted(moments)
    assert table([row]) in finished.stdout


def test_a_frame_is_measured_stage_by_stage(random_weights: Path) -> None:
    finished = benchmark("--stages", "--weights", str(random_weights), "--sizes", "64x96", "--engines", "torch")
    assert finished.returncode == 0, finished.stderr
    table = rows(finished.stdout)
    assert [*table] == [
        "resize, channels, normalisation",
        "network, torch fp32",
        "network, torch bf16",
        "logits to a label map at 64 x 96",
        "to 1280 x 720",
    ]
    assert all(0 <= value < 10_000 for (value,) in table.values())
    assert table["network, torch fp32"][0] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cameras", "0"], "--cameras is 0, but has to be from 1 to 64"),
        (["--seconds", "0"], "--seconds is 0, but has to be more than 0 and at most 3600"),
        (["--cameras", "2", "--weights", "nothing"], "nothing"),
        (["--sizes", "512"], "a size is '512', but has to be HEIGHTxWIDTH, such as 512x1024"),
        (["--batches", "0"], "--batches are [0], but have to be from 1 to 256"),
        (["--device", "cpu", "--engines", "cuda_graph"], "engine is 'cuda_graph', but it needs a CUDA device"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(arguments: list[str], says: str) -> None:
    finished = benchmark(*arguments)
    assert finished.returncode != 0
    assert says in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_camera_whose_first_frames_are_lost_sends_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []

    class Ends:
        """A publisher and a subscription that have found the node."""

        publish = sent.append

        def get_subscription_count(self) -> int:
            return 1

        get_publisher_count = get_subscription_count

    class Node:
        """ROS, which loses all frames but the third."""

        def create_publisher(self, *_: object) -> Ends:
            return Ends()

        def create_subscription(self, *_: object, raw: bool) -> Ends:
            return Ends()

        def spin_once(self, timeout_sec: float) -> None:
            time.sleep(timeout_sec)
            if len(sent) > feed.IN_FLIGHT and not camera.latencies:
                camera._receive(sent[-1], {"source_timestamp": time.time_ns()})

    monkeypatch.setattr(feed, "RESEND_AFTER", 0.1)
    camera = feed.Camera(Node(), "/camera/image_raw", bytes(12))
    cameras = feed.Feed()
    cameras._executor = Node()
    assert cameras.connect([camera], 5, lambda: None)
