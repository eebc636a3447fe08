"""The form of a network that runs fastest: batch normalisation and attention folded away, same outputs."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dfanet_ros.network.xception import FCAttention

Network = TypeVar("Network", bound=nn.Module)


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
        pooled = x.mean((2, 3))
        return x * nn.functional.linear(pooled, self.weight, self.bias)[:, :, None, None]


def inference_form(network: Network) -> Network:
    """A copy of a network in evaluation mode with the same outputs (to rounding), fewer layers and no gradients."""
    folded = copy.deepcopy(network).eval()
    with torch.no_grad():
        _fold(folded)
    return folded.requires_grad_(False)


def _fold(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, FCAttention):
            setattr(module, name, FoldedAttention(child))
        elif isinstance(child, nn.Sequential):
            _fold_normalisation(child)
            _fold(child)
        else:
            _fold(child)


def _fold_normalisation(layers: nn.Sequential) -> None:
    for index in reversed(range(len(layers) - 1)):
        conv, norm = layers[index], layers[index + 1]
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            layers[index] = fuse_conv_bn_eval(conv, norm)
            del layers[index + 1]
