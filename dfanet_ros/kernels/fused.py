"""A network's separable convolutions by the kernel, where that is faster: measured on the GPU, for each shape."""

from __future__ import annotations

import copy
import inspect
import json
import logging
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from statistics import median
from typing import NamedTuple

import torch
import triton
from torch import Tensor, nn

from dfanet_ros.engines.cache import cached
from dfanet_ros.engines.cuda_graph import Graph
from dfanet_ros.kernels import reason
from dfanet_ros.kernels import separable as kernel
from dfanet_ros.kernels.enlarging import enlarged_beside, enlarged_sum
from dfanet_ros.kernels.separable import TILINGS, Tiling
from dfanet_ros.network.base import Network
from dfanet_ros.network.folded import EverySecond
from dfanet_ros.network.inference import SmallDecoder
from dfanet_ros.network.layers import Separable
from dfanet_ros.network.xception import Enlarge

CALLS = 20  # in a graph that is timed: one alone would be lost in the time that a launch takes
ROUNDS = 7
LOG = logging.getLogger(__name__)

Capture = Callable[[Callable[[Sequence[Tensor]], list[Tensor]], Sequence[Tensor]], Graph]  # see `Capturer.capture`


class Shape(NamedTuple):
    """All that the time of a separable convolution depends on, beside the type and the GPU."""

    images: int
    inputs: int
    height: int
    width: int
    outputs: int
    stride: int
    relu: bool
    added: bool


class FusedSeparable(nn.Module):
    """A separable convolution that takes the kernel for the shapes for which there is a tiling.

    Args:
        plain: what it does, in PyTorch; on its device and of its type.
    """

    def __init__(self, plain: Separable) -> None:
        super().__init__()
        self.plain = plain
        assert plain.pointwise.bias is not None
        self.weights = kernel.weights_of(plain.depthwise.weight, plain.pointwise.weight, plain.pointwise.bias)
        self.tilings: dict[Shape, Tiling] = {}

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """See `Separable`."""
        tiling = self.tilings.get(self.shape(x, added))
        if tiling is None:
            return self.plain(x, added)
        return self.by_kernel(x, added, tiling)

    def by_kernel(self, x: Tensor, added: Tensor | None, tiling: Tiling) -> Tensor:
        """The same by the kernel."""
        return kernel.separable(x, self.weights, self.plain.depthwise.stride[0], self.plain.relu, added, tiling)

    def shape(self, x: Tensor, added: Tensor | None) -> Shape:
        """What it is asked for with these inputs."""
        conv = self.plain.depthwise
        return Shape(
            *(x.shape[0], x.shape[1], x.shape[2], x.shape[3]),
            *(self.plain.pointwise.out_channels, conv.stride[0], self.plain.relu, added is not None),
        )


class ConvReLU(nn.Module):
    """A convolution with bias and the ReLU after it, by cuDNN in one kernel instead of three, if it can."""

    def __init__(self, conv: nn.Module, relu: nn.Module) -> None:
        super().__init__()
        assert isinstance(conv, nn.Conv2d) and isinstance(conv.padding, tuple)
        self.conv, self.relu = conv, relu
        self.arguments = conv.stride, conv.padding, conv.dilation, conv.groups
        self.together = True

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if self.together and x.is_cuda:
            try:
                return torch.cudnn_convolution_relu(x, conv.weight, conv.bias, *self.arguments)
            except RuntimeError as error:  # in the first run, for warming up, and so in no capture
                LOG.warning(f"a convolution and its ReLU run apart: {reason(error)}")
                self.together = False
        y: Tensor = self.relu(conv(x))
        return y


class FusedEnlarge(nn.Module):
    """Sub-network aggregation in one pass, see `Enlarge`."""

    def forward(self, attention: Tensor, enc2: Tensor) -> Tensor:
        return enlarged_beside(attention, enc2)


def fuse(network: nn.Module) -> None:
    """Replace the separable convolutions of a network in the form for inference; it computes what it did before.

    Its projections become convolutions with stride 2, which on a GPU spares a copy, and a ReLU after a convolution a
    part of that; maps are enlarged and added, or put beside others, at once.

    Args:
        network: on a CUDA device and of float16 or bfloat16.
    """
    for module in [*network.modules()]:
        if isinstance(module, SmallDecoder):
            module.high_sum = module.low_sum = enlarged_sum
        for name, child in [*module.named_children()]:
            if isinstance(child, Separable):
                setattr(module, name, FusedSeparable(child))
            elif isinstance(child, EverySecond):
                setattr(module, name, _strided(child.conv))
            elif isinstance(child, Enlarge):
                setattr(module, name, FusedEnlarge())
            elif isinstance(child, nn.Sequential) and [type(layer) for layer in child] == [nn.Conv2d, nn.ReLU]:
                setattr(module, name, ConvReLU(*child))


def choose(network: Network, images: Tensor, capture: Capture) -> None:
    """Let each separable convolution take the fastest way for such images; by what was measured before on this GPU.

    A kernel that does not compile or computes something else is not taken, and the log says so.

    Args:
        network: that was given to `fuse`.
        images: that the network gets.
        capture: makes the graphs that are timed.
    """
    shapes = shapes_of(network, images)
    if not shapes:
        return
    examples = {shape: layer for layer, group in shapes.items() for shape in group}
    distinct = sorted(examples)
    dtype, device = images.dtype, images.device
    stored = cached(
        "cuda_graph",
        ["tilings", _name(device), torch.__version__, triton.__version__, _source(), dtype, *distinct],
        lambda: json.dumps(_measured([(examples[shape], shape) for shape in distinct], capture)).encode(),
    )
    tilings = {shape: tiling and Tiling(*tiling) for shape, tiling in zip(distinct, json.loads(stored), strict=True)}
    for layer, group in shapes.items():
        layer.tilings.update({shape: tiling for shape in group if (tiling := tilings[shape])})
    taken = sum(tiling is not None for tiling in tilings.values())
    LOG.info(
        f"batch {len(images)}: of {len(distinct)} shapes of separable convolutions, {taken} are faster by a kernel of "
        "this package than by PyTorch"
    )


def shapes_of(network: Network, images: Tensor) -> dict[FusedSeparable, list[Shape]]:
    """What each fused layer is asked for while the network runs once."""
    shapes: dict[FusedSeparable, list[Shape]] = {}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, FusedSeparable)
        shapes.setdefault(layer, []).append(layer.shape(inputs[0], inputs[1] if len(inputs) > 1 else None))

    layers = [layer for layer in network.modules() if isinstance(layer, FusedSeparable)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        network.coarse_logits(images)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _strided(conv: nn.Conv2d) -> nn.Conv2d:
    strided = nn.Conv2d(conv.in_channels, conv.out_channels, 1, stride=2, bias=False)
    strided.weight = conv.weight
    return strided


def _measured(examples: Sequence[tuple[FusedSeparable, Shape]], capture: Capture) -> list[Tiling | None]:
    """The fastest tiling for each shape, tried with a layer that is asked for it, or None where PyTorch is faster."""
    problems: list[str] = []
    tilings = [_fastest(layer, shape, capture, problems) for layer, shape in examples]
    if problems:
        LOG.warning(f"{len(problems)} kernels for separable convolutions are not used; the first one: {problems[0]}")
    return tilings


def _fastest(layer: FusedSeparable, shape: Shape, capture: Capture, problems: list[str]) -> Tiling | None:
    """See `_measured`. What goes wrong is added to `problems`."""
    x, added = _random_inputs(layer, shape)
    if not kernel.fits(x, shape.outputs):
        return None
    inputs = [x] if added is None else [x, added]
    ways: dict[Tiling | None, Graph] = {None: capture(lambda given: _repeated(layer, given), inputs)}
    in_float32 = copy.deepcopy(layer.plain).float()
    exact = in_float32(x.float(), None if added is None else added.float())

    def error(y: Tensor) -> float:
        return (y.float() - exact).abs().max().item()

    # What half precision takes: in a layer whose terms cancel, PyTorch is further off, too.
    most = max(10 * torch.finfo(x.dtype).eps * exact.abs().max().item(), 2 * error(layer.plain(x, added)))
    for tiling in dict.fromkeys(tiling.fitted(shape.inputs, shape.outputs) for tiling in TILINGS):
        try:
            wrong = error(layer.by_kernel(x, added, tiling))
            if not wrong <= most:
                raise ArithmeticError(f"it is wrong by {wrong:.2g}, and {most:.2g} is allowed")
            ways[tiling] = capture(lambda given, by=tiling: _repeated(layer, given, by), inputs)  # type: ignore[misc]
        except Exception as problem:  # the compiler's, the driver's: whatever it is, there is another way
            problems.append(f"{shape}, {tiling}: {reason(problem)}")
    times: dict[Tiling | None, list[float]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, graph in ways.items():
            times[way].append(_seconds(graph, x.device))
    return min(times, key=lambda way: median(times[way]))


def _repeated(layer: FusedSeparable, inputs: Sequence[Tensor], tiling: Tiling | None = None) -> list[Tensor]:
    x, added = inputs[0], inputs[1] if len(inputs) > 1 else None
    for _ in range(CALLS):
        y = layer.plain(x, added) if tiling is None else layer.by_kernel(x, added, tiling)
    return [y]


def _random_inputs(layer: FusedSeparable, shape: Shape) -> tuple[Tensor, Tensor | None]:
    """Of this shape, in channels_last."""

    def values(*size: int) -> Tensor:
        return torch.randn(size, device=layer.weights.bias.device, dtype=layer.weights.bias.dtype).permute(0, 3, 1, 2)

    x = values(shape.images, shape.height, shape.width, shape.inputs)
    rows, columns = -(-shape.height // shape.stride), -(-shape.width // shape.stride)
    return x, values(shape.images, rows, columns, shape.outputs) if shape.added else None


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
    """Changes with the kernel and with how it is measured."""
    files = (kernel, inspect.getmodule(_source))
    return sha256("".join(inspect.getsource(module) for module in files if module).encode()).hexdigest()
