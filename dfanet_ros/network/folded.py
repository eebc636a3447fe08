"""The backbones' blocks once their normalisation is folded into their convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfanet_ros.network.layers import Separable
from dfanet_ros.network.xception import Block, Projection


class FoldedBlock(nn.Module):
    """A block that adds its skip within its last separable convolution, before the ReLU.

    Args:
        block: whose convolutions are folded; the bias of its skip goes to the last one, which adds one anyway.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        first, second, last = block.convs
        assert isinstance(first, Separable) and isinstance(second, Separable) and isinstance(last, Separable)
        self.first, self.second, self.last = first, second, last
        self.last.relu = True
        self.skip: nn.Module = block.skip
        if isinstance(block.skip, Projection):
            conv = block.skip[0]
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None and last.pointwise.bias is not None
            self.skip = EverySecond(conv.weight)
            last.pointwise.bias = nn.Parameter(last.pointwise.bias + conv.bias)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """See `Block`."""
        if beside is not None:
            x = torch.cat([x, beside], 1)
        y: Tensor = self.last(self.second(self.first(x)), self.skip(x))
        return y


class EverySecond(nn.Module):
    """A projection without bias: a 1 x 1 convolution of every second pixel.

    Args:
        weight: (outputs, inputs, 1, 1).
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=False)
        self.conv.weight = nn.Parameter(weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x[:, :, ::2, ::2])
        return y
