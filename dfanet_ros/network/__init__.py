"""Networks by name: pure PyTorch modules, without ROS and without file access."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dfanet_ros.network.dfanet import DFANet

NETWORKS: dict[str, Callable[..., DFANet]] = {"dfanet": DFANet}


def build_network(name: str, *, num_classes: int, **options: Any) -> DFANet:
    """Build a network with fresh weights, e.g. `build_network("dfanet", backbone="xception_a", num_classes=19)`.

    Raises:
        ValueError: no such network, or an option that it does not have; the sentence says what there is.
    """
    if name not in NETWORKS:
        raise ValueError(f"network is '{name}', but there are only these: {', '.join(NETWORKS)}")
    try:
        return NETWORKS[name](num_classes=num_classes, **options)
    except TypeError as error:
        raise ValueError(f"network '{name}' cannot be built with {options}: {error}") from error
