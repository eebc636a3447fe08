"""Which kernel, in which tiling, is the fastest for each part of a network: measured on the GPU, for each shape."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from math import inf
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor, nn
from triton.runtime.errors import PTXASError

from dfanet_ros.engines.cache import cached
from dfanet_ros.engines.cuda_graph import Graph
from dfanet_ros.kernels import reason, separable
from dfanet_ros.kernels.compiling import compile_together
from dfanet_ros.kernels.fused import Fused, FusedBlock, FusedProjection, FusedRefining, FusedSeparable, Shape, noted
from dfanet_ros.kernels.overlapping import overlaps
from dfanet_ros.network.base import Network

CALLS = 20  # in a graph that is timed: one alone would be lost in the time that a launch takes
ROUNDS = 7
# Problems that come again whenever a kernel is tried; others, such as a lack of memory, may not.
LASTING = (ArithmeticError, KeyError, triton.CompilationError, triton.OutOfResources, PTXASError)
LOG = logging.getLogger(__name__)

Capture = Callable[[Callable[[Sequence[Tensor]], list[Tensor]], Sequence[Tensor]], Graph]  # see `Capturer.capture`
Group = dict[Fused, list[Shape]]  # parts of one kind, and what each is asked for

# In this order: each is compared with what was chosen for its parts.
KINDS: tuple[type[Fused], ...] = (FusedSeparable, FusedProjection, FusedBlock, FusedRefining)


def choose(network: Network, images: Tensor, capture: Capture) -> None:
    """Let each part of a network take the fastest way for such images; by what was measured before on this GPU.

    A kernel that does not compile or computes something else is not taken, and the log says so.

    Args:
        network: that was given to `fuse`.
        images: that the network gets.
        capture: makes the graphs that are timed.
    """
    shapes = shapes_of(network, images)
    groups = [{part: asked for part, asked in shapes.items() if isinstance(part, kind)} for kind in KINDS]
    groups = [group for group in groups if group]
    with torch.cuda.device_of(images):
        machine = _name(images.device), torch.__version__, triton.__version__, overlaps()
    key = [*machine, _source(), images.dtype, *([_kind(group), *_distinct(group)] for group in groups)]

    def measured() -> bytes:
        answers, may_pass = [], False
        for group in groups:
            numbers, some_may_pass = _measured(group, images, capture)
            _take(group, numbers)  # what comes next is compared with it
            answers.append(numbers)
            may_pass |= some_may_pass
        if may_pass:
            raise _NotForGood(answers)
        return json.dumps(answers).encode()

    try:
        answers = json.loads(cached("cuda_graph", key, measured))
    except _NotForGood as found:
        answers = found.answers
    for group, numbers in zip(groups, answers, strict=True):
        _take(group, numbers)
        taken = sum(number is not None for number in numbers)
        LOG.info(
            f"batch {len(images)}: of {len(numbers)} shapes of {_kind(group)}, {taken} are faster by a kernel of their "
            "own than without it"
        )


def shapes_of(network: Network, images: Tensor) -> dict[Fused, list[Shape]]:
    """What each fused part is asked for while the network runs once.

    Hardly anything is computed: PyTorch's convolutions would first load the libraries that they need.
    """
    shapes: dict[Fused, list[Shape]] = {}
    before = noted.set(shapes)
    try:
        network.coarse_logits(images)
    finally:
        noted.reset(before)
    return shapes


def _kind(group: Group) -> str:
    return next(iter(group)).what


def _distinct(group: Group) -> list[Shape]:
    return sorted({shape for asked in group.values() for shape in asked})


def _take(group: Group, numbers: Sequence[int | None]) -> None:
    """Let parts take the tilings of these numbers, one for each distinct shape; None: no kernel."""
    fastest = dict(zip(_distinct(group), numbers, strict=True))
    for part, asked in group.items():
        chosen = {shape: fastest[shape] for shape in asked}
        part.tilings.update({shape: part.tilings_tried[n] for shape, n in chosen.items() if n is not None})


class _NotForGood(Exception):
    """Kernels that were not tried may work the next time: the answers that there are, see `choose`, are not kept."""

    def __init__(self, answers: list[list[int | None]]) -> None:
        super().__init__(answers)
        self.answers = answers


class _Problems:
    """What went wrong while kernels were tried: a line each, and whether some of it may not happen the next time."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.may_pass = False

    def add(self, tried: str, error: Exception) -> None:
        self.lines.append(f"{tried}: {reason(error)}")  # the error itself would keep what its functions have
        self.may_pass |= not isinstance(error, LASTING)


def _measured(group: Group, images: Tensor, capture: Capture) -> tuple[list[int | None], bool]:
    """The number of the fastest tiling for each distinct shape, tried with a part that is asked for it; None: it needs
    none. And whether something went wrong that may not do so the next time.
    """
    what, parts = _kind(group), {shape: part for part, asked in group.items() for shape in asked}
    examples = [(parts[shape], shape) for shape in _distinct(group)]
    compile_together(
        partial(_run, part, tiling, shape, images)
        for part, shape in examples
        for tiling in tilings_for(part, shape).values()
    )
    problems = _Problems()
    numbers: list[int | None] = []
    for part, shape in examples:
        try:
            numbers.append(_fastest(part, shape, images, capture, problems))
        except Exception as error:  # not a kernel's, but it is no reason to do without the others
            problems.add(str(shape), error)
            numbers.append(None)
    if problems.lines:
        again = " (they are tried again at the next start)" if problems.may_pass else ""
        LOG.warning(f"{len(problems.lines)} kernels for {what} are not used{again}; the first one: {problems.lines[0]}")
    return numbers, problems.may_pass


def tilings_for(part: Fused, shape: Shape) -> dict[int, Any]:
    """What is tried for this shape, by number, fitted to its channels: tilings that are for so many, and none twice."""
    tilings: dict[int, Any] = {}
    for number, tiling in enumerate(part.tilings_tried):
        fitted = tiling.fitted(shape.inputs, shape.outputs)
        if fitted is not None and fitted not in tilings.values():
            tilings[number] = fitted
    return tilings


def _run(part: Fused, tiling: object, shape: Shape, images: Tensor) -> None:
    part.by_kernel(tiling, *part.random_inputs(shape, images))


def _fastest(part: Fused, shape: Shape, images: Tensor, capture: Capture, problems: _Problems) -> int | None:
    """See `_measured`. What goes wrong with a kernel is added to `problems`."""
    inputs = part.random_inputs(shape, images)
    if not all(separable.fits(each, shape.outputs) for each in inputs):
        return None
    ways: dict[int | None, Graph] = {None: _graph(part.plain, inputs, capture)}
    exact = _in_float32(part)(*(each.float() for each in inputs))

    def distance(y: Tensor) -> float:
        return (y.float() - exact).abs().max().item()

    # What half precision takes: in a layer whose terms cancel, PyTorch is further off, too.
    most = max(10 * torch.finfo(images.dtype).eps * exact.abs().max().item(), 2 * distance(part.plain(*inputs)))
    for number, tiling in tilings_for(part, shape).items():
        by_kernel = partial(part.by_kernel, tiling)
        try:
            wrong = distance(by_kernel(*inputs))
            if not wrong <= most:
                raise ArithmeticError(f"it is wrong by {wrong:.2g}, and {most:.2g} is allowed")
            ways[number] = _graph(by_kernel, inputs, capture)
        except Exception as error:  # the compiler's, the driver's: whatever it is, there is another way
            problems.add(f"{shape}, {tiling}", error)
    times = dict.fromkeys(ways, inf)
    for _ in range(ROUNDS):  # all in turn: what disturbs the GPU then does not disturb one way alone
        for way, graph in ways.items():
            times[way] = min(times[way], _seconds(graph, images.device))
    LOG.debug("%s: us by tiling %s", shape, {way: round(1e6 * time / CALLS, 2) for way, time in times.items()})
    return min(times, key=lambda way: times[way])


def _graph(function: Callable[..., Tensor], inputs: Sequence[Tensor], capture: Capture) -> Graph:
    """Calls of the function with these inputs themselves: all ways read the same memory, and need it only once."""

    def calls(no_inputs: Sequence[Tensor]) -> list[Tensor]:
        for _ in range(CALLS):
            y = function(*inputs)
        return [y]

    return capture(calls, [])


def _in_float32(part: Fused) -> nn.Module:
    """What the part does, without kernels."""
    exact = copy.deepcopy(part.plain).float()
    for each in exact.modules():
        if isinstance(each, Fused):
            each.tilings.clear()
    return exact


def _seconds(graph: Graph, device: torch.device) -> float:
    """What a replay takes on the GPU."""
    stream = torch.cuda.current_stream(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    graph.replay()  # while this runs, the one that is timed is launched, so that launching is not timed
    start.record(stream)
    graph.replay()
    end.record(stream)
    end.synchronize()
    return float(start.elapsed_time(end)) / 1000


def _name(device: torch.device) -> str:
    """Of the GPU, by which measurements are kept."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _source() -> str:
    """Changes with the kernels and with how they are measured."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
