"""How long networks take for a frame, measured in rounds in which each has its turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import torch
from tqdm import tqdm

from dfanet_ros.engines import build_engine
from dfanet_ros.network.base import Network
from dfanet_ros.segmenter import resolve_precision


@dataclass
class Timed:
    """Something that takes a while, with how long it took each time, in ms.

    Attributes:
        call: what is timed.
        warm: how long it took before, in ms.
        every: it takes part in each round, or only in every fifth, say, if it is slow.
        times: of the rounds in which it took part.
    """

    call: Callable[[], object]
    warm: float = 0.0
    every: int = 1
    times: list[float] = field(default_factory=list)

    def run(self) -> float:
        """Call it once; gives the time in ms."""
        start = time.perf_counter()
        self.call()
        return 1e3 * (time.perf_counter() - start)

    @property
    def median(self) -> float:
        return median(self.times)

    def ratio_to(self, reference: Timed) -> float:
        """How many times as long it takes, in the median of the rounds in which it took part; the other did in all."""
        return median(each / reference.times[self.every * number] for number, each in enumerate(self.times))


@torch.inference_mode()
def prepared(network: Network, size: tuple[int, int], device: torch.device, engine: str) -> Timed:
    """A frame through a network, twice to warm up."""
    running = build_engine(engine, network, size, device, resolve_precision("auto", device))
    image = torch.randn(1, 3, *size, device=device)

    def frame() -> torch.Tensor:
        logits = running.logits(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return logits

    timed = Timed(frame)
    timed.run()
    timed.warm = timed.run()
    return timed


@torch.inference_mode()
def time_all(timed: Sequence[Timed], rounds: int) -> None:
    """Each of them once a round, so that whatever else the machine does meets all alike; slow ones less often."""
    for number in tqdm(range(rounds), "measuring", unit="round", leave=False, disable=not rounds):
        for each in timed:
            if number % each.every == 0:
                each.times.append(each.run())
