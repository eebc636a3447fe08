"""PyTorch on CUDA, all kernels of the network launched as one graph: at batch 1, launching is what takes the time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dfanet_ros.engines.torch import Engine as TorchEngine
from dfanet_ros.network.base import Network

WARM_UP_RUNS = 3  # in which cuDNN and cuBLAS choose kernels and set memory aside, which a capture must not see


def objection(device: torch.device, precision: str) -> str:
    """Why this engine cannot be used; empty if it can."""
    return "" if device.type == "cuda" else f"it needs a CUDA device, and the device is {device}"


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    images: Tensor  # to be written before the graph is replayed
    logits: Tensor  # overwritten by it


class Engine:
    """See `dfanet_ros.engines.Engine`. Each batch size is captured when it first comes."""

    def __init__(self, network: Network, input_size: tuple[int, int], device: torch.device, precision: str) -> None:
        self._engine = TorchEngine(network, input_size, device, precision)
        self._shape = (3, *input_size)
        self._device = device
        self._captured: dict[int, _Captured] = {}

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images to coarse logits."""
        captured = self._captured.get(len(images)) or self._capture(len(images))
        captured.images.copy_(images)
        captured.graph.replay()
        return captured.logits.clone()

    def close(self) -> None:
        """Give the memory back."""
        self._captured.clear()
        self._engine.close()

    def _capture(self, batch: int) -> _Captured:
        with torch.cuda.device(self._device):
            images = torch.zeros(batch, *self._shape, device=self._device)
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP_RUNS):
                    self._engine.logits(images)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                logits = self._engine.logits(images)
        self._captured[batch] = _Captured(graph, images, logits)
        return self._captured[batch]
