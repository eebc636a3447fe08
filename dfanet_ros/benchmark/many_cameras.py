"""Several cameras: one node for all of them against one node for each."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch

from dfanet_ros.benchmark.feed import Camera, Feed
from dfanet_ros.benchmark.processes import cpu_seconds, resident_mb, resident_together_mb
from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.node_process import NodeProcess, prepare_process
from dfanet_ros.segmenter import Segmenter, find_weights
from dfanet_ros.serialized import serialized
from dfanet_ros.street_scenes import StreetScenes

FRAME_SIZE = (480, 640)
READY_WITHIN = 120.0  # seconds that all nodes have for loading
LOADS = ("fixed rate", "full load")

Figures = dict[tuple[str, str], list[float]]  # by load and kind


@dataclass
class Arrangement:
    """Some nodes that serve all cameras together, with what was measured of them."""

    nodes: Sequence[NodeProcess]
    cameras: Sequence[Camera]
    figures: Figures = field(default_factory=lambda: defaultdict(list))
    gpu_mb: float = 0.0  # that they took while they started

    @property
    def pids(self) -> list[int]:
        return [node.pid for node in self.nodes]

    def check(self) -> None:
        """Raises NodeError if a node has ended or could not be configured."""
        for node in self.nodes:
            node.check()

    def measure(self, feed: Feed, load: str, seconds: float, rate: float | None) -> None:
        """One round of one load."""
        self.check()
        before = cpu_seconds(self.pids)
        latencies, elapsed = feed.play(self.cameras, seconds, rate)
        if not latencies:
            raise self.nodes[0].error(f"no mask came in {elapsed:.0f} s")
        self.figures[load, "throughput"].append(len(latencies) / elapsed)
        self.figures[load, "latency"] += latencies
        self.figures[load, "cpu"].append((cpu_seconds(self.pids) - before) / len(latencies))


def run(arguments: argparse.Namespace) -> tuple[Segmenter, str]:
    """Measure both arrangements in every round; gives what segments, and a Markdown table."""
    size = arguments.sizes[0]
    engine = arguments.engines[0] if arguments.engines else "auto"
    weights = find_weights(arguments.weights[0])
    # It is what the nodes have, and says so; on a GPU, this process's share is taken before. It also prepares what the
    # nodes then find on disk: the engine, or the kernels that cuda_graph chooses when it first runs.
    segmenter = Segmenter(*load_checkpoint(weights), size, arguments.device, engine=engine)
    segmenter.warm_up(arguments.cameras)
    prepare_process()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        parameters = {
            "weights": str(weights),
            "input_height": size[0],
            "input_width": size[1],
            "device": arguments.device,
            "engine": segmenter.engine.name,
        }
        together = [[f"/together/camera{number}/image_raw" for number in range(arguments.cameras)]]
        apart = [[f"/apart/camera{number}/image_raw"] for number in range(arguments.cameras)]
        feed = stack.enter_context(Feed())
        one = _started(stack, feed, folder, together, parameters, segmenter.device)
        many = _started(stack, feed, folder, apart, parameters, segmenter.device)
        for number in range(1, arguments.rounds + 1):
            print(f"round {number} of {arguments.rounds}", file=sys.stderr)
            for load in LOADS:
                for arrangement in (one, many):
                    rate = arguments.rate if load == LOADS[0] else None
                    arrangement.measure(feed, load, arguments.seconds, rate)
        return segmenter, table(one, many, arguments.cameras, arguments.rate)


def _started(
    stack: ExitStack,
    feed: Feed,
    folder: Path,
    groups: list[list[str]],
    parameters: dict[str, str | int],
    device: torch.device,
) -> Arrangement:
    """One node for each group of topics, and all have answered."""
    free = _free_mb(device)
    nodes = [
        NodeProcess(folder / f"{group[0].replace('/', '_')}.log", image_topics=group, **parameters) for group in groups
    ]
    for node in nodes:
        stack.enter_context(node)
    frame = serialized(StreetScenes(1, *FRAME_SIZE)[0][0])
    cameras = feed.cameras([topic for group in groups for topic in group], frame)
    arrangement = Arrangement(nodes, cameras)
    if not feed.connect(cameras, READY_WITHIN, arrangement.check):
        raise nodes[0].error(f"not all cameras were answered within {READY_WITHIN:.0f} s")
    arrangement.gpu_mb = free - _free_mb(device)
    return arrangement


def _free_mb(device: torch.device) -> float:
    """GPU memory that nobody has taken, in MB; 0 without a GPU."""
    return torch.cuda.mem_get_info(device)[0] / 1e6 if device.type == "cuda" else 0.0


def table(together: Arrangement, apart: Arrangement, cameras: int, rate: float) -> str:
    """Markdown: medians of both and their ratio."""
    lines = [
        f"| {cameras} cameras, {FRAME_SIZE[1]} x {FRAME_SIZE[0]} | one node | {cameras} nodes | ratio |",
        "|---|---:|---:|---:|",
    ]

    def add(name: str, digits: int, value: Callable[[Arrangement], float]) -> None:
        one, many = value(together), value(apart)
        lines.append(f"| {name} | {one:.{digits}f} | {many:.{digits}f} | {one / many:.2f} |")

    def median_of(load: str, kind: str) -> Callable[[Arrangement], float]:
        return lambda of: median(of.figures[load, kind])

    for load, how in zip(LOADS, (f"{rate:g} frames/s a camera", "full load"), strict=True):
        add(f"{how}: masks/s of all cameras", 1, median_of(load, "throughput"))
        add(f"{how}: camera stamp to mask published, p50, ms", 1, median_of(load, "latency"))
        add(f"{how}: CPU s a mask", 3, median_of(load, "cpu"))
    add("memory, MB (RSS of all nodes)", 0, lambda of: resident_mb(of.pids))
    add("memory, MB (what the nodes share counts once)", 0, lambda of: resident_together_mb(of.pids))
    if together.gpu_mb:
        add("GPU memory, MB", 0, lambda of: of.gpu_mb)
    return "\n".join(lines)
