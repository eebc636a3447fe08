"""Frames in, label maps out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.checkpoint import (
    CheckpointError,
    WeightsInfo,
    load_checkpoint,
    named,
    shipped_weights,
)
from dfanet_ros.device import DevicePipeline
from dfanet_ros.engines import CapturingEngine, build_engine, choose_engine
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.frame import Frame
from dfanet_ros.host import HostPipeline
from dfanet_ros.kernels.plain import Channels
from dfanet_ros.network import AUTO, resolve_backbone
from dfanet_ros.network.base import Network
from dfanet_ros.style import Style

DEFAULT_NETWORK = "dfanet"
DEFAULT_WEIGHTS = {("dfanet", "xception_a"): "camvid", ("dfanet", "xception_b"): "camvid_b"}
WARM_BATCHES = 8  # numbers of frames for which there is something to prepare
# How the pixels of each result are meant; see `drawn`.
ENCODINGS = {"mask": "mono8", "color_mask": "rgb8", "overlay": "rgb8", "confidence": "mono8"}


class Segmentation(Protocol):
    """What is known of one frame; everything has the frame's own size (H, W).

    Nothing is computed before it is asked for, except the ids. The arrays may be shared: they are not to be written to.
    """

    @property
    def label_map(self) -> NDArray[np.uint8]:
        """Class ids, (H, W) uint8; 255 (unlabelled) where the class is not shown."""

    def color_mask(self) -> NDArray[np.uint8]:
        """The classes in their colours, RGB (H, W, 3) uint8; black where the label map is 255."""

    def overlay(self, opacity: float) -> NDArray[np.uint8]:
        """The frame under its colour mask, RGB (H, W, 3) uint8; opacity 0 is the frame, 1 the mask.

        Where the label map is 255, the frame is seen as it is.
        """

    def confidence(self) -> NDArray[np.uint8]:
        """255 times the softmax probability of each pixel's class, (H, W) uint8; 0 where the label map is 255.

        On the CPU it is a little too low in places, by 0.4 in the mean: see `upsampled_confidence`.
        """

    def styled(self, style: Style) -> Segmentation:
        """The same result in another style; the one of `Segmenter.segment` shows all classes in their own colours."""


def drawn(result: Segmentation, name: str, opacity: float) -> NDArray[np.uint8]:
    """A result by its name, a key of `ENCODINGS`; `opacity` is that of an overlay's colours."""
    if name == "mask":
        return result.label_map
    if name == "color_mask":
        return result.color_mask()
    if name == "overlay":
        return result.overlay(opacity)
    return result.confidence()


class Segmenter:
    """A network with all that it needs around it.

    Args:
        network: with trained weights.
        info: of these weights.
        input_size: (height, width) that frames are resized to; 0 for either takes the one of the training.
        device: `cpu`, `cuda`, `cuda:1`, ..., or `auto`.
        precision: `fp32`, `fp16` (CUDA only), `bf16`, or `auto`.
        engine: what runs the network: one of `dfanet_ros.engines.ENGINES`, or `auto` for the fastest that is installed.
        threads: that the network is computed with on the CPU; 0: see `dfanet_ros.engines.default_threads`.

    Raises:
        ValueError: a device, precision or engine that does not exist here; the sentence says what to do.
    """

    def __init__(
        self,
        network: Network,
        info: WeightsInfo,
        input_size: tuple[int, int] = (0, 0),
        device: str = "auto",
        precision: str = "auto",
        engine: str = "torch",
        threads: int = 0,
    ) -> None:
        self.info = info
        self.device = resolve_device(device)
        self.precision = resolve_precision(precision, self.device)
        self.input_size = (input_size[0] or info.input_size[0], input_size[1] or info.input_size[1])
        self.engine = choose_engine(engine, self.device, self.precision)
        self._engine = build_engine(self.engine.name, network, self.input_size, self.device, self.precision, threads)
        given = info, self.input_size, network.logits_stride
        dtype = DTYPES[self.precision]
        self._pipeline: HostPipeline | DevicePipeline
        if self.device.type == "cpu":
            self._pipeline = HostPipeline(*given, dtype)
        else:
            self._pipeline = DevicePipeline(*given, self.device, dtype)

    @torch.inference_mode()
    def segment(self, frames: Sequence[Frame]) -> list[Segmentation]:
        """The frames (each of any size) as one batch; the results stand in the frames' order."""
        if not frames:
            return []
        if isinstance(self._pipeline, HostPipeline):
            return [*self._pipeline.finish(self.logits(self._pipeline.prepare(frames)), frames)]
        pixels = self._pipeline.upload(frames)
        logits, *label_maps = self.label(pixels, [frame.rgb_channels for frame in frames])
        return [*self._pipeline.results(frames, pixels, logits, label_maps)]

    @torch.inference_mode()
    def label(self, pixels: Sequence[Tensor], channels: Sequence[Channels]) -> list[Tensor]:
        """Frames that are on the GPU already to coarse logits and label maps there; see `DevicePipeline.label`."""
        assert isinstance(self._pipeline, DevicePipeline)
        function = partial(self._pipeline.label, channels=channels)
        if isinstance(self._engine, CapturingEngine):
            return self._engine.captured(function, pixels, key=tuple(channels))
        return function(pixels, self._engine.logits)

    def logits(self, images: Tensor) -> Tensor:
        """The network alone: normalised (N, 3, H, W), of the input size, to coarse logits; see `engines.Engine`."""
        return self._engine.logits(images)

    def warm_up(self, batch: int = 1) -> None:
        """Run once on black frames, so that the first real frame does not wait for memory and kernels.

        An engine that captures graphs has one for each number of frames: those of smaller batches come first.
        """
        black = Frame(np.zeros((*self.input_size, 3), np.uint8))
        smaller = range(1, min(batch, WARM_BATCHES + 1)) if isinstance(self._engine, CapturingEngine) else ()
        for count in (*smaller, batch):
            for result in self.segment([black] * count):
                _ = result.label_map

    def close(self) -> None:
        """Give the network's memory back; the segmenter cannot be used any more."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)  # nothing may be running in that memory
        self._engine.close()
        del self._engine, self._pipeline
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def memory(self) -> tuple[int, int] | None:
        """Free and all bytes of the GPU that the network runs on; None on the CPU."""
        return torch.cuda.mem_get_info(self.device) if self.device.type == "cuda" else None

    def __str__(self) -> str:
        height, width = self.input_size
        return (
            f"{self.info.system}, {len(self.info.labels)} classes of {self.info.data_set}, "
            f"input {height} x {width}, {self.precision} on {self.device} by {self.engine}"
        )


def load_segmenter(
    weights: str = "",
    network: str = AUTO,
    backbone: str = AUTO,
    input_size: tuple[int, int] = (0, 0),
    device: str = "auto",
    precision: str = "auto",
    engine: str = "torch",
    threads: int = 0,
) -> Segmenter:
    """A segmenter from weights: a file, the name of shipped ones, or empty for those of the network and backbone.

    Network and backbone may be `auto`: those of the weights.

    Raises:
        CheckpointError: the weights cannot be read, or are of another network or backbone.
        ValueError: see `find_weights` and `Segmenter`.
    """
    path = find_weights(weights, network, backbone)
    model, info = load_checkpoint(path)
    asked = (info.network if network == AUTO else network, info.backbone if backbone == AUTO else backbone)
    if asked != (info.network, info.backbone):
        raise CheckpointError(
            f"the weights '{path}' are of {info.system}, but {named(*asked)} was asked for: give the weights of that "
            f"one, or leave network and backbone at {AUTO}"
        )
    return Segmenter(model, info, input_size, device, precision, engine, threads)


def find_weights(weights: str, network: str = AUTO, backbone: str = AUTO) -> Path:
    """The file that `weights` means: a path, the name of shipped weights, or empty for the default ones.

    Raises:
        CheckpointError: no weights of this network and backbone are shipped.
        ValueError: there is no such network, or it does not have this backbone.
    """
    shipped = shipped_weights()
    if weights in shipped:
        return shipped[weights]
    if weights:
        return Path(weights).expanduser()
    if network == AUTO:
        network = DEFAULT_NETWORK
    backbone = resolve_backbone(network, backbone)
    name = DEFAULT_WEIGHTS.get((network, backbone))
    if name is None or name not in shipped:
        raise CheckpointError(
            f"no weights of {named(network, backbone)} are shipped: name a file (parameter weights), trained with "
            "python -m training.train"
        )
    return shipped[name]


def resolve_device(name: str) -> torch.device:
    """`auto` or the name of a device, as a device that is there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device is '{name}', but has to be auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and not torch.cuda.is_available():
        built = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built without CUDA"
        raise ValueError(
            f"device is '{name}', but PyTorch {torch.__version__} (which {built}) finds no CUDA device: check "
            "nvidia-smi, install a PyTorch with CUDA, or set device to auto or cpu"
        )
    if device.index is not None and device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise ValueError(f"device is '{name}', but there are {torch.cuda.device_count()} CUDA devices, numbered from 0")
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto` or the name of a precision, as one that the device can do."""
    if name == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    if name not in DTYPES:
        raise ValueError(f"precision is '{name}', but has to be one of auto, {', '.join(DTYPES)}")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision is 'fp16', but the CPU has no fp16 arithmetic: use fp32 or bf16, or a CUDA device")
    return name
