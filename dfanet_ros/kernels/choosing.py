"""Which kernel, in which tiling, is the fastest for each part of a network: measured on the GPU, for each shape."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from statistics import median

import torch
import triton
from torch import Tensor, nn

from dfanet_ros.engines.cache import cached
from dfanet_ros.engines.cuda_graph import Graph
from dfanet_ros.kernels import block, reason, separable
from dfanet_ros.kernels.compiling import compile_together
from dfanet_ros.kernels.fused import Fused, FusedBlock, FusedSeparable, Shape
from dfanet_ros.network.base import Network

CALLS = 20  # in a graph that is timed: one alone would be lost in the time that a launch takes
ROUNDS = 7
LOG = logging.getLogger(__name__)

Capture = Callable[[Callable[[Sequence[Tensor]], list[Tensor]], Sequence[Tensor]], Graph]  # see `Capturer.capture`


def choose(network: Network, images: Tensor, capture: Capture) -> None:
    """Let each part of a network take the fastest way for such images; by what was measured before on this GPU.

    A kernel that does not compile or computes something else is not taken, and the log says so.

    Args:
        network: that was given to `fuse`.
        images: that the network gets.
        capture: makes the graphs that are timed.
    """
    shapes = shapes_of(network, images)
    for kind in (FusedSeparable, FusedBlock):  # in this order: blocks are compared with what their convolutions take
        _choose({part: group for part, group in shapes.items() if isinstance(part, kind)}, images, capture)


def shapes_of(network: Network, images: Tensor) -> dict[Fused, list[Shape]]:
    """What each fused part is asked for while the network runs once."""
    shapes: dict[Fused, list[Shape]] = {}

    def note(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(part, Fused)
        shapes.setdefault(part, []).append(part.shape(*inputs))

    parts = [part for part in network.modules() if isinstance(part, Fused)]
    hooks = [part.register_forward_pre_hook(note) for part in parts]
    try:
        network.coarse_logits(images)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _choose(shapes: dict[Fused, list[Shape]], images: Tensor, capture: Capture) -> None:
    """See `choose`; for parts of one kind."""
    if not shapes:
        return
    examples = {shape: part for part, group in shapes.items() for shape in group}
    distinct = sorted(examples)
    what = next(iter(shapes)).what
    stored = cached(
        "cuda_graph",
        [what, _name(images.device), torch.__version__, triton.__version__, _source(), images.dtype, *distinct],
        lambda: json.dumps(_measured(what, [(examples[shape], shape) for shape in distinct], images, capture)).encode(),
    )
    fastest = dict(zip(distinct, json.loads(stored), strict=True))
    for part, group in shapes.items():
        numbers = {shape: fastest[shape] for shape in group}
        part.tilings.update({shape: part.tilings_tried[n] for shape, n in numbers.items() if n is not None})
    taken = sum(number is not None for number in fastest.values())
    LOG.info(
        f"batch {len(images)}: of {len(distinct)} shapes of {what}, {taken} are faster by a kernel of their own than "
        "without it"
    )


def _measured(what: str, examples: Sequence[tuple[Fused, Shape]], images: Tensor, capture: Capture) -> list[int | None]:
    """The number of the fastest tiling for each shape, tried with a part that is asked for it; None: it needs none."""
    problems: list[str] = []
    compile_together(
        partial(part.by_kernel, tiling, *inputs)
        for part, inputs in ((part, _random_inputs(shape, images)) for part, shape in examples)
        for tiling in part.tilings_tried
    )
    numbers = [_fastest(part, shape, images, capture, problems) for part, shape in examples]
    if problems:
        LOG.warning(f"{len(problems)} kernels for {what} are not used; the first one: {problems[0]}")
    return numbers


def _fastest(part: Fused, shape: Shape, images: Tensor, capture: Capture, problems: list[str]) -> int | None:
    """See `_measured`. What goes wrong is added to `problems`."""
    inputs = _random_inputs(shape, images)
    if not separable.fits(inputs[0], shape.outputs):
        return None
    ways: dict[int | None, Graph] = {None: capture(lambda given: _repeated(part.plain, given), inputs)}
    exact = _in_float32(part)(*(each.float() for each in inputs))

    def error(y: Tensor) -> float:
        return (y.float() - exact).abs().max().item()

    # What half precision takes: in a layer whose terms cancel, PyTorch is further off, too.
    most = max(10 * torch.finfo(images.dtype).eps * exact.abs().max().item(), 2 * error(part.plain(*inputs)))
    fitted = [tiling.fitted(shape.inputs, shape.outputs) for tiling in part.tilings_tried]
    for number, tiling in enumerate(fitted):
        if tiling in fitted[:number]:
            continue
        by_kernel = partial(part.by_kernel, tiling)
        try:
            wrong = error(by_kernel(*inputs))
            if not wrong <= most:
                raise ArithmeticError(f"it is wrong by {wrong:.2g}, and {most:.2g} is allowed")
            ways[number] = capture(partial(_repeated, by_kernel), inputs)
        except Exception as problem:  # the compiler's, the driver's: whatever it is, there is another way
            problems.append(f"{shape}, {tiling}: {reason(problem)}")
    times: dict[int | None, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, graph in ways.items():
            times[way].append(_seconds(graph, images.device))
    return min(times, key=lambda way: median(times[way]))


def _repeated(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
    for _ in range(CALLS):
        y = function(*inputs)
    return [y]


def _random_inputs(shape: Shape, images: Tensor) -> list[Tensor]:
    """Of this shape, in channels_last; of the images' type and on their device."""

    def values(*size: int) -> Tensor:
        return torch.randn(size, device=images.device, dtype=images.dtype).permute(0, 3, 1, 2)

    rows, columns = -(-shape.height // shape.stride), -(-shape.width // shape.stride)
    x = values(shape.images, shape.height, shape.width, shape.inputs)
    return [x, values(shape.images, rows, columns, shape.outputs)] if shape.added else [x]


def _in_float32(part: Fused) -> nn.Module:
    """What the part does, without kernels."""
    exact = copy.deepcopy(part.plain).float()
    for each in exact.modules():
        if isinstance(each, Fused):
            each.tilings.clear()
    return exact


def _seconds(graph: Graph, device: torch.device) -> float:
    _synchronize(device)
    start = time.perf_counter()
    graph.replay()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _name(device: torch.device) -> str:
    """Of the GPU, by which measurements are kept."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _source() -> str:
    """Changes with the kernels and with how they are measured."""
    files = (separable, block, inspect.getmodule(_source))
    return sha256("".join(inspect.getsource(module) for module in files if module).encode()).hexdigest()
