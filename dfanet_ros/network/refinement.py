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
TAPS = torch.tensor(
    [
        [[0.625, 0.375, 0], [0.375, 0.625, 0], [0.125, 0.875, 0]],
        [[0.125, 0.875, 0], [0, 0.875, 0.125], [0, 0.625, 0.375]],
    ]
)
BEFORE, UNDER = 0, 1  # taps


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
        self.around = _SmallSeparable(depthwise.weight[:coarse, 0], pointwise.weight[:, :coarse])
        fine = _fine(depthwise, coarse)
        self.fine = Separable(fine, _pointwise(pointwise.weight[:, coarse:], pointwise.bias), relu=True)
        self.second, self.last = block.second, block.last
        self.skip = _pointwise(skip.weight[:, :coarse])
        self.skip_fine = EverySecond(skip.weight[:, coarse:])
        sampled = TAPS[:, UNDER]  # the enlarged pixels that a stride of 2 meets
        kernels = torch.einsum("yi,xj->yxij", sampled, sampled).reshape(4, 1, 3, 3)
        self.register_buffer("sample", kernels.repeat_interleave(self.skip.out_channels, 0))

    def forward(self, attention: Tensor, enc2: Tensor) -> Tensor:
        """(N, coarse, h, w) and (N, C, 4 h, 4 w) to (N, outputs, 2 h, 2 w)."""
        small = _with_edges(attention)
        inner = self.fine(enc2, self.around(small))
        skip = self.skip(small)
        sampled = torch.cat([F.conv2d(skip, kernels, groups=skip.shape[1]) for kernels in self.sample.chunk(4)], 1)
        result: Tensor = self.last(self.second(inner), self.skip_fine(enc2) + _interleaved(sampled))
        return result


class _SmallSeparable(nn.Module):
    """A depthwise 3 x 3 with stride 2 over an enlarged map and a 1 x 1 after it, of the small one.

    Outside the enlarged map are zeros, but outside the small one is its edge, or what lies inside would be wrong; what
    the first row and column then have too much is computed once more and taken off.

    Args:
        depthwise: weight, (channels, 3, 3).
        pointwise: weight, (outputs, channels, 1, 1).
    """

    everywhere: Tensor
    above: Tensor
    left: Tensor
    corner: Tensor

    def __init__(self, depthwise: Tensor, pointwise: Tensor) -> None:
        super().__init__()
        self.mix = _pointwise(pointwise)
        # By output pixel (even or odd row, even or odd column), channel, and the kernel's rows and columns.
        channels = len(depthwise)
        everywhere = torch.einsum("cts,yti,xsj->yxcij", depthwise, TAPS, TAPS)
        self.register_buffer("everywhere", everywhere.reshape(4 * channels, 1, 3, 3))
        above, left = torch.zeros(2, 2, channels, 1, 3), torch.zeros(2, 2, channels, 3, 1)
        above[0, :, :, 0] = torch.einsum("cs,xsj->xcj", depthwise[:, BEFORE], TAPS)
        left[:, 0, :, :, 0] = torch.einsum("ct,yti->yci", depthwise[:, :, BEFORE], TAPS)
        corner = torch.zeros(2, 2, channels, 1, 1)
        corner[0, 0, :, 0, 0] = depthwise[:, BEFORE, BEFORE]
        for name, weight in (("above", above), ("left", left), ("corner", corner)):
            mixed = torch.einsum("oc,yxcij->yxocij", pointwise[:, :, 0, 0], weight)
            self.register_buffer(name, mixed.flatten(0, 2))

    def forward(self, small: Tensor) -> Tensor:
        """(N, channels, h + 2, w + 2), padded by its edge, to (N, outputs, 2 h, 2 w)."""
        channels, bottom, right = small.shape[1], small.shape[2] - 3, small.shape[3] - 3
        # Four convolutions rather than one with four outputs a channel, for which OpenVINO has no fast way; and mixed
        # before they are put side by side, while there are fewer channels.
        parts = [self.mix(F.conv2d(small, kernels, groups=channels)) for kernels in self.everywhere.chunk(4)]
        above = F.pad(F.conv2d(small[:, :, 1:2], self.above), (0, 0, 0, bottom))
        left = F.pad(F.conv2d(small[:, :, :, 1:2], self.left), (0, right))
        corner = F.pad(F.conv2d(small[:, :, 1:2, 1:2], self.corner), (0, right, 0, bottom))  # it is in both
        return _interleaved(torch.cat(parts, 1) - above - left + corner)


def _interleaved(parts: Tensor) -> Tensor:
    """Four maps beside each other, (N, 4 C, h, w), to one, (N, C, 2 h, 2 w): its even and odd rows and columns.

    Not F.pixel_shuffle, which has the four beside each other channel by channel and not map by map: with channels last
    in memory, that moves single numbers.
    """
    channels, height, width = parts.shape[1] // 4, *parts.shape[2:]
    parts = parts.reshape(-1, 2, 2, channels, height, width)
    return parts.permute(0, 3, 4, 1, 5, 2).reshape(-1, channels, 2 * height, 2 * width)


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
