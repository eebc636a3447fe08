"""Weights on disk: a `.safetensors` file whose metadata says all that is needed to use it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dfanet_ros.label_set import Label, LabelSet
from dfanet_ros.network import build_network
from dfanet_ros.network.base import Network

FORMAT = "dfanet_ros/1"
WEIGHTS_FOLDER = Path(__file__).parent / "weights"

# What RGB values between 0 and 1 are normalised with: the mean and deviation of ImageNet, as the field has them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class CheckpointError(ValueError):
    """Weights that cannot be read or do not fit; the text names the file and what is wrong with it."""


@dataclass(frozen=True)
class WeightsInfo:
    """What a weights file says of itself.

    Attributes:
        network: name in the registry.
        options: the options it was built with, e.g. {"backbone": "xception_a", "backbones": 3, ...}.
        labels: the classes, in the order of the network's outputs.
        data_set: what it was trained on.
        input_size: (height, width) in pixels that it was trained for.
        mean: of the RGB input, for values between 0 and 1.
        std: likewise.
        val_miou: in percent on the data set's val part, or None if that was not measured.
        training: how it was trained, in words.
    """

    network: str
    options: dict[str, Any]
    labels: LabelSet
    data_set: str
    input_size: tuple[int, int]
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD
    val_miou: float | None = None
    training: str = ""

    @property
    def backbone(self) -> str:
        """Empty where the network has none to choose."""
        return str(self.options.get("backbone", ""))

    @property
    def system(self) -> str:
        """The network and its backbone, in words."""
        return named(self.network, self.backbone)

    def to_metadata(self) -> dict[str, str]:
        """The flat strings that safetensors stores."""
        return {
            "format": FORMAT,
            "network": self.network,
            "options": json.dumps(self.options),
            "label_set": self.labels.name,
            "classes": json.dumps([{"name": label.name, "color": label.color} for label in self.labels.labels]),
            "data_set": self.data_set,
            "input_size": json.dumps(self.input_size),
            "mean": json.dumps(self.mean),
            "std": json.dumps(self.std),
            "val_miou": json.dumps(self.val_miou),
            "training": self.training,
        }

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> WeightsInfo:
        """The opposite of `to_metadata`. Raises KeyError, TypeError or ValueError where something is missing or off."""
        if metadata["format"] != FORMAT:
            raise ValueError(f"its format is '{metadata['format']}', this version reads '{FORMAT}'")
        classes = json.loads(metadata["classes"])
        labels = LabelSet(
            metadata["label_set"], tuple(Label(entry["name"], _triple(entry["color"])) for entry in classes)
        )
        height, width = json.loads(metadata["input_size"])
        return cls(
            network=metadata["network"],
            options=json.loads(metadata["options"]),
            labels=labels,
            data_set=metadata["data_set"],
            input_size=(int(height), int(width)),
            mean=_triple(json.loads(metadata["mean"])),
            std=_triple(json.loads(metadata["std"])),
            val_miou=json.loads(metadata["val_miou"]),
            training=metadata["training"],
        )


def named(network: str, backbone: str) -> str:
    """A network and its backbone, if it has any, in words."""
    return f"{network} with {backbone}" if backbone else network


def save_checkpoint(path: Path, network: Network, info: WeightsInfo) -> None:
    """Write the weights and what they are; the file is there whole or not at all."""
    write_tensors(path, network.state_dict(), info.to_metadata())


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a .safetensors file; it is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".unfinished")
    written = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    unfinished.write_bytes(save(written, metadata=metadata))  # save_file lets only the owner read it
    os.replace(unfinished, path)


def load_checkpoint(path: Path) -> tuple[Network, WeightsInfo]:
    """The network with its weights, in evaluation mode on the CPU, and what the file says of it.

    Raises:
        CheckpointError: the file is missing, damaged, not of this project, or its tensors do not fit its network.
    """
    if not path.is_file():
        raise CheckpointError(f"cannot load the weights '{path}': there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"cannot load the weights '{path}': not a whole .safetensors file ({error})") from error
    if "format" not in metadata:
        raise CheckpointError(
            f"cannot load the weights '{path}': its metadata does not say that it is of dfanet_ros "
            "(files of other projects have to be converted first)"
        )
    return network_from(metadata, tensors, path)


def network_from(metadata: dict[str, str], tensors: dict[str, torch.Tensor], path: Path) -> tuple[Network, WeightsInfo]:
    """The network that metadata describe, with these tensors, in evaluation mode on the CPU.

    Args:
        metadata: as of `WeightsInfo.to_metadata`.
        tensors: all of the network's, by name.
        path: where both come from, for the text of an error.

    Raises:
        CheckpointError: the metadata are incomplete or wrong, or the tensors do not fit the network or are not finite.
    """
    try:
        info = WeightsInfo.from_metadata(metadata)
        network = build_network(info.network, num_classes=len(info.labels), **info.options)
    except KeyError as error:
        raise CheckpointError(f"cannot load the weights '{path}': {error} is missing in its metadata") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"cannot load the weights '{path}': {error}") from error
    differences = _differences(network.state_dict(), tensors)
    if differences:
        raise CheckpointError(
            f"the weights '{path}' do not fit network '{info.network}' with {info.options} and "
            f"{len(info.labels)} classes: {'; '.join(differences)}"
        )
    # A file of weights has no checksum, and a network that is not finite gives each pixel the first class.
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"the weights '{path}' are damaged, or their training failed: {broken[0]} has values that are not finite"
        )
    network.load_state_dict(tensors)
    return network.eval(), info


def shipped_weights() -> dict[str, Path]:
    """The weights that come with the package, by name (`camvid`, ...)."""
    return {path.stem: path for path in sorted(WEIGHTS_FOLDER.glob("*.safetensors"))}


def _differences(expected: dict[str, torch.Tensor], given: dict[str, torch.Tensor], most: int = 5) -> list[str]:
    lines = [f"{name} is missing" for name in expected.keys() - given.keys()]
    lines += [f"{name} is not in the network" for name in given.keys() - expected.keys()]
    lines += [
        f"{name} is {tuple(given[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected.keys() & given.keys()
        if expected[name].shape != given[name].shape
    ]
    lines.sort()
    return lines if len(lines) <= most else [*lines[:most], f"and {len(lines) - most} more"]


def _triple(values: list[Any]) -> tuple[Any, Any, Any]:
    first, second, third = values
    return first, second, third
