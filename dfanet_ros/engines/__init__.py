"""What runs the network: PyTorch, or something faster that computes the same.

Each module here is one engine, with a function `objection`, which says why it cannot be used, and a class `Engine`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, runtime_checkable

# Not `import torch`: once `engines.torch` is imported, that is what the name means here.
from torch import Tensor, get_num_threads, set_num_threads
from torch import device as Device
from torch.backends import cudnn

from dfanet_ros.network.base import Network
from dfanet_ros.network.inference import inference_form

ENGINES = ("torch", "cuda_graph", "onnxruntime", "openvino", "tensorrt")
# Measured on CPUs (docs/performance.md). On CUDA, onnxruntime and tensorrt were not, and have to be asked for.
FASTEST_FIRST = {"cpu": ("openvino", "onnxruntime", "torch"), "cuda": ("cuda_graph", "torch")}
# What these make of a network is kept on disk, so that they bring it into its form for inference only if they make it.
KEPT_ON_DISK = ("onnxruntime", "openvino", "tensorrt")
CORES = get_num_threads()  # what PyTorch starts with: one thread a core, or as many as OMP_NUM_THREADS says


class Engine(Protocol):
    """A network, ready to run on one device in one precision."""

    def logits(self, images: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to coarse logits (N, classes, h, w), on the device.

        The images are float32 or of the precision's type, fastest with that and their channels last in memory. The
        result is the caller's: the next call does not change it.
        """

    def close(self) -> None:
        """Give the memory back; the engine cannot be used any more."""


# Inputs and the network (normalised images to coarse logits) to outputs.
Function = Callable[[Sequence[Tensor], Callable[[Tensor], Tensor]], list[Tensor]]


@runtime_checkable
class CapturingEngine(Engine, Protocol):
    """An engine that can run what stands around the network together with it."""

    def captured(self, function: Function, inputs: Sequence[Tensor], key: Hashable) -> list[Tensor]:
        """What `function(inputs, network)` gives; the result is the caller's.

        Args:
            function: launches kernels on the device, and neither waits for it nor copies from the host.
            inputs: on the device.
            key: of all that the function depends on besides the inputs' shapes and types.
        """


@dataclass(frozen=True)
class Choice:
    """An engine's name and why it was taken, as a part of a sentence."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose_engine(name: str, device: Device, precision: str) -> Choice:
    """The engine of this name, or for `auto` the fastest that is installed and can do this.

    Args:
        name: one of `ENGINES`, or `auto`.
        device: that it has to run on.
        precision: `fp32`, `fp16` or `bf16`.

    Raises:
        ValueError: there is no such engine, or it cannot do this; the sentence says what is missing.
    """
    if name != "auto":
        if name not in ENGINES:
            raise ValueError(f"engine is '{name}', but has to be one of auto, {', '.join(ENGINES)}")
        if objection := _objection(name, device, precision):
            raise ValueError(f"engine is '{name}', but {objection}")
        return Choice(name, "asked for")
    passed: list[str] = []
    for candidate in FASTEST_FIRST[device.type]:
        objection = _objection(candidate, device, precision)
        if not objection:
            return Choice(candidate, "; ".join(["the fastest that there is here", *passed]))
        passed.append(f"{candidate}: {objection}")
    raise AssertionError("PyTorch can run everything")


def build_engine(
    name: str,
    network: Network,
    input_size: tuple[int, int],
    device: Device,
    precision: str,
    threads: int = 0,
) -> Engine:
    """The engine of this name for a network; may take seconds, the first time for these weights a minute.

    This sets some of PyTorch for the whole process. On the CPU the number of its threads: to `threads` if PyTorch is
    the engine, else to one, for its threads and the engine's would be in each other's way. On CUDA that convolutions in
    fp32 are just that: by default, TF32 keeps 10 bits of 23.

    Args:
        name: one of `ENGINES`, to which there is no objection.
        network: in evaluation mode, float32 on the CPU; it stays as it is.
        input_size: (H, W) of the images, in pixels.
        device: to run on.
        precision: `fp32`, `fp16` or `bf16`.
        threads: on the CPU; 0: see `default_threads`.
    """
    if device.type == "cpu":
        set_num_threads(threads or default_threads(name))  # the engines look there
    else:
        cudnn.allow_tf32 = False
    given = network if name in KEPT_ON_DISK else inference_form(network, few_layers=device.type == "cuda")
    engine: Engine = _module(name).Engine(given, input_size, device, precision)
    if device.type == "cpu" and name != "torch":
        set_num_threads(1)
    return engine


def default_threads(name: str) -> int:
    """As many as there are cores; for PyTorch one less, but at least one.

    PyTorch's threads (OpenMP) wait for one another after every layer, without giving the core away. Where something
    else needs one of the cores, most of the time is waiting: a background process can make a frame take 25 times as
    long.
    """
    return max(1, CORES - 1) if name == "torch" else CORES


def _objection(name: str, device: Device, precision: str) -> str:
    return str(_module(name).objection(device, precision))


def _module(name: str):  # type: ignore[no-untyped-def]
    return import_module(f"{__name__}.{name}")
