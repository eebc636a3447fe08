"""A network's parts by kernels of ours; `replacing` puts them in, and `choosing` finds out where they are faster."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfanet_ros.kernels import block, decoder, projection, reason, refining, rows, separable, stem
from dfanet_ros.kernels.attention import weighed
from dfanet_ros.kernels.decoder import decoded
from dfanet_ros.kernels.enlarging import enlarged_beside
from dfanet_ros.kernels.stem import convolved
from dfanet_ros.network.folded import EverySecond, FoldedBlock
from dfanet_ros.network.inference import FoldedAttention, SmallDecoder
from dfanet_ros.network.layers import Separable
from dfanet_ros.network.xception import Features

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
    beside: int = 0  # how many of the inputs are in a second map


# If set, in this thread: parts note here what they are asked for, and those that have no parts compute nothing.
noted: ContextVar[dict[Fused, list[Shape]] | None] = ContextVar("noted", default=None)


class Fused(nn.Module):
    """A part of a network that takes a kernel for the shapes for which there is a tiling.

    Args:
        plain: what it does, by smaller parts; on its device and of its type.

    Attributes:
        what: its kind, for the log.
        tilings_tried: all that there are.
        has_parts: whether `plain` consists of other fused parts.
        tilings: those that were chosen.
    """

    what: str
    tilings_tried: tuple[Any, ...]
    has_parts = False

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain = plain
        self.tilings: dict[Shape, Any] = {}

    def forward(self, x: Tensor, more: Tensor | None = None) -> Tensor:
        """See `Separable`, to which `more` is added, and `FoldedBlock`, where it is beside x."""
        inputs = [x] if more is None else [x, more]
        shape = self.shape(*inputs)
        if (shapes := noted.get()) is not None:
            shapes.setdefault(self, []).append(shape)
            if not self.has_parts:
                size = shape.images, -(-shape.height // shape.stride), -(-shape.width // shape.stride), shape.outputs
                return x.new_zeros(size).permute(0, 3, 1, 2)
        tiling = self.tilings.get(shape)
        y: Tensor = self.plain(*inputs) if tiling is None else self.by_kernel(tiling, *inputs)
        return y

    def by_kernel(self, tiling: Any, x: Tensor, more: Tensor | None = None) -> Tensor:
        """The same by the kernel."""
        raise NotImplementedError

    def shape(self, x: Tensor, more: Tensor | None = None) -> Shape:
        """What it is asked for with these inputs."""
        raise NotImplementedError

    def random_inputs(self, shape: Shape, images: Tensor) -> list[Tensor]:
        """Inputs of this shape, in channels_last; of the images' type and on their device."""
        rows, columns = -(-shape.height // shape.stride), -(-shape.width // shape.stride)
        inputs = [random_map(images, shape.inputs - shape.beside, shape.height, shape.width)]
        if shape.beside:
            inputs.append(random_map(images, shape.beside, shape.height, shape.width))
        if shape.added:
            inputs.append(random_map(images, shape.outputs, rows, columns))
        return inputs


def random_map(images: Tensor, channels: int, height: int, width: int) -> Tensor:
    """As many maps as images, in channels_last; of their type and on their device."""
    size = len(images), height, width, channels
    return torch.randn(size, device=images.device, dtype=images.dtype).permute(0, 3, 1, 2)


class FusedSeparable(Fused):
    """A separable convolution, for which there are two kernels; a tiling is for one of them."""

    what = "separable convolutions"
    tilings_tried: tuple[Any, ...] = (*separable.TILINGS, *rows.TILINGS)
    plain: Separable

    def __init__(self, plain: Separable) -> None:
        super().__init__(plain)
        assert plain.pointwise.bias is not None
        self.weights = separable.weights_of(plain.depthwise.weight, plain.pointwise.weight, plain.pointwise.bias)

    def by_kernel(self, tiling: Any, x: Tensor, added: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        stride, relu = self.plain.depthwise.stride[0], self.plain.relu
        if isinstance(tiling, rows.Tiling):
            return rows.separable_by_rows(x, self.weights, stride, relu, added, tiling)
        return separable.separable(x, self.weights, stride, relu, added, tiling)

    def shape(self, x: Tensor, added: Tensor | None = None) -> Shape:
        """See `Fused`."""
        images, inputs, height, width = x.shape
        stride = self.plain.depthwise.stride[0]
        outputs = self.plain.pointwise.out_channels
        return Shape(images, inputs, height, width, outputs, stride, self.plain.relu, added is not None)


class OfBoth(nn.Module):
    """A separable convolution of two maps beside each other."""

    def __init__(self, convolution: Separable) -> None:
        super().__init__()
        self.convolution = convolution

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        y: Tensor = self.convolution(torch.cat([x, beside], 1))
        return y


class FusedOfBoth(FusedSeparable):
    """A separable convolution of two maps beside each other, which it reads where they are."""

    tilings_tried = separable.TILINGS
    plain: OfBoth  # type: ignore[assignment]  # `more` is another thing here

    def __init__(self, plain: Separable) -> None:
        super().__init__(plain)
        self.plain = OfBoth(plain)
        self.stride, self.relu = plain.depthwise.stride[0], plain.relu

    def by_kernel(self, tiling: Any, x: Tensor, more: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        return separable.separable(x, self.weights, self.stride, self.relu, None, tiling, more)

    def shape(self, x: Tensor, more: Tensor | None = None) -> Shape:
        """See `Fused`."""
        return _shape_of_both(x, more, len(self.weights.bias), self.stride, self.relu)


def _shape_of_both(x: Tensor, beside: Tensor | None, outputs: int, stride: int, relu: bool) -> Shape:
    images, inputs, height, width = x.shape
    more = 0 if beside is None else beside.shape[1]
    return Shape(images, inputs + more, height, width, outputs, stride, relu, added=False, beside=more)


class EverySecondOfBoth(nn.Module):
    """See `EverySecond`; where there are two maps beside each other, it copies no more of them than it reads."""

    def __init__(self, plain: EverySecond) -> None:
        super().__init__()
        conv = plain.conv
        # With a stride, which on a GPU spares a copy.
        self.conv = nn.Conv2d(conv.in_channels, conv.out_channels, 1, stride=2, bias=False)
        self.conv.weight = conv.weight

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        if beside is None:
            y: Tensor = self.conv(x)
            return y
        return F.conv2d(torch.cat([each[:, :, ::2, ::2] for each in (x, beside)], 1), self.conv.weight)


class FusedProjection(Fused):
    """The skip of a stage's first block, of one map or of two beside each other."""

    what, tilings_tried = "projections", projection.TILINGS
    plain: EverySecondOfBoth

    def __init__(self, plain: EverySecond) -> None:
        super().__init__(EverySecondOfBoth(plain))
        self.weight = projection.weights_of(plain.conv.weight)

    def by_kernel(self, tiling: projection.Tiling, x: Tensor, more: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        return projection.projected(x, self.weight, tiling, more)

    def shape(self, x: Tensor, more: Tensor | None = None) -> Shape:
        """See `Fused`."""
        return _shape_of_both(x, more, self.weight.shape[1], stride=2, relu=False)


class Convolutions(nn.Module):
    """A block by its convolutions; two maps beside each other are what only a stage's first one gets."""

    def __init__(self, plain: FoldedBlock) -> None:
        super().__init__()
        self.first, self.second, self.last = (FusedSeparable(each) for each in (plain.first, plain.second, plain.last))
        self.skip = plain.skip
        if isinstance(plain.skip, EverySecond):
            self.first_of_both = FusedOfBoth(plain.first)
            self.skip = FusedProjection(plain.skip)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        if beside is None:
            first, skip = self.first(x), self.skip(x)
        else:
            first, skip = self.first_of_both(x, beside), self.skip(x, beside)
        y: Tensor = self.last(self.second(first), skip)
        return y


class FusedBlock(Fused):
    """A block, whose separable convolutions are fused ones for where its own kernel is slower than theirs."""

    what, tilings_tried, has_parts = "blocks", block.TILINGS, True
    plain: Convolutions

    def __init__(self, plain: FoldedBlock) -> None:
        super().__init__(Convolutions(plain))
        parts = self.plain
        skip = plain.skip.conv.weight if isinstance(plain.skip, EverySecond) else None
        self.stride = plain.first.depthwise.stride[0]
        self.weights = block.weights_of([each.weights for each in (parts.first, parts.second, parts.last)], skip)

    def by_kernel(self, tiling: block.Tiling, x: Tensor, more: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        return block.block(x, self.weights, self.stride, tiling, more)

    def shape(self, x: Tensor, more: Tensor | None = None) -> Shape:
        """See `Fused`."""
        return _shape_of_both(x, more, len(self.weights.last.bias), self.stride, relu=True)


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

    what, tilings_tried, has_parts = "beginnings of refining backbones", refining.TILINGS, True
    plain: EnlargedBlock

    def __init__(self, aggregate: nn.Module, block: FusedBlock) -> None:
        super().__init__(EnlargedBlock(aggregate, block))
        first, skip = block.plain.first.plain, block.plain.skip
        assert isinstance(first, Separable) and first.pointwise.bias is not None and isinstance(skip, FusedProjection)
        conv = skip.plain.conv
        self.inner, self.fine = first.pointwise.out_channels, conv.out_channels  # all backbones' enc2 are as wide
        self.weights = refining.weights_of(
            *(first.depthwise.weight, first.pointwise.weight, first.pointwise.bias, conv.weight),
            coarse=conv.in_channels - self.fine,
        )

    def forward(self, x: Tensor, more: Tensor | None = None) -> Tensor:
        """See `EnlargedBlock`; for maps of other sizes, too."""
        assert more is not None
        if refining.fits(x, more):
            return super().forward(x, more)
        y: Tensor = self.plain(x, more)
        return y

    def by_kernel(self, tiling: refining.Tiling, x: Tensor, more: Tensor | None = None) -> Tensor:
        """See `Fused`."""
        assert more is not None
        first, skip = refining.refining(x, more, self.weights, self.inner, tiling)
        block = self.plain.block.plain
        y: Tensor = block.last(block.second(first), skip)
        return y

    def shape(self, x: Tensor, more: Tensor | None = None) -> Shape:
        """See `Fused`; of the attention output."""
        images, inputs, height, width = x.shape
        total = inputs + self.fine
        return Shape(images, total, height, width, self.fine, stride=2, relu=True, added=False, beside=self.fine)

    def random_inputs(self, shape: Shape, images: Tensor) -> list[Tensor]:
        """See `Fused`."""
        times = refining.ENLARGED
        enc2 = random_map(images, self.fine, times * shape.height, times * shape.width)
        return [random_map(images, shape.inputs - shape.beside, shape.height, shape.width), enc2]


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


class FusedStem(nn.Module):
    """A convolution from an image with the ReLU after it, in one pass, where `stem.fits`."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weights = stem.weights_of(conv.weight, conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        return convolved(x, self.weights)


class FusedDecoder(nn.Module):
    """DFANet's decoder in three passes."""

    def __init__(self, plain: SmallDecoder) -> None:
        super().__init__()
        high, low = ([conv_of(each) for each in level] for level in (plain.high, plain.low))
        self.weights = decoder.weights_of(high, low, conv_of(plain.fuse), plain.classifier)
        self.count, self.classes = len(high), plain.classifier.out_channels

    def forward(self, features: list[Features], size: tuple[int, int]) -> Tensor:
        assert features[0].enc2.shape[-2:] == size, "the first backbone's map is of the logits' size"
        high, low = [f.attention for f in features[-self.count :]], [f.enc2 for f in features]
        return decoded(high, low, self.weights, self.classes)


def conv_of(layers: nn.Module | None) -> nn.Conv2d:
    """The convolution of one with a ReLU after it."""
    assert isinstance(layers, nn.Sequential) and isinstance(layers[0], nn.Conv2d)
    return layers[0]


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
