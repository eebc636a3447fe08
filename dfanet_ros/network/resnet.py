"""ResNet-18, 50 and 101 (arXiv 1512.03385) that stop striding at 1/8 or 1/16, with the names of torchvision's."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from dfanet_ros.network.layers import start_as_identity

STEM_CHANNELS = 64


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a skip."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, first_dilation: int, dilation: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, width, stride, first_dilation)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, 1, dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        start_as_identity(self)
        self.downsample = _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1 to a quarter of the channels, 3 x 3 (which strides), 1 x 1 back, around a skip."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, first_dilation: int, dilation: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv3x3(width, width, stride, first_dilation)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        start_as_identity(self)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(y + self.downsample(x))


class Layout(NamedTuple):
    """A ResNet's blocks and how many of them each stage has."""

    block: type[BasicBlock] | type[Bottleneck]
    counts: tuple[int, int, int, int]


LAYOUTS = {
    "resnet18": Layout(BasicBlock, (2, 2, 2, 2)),
    "resnet50": Layout(Bottleneck, (3, 4, 6, 3)),
    "resnet101": Layout(Bottleneck, (3, 4, 23, 3)),
}
OUTPUT_STRIDES = (16, 8)


class ResNet(nn.Module):
    """Stages 1 to 4; those after `output_stride` is reached dilate instead of striding, with the same parameters.

    Args:
        name: one of `LAYOUTS`.
        output_stride: 16 or 8.
    """

    def __init__(self, name: str, output_stride: int) -> None:
        super().__init__()
        layout = LAYOUTS[name]
        self.conv1 = nn.Conv2d(3, STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = [64 * 2**stage * layout.block.expansion for stage in range(4)]
        inputs, reached, dilation = STEM_CHANNELS, 4, 1
        stages = []
        for stage, count in enumerate(layout.counts):
            stride = 1 if stage == 0 else 2
            # A stage's first convolution sees its input at the stride it was made for, the others do not.
            first_dilation = dilation
            if reached * stride > output_stride:
                stride, dilation = 1, 2 * dilation
            reached *= stride
            blocks = []
            for number in range(count):
                first = number == 0
                blocks.append(
                    layout.block(
                        inputs, 64 * 2**stage, stride if first else 1, first_dilation if first else dilation, dilation
                    )
                )
                inputs = self.channels[stage]
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of the last two stages, (N, channels[2], h, w) and (N, channels[3], h', w')."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        third = self.layer3(self.layer2(self.layer1(x)))
        return third, self.layer4(third)


def _conv3x3(inputs: int, outputs: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=dilation, dilation=dilation, bias=False)


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    """What brings a skip to the block's size; nothing where it has it."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
