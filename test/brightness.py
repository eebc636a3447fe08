"""A DFANet with weights set by hand: it tells the brightness of red, so that the right ids are known beforehand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from conftest import info_of
from numpy.typing import NDArray

from dfanet_ros.checkpoint import MEAN, STD, save_checkpoint
from dfanet_ros.label_set import CAMVID
from dfanet_ros.network import build_network

LEVELS = np.linspace(10, 250, len(CAMVID)).round().astype(np.uint8)  # class k is what is closest to LEVELS[k]
BLOCK = 32  # pixels


def save_brightness_weights(path: Path, input_size: tuple[int, int]) -> None:
    """One value goes through stem, enc2 and the low-level branch; everything else is zero."""
    network = build_network(
        "dfanet", num_classes=len(CAMVID), backbone="xception_b", backbones=1, high_level=False, attention=False
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        backbone, decoder = network.backbones[0], network.decoder
        # Plus 3, so that no ReLU cuts off the darker half of the normalised values.
        _pass_on(network.stem, bias=3.0)
        _pass_on(backbone.enc2[0].skip)
        _pass_on(decoder.low[0])
        _pass_on(decoder.fuse)
        centres = (torch.from_numpy(LEVELS.astype(np.float32)) / 255 - MEAN[0]) / STD[0] + 3.0
        # Of 2 c v - c^2 the largest is that of the c closest to v.
        decoder.classifier.weight[:, 0, 0, 0] = 2 * centres
        decoder.classifier.bias[:] = -(centres**2)
    save_checkpoint(path, network, info_of(network, input_size=input_size))


def _pass_on(conv_bn: torch.nn.Sequential, bias: float = 0.0) -> None:
    conv, norm = conv_bn[0], conv_bn[1]
    middle = conv.kernel_size[0] // 2
    conv.weight[0, 0, middle, middle] = 1.0
    norm.weight[0] = (1.0 + norm.eps) ** 0.5
    norm.bias[0] = bias


def blocks(height: int, width: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """Flat blocks of random class: red (H, W), the right ids (H, W), and where these are certain.

    Within 8 pixels of a block's border neighbouring values mix.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.arange(height) // BLOCK, np.arange(width) // BLOCK
    classes = rng.integers(0, len(CAMVID), (rows[-1] + 1, columns[-1] + 1)).astype(np.uint8)
    ids = classes[rows][:, columns]

    def inside(n: int) -> NDArray[np.bool_]:
        position = np.arange(n)
        start, end = position % BLOCK, np.minimum(BLOCK, n - position // BLOCK * BLOCK) - position % BLOCK
        at_start, at_end = position < BLOCK, position // BLOCK == (n - 1) // BLOCK
        return ((start >= 8) | at_start) & ((end > 8) | at_end)

    return LEVELS[ids], ids, inside(height)[:, None] & inside(width)[None, :]
