"""How long the node takes from its start to its first mask, with a camera that is there already."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from dfanet_ros.benchmark.engines import engines_here
from dfanet_ros.benchmark.feed import Camera, Feed
from dfanet_ros.benchmark.frames import frames
from dfanet_ros.node_process import CAMERA, NodeProcess, prepare_process
from dfanet_ros.segmenter import find_weights, resolve_device
from dfanet_ros.serialized import serialized

RATE = 30.0  # of the camera, frames a second
READY_WITHIN = 120.0  # seconds; the first start of an engine prepares the network
RECEIVED, ENDED = "first mask received", "Ctrl-C to its end"
_MARK = re.compile(r"^mark (\d+) (.*)$", re.MULTILINE)


class MarkedNode(NodeProcess):
    """The node, which says when each step of its start is done."""

    MODULE = "dfanet_ros.benchmark.marked_node"


@dataclass
class Started:
    """One engine.

    Attributes:
        engine: its name.
        first: seconds to the first mask when it was started for the first time here; long if nothing lay on disk.
        seconds: from the start of the process to the end of each step, one for each later start; and how long it takes
            to end.
    """

    engine: str
    first: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=dict)


def measure(arguments: argparse.Namespace) -> list[Started]:
    """Start every engine once a round, one after the other.

    Raises:
        NodeError: a node ends, cannot be configured, or does not answer in time.
        ValueError: an engine cannot run here.
    """
    names = dict.fromkeys(name for name, _ in engines_here(resolve_device(arguments.device), arguments.engines))
    parameters: dict[str, Any] = {
        "weights": str(find_weights(arguments.weights[0])),
        "input_height": arguments.sizes[0][0],
        "input_width": arguments.sizes[0][1],
        "device": arguments.device,
    }
    measured = [Started(name) for name in names]
    prepare_process()
    with tempfile.TemporaryDirectory() as folder, Feed() as feed:
        (camera,) = feed.cameras([CAMERA], serialized(frames(1, arguments.frames)[0]))
        for number in range(arguments.rounds + 1):
            print(f"round {number} of {arguments.rounds}" if number else "first starts", file=sys.stderr)
            for row in measured:
                seconds = _start(feed, camera, Path(folder) / "node.log", engine=row.engine, **parameters)
                if not number:
                    row.first = seconds[RECEIVED]
                    continue
                for step, value in seconds.items():
                    row.seconds.setdefault(step, []).append(value)
    return measured


def _start(feed: Feed, camera: Camera, log: Path, **parameters: Any) -> dict[str, float]:
    """Start the node and end it once it has answered; gives seconds by step."""
    process = MarkedNode(log, **parameters)
    begin = time.monotonic_ns()
    with process:
        if not feed.first_mask(camera, RATE, READY_WITHIN, process.check):
            raise process.error(f"no mask came within {READY_WITHIN:.0f} s")
        received = time.monotonic_ns()
    marks = {step: int(moment) for moment, step in _MARK.findall(log.read_text())}
    seconds = {step: (moment - begin) / 1e9 for step, moment in [*marks.items(), (RECEIVED, received)]}
    return seconds | {ENDED: (time.monotonic_ns() - received) / 1e9}


def table(measured: list[Started]) -> str:
    """Markdown: medians."""
    steps = dict.fromkeys(step for row in measured for step in row.seconds)
    lines = [
        f"| seconds from the start of the process to | {' | '.join(row.engine for row in measured)} |",
        f"|---|{'---:|' * len(measured)}",
    ]
    for step in steps:
        values = (f"{median(row.seconds[step]):.2f}" if step in row.seconds else "" for row in measured)
        lines.append(f"| {step} | {' | '.join(values)} |")
    lines.append(f"| {RECEIVED}, first start | {' | '.join(f'{row.first:.2f}' for row in measured)} |")
    return "\n".join(lines)
