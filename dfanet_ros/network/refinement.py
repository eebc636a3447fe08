"""How a refining backbone begins, without ever enlarging what it begins with.

Its first block gets the attention output of the backbone before, four times enlarged, beside that backbone's enc2. The
enlarged maps are the largest of the whole network, and all that happens to them is linear: a depthwise 3 x 3 with
stride 2 and a 1 x 1, or every second pixel and a 1 x 1. Here these run on the small maps instead. As each output pixel
is a weighted mean of the small map's neighbours, with weights that repeat every two pixels, that is a convolution which
gives four values for each small pixel, of the four output pixels that lie there.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfanet_ros.network.folded import EverySecond, FoldedBlock
from dfanet_ros.network.layers import Separable

# By output pixel (even, odd) and tap of the depthwise kernel (-1, 0, 1): the weights of the small map's pixels
# (-1, 0, 1) in the enlarged pixel under the tap. Of four enlarged pixels, the even output's taps see the last one
# before, the first and the second, the odd output's the second, the third and the fourth.
_TAPS = torch.tensor(
    [
        [[0.625, 0.375, 0], [0.375, 0.625, 0], [0.125, 0.875, 0]],
        [[0.125, 0.875, 0], [0, 0.875, 0.125], [0, 0.625, 0.375]],
    ]
)
_BEFORE, _UNDER = 0, 1  # taps


class RefiningBlock(nn.Module):
    """The first block of a refining backbone; gives what the block gives, to rounding.

    Args:
        block: that it takes the place of.
        coarse: channels of the attention output, which come first in the block's input.
    """

    sample: Tensor

    def __init__(self, block: FoldedBlock, coarse: int) -> None:
        super().__init__()
        depthwise, pointwise = block.first.depthwise, block.first.pointwise
        assert isinstance(block.skip, EverySecond)
        skip = block.skip.conv
        self.around = _SmallDepthwise(depthwise.weight[:coarse, 0])
        self.mix = _pointwise(pointwise.weight[:, :coarse])
        fine = _fine(depthwise, coarse)
        self.fine = Separable(fine, _pointwise(pointwise.weight[:, coarse:], pointwise.bias), relu=True)
        self.second, self.last = block.second, block.last
        self.skip = _pointwise(skip.weight[:, :coarse])
        self.skip_fine = EverySecond(skip.weight[:, coarse:])
        sampled = _TAPS[:, _UNDER]  # the enlarged pixels that a stride of 2 meets
        kernels = torch.einsum("yi,xj->yxij", sampled, sampled).reshape(4, 1, 3, 3)
        self.register_buffer("sample", kernels.repeat(self.skip.out_channels, 1, 1, 1))

    def forward(self, attention: Tensor, enc2: Tensor) -> Tensor:
        """(N, coarse, h, w) and (N, C, 4 h, 4 w) to (N, outputs, 2 h, 2 w)."""
        small = _with_edges(attention)
        inner = self.fine(enc2, self.around(small, self.mix))
        skip = self.skip(small)
        skip = F.pixel_shuffle(F.conv2d(skip, self.sample, groups=skip.shape[1]), 2)
        result: Tensor = self.last(self.second(inner), self.skip_fine(enc2) + skip)
        return result


class _SmallDepthwise(nn.Module):
    """A depthwise 3 x 3 with stride 2 over an enlarged map, of the small one.

    Outside the enlarged map are zeros, but outside the small one is its edge, or what lies inside would be wrong; what
    the first row and column then have too much is computed once more and taken off.

    Args:
        weight: of the depthwise convolution, (channels, 3, 3).
    """

    everywhere: Tensor
    above: Tensor
    left: Tensor
    corner: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        channels = len(weight)
        everywhere = torch.einsum("cts,yti,xsj->yxcij", weight, _TAPS, _TAPS)
        self.register_buffer("everywhere", everywhere.reshape(4 * channels, 1, 3, 3))
        above = torch.einsum("cs,xsj->cxj", weight[:, _BEFORE], _TAPS)
        self.register_buffer("above", above.reshape(2 * channels, 1, 1, 3))
        left = torch.einsum("ct,yti->cyi", weight[:, :, _BEFORE], _TAPS)
        self.register_buffer("left", left.reshape(2 * channels, 1, 3, 1))
        self.register_buffer("corner", weight[:, _BEFORE, _BEFORE].reshape(1, channels, 1, 1).clone())

    def forward(self, small: Tensor, mix: nn.Module) -> Tensor:
        """(N, C, h + 2, w + 2), padded, to what `mix`, a 1 x 1 convolution, makes of the result, (N, ..., 2 h, 2 w)."""
        channels = small.shape[1]
        height, width = 2 * (small.shape[2] - 2), 2 * (small.shape[3] - 2)
        # Four convolutions rather than one with four outputs a channel, and mixed before they are put side by side,
        # while there are fewer channels: OpenVINO needs 0.82 of the time for the whole network in bfloat16, 0.89 in
        # float32.
        parts = [mix(F.conv2d(small, kernels, groups=channels)) for kernels in self.everywhere.chunk(4)]
        result = F.pixel_shuffle(torch.stack(parts, 2).flatten(1, 2), 2)
        row = F.conv2d(small[:, :, 1:2], self.above, groups=channels)
        row = row.reshape(-1, channels, 2, width // 2).transpose(2, 3).reshape(-1, channels, 1, width)
        column = F.conv2d(small[:, :, :, 1:2], self.left, groups=channels)
        column = column.reshape(-1, channels, 2, height // 2).transpose(2, 3).reshape(-1, channels, height, 1)
        corner = self.corner * small[:, :, 1:2, 1:2]
        row, column = mix(row - F.pad(corner, (0, width - 1))), mix(column)
        return result - F.pad(row, (0, 0, 0, height - 1)) - F.pad(column, (0, width - 1))


def _with_edges(features: Tensor) -> Tensor:
    """(N, C, h, w) with its first and last rows and columns once more, (N, C, h + 2, w + 2).

    As F.pad(mode="replicate") does, which exports as a gather between transposes.
    """
    features = torch.cat([features[:, :, :1], features, features[:, :, -1:]], 2)
    return torch.cat([features[:, :, :, :1], features, features[:, :, :, -1:]], 3)


def _pointwise(weight: Tensor, bias: Tensor | None = None) -> nn.Conv2d:
    """A 1 x 1 convolution."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bias is not None)
    conv.weight = nn.Parameter(weight.clone())
    if bias is not None:
        conv.bias = nn.Parameter(bias.clone())
    return conv


def _fine(conv: nn.Conv2d, first: int) -> nn.Conv2d:
    """A depthwise convolution of the channels from `first` on."""
    channels = conv.in_channels - first
    part = nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False)
    part.weight = nn.Parameter(conv.weight[first:].clone())
    return part
