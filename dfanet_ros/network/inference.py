"""The form of a network that runs fastest, with the same outputs.

Batch normalisation and attention are folded away, and what is linear happens before maps are enlarged, not after.
"""

from __future__ import annotations

import copy
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dfanet_ros.network.dfanet import Decoder, DFANet
from dfanet_ros.network.folded import FoldedBlock
from dfanet_ros.network.layers import Separable, SeparableConvBN, add, upsample
from dfanet_ros.network.refinement import RefiningBlock
from dfanet_ros.network.xception import Backbone, Block, FCAttention, Features

Form = TypeVar("Form", bound=nn.Module)


class FoldedAttention(nn.Module):
    """An FC attention as one matrix: nothing non-linear stands between its two layers."""

    def __init__(self, attention: FCAttention) -> None:
        super().__init__()
        fc, conv = attention.fc, attention.conv
        assert fc.bias is not None and conv.bias is not None
        back = conv.weight.detach().double().flatten(1)
        weight = back @ fc.weight.detach().double()
        bias = back @ fc.bias.detach().double() + conv.bias.detach().double()
        self.weight = nn.Parameter(weight.to(fc.weight.dtype), requires_grad=False)
        self.bias = nn.Parameter(bias.to(fc.weight.dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return weighed_channels(x, self.weight, self.bias)


def weighed_channels(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Each channel of a map (N, C, H, W) times what all channels' means say by a matrix (C, C) and a bias (C,)."""
    return x * nn.functional.linear(x.mean((2, 3)), weight, bias)[:, :, None, None]


class SmallDecoder(nn.Module):
    """A decoder that classifies before it enlarges: both are linear, and there are fewer classes than channels."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.high, self.low, self.fuse = decoder.high, decoder.low, decoder.fuse
        self.classifier = decoder.classifier

    def forward(self, features: list[Features], size: tuple[int, int]) -> Tensor:
        weight, bias = self.classifier.weight, self.classifier.bias
        assert bias is not None
        last = features[-len(self.high) :]
        high = [nn.functional.conv2d(conv(f.attention), weight) for conv, f in zip(self.high, last, strict=True)]
        logits = enlarged_sum(high, size)
        if self.fuse is None:
            return logits + bias[:, None, None]
        low = upsampled_sum([conv(f.enc2) for conv, f in zip(self.low, features, strict=True)], size)
        return logits + self.classifier(self.fuse(low))


def upsampled_sum(maps: list[Tensor], size: tuple[int, int]) -> Tensor:
    """The sum of maps (N, C, h, w), each with its own h and w, enlarged bilinearly: (N, C, H, W), `size` = (H, W)."""
    return add([upsample(values, size) for values in maps])


def enlarged_sum(maps: list[Tensor], size: tuple[int, int]) -> Tensor:
    """What `upsampled_sum` gives.

    On CPUs by matrix products, along rows for each map and along columns for all together: each enlarging takes
    OpenVINO as long as two convolutions do, however few the channels.
    """
    if maps[0].device.type != "cpu":
        return upsampled_sum(maps, size)
    wide = [values @ _enlarging(values.shape[-1], size[1]).to(values.dtype) for values in maps]
    columns = torch.cat([_enlarging(values.shape[-2], size[0]) for values in maps]).to(maps[0].dtype)
    return columns.T @ torch.cat(wide, 2)


def _enlarging(length: int, to: int) -> Tensor:
    """The matrix that enlarges rows, (..., length) @ it = (..., to), bilinearly."""
    return torch.from_numpy(_enlarging_weights(length, to))


@lru_cache
def _enlarging_weights(length: int, to: int) -> NDArray[np.float64]:
    places = np.clip((np.arange(to) + 0.5) * length / to - 0.5, 0, length - 1)  # of the pixels' centres, in the row
    return np.clip(1 - np.abs(places - np.arange(length)[:, None]), 0, 1)


def inference_form(network: Form, few_layers: bool = False) -> Form:
    """A copy of a network in evaluation mode with the same outputs (to rounding), less work and no gradients.

    What has that form already is only copied.

    Args:
        network: stays as it is.
        few_layers: more numbers to move for fewer layers, as is best on a GPU, where each layer takes its time.
    """
    folded = copy.deepcopy(network).eval()
    with torch.no_grad():
        _fold(folded)
        for module in folded.modules():
            if isinstance(module, DFANet):
                if not few_layers:
                    _avoid_large_maps(module)
                if isinstance(module.decoder, Decoder) and module.decoder.high:
                    module.decoder = SmallDecoder(module.decoder)  # type: ignore[assignment]  # called in the same way
    return folded.requires_grad_(False)


def _avoid_large_maps(network: DFANet) -> None:
    for backbone in list(network.backbones)[1:]:
        assert isinstance(backbone, Backbone)
        if isinstance(backbone.aggregate, RefiningBlock):
            continue
        first, *rest = backbone.enc2
        assert isinstance(first, FoldedBlock)
        # They are called as what they replace.
        backbone.aggregate = RefiningBlock(first, coarse=network.auxiliary_channels[0])  # type: ignore[assignment]
        backbone.enc2 = nn.Sequential(*rest)  # type: ignore[assignment]


def _fold(module: nn.Module) -> None:
    _fold_normalisation(module)
    for name, child in module.named_children():
        if isinstance(child, FCAttention):
            setattr(module, name, FoldedAttention(child))
            continue
        _fold(child)
        if isinstance(child, SeparableConvBN):
            depthwise, pointwise, *relu = child
            assert isinstance(depthwise, nn.Conv2d) and isinstance(pointwise, nn.Conv2d)
            setattr(module, name, Separable(depthwise, pointwise, relu=bool(relu)))
        elif isinstance(child, Block):
            setattr(module, name, FoldedBlock(child))


def _fold_normalisation(module: nn.Module) -> None:
    """Fold each normalisation that stands right after a convolution; in this package it is then also called so."""
    for (name, conv), (after, norm) in reversed([*pairwise(module.named_children())]):
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(conv, norm))
            if isinstance(module, nn.Sequential):
                del module[int(after)]
            else:
                setattr(module, after, nn.Identity())
