"""What this machine can do at most: the floor that a network's time is compared with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from dfanet_ros.benchmark.timing import seconds_of
from dfanet_ros.engines.cuda_graph import Capturer, Graph
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.network.inference import inference_form

CHANNELS, SIDE = 256, 48  # of a dense 3 x 3 convolution, which has as good as nothing but arithmetic
IMAGES = {"cpu": 4, "cuda": 64}  # that it gets
COPIED = 2**27  # bytes, more than any cache
KERNELS = 200  # that do next to nothing, one after the other in a graph
CALLS = 3


class Work(NamedTuple):
    """What one image costs a network in which nothing but convolutions touches memory."""

    operations: float  # a multiplication and an addition are two
    values: float  # that convolutions read and write, weights included
    kernels: int = 0  # that it takes at least: a depthwise convolution can go with the one that follows it


@dataclass
class Yardsticks:
    """Rates, measured again and again among whatever else is measured."""

    device: torch.device
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @cached_property
    def _kernels(self) -> Graph:
        def kernels(inputs: Sequence[Tensor]) -> list[Tensor]:
            for _ in range(KERNELS):
                inputs[0].add_(1)
            return [inputs[0]]

        return Capturer(self.device).capture(kernels, [torch.zeros(1, device=self.device)])

    def measure(self, precision: str) -> None:
        """Another round."""
        dtype = DTYPES[precision]
        weight = torch.randn(CHANNELS, CHANNELS, 3, 3, device=self.device, dtype=dtype)
        image = torch.randn(IMAGES[self.device.type], CHANNELS, SIDE, SIDE, device=self.device, dtype=dtype)
        weight, image = (each.contiguous(memory_format=torch.channels_last) for each in (weight, image))
        # Written to, for pages that never were cost nothing to read.
        source = torch.ones(COPIED, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        with torch.inference_mode():
            self._time(precision, lambda: nn.functional.conv2d(image, weight, padding=1))
            self._time("copy", lambda: target.copy_(source))
            if self.device.type == "cuda":
                self._time("kernels", self._kernels.replay)

    def operations_per_second(self, precision: str) -> float:
        """Of a dense convolution."""
        operations = 2 * IMAGES[self.device.type] * SIDE**2 * 9 * CHANNELS**2
        return operations / median(self.seconds[precision])

    @property
    def bytes_per_second(self) -> float:
        """Read and written, of a large copy."""
        return 2 * COPIED / median(self.seconds["copy"])

    @property
    def seconds_per_kernel(self) -> float:
        """Of the smallest kernel in a CUDA graph, each waiting for the one before; 0 on the CPU."""
        return median(self.seconds["kernels"]) / KERNELS if "kernels" in self.seconds else 0.0

    def floor(self, work: Work, batch: int, precision: str) -> float:
        """The shortest time in ms that this machine needs: for arithmetic or for memory, whichever is longer.

        On a GPU, that of its kernels if they did nothing comes on top: the next one waits for the last one.
        """
        arithmetic = work.operations * batch / self.operations_per_second(precision)
        memory = work.values * batch * DTYPES[precision].itemsize / self.bytes_per_second
        return 1e3 * (max(arithmetic, memory) + work.kernels * self.seconds_per_kernel)

    def _time(self, name: str, call: Callable[[], object]) -> None:
        call()
        for _ in range(CALLS):
            self.seconds.setdefault(name, []).append(seconds_of(call, self.device))


def work_of(network: nn.Module, input_size: tuple[int, int]) -> Work:
    """What one image of (height, width) costs this network, in its form for inference; nothing is computed."""
    counted = inference_form(copy.deepcopy(network)).to("meta")
    values = kernels = 0

    def count(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal values, kernels
        values += inputs[0].numel() + output.numel() + sum(each.numel() for each in layer.parameters())
        assert isinstance(layer, nn.Conv2d)
        kernels += layer.groups == 1

    for layer in counted.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted.coarse_logits(torch.empty(1, 3, *input_size, device="meta"))  # type: ignore[operator]
    return Work(float(counter.get_total_flops()), float(values), kernels)
