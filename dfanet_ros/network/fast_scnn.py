"""Fast-SCNN: fast semantic segmentation network (arXiv 1902.04502)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfanet_ros.network.base import Network
from dfanet_ros.network.layers import ConvBN, SeparableConvBN, pixel_classifier, start_as_identity, upsample

EXPANSION = 6
STAGES = ((64, 3, 2), (96, 3, 2), (128, 3, 1))  # channels, blocks and stride of the bottlenecks (table 1)
DETAIL_CHANNELS, CONTEXT_CHANNELS = 64, 128
DETAIL_STRIDE, CONTEXT_STRIDE = 8, 32
BINS = (1, 2, 3, 6)  # rows and columns of the pooled maps (PSPNet, arXiv 1612.01105)
DROPOUT = 0.1  # before the classifier; the paper names no rate


class Bottleneck(nn.Module):
    """An inverted residual block: 1 x 1 to six times the channels, depthwise 3 x 3, 1 x 1 back (table 2)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = EXPANSION * inputs
        self.convs = nn.Sequential(
            ConvBN(inputs, inner, 1),
            ConvBN(inner, inner, 3, stride, depthwise=True),
            ConvBN(inner, outputs, 1, relu=False),
        )
        self.residual = stride == 1 and inputs == outputs
        if self.residual:
            start_as_identity(self.convs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.convs(x)
        return x + y if self.residual else y


class PyramidPooling(nn.Module):
    """Means over areas of four sizes, enlarged again, beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // len(BINS)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), ConvBN(channels, inner, 1)) for bins in BINS
        )
        self.join = ConvBN(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2], x.shape[-1]
        joined: Tensor = self.join(torch.cat([x, *(upsample(branch(x), size) for branch in self.branches)], 1))
        return joined


class Fusion(nn.Module):
    """Adds context to details: enlarged four times, then a depthwise 3 x 3 with dilation 4 (table 3)."""

    def __init__(self) -> None:
        super().__init__()
        ratio = CONTEXT_STRIDE // DETAIL_STRIDE
        self.spread = ConvBN(CONTEXT_CHANNELS, CONTEXT_CHANNELS, 3, dilation=ratio, depthwise=True)
        self.context = ConvBN(CONTEXT_CHANNELS, CONTEXT_CHANNELS, 1, relu=False)
        self.detail = ConvBN(DETAIL_CHANNELS, CONTEXT_CHANNELS, 1, relu=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        enlarged = upsample(context, (detail.shape[-2], detail.shape[-1]))
        return torch.relu(self.context(self.spread(enlarged)) + self.detail(detail))


class FastSCNN(Network):
    """Two branches that share their first layers (table 1); logits at an eighth of the size.

    Its auxiliary features are, as in the paper (section 4), what the shared layers and the deep branch give.

    Args:
        num_classes: channels of the output.

    Raises:
        ValueError: a number of classes that is not possible.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            num_classes,
            options={},
            stride=CONTEXT_STRIDE,
            logits_stride=DETAIL_STRIDE,
            auxiliary_channels=[DETAIL_CHANNELS, CONTEXT_CHANNELS],
            least_batch=2,  # the pyramid's largest area gives one value an image to normalise
        )
        self.learning_to_downsample = nn.Sequential(
            ConvBN(3, 32, 3, stride=2),
            SeparableConvBN(32, 48, stride=2),
            SeparableConvBN(48, DETAIL_CHANNELS, stride=2),
        )
        blocks: list[nn.Module] = []
        inputs = DETAIL_CHANNELS
        for outputs, count, stride in STAGES:
            for number in range(count):
                blocks.append(Bottleneck(inputs, outputs, stride if number == 0 else 1))
                inputs = outputs
        self.global_features = nn.Sequential(*blocks, PyramidPooling(CONTEXT_CHANNELS))
        self.fusion = Fusion()
        self.classifier = nn.Sequential(
            SeparableConvBN(CONTEXT_CHANNELS, CONTEXT_CHANNELS),
            SeparableConvBN(CONTEXT_CHANNELS, CONTEXT_CHANNELS),
            nn.Dropout(DROPOUT),
            pixel_classifier(CONTEXT_CHANNELS, num_classes),
        )

    def outputs(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See `Network.outputs`."""
        detail = self.learning_to_downsample(images)
        context = self.global_features(detail)
        return self.classifier(self.fusion(detail, context)), [detail, context]
