"""On a GPU: a batch's loss and its gradients as one CUDA graph.

DFANet's thousands of small kernels take longer to launch than to run; a graph is launched at once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

BatchLoss = Callable[[Tensor, Tensor], Tensor]
WARM_UP_RUNS = 3  # in which cuDNN and cuBLAS choose kernels and set memory aside, which a capture must not see


class CapturedLoss:
    """A loss and its gradients, captured; to be made where nothing else uses the GPU.

    Args:
        loss: of images (N, 3, H, W) float32 and ids (N, H, W) int64; a scalar. It must not wait for the GPU, and under
            autocast the cache of weights has to be off (with Lightning it is).
        module: whose parameters it has, which have to stay where they are. Buffers are as before in the end.
        images: as all batches will be, but for their values.
        target: likewise.

    Raises:
        RuntimeError: it cannot be captured.
    """

    def __init__(self, loss: BatchLoss, module: nn.Module, images: Tensor, target: Tensor) -> None:
        self._images, self._target = images.clone(), target.clone()
        self._parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        try:
            self._capture(loss)
        finally:
            with torch.no_grad():
                for buffer, values in buffers:
                    buffer.copy_(values)

    def _capture(self, loss: BatchLoss) -> None:
        stream, before = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(before)
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP_RUNS):
                self._compute(loss)
        before.wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # The data loader's thread sets pinned memory aside, meanwhile, which would end a capture that forbids it.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss, self._gradients = self._compute(loss)

    def __call__(self, images: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch, without a graph of PyTorch's: `backward` has its gradients."""
        self._images.copy_(images)
        self._target.copy_(target)
        self._graph.replay()
        return self._loss.clone()

    def backward(self) -> None:
        """Give the parameters the gradients of the last batch."""
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient

    def _compute(self, loss: BatchLoss) -> tuple[Tensor, list[Tensor | None]]:
        value = loss(self._images, self._target)
        gradients = torch.autograd.grad(value, self._parameters, allow_unused=True)
        return value.detach(), [*map(_laid_out, gradients, self._parameters)]


def _laid_out(gradient: Tensor | None, parameter: Tensor) -> Tensor | None:
    """The gradient in the parameter's layout: optimisers update all parameters in a few kernels only if it is."""
    if gradient is None or gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
