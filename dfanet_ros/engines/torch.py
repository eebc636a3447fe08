"""PyTorch itself: the reference that the other engines are compared with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.network.base import Network

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def objection(device: torch.device, precision: str) -> str:
    """Why this engine cannot be used; empty if it can."""
    if precision == "fp16" and device.type == "cpu":
        return "the CPU has no fp16 arithmetic: use fp32 or bf16, or a CUDA device"
    return ""


class Engine:
    """See `dfanet_ros.engines.Engine`; here the images may be of any size."""

    def __init__(self, network: Network, input_size: tuple[int, int], device: torch.device, precision: str) -> None:
        self._dtype = DTYPES[precision]
        converted = network.to(device, self._dtype)
        self.network = converted.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in its hints

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images to coarse logits."""
        return self.network.coarse_logits(self.converted(images))

    def converted(self, images: Tensor) -> Tensor:
        """Images as the network takes them."""
        return images.to(self._dtype, memory_format=torch.channels_last)

    def close(self) -> None:
        """Give the memory back."""
        del self.network


def numpy_view(values: Tensor) -> NDArray[np.floating | np.integer]:
    """A tensor's memory as an array; bfloat16, which NumPy does not know, as whole numbers of the same bits."""
    return (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).numpy()
