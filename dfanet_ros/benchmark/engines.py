"""Every engine that can run here: the network alone, and the segmenter around it."""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dfanet_ros import engines
from dfanet_ros.benchmark.frames import frames
from dfanet_ros.benchmark.results import Measured, Size
from dfanet_ros.benchmark.timing import seconds_of
from dfanet_ros.benchmark.yardsticks import Yardsticks, work_of
from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.frame import Frame
from dfanet_ros.network.base import Network
from dfanet_ros.segmenter import Segmenter, find_weights, resolve_device

CALLS = 4  # of each kind a round
PAUSE = 0.05  # seconds after which the threads of the last engine no longer wait for work, which takes a core each
COMPARED = 8  # frames whose label maps are compared with PyTorch's
PRECISIONS = {"cpu": ("fp32", "bf16"), "cuda": ("fp16", "fp32")}


def timed(call: Callable[[], object], calls: int = CALLS) -> list[float]:
    """How long each of several calls takes, in ms, after one that does not count."""
    call()
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


class Case(NamedTuple):
    """Something to be timed."""

    times: list[float]
    call: Callable[[], object]
    threads: int  # of PyTorch, meanwhile
    timer: Callable[[Callable[[], object]], list[float]] = timed  # gives ms

    def measure(self) -> None:
        """Another round of it."""
        torch.set_num_threads(self.threads)
        self.times.extend(self.timer(self.call))
        time.sleep(PAUSE)


def measure(arguments: argparse.Namespace) -> tuple[list[Measured], Yardsticks]:
    """All times, each kind in every round, so that whatever else the machine does meets all kinds alike."""
    device = resolve_device(arguments.device)
    chosen = engines_here(device, arguments.engines)
    given = [Frame(image) for image in frames(max(COMPARED, *arguments.batches), arguments.frames)]
    measured: list[Measured] = []
    cases: list[Case] = []
    yardsticks = Yardsticks(device)
    works = {}
    for name in arguments.weights:
        network, info = load_checkpoint(find_weights(name))
        for size in arguments.sizes:
            works[name, size] = work_of(network, size)
            right = _label_maps(Segmenter(network, info, size, str(device), "fp32"), given[:COMPARED])
            eager = {batch: _eager(network, size, batch, device) for batch in arguments.batches}
            cases += eager.values()
            for engine, precision in chosen:
                print(f"preparing {engine} {precision}, {name}, {size[0]} x {size[1]}", file=sys.stderr)
                segmenter = Segmenter(network, info, size, str(device), precision, engine, engines.CORES)
                same = 100 * float(np.mean(np.equal(_label_maps(segmenter, given[:COMPARED]), right)))
                for batch in arguments.batches:
                    row = Measured(name, engine, precision, size, batch, eager=eager[batch].times, same=same)
                    measured.append(row)
                    cases += _cases(row, segmenter, given[:batch])
    for number in range(1, arguments.rounds + 1):
        print(f"round {number} of {arguments.rounds}", file=sys.stderr)
        torch.set_num_threads(engines.CORES)
        for precision in dict.fromkeys(precision for _, precision in chosen):
            yardsticks.measure(precision)
        for case in cases:
            case.measure()
    for row in measured:
        row.floor = yardsticks.floor(works[row.weights, row.size], row.batch, row.precision)
    return measured, yardsticks


def engines_here(device: torch.device, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Engines and precisions that can run here, PyTorch first.

    Raises:
        ValueError: one that was asked for cannot.
    """
    chosen = []
    for name in dict.fromkeys(["torch", *(wanted or engines.ENGINES)]):
        objections = []
        for precision in PRECISIONS[device.type]:
            try:
                engines.choose_engine(name, device, precision)
            except ValueError as error:
                objections.append(str(error))
            else:
                chosen.append((name, precision))
        if len(objections) == len(PRECISIONS[device.type]):
            if wanted:
                raise ValueError(objections[0])
            print(f"left out: {objections[0]}", file=sys.stderr)
    return chosen


def queued(call: Callable[[], object], device: torch.device, calls: int = CALLS) -> list[float]:
    """How long each of several calls takes on a GPU, in ms, while the next one is always waiting; see `seconds_of`."""
    for _ in range(2):  # the second time, a graph is captured
        call()
    return [1e3 * seconds_of(call, device) for _ in range(calls)]


def _eager(network: Network, size: Size, batch: int, device: torch.device) -> Case:
    """The network as it was trained: what one has before one does anything for speed."""
    module = copy.deepcopy(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Case([], partial(_run, module, _noise(batch, size, device, torch.float32)), engines.CORES)


def _cases(row: Measured, segmenter: Segmenter, frames: Sequence[Frame]) -> list[Case]:
    tensor = _noise(len(frames), row.size, segmenter.device, DTYPES[row.precision])
    threads = engines.CORES if row.engine == "torch" else 1
    cases = [
        Case(row.network, partial(_run, segmenter.logits, tensor), threads),
        Case(row.segmenter, partial(_label_maps, segmenter, frames), threads),
    ]
    if segmenter.device.type == "cuda":
        pixels = [torch.from_numpy(frame.pixels).to(segmenter.device) for frame in frames]
        label = partial(segmenter.label, pixels, [frame.rgb_channels for frame in frames])
        cases.append(Case(row.on_device, label, threads, partial(queued, device=segmenter.device)))
    return cases


def _noise(batch: int, size: Size, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Images as a pipeline gives them to the network."""
    noise = torch.randn(batch, 3, *size, device=device, dtype=dtype)
    return noise.contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def _run(network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> None:
    network(images)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)


def _label_maps(segmenter: Segmenter, frames: Sequence[Frame]) -> list[NDArray[np.uint8]]:
    return [result.label_map for result in segmenter.segment(frames)]


def parse_size(text: str) -> Size:
    """`512x1024` as (512, 1024)."""
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"a size is '{text}', but has to be HEIGHTxWIDTH, such as 512x1024")
    return int(height), int(width)
