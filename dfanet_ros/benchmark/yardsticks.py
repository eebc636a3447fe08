"""What this machine can do at most: the floor that a network's time is compared with."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.network.inference import inference_form

CHANNELS, SIDE = 256, 48  # of a dense 3 x 3 convolution, which has as good as nothing but arithmetic
COPIED = 2**27  # bytes, more than any cache
CALLS = 3


class Work(NamedTuple):
    """What one image costs a network in which nothing but convolutions touches memory."""

    operations: float  # a multiplication and an addition are two
    values: float  # that convolutions read and write, weights included


@dataclass
class Yardsticks:
    """Rates, measured again and again among whatever else is measured."""

    device: torch.device
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, precision: str) -> None:
        """Another round."""
        dtype = DTYPES[precision]
        weight = torch.randn(CHANNELS, CHANNELS, 3, 3, device=self.device, dtype=dtype)
        image = torch.randn(4, CHANNELS, SIDE, SIDE, device=self.device, dtype=dtype)
        weight, image = (each.contiguous(memory_format=torch.channels_last) for each in (weight, image))
        source = torch.empty(COPIED, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        with torch.inference_mode():
            self._time(precision, lambda: nn.functional.conv2d(image, weight, padding=1))
            self._time("copy", lambda: target.copy_(source))
            if self.device.type == "cuda":
                one = torch.zeros(1, device=self.device)
                self._time("launch", lambda: one.add_(1))

    def operations_per_second(self, precision: str) -> float:
        """Of a dense convolution."""
        operations = 2 * 4 * SIDE**2 * 9 * CHANNELS**2
        return operations / median(self.seconds[precision])

    @property
    def bytes_per_second(self) -> float:
        """Read and written, of a large copy."""
        return 2 * COPIED / median(self.seconds["copy"])

    def floor(self, work: Work, batch: int, precision: str) -> float:
        """The shortest time in ms that this machine needs: for arithmetic or for memory, whichever is longer."""
        arithmetic = work.operations * batch / self.operations_per_second(precision)
        memory = work.values * batch * DTYPES[precision].itemsize / self.bytes_per_second
        launch = median(self.seconds["launch"]) if "launch" in self.seconds else 0.0
        return 1e3 * (max(arithmetic, memory) + launch)

    def _time(self, name: str, call: Callable[[], object]) -> None:
        call()
        for _ in range(CALLS):
            self._synchronize()
            start = time.perf_counter()
            call()
            self._synchronize()
            self.seconds.setdefault(name, []).append(time.perf_counter() - start)

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def work_of(network: nn.Module, input_size: tuple[int, int]) -> Work:
    """What one image of (height, width) costs this network, in its form for inference; nothing is computed."""
    counted = inference_form(copy.deepcopy(network)).to("meta")
    values = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal values
        values += inputs[0].numel() + output.numel() + sum(each.numel() for each in layer.parameters())

    for layer in counted.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted.coarse_logits(torch.empty(1, 3, *input_size, device="meta"))  # type: ignore[operator]
    return Work(float(counter.get_total_flops()), float(values))
