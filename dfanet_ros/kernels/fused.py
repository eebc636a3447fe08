"""A network's parts by kernels of ours, where that is faster; `choosing` finds out where."""

from __future__ import annotations

import logging
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfanet_ros.kernels import block, reason, refining, separable
from dfanet_ros.kernels.attention import weighed
from dfanet_ros.kernels.enlarging import enlarged_beside, enlarged_sum
from dfanet_ros.network.dfanet import DFANet
from dfanet_ros.network.folded import EverySecond, FoldedBlock
from dfanet_ros.network.inference import FoldedAttention, SmallDecoder, upsampled_sum, weighed_channels
from dfanet_ros.network.layers import Separable
from dfanet_ros.network.xception import Backbone, Enlarge

LOG = logging.getLogger(__name__)


class Shape(NamedTuple):
    """All that the time of a fused part depends on, beside its kind, the type and the GPU."""

    images: int
    inputs: int
    height: int
    width: int
    outputs: int
    stride: int
    relu: bool
    added: bool


class Fused(nn.Module):
    """A part of a network that takes a kernel for the shapes for which there is a tiling.

    Args:
        plain: what it does, by smaller parts; on its device and of its type.

    Attributes:
        what: its kind, for the log.
        tilings_tried: all that there are.
        tilings: those that were chosen.
    """

    what: str
    tilings_tried: tuple[Any, ...]

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain = plain
        self.tilings: dict[Shape, Any] = {}

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """See `Separable` and `FoldedBlock`, to which nothing is added."""
        inputs = [x] if added is None else [x, added]
        tiling = self.tilings.get(self.shape(*inputs))
        y: Tensor = self.plain(*inputs) if tiling is None else self.by_kernel(tiling, *inputs)
        return y

    def by_kernel(self, tiling: Any, x: Tensor, added: Tensor | None = None) -> Tensor:
        """The same by the kernel."""
        raise NotImplementedError

    def shape(self, x: Tensor, added: Tensor | None = None) -> Shape:
        """What it is asked for with these inputs."""
        raise NotImplementedError

    def random_inputs(self, shape: Shape, images: Tensor) -> list[Tensor]:
        """Inputs of this shape, in channels_last; of the images' type and on their device."""
        rows, columns = -(-shape.height // shape.stride), -(-shape.width // shape.stride)
        x = random_map(images, shape.inputs, shape.height, shape.width)
        return [x, random_map(images, shape.outputs, rows, columns)] if shape.added else [x]


def random_map(images: Tensor, channels: int, height: int, width: int) -> Tensor:
    """As many maps as images, in channels_last; of their type and on their device."""
    size = len(images), height, width, channels
    return torch.randn(size, device=images.device, dtype=images.dtype).permute(0, 3, 1, 2)


class FusedSeparable(Fused):
    """A separable convolution."""

    what, tilings_tried = "separable convolutions", separable.TILINGS
    plain: Separable

    def __init__(self, plain: Separable) -> None:
        super().__init__(plain)
        assert plain.pointwise.bias is not None
        self.weights = separable.weights_of(plain.depthwise.weight, plain.pointwise.weight, plain.pointwise.bias)

    def by_kernel(self, tiling: separable.Tiling, x: Tensor, added: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        return separable.separable(x, self.weights, self.plain.depthwise.stride[0], self.plain.relu, added, tiling)

    def shape(self, x: Tensor, added: Tensor | None = None) -> Shape:
        """See `Fused`."""
        images, inputs, height, width = x.shape
        stride = self.plain.depthwise.stride[0]
        outputs = self.plain.pointwise.out_channels
        return Shape(images, inputs, height, width, outputs, stride, self.plain.relu, added is not None)


class FusedBlock(Fused):
    """A block, whose separable convolutions are fused ones for where its own kernel is slower than theirs."""

    what, tilings_tried = "blocks", block.TILINGS
    plain: FoldedBlock

    def __init__(self, plain: FoldedBlock) -> None:
        super().__init__(plain)
        convolutions = [plain.first, plain.second, plain.last]
        fused = [FusedSeparable(each) for each in convolutions]
        plain.first, plain.second, plain.last = fused  # type: ignore[assignment]  # called in the same way
        projection = None
        if isinstance(plain.skip, EverySecond):
            projection = plain.skip.conv.weight
            plain.skip = _strided(plain.skip.conv)
        self.stride = convolutions[0].depthwise.stride[0]
        self.weights = block.weights_of([each.weights for each in fused], projection)

    def by_kernel(self, tiling: block.Tiling, x: Tensor, added: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        return block.block(x, self.weights, self.stride, tiling)

    def shape(self, x: Tensor, added: Tensor | None = None) -> Shape:
        """See `Fused`."""
        images, inputs, height, width = x.shape
        return Shape(images, inputs, height, width, len(self.weights.last.bias), self.stride, relu=True, added=False)


class EnlargedBlock(nn.Module):
    """Sub-network aggregation and the block after it, as one part."""

    def __init__(self, aggregate: nn.Module, block: FusedBlock) -> None:
        super().__init__()
        self.aggregate, self.block = aggregate, block

    def forward(self, attention: Tensor, enc2: Tensor) -> Tensor:
        """(N, C4, h, w) and (N, C2, 4 h, 4 w) to (N, C2, 2 h, 2 w)."""
        y: Tensor = self.block(self.aggregate(attention, enc2))
        return y


class FusedRefining(Fused):
    """How a refining backbone begins, with no enlarged map; `x` is the attention output, and enc2 stands beside it.

    Its `plain` is what it takes the place of: the fused parts, each in the way that was chosen for it.
    """

    what, tilings_tried = "beginnings of refining backbones", refining.TILINGS
    plain: EnlargedBlock

    def __init__(self, aggregate: nn.Module, block: FusedBlock) -> None:
        super().__init__(EnlargedBlock(aggregate, block))
        first, skip = block.plain.first.plain, block.plain.skip
        assert isinstance(first, Separable) and first.pointwise.bias is not None and isinstance(skip, nn.Conv2d)
        self.inner, self.fine = first.pointwise.out_channels, skip.out_channels  # all backbones' enc2 are as wide
        self.weights = refining.weights_of(
            *(first.depthwise.weight, first.pointwise.weight, first.pointwise.bias, skip.weight),
            coarse=skip.in_channels - self.fine,
        )

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """See `EnlargedBlock`; for maps of other sizes, too."""
        assert added is not None
        if refining.fits(x, added):
            return super().forward(x, added)
        y: Tensor = self.plain(x, added)
        return y

    def by_kernel(self, tiling: refining.Tiling, x: Tensor, added: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        assert added is not None
        first, skip = refining.refining(x, added, self.weights, self.inner, tiling)
        block = self.plain.block.plain
        y: Tensor = block.last(block.second(first), skip)
        return y

    def shape(self, x: Tensor, added: Tensor | None = None) -> Shape:
        """See `Fused`; of the attention output."""
        images, inputs, height, width = x.shape
        return Shape(images, inputs, height, width, self.fine, stride=2, relu=True, added=True)

    def random_inputs(self, shape: Shape, images: Tensor) -> list[Tensor]:
        """See `Fused`."""
        times = refining.ENLARGED
        enc2 = random_map(images, self.fine, times * shape.height, times * shape.width)
        return [random_map(images, shape.inputs, shape.height, shape.width), enc2]


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


class FusedAttention(nn.Module):
    """FC attention in two passes."""

    def __init__(self, plain: FoldedAttention) -> None:
        super().__init__()
        self.weight, self.bias = plain.weight, plain.bias

    def forward(self, x: Tensor) -> Tensor:
        return weighed(x, self.weight, self.bias)


def fuse(network: nn.Module) -> None:
    """Replace the blocks and separable convolutions of a network in the form for inference; it computes the same.

    What refining backbones begin with is one part, enlarging and the first block. Projections become convolutions with
    stride 2, which on a GPU spares a copy, and a ReLU after a convolution a part of that; maps are enlarged and added,
    or put beside others, at once, and attention takes two kernels, if those for that work here.

    Args:
        network: on a CUDA device and of float16 or bfloat16.
    """
    example = next(network.parameters())
    _fuse(network, _others_work(example.device, example.dtype))


def _fuse(network: nn.Module, others: bool) -> None:
    """See `fuse`; `others`: whether kernels are taken that nothing else will compare with PyTorch."""
    for name, child in [*network.named_children()]:
        if isinstance(child, FoldedBlock):
            setattr(network, name, FusedBlock(child))
        elif isinstance(child, Separable):
            setattr(network, name, FusedSeparable(child))
        elif isinstance(child, EverySecond):
            setattr(network, name, _strided(child.conv))
        elif isinstance(child, Enlarge) and others:
            setattr(network, name, FusedEnlarge())
        elif isinstance(child, FoldedAttention) and others:
            setattr(network, name, FusedAttention(child))
        elif isinstance(child, nn.Sequential) and [type(layer) for layer in child] == [nn.Conv2d, nn.ReLU]:
            setattr(network, name, ConvReLU(*child))
        else:
            _fuse(child, others)
    if isinstance(network, SmallDecoder) and others:
        network.high_sum = network.low_sum = enlarged_sum
    elif isinstance(network, DFANet):
        _fuse_refining(network)


def _fuse_refining(network: DFANet) -> None:
    """Join what the refining backbones of a fused network begin with, where maps are enlarged there."""
    for backbone in [*network.backbones][1:]:
        assert isinstance(backbone, Backbone)
        first, *rest = backbone.enc2
        if isinstance(backbone.aggregate, (Enlarge, FusedEnlarge)) and isinstance(first, FusedBlock):
            # They are called as what they replace.
            backbone.aggregate = FusedRefining(backbone.aggregate, first)  # type: ignore[assignment]
            backbone.enc2 = nn.Sequential(*rest)  # type: ignore[assignment]


def _others_work(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernels for enlarging and attention compute what PyTorch does; if they do not, the log says so."""
    shapes = (2, 3, 2, 4), (2, 5, 6, 7), (5, 5), (5,)
    coarse, fine, weight, bias = (
        (torch.arange(math.prod(shape), device=device) % 11).view(shape).to(dtype) for shape in shapes
    )
    maps, size = [coarse, coarse[:, :, :1, :3]], (6, 7)
    eps = torch.finfo(dtype).eps
    try:
        same = {
            "enlarged_beside": (enlarged_beside(coarse, fine), Enlarge()(coarse.float(), fine.float())),
            "enlarged_sum": (enlarged_sum(maps, size), upsampled_sum([values.float() for values in maps], size)),
            "weighed": (weighed(fine, weight, bias), weighed_channels(fine.float(), weight.float(), bias.float())),
        }
        wrong = [name for name, (y, exact) in same.items() if not torch.allclose(y.float(), exact, rtol=eps, atol=eps)]
        problem = f"the results of {' and '.join(wrong)} are not those of PyTorch" if wrong else ""
    except Exception as error:  # Triton, its compiler, the driver or the GPU: whatever it is, there is another way
        problem = reason(error)
    if problem:
        LOG.warning(f"maps are enlarged and weighed without kernels of their own: {problem}")
    return not problem


def _strided(conv: nn.Conv2d) -> nn.Conv2d:
    strided = nn.Conv2d(conv.in_channels, conv.out_channels, 1, stride=2, bias=False)
    strided.weight = conv.weight
    return strided
