"""Networks by name: pure PyTorch modules, without ROS and without file access."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dfanet_ros.network import resnet, xception
from dfanet_ros.network.base import Network
from dfanet_ros.network.deeplabv3 import DeepLabV3
from dfanet_ros.network.dfanet import DFANet
from dfanet_ros.network.fast_scnn import FastSCNN

AUTO = "auto"  # for a backbone: the network's default one


@dataclass(frozen=True)
class Entry:
    """A network of the registry.

    Attributes:
        build: its class.
        backbones: that it has, the default one first; empty where there is nothing to choose.
        options: that make it what its name says.
    """

    build: Callable[..., Network]
    backbones: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def _dfanet(**options: Any) -> Entry:
    return Entry(DFANet, tuple(xception.CHANNELS), options)


# Backbones alone: the steps that DFANet's paper takes to its network (tables 2 and 3).
_ALONE = {"high_level": False, "low_level": False}

NETWORKS: dict[str, Entry] = {
    "dfanet": _dfanet(),
    "fast_scnn": Entry(FastSCNN),
    "deeplabv3": Entry(DeepLabV3, tuple(resnet.LAYOUTS)),
    "dfanet_without_attention": _dfanet(attention=False),
    "dfanet_quarter_scale": _dfanet(input_scale=0.25),
    "backbone": _dfanet(backbones=1, **_ALONE),
    "backbone_x2": _dfanet(backbones=2, **_ALONE),
    "backbone_x3": _dfanet(backbones=3, **_ALONE),
    "backbone_x4": _dfanet(backbones=4, **_ALONE),
    "backbone_x3_hl": _dfanet(low_level=False),
    "backbone_aspp": _dfanet(backbones=1, aspp=True, **_ALONE),
}


def build_network(name: str, *, num_classes: int, backbone: str = AUTO, **options: Any) -> Network:
    """Build a network with fresh weights, e.g. `build_network("dfanet", backbone="xception_a", num_classes=19)`.

    Args:
        name: of the registry.
        num_classes: channels of the output.
        backbone: one that the network has, or `auto` for its first.
        options: others of its class.

    Raises:
        ValueError: no such network, or an option that it does not have; the sentence says what there is.
    """
    backbone = resolve_backbone(name, backbone)
    entry = NETWORKS[name]
    chosen = entry.options | ({"backbone": backbone} if backbone else {}) | options
    try:
        return entry.build(num_classes, **chosen)
    except TypeError as error:
        raise ValueError(f"network '{name}' cannot be built with {options}: {error}") from error


def resolve_backbone(name: str, backbone: str) -> str:
    """The backbone that a network gets: the one named, for `auto` its first, empty where it has none to choose.

    Raises:
        ValueError: there is no such network, or it does not have this backbone.
    """
    if name not in NETWORKS:
        raise ValueError(f"network is '{name}', but has to be one of {', '.join(NETWORKS)}")
    has = NETWORKS[name].backbones
    if backbone == AUTO:
        return has[0] if has else ""
    if not has and backbone:
        raise ValueError(f"backbone is '{backbone}', but network {name} has none to choose: leave it at {AUTO}")
    if has and backbone not in has:
        raise ValueError(f"backbone is '{backbone}', but has to be one of {', '.join(has)} for network {name}")
    return backbone
