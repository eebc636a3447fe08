"""DFANet: deep feature aggregation for real-time semantic segmentation (arXiv 1904.02216)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfanet_ros.network.layers import (
    ConvBN,
    add,
    coarse_size,
    pad_to_multiple,
    upsample,
)
from dfanet_ros.network.xception import CHANNELS, Backbone, Features, Stem

DECODER_CHANNELS = 32
LOGITS_STRIDE = 4


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
        self.classifier = nn.Conv2d(width, num_classes, 1)
        nn.init.normal_(self.classifier.weight, std=0.01)  # at first all classes are about equally likely

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


class DFANet(nn.Module):
    """DFANet A, B and the rows of the paper's tables 3 and 4, by options.

    Args:
        num_classes: channels of the output.
        backbone: `xception_a` (DFANet A) or `xception_b` (DFANet B).
        backbones: 1 to 4 backbones in a cascade; the paper's network has 3.
        high_level: the decoder's "HL" branch.
        low_level: the decoder's "LL" branch.
        attention: the fully connected attention at the end of each backbone.

    Raises:
        ValueError: an unknown backbone, or a number of backbones or classes that is not possible.
    """

    def __init__(
        self,
        num_classes: int,
        backbone: str = "xception_a",
        backbones: int = 3,
        high_level: bool = True,
        low_level: bool = True,
        attention: bool = True,
    ) -> None:
        super().__init__()
        if backbone not in CHANNELS:
            raise ValueError(f"backbone is '{backbone}', but DFANet has these: {', '.join(CHANNELS)}")
        if not 1 <= backbones <= 4:
            raise ValueError(f"backbones is {backbones}, but DFANet has 1 to 4 of them")
        if not 1 <= num_classes <= 255:
            raise ValueError(f"num_classes is {num_classes}, but 8-bit masks hold 1 to 255 classes")
        self.options = {
            "backbone": backbone,
            "backbones": backbones,
            "high_level": high_level,
            "low_level": low_level,
            "attention": attention,
        }
        self.num_classes = num_classes
        self.stem = Stem()
        self.backbones = nn.ModuleList(Backbone(backbone, first=n == 0, attention=attention) for n in range(backbones))
        self.decoder = Decoder(backbone, num_classes, backbones, high_level, low_level)
        # The last encoder of backbone n works at 1 / 2^(3 + n); below that no stride divides the size.
        self.stride = 2 ** (3 + backbones)
        self.auxiliary_channels = [CHANNELS[backbone][-1]] * backbones

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
                enc3 = backbone.enc3(torch.cat([enc2, before.enc3], 1))
                enc4 = backbone.enc4(torch.cat([enc3, before.enc4], 1))
            outputs.append(Features(enc2, enc3, enc4, backbone.attention(enc4)))
        return outputs

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Logits at a quarter of the size: (N, 3, H, W) gives (N, num_classes, ceil(H / 4), ceil(W / 4)).

        Images are normalised RGB of any size; what is padded inside is cut off again.
        """
        rows, columns = coarse_size(*_size(images), LOGITS_STRIDE)
        logits, _ = self.outputs(pad_to_multiple(images, self.stride))
        return logits[:, :, :rows, :columns]

    def outputs(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Coarse logits, and what auxiliary classifiers are trained on, for images of a multiple of `stride`.

        The latter are the backbones' outputs, (N, C, h, w) with C as in `auxiliary_channels`.
        """
        features = self.features(images)
        logits: Tensor = self.decoder(features, coarse_size(*_size(images), LOGITS_STRIDE))
        return logits, [f.attention for f in features]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) for normalised RGB images (N, 3, H, W) of any size."""
        height, width = _size(images)
        coarse = self.coarse_logits(images)
        full = coarse.shape[-2] * LOGITS_STRIDE, coarse.shape[-1] * LOGITS_STRIDE
        return upsample(coarse, full)[:, :, :height, :width]


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]
