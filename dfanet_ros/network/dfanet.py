"""DFANet: deep feature aggregation for real-time semantic segmentation (arXiv 1904.02216)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from dfanet_ros.network.base import Network
from dfanet_ros.network.deeplabv3 import ASPP, HEAD_CHANNELS, RATES
from dfanet_ros.network.layers import ConvBN, add, pixel_classifier, upsample
from dfanet_ros.network.xception import CHANNELS, Backbone, Features, Stem

DECODER_CHANNELS = 32
LOGITS_STRIDE = 4
INPUT_SCALES = (1.0, 0.5, 0.25)


class Decoder(nn.Module):
    """Joins the backbones' outputs at a quarter of the image's size (section 3.3, table 4).

    Args:
        name: the backbone's name, for its channel counts.
        backbones: how many there are.
        high_level: "HL", the attention outputs of all backbones, added; without it only the last one is used.
        low_level: "LL", the enc2 outputs of all backbones, added, through a dense 3 x 3 convolution.
    """

    def __init__(self, name: str, num_classes: int, backbones: int, high_level: bool, low_level: bool) -> None:
        super().__init__()
        c2, _, c4 = CHANNELS[name]
        width = DECODER_CHANNELS if high_level or low_level else c4
        self.high = nn.ModuleList(ConvBN(c4, width, 1) for _ in range(backbones if high_level else 0))
        self.low = nn.ModuleList(ConvBN(c2, width, 1) for _ in range(backbones if low_level else 0))
        self.fuse = ConvBN(width, width, 3) if low_level else None
        if low_level and not high_level:
            self.high.append(ConvBN(c4, width, 1))
        self.classifier = pixel_classifier(width, num_classes)

    def forward(self, features: list[Features], size: tuple[int, int]) -> Tensor:
        if not self.high:
            return upsample(self.classifier(features[-1].attention), size)
        # With one projection only (no HL), it belongs to the last backbone.
        last = features[-len(self.high) :]
        joined = add([upsample(conv(f.attention), size) for conv, f in zip(self.high, last, strict=True)])
        if self.fuse is not None:
            low = [upsample(conv(f.enc2), size) for conv, f in zip(self.low, features, strict=True)]
            joined = joined + self.fuse(add(low))
        return self.classifier(joined)


class ASPPDecoder(nn.Module):
    """DeepLabV3's ASPP on the last backbone's output, in place of the paper's decoder (table 2)."""

    def __init__(self, name: str, num_classes: int) -> None:
        super().__init__()
        self.aspp = ASPP(CHANNELS[name][-1], RATES)
        self.classifier = pixel_classifier(HEAD_CHANNELS, num_classes)

    def forward(self, features: list[Features], size: tuple[int, int]) -> Tensor:
        return upsample(self.classifier(self.aspp(features[-1].attention)), size)


class DFANet(Network):
    """DFANet A, B and the rows of the paper's tables 2 to 4, by options; logits at a quarter of the size.

    Its auxiliary features are the backbones' outputs.

    Args:
        num_classes: channels of the output.
        backbone: `xception_a` (DFANet A) or `xception_b` (DFANet B).
        backbones: 1 to 4 backbones in a cascade; the paper's network has 3.
        high_level: the decoder's "HL" branch.
        low_level: the decoder's "LL" branch.
        attention: the fully connected attention at the end of each backbone.
        aspp: DeepLabV3's ASPP in place of the decoder; goes with neither HL nor LL.
        input_scale: what the images are shrunk to inside, 1, 0.5 or 0.25; logits are as much coarser. It changes no
            parameter.

    Raises:
        ValueError: options or a number of classes that are not possible.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "xception_a",
        backbones: int = 3,
        high_level: bool = True,
        low_level: bool = True,
        attention: bool = True,
        aspp: bool = False,
        input_scale: float = 1.0,
    ) -> None:
        if not 1 <= backbones <= 4:
            raise ValueError(f"backbones is {backbones}, but DFANet has 1 to 4 of them")
        if aspp and (high_level or low_level):
            raise ValueError("aspp takes the place of the decoder: set high_level and low_level to false")
        if input_scale not in INPUT_SCALES:
            raise ValueError(f"input_scale is {input_scale}, but has to be one of 1, 0.5 and 0.25")
        shrink = round(1 / input_scale)
        super().__init__(
            num_classes,
            options={
                "backbone": backbone,
                "backbones": backbones,
                "high_level": high_level,
                "low_level": low_level,
                "attention": attention,
                "aspp": aspp,
                "input_scale": input_scale,
            },
            # The last encoder of backbone n works at 1 / 2^(3 + n); below that no stride divides the size.
            stride=shrink * 2 ** (3 + backbones),
            logits_stride=shrink * LOGITS_STRIDE,
            auxiliary_channels=[CHANNELS[backbone][-1]] * backbones,
            least_batch=2 if aspp else 1,  # its image pooling gives one value an image to normalise
        )
        self.shrink = shrink
        self.stem = Stem()
        self.backbones = nn.ModuleList(Backbone(backbone, first=n == 0, attention=attention) for n in range(backbones))
        self.decoder: Decoder | ASPPDecoder
        if aspp:
            self.decoder = ASPPDecoder(backbone, num_classes)
        else:
            self.decoder = Decoder(backbone, num_classes, backbones, high_level, low_level)

    def features(self, images: Tensor) -> list[Features]:
        """The outputs of each backbone, for images whose size is a multiple of `stride`."""
        outputs: list[Features] = []
        x = self.stem(images)
        for backbone in self.backbones:
            assert isinstance(backbone, Backbone)
            if not outputs:
                enc2 = backbone.enc2(x)
                enc3 = backbone.enc3(enc2)
                enc4 = backbone.enc4(enc3)
            else:
                before = outputs[-1]
                enc2 = backbone.enc2(backbone.aggregate(before.attention, before.enc2))
                enc3 = backbone.enc3(enc2, before.enc3)
                enc4 = backbone.enc4(enc3, before.enc4)
            outputs.append(Features(enc2, enc3, enc4, backbone.attention(enc4)))
        return outputs

    def outputs(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """See `Network.outputs`."""
        if self.shrink > 1:
            images = F.avg_pool2d(images, self.shrink)
        features = self.features(images)
        size = images.shape[-2] // LOGITS_STRIDE, images.shape[-1] // LOGITS_STRIDE
        logits: Tensor = self.decoder(features, size)
        return logits, [f.attention for f in features]
