"""Weights to start from: of a pretrained backbone, or of a whole network."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from dfanet_ros.checkpoint import shipped_weights
from training.config import ConfigError

SUFFIXES = (".safetensors", ".pth")


def initialise(network: nn.Module, path: Path) -> list[str]:
    """Give the network the weights of a file, as far as they fit; says by name what does not.

    A pretrained backbone (`stem.*`, `backbone.*`, `fc.*`, as `training.pretrain` writes it) goes into each backbone of
    the network, as in the paper (section 4.1): only layers whose input widths differ cannot take it. The weights of a
    network go where they come from. State dicts of torchvision (`.pth`) fit deeplabv3: those of ResNets, and those of
    DeepLabV3s, whose auxiliary head is not used.

    Returns:
        Sentences: what was taken, and each tensor of the network that keeps its random weights, with the reason.

    Raises:
        ConfigError: the file is of another kind or cannot be read, or nothing in it fits.
    """
    given = _read(path)
    expected = network.state_dict()
    taken: dict[str, Tensor] = {}
    remarks: list[str] = []
    sources: set[str] = set()
    for name, tensor in expected.items():
        source = name if name in given else _in_pretrained(name)
        sources.add(source)
        if source not in given:
            remarks.append(f"{name} keeps its random weights: {path.name} has no {source}")
        elif given[source].shape != tensor.shape:
            shapes = f"{tuple(given[source].shape)} there, {tuple(tensor.shape)} here"
            remarks.append(f"{name} keeps its random weights: {source} is {shapes}")
        else:
            taken[name] = given[source]
    if not taken:
        raise ConfigError(
            f"init is '{path}', but nothing in it fits the network; it has {', '.join(sorted(given)[:5])}, ..."
        )
    network.load_state_dict(taken, strict=False)
    remarks += [f"{name} of {path.name} is not used" for name in sorted(given.keys() - sources)]
    return [f"{len(taken)} of {len(expected)} tensors start from {path}", *remarks]


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix not in SUFFIXES:
        hint = "; a run's weights are in best.safetensors, in the folder above its checkpoints"
        raise ConfigError(
            f"init is '{path}', but has to be a file that ends in {' or '.join(SUFFIXES)}, or the name of shipped "
            f"weights ({', '.join(shipped_weights())}){hint if path.suffix == '.ckpt' else ''}"
        )
    try:
        if path.suffix != ".pth":
            return load_file(path)
        given = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"init is '{path}', which is not a {path.suffix} file that can be read: {error}") from error
    except Exception as error:  # noise makes the unpickler raise nearly anything
        raise ConfigError(f"init is '{path}', which is not a state dict ({type(error).__name__})") from error
    if not isinstance(given, dict) or not all(isinstance(value, Tensor) for value in given.values()):
        raise ConfigError(f"init is '{path}', which is not a state dict: it has more than tensors by name")
    return given


def _in_pretrained(name: str) -> str:
    """The name in a pretrained backbone.

    `backbones.2.enc3.x` is `backbone.enc3.x`, an attention's `fc.x` just that; a ResNet's `backbone.layer1.x` is
    `layer1.x`.
    """
    kind, _, rest = name.partition(".")
    if kind == "backbone":
        return rest
    if kind != "backbones":
        return name
    layer = rest.partition(".")[2]
    return layer.removeprefix("attention.") if layer.startswith("attention.fc.") else f"backbone.{layer}"
