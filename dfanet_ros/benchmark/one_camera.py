"""What the node costs beside its network, with one camera."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray

from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.demo.node_process import NodeProcess, prepare_process
from dfanet_ros.demo.serialized import serialized
from dfanet_ros.demo.session import MASK, Session
from dfanet_ros.frame import Frame
from dfanet_ros.segmenter import Segmenter, find_weights
from dfanet_ros.street_scenes import StreetScenes

FRAME_SIZES = ((480, 640), (720, 1280))
CALLS = 8  # of each kind a round
PAUSE = 0.3  # seconds after which PyTorch's threads no longer wait for work, which takes a core each

Times = dict[tuple[str, tuple[int, int]], list[float]]  # in ms, by what was measured and the size


def run(arguments: argparse.Namespace) -> tuple[Segmenter, str]:
    """Measure; gives what segments, and a Markdown table."""
    segmenter, times = measure(arguments)
    return segmenter, table(times, segmenter.input_size)


def measure(arguments: argparse.Namespace) -> tuple[Segmenter, Times]:
    """All times, each kind in every round, so that whatever else the machine does meets all kinds alike."""
    weights = find_weights(arguments.weights)
    network, info = load_checkpoint(weights)
    input_size = (arguments.input_height, arguments.input_width)
    segmenter = Segmenter(network, info, input_size, arguments.device, arguments.precision)
    tensor = torch.randn(1, 3, *segmenter.input_size, device=segmenter.device)
    frames = {size: Frame(StreetScenes(1, *size)[0][0]) for size in FRAME_SIZES}

    @torch.inference_mode()
    def run_network() -> None:
        segmenter.logits(tensor)
        if segmenter.device.type == "cuda":
            torch.cuda.synchronize()

    times: Times = defaultdict(list)
    prepare_process()
    with (
        tempfile.TemporaryDirectory() as folder,
        NodeProcess(
            Path(folder) / "node.log",
            weights=str(weights),
            network=info.network,
            backbone=info.backbone,
            input_height=input_size[0],
            input_width=input_size[1],
            device=arguments.device,
            precision=arguments.precision,
        ) as process,
        Session(process, [MASK]) as session,
    ):
        messages = {size: serialized(frame.pixels) for size, frame in frames.items()}
        session.connect(messages[FRAME_SIZES[0]])
        for number in range(1, arguments.rounds + 1):
            print(f"round {number} of {arguments.rounds}", file=sys.stderr)
            times["network", segmenter.input_size] += timed(run_network)
            for size, frame in frames.items():
                times["segmenter", size] += timed(partial(_label_map, segmenter, frame))
            time.sleep(PAUSE)
            for size, message in messages.items():
                times["frame", size].append(_time_per_frame(session, message))
                times["latency", size] += _latencies(session, message)
            time.sleep(PAUSE)
    return segmenter, times


def timed(call: Callable[[], object], calls: int = CALLS) -> list[float]:
    """How long each of several calls takes, in ms, after one that does not count."""
    call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def _label_map(segmenter: Segmenter, frame: Frame) -> NDArray[np.uint8]:
    return segmenter.segment([frame])[0].label_map


def _time_per_frame(session: Session, message: bytes) -> float:
    """From one mask to the next in ms while there is always a next frame: the inverse of the throughput."""
    exchanges = session.play([message] * (2 * CALLS), most_in_flight=2)
    received = [exchange.received for exchange in exchanges if exchange.received is not None]
    return (received[-1] - received[0]) / 1e6 / (len(received) - 1)


def _latencies(session: Session, message: bytes) -> list[float]:
    """From a camera's stamp to the mask's publication in ms, one frame at a time."""
    exchanges = session.play([message] * (CALLS + 1))[1:]
    return [(exchange.published - exchange.sent) / 1e6 for exchange in exchanges if exchange.published is not None]


def table(times: Times, input_size: tuple[int, int]) -> str:
    """Markdown: every median in ms and as a multiple of the network's."""
    medians = {key: median(values) for key, values in times.items()}
    network = medians["network", input_size]
    lines = [
        "| | size | ms | x network | throughput / segmenter's |",
        "|---|---|---:|---:|---:|",
        f"| network alone | {_size(input_size)} | {network:.1f} | 1.00 | |",
    ]
    for what, kind in (
        ("segmenter: frame to label map", "segmenter"),
        ("node over DDS: time per frame at full throughput", "frame"),
        ("node over DDS: camera stamp to mask published", "latency"),
    ):
        for size in FRAME_SIZES:
            value = medians[kind, size]
            throughput = f"{medians['segmenter', size] / value:.2f}" if kind == "frame" else ""
            lines.append(f"| {what} | {_size(size)} | {value:.1f} | {value / network:.2f} | {throughput} |")
    return "\n".join(lines)


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
