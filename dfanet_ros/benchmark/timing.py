"""How long something takes on a device."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

QUEUED = 20  # calls on a GPU between two looks at its clock: waiting for one alone takes longer than many a kernel


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds that one call takes; on a GPU of several in a row, by its own clock.

    Args:
        call: something that has been called before. On a GPU it need not wait for its result.
        device: that it computes on.
    """
    if device.type != "cuda":
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    with torch.cuda.device(device):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        first.record()
        for _ in range(QUEUED):
            call()
        last.record()
        last.synchronize()
        return 1e-3 * first.elapsed_time(last) / QUEUED
