"""Triton kernels for CUDA devices, and what each does in plain PyTorch.

Only this module and `plain` can be imported where Triton is not installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

from dfanet_ros.kernels import plain


class Steps(NamedTuple):
    """What stands around the network, each as the function of that name in `plain`."""

    prepare: Callable[..., Tensor]
    label_maps: Callable[..., list[Tensor]]
    paint: Callable[..., Tensor]
    overlay: Callable[..., Tensor]


PLAIN = Steps(plain.prepare, plain.label_maps, plain.paint, plain.overlay)


@lru_cache
def steps(device: torch.device, dtype: torch.dtype) -> Steps:
    """The fastest that work here: Triton's kernels or plain PyTorch; which and why not stands in the log.

    Args:
        device: to run on.
        dtype: that the network computes in.
    """
    if device.type != "cuda":
        return PLAIN
    try:
        kernels = _kernels()
        difference = _difference(kernels, device, dtype)
    except Exception as error:  # Triton, its compiler, the driver or the GPU: whatever it is, there is another way
        difference = reason(error)
    if not difference:
        return kernels
    logging.getLogger(__name__).warning(f"frames are prepared and drawn on {device} without Triton: {difference}")
    return PLAIN


def reason(error: Exception) -> str:
    """An error of Triton's in one line, for the log."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def _kernels() -> Steps:
    if not find_spec("triton"):
        raise ModuleNotFoundError("it is not installed (pip install triton)")
    from dfanet_ros.kernels import drawing, label_map, preprocess

    return Steps(preprocess.prepare, label_map.label_maps, drawing.paint, drawing.overlay)


def _difference(kernels: Steps, device: torch.device, dtype: torch.dtype) -> str:
    """Which kernel computes something else than plain PyTorch; empty if none does. This also compiles them."""

    def numbers(count: int, *shape: int) -> Tensor:
        return (torch.arange(torch.Size(shape).numel(), device=device) * 37 % count).view(shape)

    frames = [*numbers(256, 2, 9, 15, 3).byte(), numbers(256, 6, 7, 4).byte()]  # two that go together, and another
    ids = numbers(5, 9, 15).byte()
    channels: list[plain.Channels] = [(2, 1, 0), (2, 1, 0), (0, 1, 2)]
    images = (frames, channels, (8, 11), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), dtype)
    logits = (numbers(7, 2, 5, 3, 4).to(dtype), 4, (12, 16))
    sizes = ([(12, 16)] * 2, [(24, 8)] * 2)
    colors, kept_ids = numbers(251, 256, 3).byte(), torch.where(numbers(3, 256) > 0, numbers(256, 256), 255).byte()
    drawn = (ids, colors, kept_ids, frames[0], channels[0], 0.25)
    same = {
        "prepare": torch.allclose(kernels.prepare(*images), PLAIN.prepare(*images), rtol=1e-2, atol=1e-2),
        "label_maps": all(
            all(map(torch.equal, kernels.label_maps(*logits, each), PLAIN.label_maps(*logits, each))) for each in sizes
        ),
        "paint": torch.equal(kernels.paint(ids, colors), PLAIN.paint(ids, colors)),
        "overlay": torch.equal(kernels.overlay(*drawn), PLAIN.overlay(*drawn)),
    }
    wrong = [name for name, right in same.items() if not right]
    return f"its results for {', '.join(wrong)} are not those of PyTorch" if wrong else ""
