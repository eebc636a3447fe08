"""The layers that the networks are built from."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class ConvBN(nn.Sequential):
    """Convolution, batch normalisation and, if wanted, ReLU; the size stays the same at stride 1.

    Args:
        inputs: channels.
        outputs: channels.
        kernel: rows and columns, odd.
        stride: of the output's pixels.
        relu: whether a ReLU follows.
        dilation: distance of the kernel's taps.
        depthwise: each channel on its own.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        relu: bool = True,
        dilation: int = 1,
        depthwise: bool = False,
    ) -> None:
        padding, groups = dilation * (kernel // 2), inputs if depthwise else 1
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if relu:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class SeparableConvBN(nn.Sequential):
    """Depthwise 3 x 3, then 1 x 1, then batch normalisation, and ReLU if wanted."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, relu: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if relu:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


class Separable(nn.Module):
    """A separable convolution whose normalisation is folded into its 1 x 1, to which something may be added.

    Args:
        depthwise: 3 x 3, without bias.
        pointwise: 1 x 1, with bias.
        relu: whether one follows.
    """

    def __init__(self, depthwise: nn.Conv2d, pointwise: nn.Conv2d, relu: bool) -> None:
        super().__init__()
        self.depthwise, self.pointwise, self.relu = depthwise, pointwise, relu

    def forward(self, x: Tensor, added: Tensor | None = None) -> Tensor:
        """(N, inputs, H, W), and what is added before the ReLU, of the result's shape."""
        y: Tensor = self.pointwise(self.depthwise(x))
        if added is not None:
            y = y + added
        return F.relu(y, inplace=True) if self.relu else y


def pixel_classifier(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1 x 1 convolution to logits that at first are small: all classes are about equally likely."""
    conv = nn.Conv2d(channels, num_classes, 1)
    nn.init.normal_(conv.weight, std=0.01)
    return conv


def start_as_identity(block: nn.Module) -> None:
    """Zero gamma in the last normalisation of what is added to a skip: without it gradients explode in long rows."""
    last = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)][-1]
    nn.init.zeros_(last.weight)


def upsample(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge (N, C, h, w) bilinearly to `size` = (H, W), pixel centres aligned (align_corners=False)."""
    if features.shape[-2:] == size:
        return features
    return F.interpolate(features, size, mode="bilinear", align_corners=False)


def add(features: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape."""
    total = features[0]
    for other in features[1:]:
        total = total + other
    return total


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Repeat the last row and column of (N, C, H, W) until H and W are multiples of `multiple`.

    Padding goes to the bottom and the right only, so that no pixel moves.
    """
    height, width = images.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if not bottom and not right:
        return images
    return F.pad(images, (0, right, 0, bottom), mode="replicate")


def coarse_size(height: int, width: int, stride: int) -> tuple[int, int]:
    """The number of cells of `stride` pixels that cover an image of `height` x `width`."""
    return -(-height // stride), -(-width // stride)
