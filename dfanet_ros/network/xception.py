"""The light Xception backbones of DFANet (arXiv 1904.02216, table 1), with the fully connected attention."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dfanet_ros.network.layers import ConvBN, SeparableConvBN, start_as_identity, upsample

STEM_CHANNELS = 8
BLOCKS = (4, 6, 4)  # blocks in enc2, enc3 and enc4
CHANNELS = {"xception_a": (48, 96, 192), "xception_b": (32, 64, 128)}  # of enc2, enc3 and enc4
ATTENTION_WIDTH = 1000  # the classes of ImageNet: the layer is kept from pretraining (section 3.2)


class Features(NamedTuple):
    """What one backbone hands on; strides are relative to its first encoder's input."""

    enc2: Tensor  # (N, C2, H / 2, W / 2)
    enc3: Tensor  # (N, C3, H / 4, W / 4)
    enc4: Tensor  # (N, C4, H / 8, W / 8)
    attention: Tensor  # enc4 after the attention, same shape


class Stem(ConvBN):
    """conv1: 3 x 3 with stride 2, from an RGB image."""

    def __init__(self) -> None:
        super().__init__(3, STEM_CHANNELS, kernel=3, stride=2)


class Projection(ConvBN):
    """1 x 1 with stride 2 on the skip of a stage's first block.

    The input is subsampled before the convolution: it is the same sum, and the weight gradient of a strided 1 x 1
    convolution with few input channels is wrong in some CPU builds (oneDNN#6035).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, kernel=1, relu=False)

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input[:, :, ::2, ::2])


class Block(nn.Module):
    """Three separable convolutions of widths c/4, c/4 and c around a skip connection.

    The first block of a stage halves the size; its skip is then a projection. Otherwise the block starts as the
    identity.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // 4
        self.convs = nn.Sequential(
            SeparableConvBN(inputs, inner, stride),
            SeparableConvBN(inner, inner),
            SeparableConvBN(inner, outputs, relu=False),
        )
        self.skip = Projection(inputs, outputs) if stride == 2 else nn.Identity()
        self.relu = nn.ReLU(inplace=True)
        if stride == 1:
            start_as_identity(self.convs)

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """(N, inputs, H, W), or so many channels in two maps beside each other."""
        if beside is not None:
            x = torch.cat([x, beside], 1)
        return self.relu(self.convs(x) + self.skip(x))


class Encoder(nn.Sequential):
    """A stage (enc2, enc3 or enc4): `blocks` blocks, the first of them with stride 2."""

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        first = Block(inputs, outputs, stride=2)
        super().__init__(first, *(Block(outputs, outputs, stride=1) for _ in range(blocks - 1)))

    def forward(self, x: Tensor, beside: Tensor | None = None) -> Tensor:
        """Beside x may be what the same stage of the backbone before gave: sub-stage aggregation (section 3.1)."""
        first, *rest = self
        x = first(x) if beside is None else first(x, beside)
        for block in rest:
            x = block(x)
        return x


class FCAttention(nn.Module):
    """Global pooling, fully connected to 1000, 1 x 1 convolution back; weighs the channels (section 3.2).

    Starts near the identity (bias 1), so that the cascade neither fades nor explodes before training.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, ATTENTION_WIDTH)
        self.conv = nn.Conv2d(ATTENTION_WIDTH, channels, 1)
        assert self.fc.bias is not None and self.conv.bias is not None
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.ones_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x).flatten(1)
        return x * self.conv(self.fc(pooled)[:, :, None, None])


class Enlarge(nn.Module):
    """Sub-network aggregation: a backbone's output, enlarged, beside its enc2 (section 3.1)."""

    def forward(self, attention: Tensor, enc2: Tensor) -> Tensor:
        """(N, C4, h, w) and (N, C2, H, W) to (N, C4 + C2, H, W)."""
        return torch.cat([upsample(attention, (enc2.shape[-2], enc2.shape[-1])), enc2], 1)


class Backbone(nn.Module):
    """enc2, enc3, enc4 and the attention of one backbone; the stem is separate, for only the first one has it.

    Args:
        name: `xception_a` or `xception_b`.
        first: whether this is the first backbone (fed by the stem) or a refining one (fed by the one before it).
        attention: without it, `Features.attention` is enc4's output.
    """

    def __init__(self, name: str, first: bool = True, attention: bool = True) -> None:
        super().__init__()
        c2, c3, c4 = CHANNELS[name]
        # Sub-network and sub-stage aggregation widen the inputs of a refining backbone (section 3.1).
        inputs2, inputs3, inputs4 = (STEM_CHANNELS, c2, c3) if first else (c4 + c2, c2 + c3, c3 + c4)
        self.aggregate = Enlarge()  # before enc2 of a refining backbone
        self.enc2 = Encoder(inputs2, c2, BLOCKS[0])
        self.enc3 = Encoder(inputs3, c3, BLOCKS[1])
        self.enc4 = Encoder(inputs4, c4, BLOCKS[2])
        self.attention = FCAttention(c4) if attention else nn.Identity()
