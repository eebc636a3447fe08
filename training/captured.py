"""On a GPU: a batch's loss and its gradients as two CUDA graphs.

DFANet's thousands of small kernels take longer to launch than to run; a graph is launched at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BatchLoss = Callable[[Tensor, Tensor], Tensor]


class _Loss(nn.Module):
    """The loss as a module that has the parameters, as PyTorch wants to have it."""

    def __init__(self, loss: BatchLoss, parts: nn.Module) -> None:
        super().__init__()
        self.loss, self.parts = loss, parts

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        return self.loss(images, target)


def captured(loss: BatchLoss, parts: nn.Module, images: Tensor, target: Tensor) -> BatchLoss:
    """The loss as a function that launches graphs; to be called where nothing else uses the GPU.

    Args:
        loss: of images (N, 3, H, W) float32 and ids (N, H, W) int64; a scalar. It must not wait for the GPU.
        parts: what has its parameters; they have to stay where they are. Buffers are as before when this is done.
        images: as all batches will be, but for their values.
        target: likewise.

    Raises:
        RuntimeError: it cannot be captured.
    """
    buffers = [(buffer, buffer.clone()) for buffer in parts.buffers()]
    module = _Loss(loss, parts)
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # a cached half-precision weight would not be made anew in a replay
    try:
        torch.cuda.make_graphed_callables(module, (images, target), allow_unused_input=True)
    finally:
        torch.set_autocast_cache_enabled(cached)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
    graphed: BatchLoss = module.forward
    return graphed
