"""PyTorch on CUDA, all kernels launched as one graph: at batch 1, launching is what takes the time.

A graph is captured for each kind of input: the network alone for each batch, and the whole way from frames on the
device to label maps for each kind of batch that comes again.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from dfanet_ros.engines import Function
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.engines.torch import Engine as TorchEngine
from dfanet_ros.kernels import PLAIN, reason, steps
from dfanet_ros.network.base import Network

LOG = logging.getLogger(__name__)
WARM_UP_RUNS = 3  # in which cuDNN and cuBLAS choose kernels and set memory aside, which a capture must not see
# That are kept; the one that was not used for the longest time goes first. Four cameras of different sizes make as many
# kinds of batches: which of them have a frame, and in which order these came.
MOST_GRAPHS = 64


def objection(device: torch.device, precision: str) -> str:
    """Why this engine cannot be used; empty if it can."""
    return "" if device.type == "cuda" else f"it needs a CUDA device, and the device is {device}"


class Graph(NamedTuple):
    """A function with the memory that it reads and writes."""

    replay: Callable[[], None]
    inputs: list[Tensor]  # to be written before it is replayed
    outputs: list[Tensor]  # overwritten by it


class Engine:
    """See `dfanet_ros.engines.CapturingEngine`."""

    def __init__(self, network: Network, input_size: tuple[int, int], device: torch.device, precision: str) -> None:
        self._engine = TorchEngine(network, input_size, device, precision)
        self._capturer = Capturer(device)
        self._fused = precision != "fp32" and steps(device, DTYPES[precision]) is not PLAIN
        self._chosen: set[torch.Size] = set()  # shapes of images for which kernels were chosen
        if self._fused:
            from dfanet_ros.kernels.replacing import fuse  # here, for it needs Triton

            fuse(self._engine.network)
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._missed: deque[Hashable] = deque(maxlen=MOST_GRAPHS)
        self._failed: set[Hashable] = set()  # kinds that could not be captured

    def logits(self, images: Tensor) -> Tensor:
        """Normalised images to coarse logits."""
        (logits,) = self._replayed(_alone, [images], _kind([images], None), self._engine.logits)
        return logits

    def captured(self, function: Function, inputs: Sequence[Tensor], key: Hashable) -> list[Tensor]:
        """See `CapturingEngine`. What comes for the first time, or has not come for long, runs around `logits`.

        So frames that all have other sizes are not each waited for while a graph is captured that nobody needs again.
        """
        kind = _kind(inputs, (key,))
        if kind in self._graphs or kind in self._missed:
            return self._replayed(function, inputs, kind, self.logits)
        self._missed.append(kind)
        return function(inputs, self.logits)

    def close(self) -> None:
        """Give the memory back."""
        self._graphs.clear()
        self._engine.close()

    @torch.inference_mode()  # or the graph's memory could not be written to in some other mode
    def _replayed(
        self, function: Function, inputs: Sequence[Tensor], kind: Hashable, otherwise: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """What a graph gives; where there can be none, the function with `otherwise` as the network."""
        if kind in self._failed:
            return function(inputs, otherwise)
        graph = self._graphs.get(kind)
        if graph is None:
            try:
                graph = self._capturer.capture(lambda static: function(static, self._network), inputs)
            except Exception as error:  # whatever it is: the same runs without a graph, or says what is wrong
                LOG.warning(f"kernels are launched one by one, for no graph can be captured: {reason(error)}")
                self._failed.add(kind)
                return function(inputs, otherwise)
            self._graphs[kind] = graph
            if len(self._graphs) > MOST_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(kind)
        torch._foreach_copy_(graph.inputs, [*inputs])  # frames by one kernel, and not each by its own
        graph.replay()
        return _copies(graph.outputs)  # the next replay overwrites them

    def _network(self, images: Tensor) -> Tensor:
        """The network itself. Its kernels are chosen when such images come first, which is in a run for warming up."""
        if self._fused and images.shape not in self._chosen:
            from dfanet_ros.kernels.choosing import choose

            self._chosen.add(images.shape)
            try:
                choose(self._engine.network, self._engine.converted(images), self._capturer.capture)
            except Exception as error:  # the network runs without them, too
                LOG.warning(f"what PyTorch computes is not compared with other kernels: {reason(error)}")
        return self._engine.logits(images)


class Capturer:
    """Captures functions of tensors on a device.

    All graphs use one stream and one pool of memory: they run one after the other, so that what one needs only while it
    runs is free for the others. Outputs are kept, and so not shared.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream()
            self._pool = torch.cuda.graph_pool_handle()
            # A pool without a graph is gone, and its handle cannot be used any more.
            self._keeper = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._keeper, self._pool, self._stream, capture_error_mode="thread_local"):
                torch.zeros(1, device=device)

    def capture(self, function: Callable[[Sequence[Tensor]], list[Tensor]], inputs: Sequence[Tensor]) -> Graph:
        """A graph of the function for such inputs.

        While it is captured, other threads may use the device, but this one may not wait for it.
        """
        static = [each.clone() for each in inputs]
        with torch.cuda.device(self._device):
            before = torch.cuda.current_stream()
            self._stream.wait_stream(before)
            with torch.cuda.stream(self._stream), _cudnn_measures():
                for _ in range(WARM_UP_RUNS):
                    function(static)
                graph = torch.cuda.CUDAGraph()
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    outputs = function(static)
            before.wait_stream(self._stream)
        return Graph(graph.replay, static, outputs)


@contextmanager
def _cudnn_measures() -> Iterator[None]:
    """Let cuDNN take the fastest of its kernels for each new convolution by trying them."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """All of one type by one kernel: a batch's label maps take eight times as long one by one."""
    copies = [torch.empty_like(each) for each in tensors]
    for dtype in {each.dtype for each in tensors}:
        to, of = ([each for each in group if each.dtype == dtype] for group in (copies, tensors))
        torch._foreach_copy_(to, of)
    return copies


def _alone(images: Sequence[Tensor], network: Callable[[Tensor], Tensor]) -> list[Tensor]:
    return [network(images[0])]


def _kind(inputs: Sequence[Tensor], key: Hashable) -> Hashable:
    """What a graph is captured for; a key of None is that of the network alone."""
    return key, tuple((each.shape, each.dtype) for each in inputs)
