"""DeepLabV3: rethinking atrous convolution for semantic image segmentation (arXiv 1706.05587)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfanet_ros.network.base import Network
from dfanet_ros.network.layers import ConvBN, pixel_classifier
from dfanet_ros.network.resnet import OUTPUT_STRIDES, ResNet

HEAD_CHANNELS = 256
RATES = (6, 12, 18)  # at output stride 16; doubled at 8
DROPOUT = 0.5


class ImagePooling(nn.Sequential):
    """The mean over the whole image, through a 1 x 1 convolution, at every place."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *ConvBN(inputs, outputs, 1))

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input).expand(-1, -1, *input.shape[-2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: what stands at a place, around it at three distances, and in the whole image.

    Args:
        inputs: channels.
        rates: distances of the taps of the three 3 x 3 convolutions.
    """

    def __init__(self, inputs: int, rates: tuple[int, ...]) -> None:
        super().__init__()
        width = HEAD_CHANNELS
        self.convs = nn.ModuleList(
            [
                ConvBN(inputs, width, 1),
                *(ConvBN(inputs, width, 3, dilation=rate) for rate in rates),
                ImagePooling(inputs, width),
            ]
        )
        self.project = nn.Sequential(*ConvBN(len(self.convs) * width, width, 1), nn.Dropout(DROPOUT))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, h, w) to (N, 256, h, w)."""
        joined: Tensor = self.project(torch.cat([conv(x) for conv in self.convs], 1))
        return joined


class DeepLabV3(Network):
    """A ResNet, ASPP and a 3 x 3 convolution, with the parameters of torchvision's and their names.

    Like torchvision's, it has no multi-grid. `output_stride` changes no parameter: train at 16 and run at 8 for more
    detail, as the authors do. torchvision's networks are at 8.

    Args:
        num_classes: channels of the output.
        backbone: `resnet18`, `resnet50` or `resnet101`.
        output_stride: 16 or 8, of the logits.

    Raises:
        ValueError: an output stride or a number of classes that is not possible.
    """

    def __init__(self, num_classes: int, backbone: str = "resnet18", output_stride: int = 16) -> None:
        if output_stride not in OUTPUT_STRIDES:
            raise ValueError(f"output_stride is {output_stride}, but DeepLabV3 has 16 and 8")
        encoder = ResNet(backbone, output_stride)
        super().__init__(
            num_classes,
            options={"backbone": backbone, "output_stride": output_stride},
            stride=output_stride,
            logits_stride=output_stride,
            auxiliary_channels=[encoder.channels[2]],
            least_batch=2,  # image pooling gives one value an image to normalise
        )
        self.backbone = encoder
        self.classifier = nn.Sequential(
            ASPP(encoder.channels[3], tuple(rate * 16 // output_stride for rate in RATES)),
            *ConvBN(HEAD_CHANNELS, HEAD_CHANNELS, 3),
            pixel_classifier(HEAD_CHANNELS, num_classes),
        )

    def outputs(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See `Network.outputs`; the auxiliary feature is what stage 3 gives."""
        third, fourth = self.backbone(images)
        return self.classifier(fourth), [third]
