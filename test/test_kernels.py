"""The Triton kernels: what they compute, on the CPU by Triton's interpreter, and that they compile for an H100."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lively_network

pytest.importorskip("triton", reason="Triton is not installed")

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from dfanet_ros.checkpoint import MEAN, STD
from dfanet_ros.kernels import (
    PLAIN,
    block,
    choosing,
    compiling,
    drawing,
    fused,
    label_map,
    overlapping,
    preprocess,
    refining,
    replacing,
    rows,
    separable,
    stem,
    steps,
)
from dfanet_ros.kernels.attention import weighed
from dfanet_ros.kernels.compiling import compile_together, compiles_together, interpreted, launching
from dfanet_ros.network.dfanet import Decoder
from dfanet_ros.network.inference import SmallDecoder, inference_form
from dfanet_ros.network.xception import Features

H100, ORIN = GPUTarget("cuda", 90, 32), GPUTarget("cuda", 87, 32)

CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.timeout(600)  # a minute and a half alone, but interpreting is nothing but work for one core
@pytest.mark.parametrize("interpreted", [True, pytest.param(False, marks=CUDA)], ids=["interpreted", "cuda"])
def test_kernels_compute_what_plain_pytorch_does(interpreted: bool) -> None:
    file = Path(__file__).with_name("kernel_checks.py")
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        cwd=file.parents[1],
        # One thread: two wait for each other on a busy machine.
        env=os.environ | {"TRITON_INTERPRET": str(int(interpreted)), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_without_triton_nothing_is_missed() -> None:
    """On the CPU it is not even looked for."""
    code = """
import logging, sys
sys.modules["triton"] = None
import numpy as np, torch
import dfanet_ros.benchmark.engines, dfanet_ros.engines.cuda_graph
from dfanet_ros.frame import Frame
from dfanet_ros.kernels import PLAIN, steps
from dfanet_ros.segmenter import load_segmenter
segmenter = load_segmenter("camvid_b", input_size=(64, 96), device="cpu")
print(segmenter.segment([Frame(np.zeros((64, 96, 3), np.uint8))])[0].label_map.shape)
logging.basicConfig(stream=sys.stdout, format="%(message)s")
assert steps(torch.device("cuda"), torch.float16) is PLAIN
"""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    why = "ModuleNotFoundError: it is not installed (pip install triton)"
    said = f"(64, 96)\nframes are prepared and drawn on cuda without Triton: {why}\n"
    assert finished.stdout == said, finished.stderr


@CUDA
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16], ids=str)
def test_kernels_are_used_on_this_gpu(dtype: torch.dtype) -> None:
    assert steps(torch.device("cuda"), dtype) is not PLAIN


def test_on_the_cpu_there_is_plain_pytorch() -> None:
    assert steps(torch.device("cpu"), torch.float32) is PLAIN


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the kernels work")
def test_what_keeps_kernels_from_working_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """As on a machine without a GPU that works."""
    steps.cache_clear()
    assert [steps(torch.device("cuda"), torch.float16) for _ in range(3)] == [PLAIN] * 3
    steps.cache_clear()
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("frames are prepared and drawn on cuda without Triton: ")
    assert "\n" not in line


class NoGPU:
    """In place of Triton's driver: kernels are compiled for an H100, as if there were one."""

    target = H100

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return -int(self.target.arch)  # no device's: Triton keeps what it compiled by device

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Kernels that are called are compiled and not run; they are added to this list."""
    kernels: list[Any] = []
    run = JITFunction.run

    def compile_only(self: Any, *args: Any, grid: tuple[int, ...], warmup: bool, **options: Any) -> None:
        assert all(count > 0 for count in grid)
        kernels.append(run(self, *args, grid=grid, warmup=True, **options))

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(driver, "_active", NoGPU())
    monkeypatch.setattr(compiling, "overlaps", lambda: NoGPU.target == H100)
    monkeypatch.setattr(JITFunction, "run", compile_only)
    return kernels


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.bfloat16], ids=str)
def test_kernels_for_frames_are_compiled_once_for_all_frames(dtype: torch.dtype, compiled: list[Any]) -> None:
    """Whatever the sizes, strides, channels and addresses. Label maps of the frame's size and others have one each."""
    for size in ((720, 1280), (1, 1), (33, 17)):
        frames = [torch.zeros(*size, channels + 1, dtype=torch.uint8)[:, :, 1:] for channels in (1, 3, 4)]
        ids, table = frames[0][:, :, 0], torch.zeros(3 * 256 + 1, dtype=torch.uint8)
        colors, kept = table[1:].view(256, 3), table[1:257]
        logits = torch.zeros(3 * 19 + 1, 9, 9, dtype=dtype)[1:].view(3, 19, 9, 9)
        for input_size in ((512, 1024), (35, 33)):
            preprocess.prepare(frames, [(0, 0, 0), (2, 1, 0), (0, 1, 2)], input_size, MEAN, STD, dtype)
            preprocess.prepare(frames[1:2] * 9, [(2, 1, 0)] * 9, input_size, MEAN, STD, dtype)
        label_map.label_maps(logits, 4, (36, 36), [size] * 3)
        label_map.label_maps(logits[:, :, :5, :7], 4, (19, 26), [(19, 26)] * 3)
        label_map.label_maps(logits[:, :1, :1, :1], 4, (4, 4), [size, (7, 1), (16, 16)])
        drawing.paint(ids, colors)
        drawing.overlay(ids, colors, kept, frames[1], (2, 1, 0), 0.5)
        drawing.overlay(ids, colors, kept, frames[2], (0, 1, 2), 1)
    assert len({id(kernel) for kernel in compiled}) == 6
    assert all("cubin" in kernel.asm for kernel in compiled)


@pytest.mark.parametrize("target", [H100, ORIN], ids=["H100", "Orin"])
def test_kernels_start_while_the_one_before_ends_where_the_gpu_can(
    target: GPUTarget, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NoGPU, "target", target)
    weighed(torch.zeros(1, 24, 3, 4).half(), torch.zeros(24, 24).half(), torch.zeros(24).half())
    for kernel in compiled:
        waits, loads = (kernel.asm["ptx"].find(what) for what in ("griddepcontrol.wait", "ld.global"))
        assert loads > 0 and (waits > 0) == (target == H100)
    assert len(compiled) == 2
    assert kernel.metadata.launch_pdl == (target == H100)
    assert loads < waits or target == ORIN, "weights are read before"


@pytest.mark.parametrize(
    ("capability", "problem", "works", "line"),
    [
        ((9, 0), "", True, None),
        ((8, 7), "", False, None),
        ((9, 0), "their results are wrong", False, "their results are wrong"),
        ((10, 0), RuntimeError("operation not supported\nat line 3"), False, "RuntimeError: operation not supported"),
    ],
)
def test_whether_kernels_can_start_so_is_tried_once(
    capability: tuple[int, int],
    problem: str | Exception,
    works: bool,
    line: str | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[torch.device] = []

    def try_it(device: torch.device) -> str:
        tried.append(device)
        if isinstance(problem, Exception):
            raise problem
        return problem

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(overlapping, "_problem", try_it)
    monkeypatch.setattr(overlapping, "_known", {})
    assert [overlapping.overlaps() for _ in range(2)] == [works] * 2
    assert tried == ([torch.device("cuda", 1)] if capability >= (9, 0) else [])
    said = [record.getMessage() for record in caplog.records]
    assert said == ([] if line is None else [f"kernels do not start while the one before ends: {line}"])


@CUDA
def test_kernels_start_so_on_this_gpu() -> None:
    assert overlapping.overlaps() == (torch.cuda.get_device_capability() >= (9, 0))


@pytest.mark.parametrize("tiling", separable.TILINGS, ids=str)
def test_separable_convolutions_compile_to_tensor_cores(tiling: separable.Tiling, compiled: list[Any]) -> None:
    half, other_half = torch.float16, torch.bfloat16
    for inputs, beside, outputs, stride, add, dtype in (
        (8, 0, 12, 2, False, half),
        (12, 0, 48, 1, True, other_half),
        (48, 0, 192, 1, True, half),
        (240, 0, 12, 2, False, half),
        (96, 192, 48, 2, False, half),
    ):
        x = torch.zeros(2, inputs, 6, 9, dtype=dtype)
        second = torch.zeros(2, beside, 6, 9, dtype=dtype) if beside else None
        added = torch.zeros(2, outputs, 6, 9, dtype=dtype) if add else None
        channels = inputs + beside
        weights = (torch.zeros(channels, 1, 3, 3), torch.zeros(outputs, channels, 1, 1), torch.zeros(outputs))
        packed = separable.weights_of(*(each.to(dtype) for each in weights))
        separable.separable(x, packed, stride, True, added, tiling, second)
        assert "mma" in compiled[-1].asm["ptx"]


@pytest.mark.parametrize("target", [H100, ORIN], ids=["H100", "Orin"])
@pytest.mark.parametrize("tiling", block.TILINGS, ids=str)
def test_blocks_compile_to_tensor_cores(
    tiling: block.Tiling, target: GPUTarget, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NoGPU, "target", target)
    for inputs, beside, outputs, stride in ((8, 0, 48, 2), (192, 0, 192, 1), (96, 192, 192, 2)):
        x, inner = torch.zeros(2, inputs, 6, 9, dtype=torch.float16), outputs // 4
        second = torch.zeros(2, beside, 6, 9, dtype=torch.float16) if beside else None
        convolutions = [
            separable.weights_of(
                *(values.half() for values in (torch.zeros(i, 1, 3, 3), torch.zeros(o, i), torch.zeros(o)))
            )
            for i, o in itertools.pairwise((inputs + beside, inner, inner, outputs))
        ]
        projection = torch.zeros(outputs, inputs + beside, 1, 1).half() if stride == 2 else None
        block.block(x, block.weights_of(convolutions, projection), stride, tiling, second)
        assert f".target sm_{target.arch}" in compiled[-1].asm["ptx"] and "mma" in compiled[-1].asm["ptx"]
        assert compiled[-1].metadata.shared <= 163 * 1024, "what a program can have on an Orin"


@pytest.mark.parametrize("tiling", refining.TILINGS, ids=str)
def test_beginnings_of_refining_backbones_compile_to_tensor_cores(tiling: refining.Tiling, compiled: list[Any]) -> None:
    shapes = (240, 1, 3, 3), (12, 240, 1, 1), (12,), (48, 240, 1, 1)
    weights = refining.weights_of(*(torch.zeros(shape).half() for shape in shapes), coarse=192)
    attention, enc2 = torch.zeros(2, 192, 3, 5).half(), torch.zeros(2, 48, 12, 20).half()
    refining.refining(attention, enc2, weights, 12, tiling)
    assert "mma" in compiled[-1].asm["ptx"]
    assert compiled[-1].metadata.shared <= 163 * 1024, "what a program can have on an Orin"


@pytest.mark.parametrize("target", [H100, ORIN], ids=["H100", "Orin"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_both_ends_of_the_network_compile_to_tensor_cores(
    dtype: torch.dtype, target: GPUTarget, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for all sizes of which rows are multiples of 8 pixels; read 16 bytes at once."""
    monkeypatch.setattr(NoGPU, "target", target)
    decoder = fused.FusedDecoder(SmallDecoder(inference_form(Decoder("xception_a", 11, 2, True, True)).to(dtype)))
    weights = stem.weights_of(torch.zeros(8, 3, 3, 3, dtype=dtype), torch.zeros(8, dtype=dtype))
    for height, width in ((16, 32), (8, 8), (9, 40)):
        stem.convolved(torch.zeros(2, 3, 4 * height, 4 * width, dtype=dtype), weights)
        sizes = [(height, width), (-(-height // 2), width // 2)]
        low, high = ([torch.zeros(2, channels, *size, dtype=dtype) for size in sizes] for channels in (48, 192))
        decoder([Features(a, a, b, b) for a, b in zip(low, high, strict=True)], sizes[0])
    assert len(compiled) == 12 and len({id(kernel) for kernel in compiled}) == 4
    for kernel in compiled[:4]:
        assert "mma" in kernel.asm["ptx"] and ".v4." in kernel.asm["ptx"], kernel.name
        assert kernel.metadata.shared <= 163 * 1024, "what a program can have on an Orin"


@pytest.mark.parametrize("tiling", rows.TILINGS, ids=str)
def test_separable_convolutions_by_rows_compile_to_tensor_cores(tiling: rows.Tiling, compiled: list[Any]) -> None:
    for inputs, outputs, stride, add, dtype in (
        (8, 12, 2, False, torch.float16),
        (12, 48, 1, True, torch.bfloat16),
        (96, 24, 1, False, torch.float16),
    ):
        x = torch.zeros(2, inputs, 6, 9, dtype=dtype)
        added = torch.zeros(2, outputs, 6, 9, dtype=dtype) if add else None
        weights = (torch.zeros(inputs, 1, 3, 3), torch.zeros(outputs, inputs, 1, 1), torch.zeros(outputs))
        packed = separable.weights_of(*(each.to(dtype) for each in weights))
        rows.separable_by_rows(x, packed, stride, True, added, tiling)
        assert "mma" in compiled[-1].asm["ptx"]


@triton.jit  # type: ignore[untyped-decorator]
def does_not_compile(x, WAITS: tl.constexpr):  # type: ignore[no-untyped-def]
    tl.static_assert(False, "a kernel with a fault")


@pytest.mark.skipif(not compiles_together(), reason="this Triton cannot")
def test_kernels_are_compiled_together_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(driver, "_active", NoGPU())
    names: list[str] = []
    monkeypatch.setattr(triton.knobs.runtime, "jit_post_compile_hook", lambda **facts: names.append(facts["fn"].name))
    x = torch.zeros(1, 5, 6, 9, dtype=torch.float16)  # of other numbers of channels than in all other tests
    weights = separable.weights_of(
        *(values.half() for values in (torch.ones(5, 1, 3, 3), torch.ones(7, 5), torch.ones(7)))
    )
    compile_together(
        [
            lambda: launching(does_not_compile, (1,))(x),
            *(partial(separable.separable, x, weights, 1, True, None, tiling) for tiling in separable.TILINGS[:3]),
            lambda: 1 / 0,
        ]
    )
    assert [name.rpartition(".")[2] for name in names] == ["_separable_kernel"] * 3
    with pytest.raises(triton.CompilationError, match="a kernel with a fault"):
        launching(does_not_compile, (1,))(x)


@pytest.mark.parametrize("has_mode", [True, False])
def test_with_an_older_triton_kernels_are_compiled_one_by_one(has_mode: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mode:
        """As in Triton 3.5: an error ends it."""

        def __init__(self, executor: object) -> None:
            raise AssertionError("it must not be used")

    if has_mode:
        monkeypatch.setattr(triton, "AsyncCompileMode", Mode, raising=False)
    else:
        monkeypatch.delattr(triton, "AsyncCompileMode", raising=False)
    called: list[int] = []
    compile_together([lambda: called.append(1)])
    assert not called


@pytest.mark.parametrize("interpret", ["0", "1"])
def test_whether_kernels_are_interpreted_an_older_triton_knows_too(
    interpret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", interpret)
    newer = interpreted()
    monkeypatch.delattr(triton, "knobs", raising=False)
    assert interpreted() == newer == (interpret == "1")


@pytest.mark.parametrize("kind", [fused.FusedSeparable, fused.FusedProjection, fused.FusedBlock, fused.FusedRefining])
def test_a_fused_network_is_one_kernel_for_each_part(
    kind: type[fused.Fused], compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compiled once for each kind of part, whatever the size of its map."""
    network = inference_form(lively_network(backbones=2), few_layers=True).half()
    images = torch.zeros(1, 3, 96, 160, dtype=torch.float16)
    # Nothing is computed here, with which they could be compared.
    monkeypatch.setattr(replacing, "compile_together", list)
    monkeypatch.setattr(replacing, "_problem", lambda trial: "")
    replacing.fuse(network)
    with torch.inference_mode():
        shapes = {part: group for part, group in choosing.shapes_of(network, images).items() if isinstance(part, kind)}
        for part, (shape,) in shapes.items():
            part.tilings[shape] = part.tilings_tried[1]
        if kind is fused.FusedBlock:
            monkeypatch.setattr(torch, "cat", None)  # maps beside each other are read where they are
        network.coarse_logits(images)
    name, count = {
        fused.FusedSeparable: ("_separable_kernel", 2 * 14 * 3),
        fused.FusedProjection: ("_projection_kernel", 2 * 3),
        fused.FusedBlock: ("_block_kernel", 2 * 14),
        fused.FusedRefining: ("_refining_kernel", 1),
    }[kind]
    of_parts = [kernel for kernel in compiled if kernel.name == name]
    assert len(of_parts) == len(shapes) == count
    kinds = {(s.inputs, s.outputs, s.stride, s.relu, s.added) for (s,) in shapes.values()}
    assert len({id(kernel) for kernel in of_parts}) == len(kinds)
    # The one aggregation, two attentions of one kind and both ends, in the run that notes the shapes, too; but what
    # begins a refining backbone with its own kernel takes no aggregation.
    for name, count, kinds_of in (
        ("_convolve_kernel", 2, 1),
        ("_project_kernel", 2, 1),
        ("_join_kernel", 2, 1),
        ("_classify_kernel", 2, 1),
        ("_enlarged_beside_kernel", 1 if kind is fused.FusedRefining else 2, 1),
        ("_means_kernel", 4, 1),
        ("_weigh_kernel", 4, 1),
    ):
        others = [kernel for kernel in compiled if kernel.name == name]
        assert len(others) == count and len({id(kernel) for kernel in others}) == kinds_of
