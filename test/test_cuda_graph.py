"""Captured graphs give what the same steps give one by one, whatever comes in between.

On CUDA; and where there is none, with a stand-in for the graph that computes again into the same memory, which is
enough to see which graphs are captured and whether a result is overwritten.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pytest
import torch
from torch import Tensor

from dfanet_ros.checkpoint import WeightsInfo, load_checkpoint, shipped_weights
from dfanet_ros.device import DevicePipeline
from dfanet_ros.engines import cuda_graph
from dfanet_ros.engines import torch as torch_engine
from dfanet_ros.engines.cuda_graph import MOST_GRAPHS, Graph
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.frame import RGB_CHANNELS, Frame
from dfanet_ros.network.base import Network
from dfanet_ros.network.inference import inference_form
from dfanet_ros.segmenter import Segmentation, Segmenter
from dfanet_ros.street_scenes import StreetScenes

SIZE = (64, 96)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


class StandIn:
    """In place of `Capturer`: replaying is computing again."""

    def __init__(self, device: torch.device) -> None:
        pass

    def capture(self, function: Callable[[Sequence[Tensor]], list[Tensor]], inputs: Sequence[Tensor]) -> Graph:
        static = [each.clone() for each in inputs]
        outputs = function(static)

        def replay() -> None:
            for output, values in zip(outputs, function(static), strict=True):
                output.copy_(values)

        return Graph(replay, static, outputs)


class Rig:
    """A segmenter that captures, one with the same weights that does not, and what was captured."""

    def __init__(self, device: torch.device, precision: str) -> None:
        self.exact = precision == "fp32"
        network, info = load_checkpoint(shipped_weights()["street_scenes"])
        self.captured: list[list[tuple[int, ...]]] = []  # shapes of the inputs
        self.plain, self.graph = (
            self._segmenter(network, info, engine, device, precision)
            for engine in (torch_engine.Engine, cuda_graph.Engine)
        )
        capturer = self.graph._engine._capturer
        capture = capturer.capture

        def counted(function: Callable[[Sequence[Tensor]], list[Tensor]], inputs: Sequence[Tensor]) -> Graph:
            if inputs:  # it is not a layer, to be timed
                self.captured.append([tuple(each.shape) for each in inputs])
            return capture(function, inputs)

        capturer.capture = counted

    def _segmenter(
        self, network: Network, info: WeightsInfo, engine: type, device: torch.device, precision: str
    ) -> Segmenter:
        """On the CPU the pieces are put together here, for there a segmenter takes the host's pipeline."""
        segmenter = Segmenter(network, info, SIZE, device="cpu", engine="torch")
        segmenter.device = device
        segmenter._pipeline = DevicePipeline(info, SIZE, 4, device, DTYPES[precision])
        segmenter._engine = engine(inference_form(copy.deepcopy(network), few_layers=True), SIZE, device, precision)
        return segmenter

    def check(self, given: Segmentation, expected: Segmentation) -> None:
        """All but the same: on CUDA cuDNN may take other kernels for the one than for the other."""
        assert given.label_map.shape == expected.label_map.shape
        same = given.label_map == expected.label_map
        assert same.mean() > (0.999 if self.exact else 0.995)
        assert (given.color_mask()[same] == expected.color_mask()[same]).all()
        assert (given.overlay(0.3)[same] == expected.overlay(0.3)[same]).all()
        difference = np.abs(given.confidence().astype(int) - expected.confidence())
        assert difference.max() <= 1 if self.exact else difference.mean() < 1


@pytest.fixture(
    params=[("cpu", "fp32"), *(pytest.param(("cuda", precision), marks=CUDA) for precision in ("fp32", "fp16"))],
    ids=" ".join,
)
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rig:
    device, precision = request.param
    if device == "cpu":
        monkeypatch.setattr(cuda_graph, "Capturer", StandIn)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return Rig(torch.device(device), precision)


@lru_cache
def scene(size: tuple[int, int], encoding: str = "rgb8", seed: int = 0) -> Frame:
    rgb = StreetScenes(1, *size, seed=seed)[0][0]
    return Frame(rgb[:, :, list(RGB_CHANNELS[encoding])] if encoding != "mono8" else rgb[:, :, 1:2], encoding)


def test_results_are_right_and_stay_so_while_sizes_change(rig: Rig) -> None:
    """Three sizes and layouts, alone and mixed in a batch; each result is asked for more only at the end."""
    kinds = [((80, 120), "rgb8"), ((64, 96), "bgr8"), ((130, 200), "mono8")]
    batches = [[0], [0], [1], [0], [0, 1], [1, 1], [2], [0, 1], [1, 1], [1, 0], [2], [0], [1, 1, 1], [1, 1], [0, 1]]
    kept: list[tuple[list[Segmentation], list[Segmentation]]] = []
    for number, batch in enumerate(batches):
        frames = [scene(*kinds[kind], seed=10 * number + place) for place, kind in enumerate(batch)]
        kept.append((rig.graph.segment(frames), rig.plain.segment(frames)))
    for given, expected in kept:
        for pair in zip(given, expected, strict=True):
            rig.check(*pair)
    assert np.mean(kept[0][0][0].label_map == kept[1][0][0].label_map) < 0.9, "the frames have to differ"


def test_frames_of_two_layouts_and_one_size_are_not_taken_for_each_other(rig: Rig) -> None:
    pixels = scene((80, 120)).pixels
    for _ in range(3):
        for encoding in ("rgb8", "bgr8"):
            frames = [Frame(pixels, encoding)]
            rig.check(rig.graph.segment(frames)[0], rig.plain.segment(frames)[0])


def test_what_comes_again_is_captured_once(rig: Rig) -> None:
    """The network alone at once, the whole way the second time."""
    sizes = [(64 + number, 96) for number in range(MOST_GRAPHS - 1)]
    for _ in range(4):
        for size in sizes:
            rig.graph.segment([scene(size)])
    assert rig.captured == [[(1, 3, *SIZE)], *([(*size, 3)] for size in sizes)]


def test_sizes_that_do_not_come_again_are_not_captured(rig: Rig) -> None:
    for number in range(2 * MOST_GRAPHS):
        rig.graph.segment([scene((64 + number, 96))])
    assert rig.captured == [[(1, 3, *SIZE)]]


def test_no_more_graphs_are_kept_than_allowed(rig: Rig) -> None:
    for number in range(MOST_GRAPHS + 3):
        for _ in range(2):
            rig.graph.segment([scene((64 + number, 96))])
    engine = rig.graph._engine
    assert len(engine._graphs) == MOST_GRAPHS
    frames = [scene((64, 96))]  # whose graph has gone, and so has that of the network alone
    rig.check(rig.graph.segment(frames)[0], rig.plain.segment(frames)[0])
    assert len(engine._graphs) == MOST_GRAPHS
    engine.close()
    assert not engine._graphs


def test_the_result_does_not_depend_on_the_mode_of_the_first_call(rig: Rig) -> None:
    images = torch.randn(1, 3, *SIZE).to(rig.graph.device)
    with torch.inference_mode():
        first = rig.graph.logits(images)
    with torch.no_grad():
        torch.testing.assert_close(rig.graph.logits(images), first)


def test_warming_up_captures_the_network_for_each_number_of_frames(rig: Rig) -> None:
    rig.graph.warm_up(3)
    assert rig.captured == [[(count, 3, *SIZE)] for count in (1, 2, 3)]


@pytest.mark.parametrize(("kinds", "warnings"), [("all", 2), ("the whole way", 1)])
def test_what_cannot_be_captured_runs_without_a_graph(
    rig: Rig, caplog: pytest.LogCaptureFixture, kinds: str, warnings: int
) -> None:
    capturer = rig.graph._engine._capturer
    capture = capturer.capture

    def refuse(function: Callable[[Sequence[Tensor]], list[Tensor]], inputs: Sequence[Tensor]) -> Graph:
        if kinds == "all" or inputs[0].ndim == 3:
            raise RuntimeError("operation not permitted when stream is capturing")
        return capture(function, inputs)

    capturer.capture = refuse
    for seed in range(4):
        frames = [scene((80, 120), seed=seed)]
        rig.check(rig.graph.segment(frames)[0], rig.plain.segment(frames)[0])
    said = [record.message for record in caplog.records if "launched one by one" in record.message]
    assert len(said) == warnings and "not permitted when stream is capturing" in said[0]
