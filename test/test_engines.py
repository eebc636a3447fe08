"""The engines compute what PyTorch computes; what they keep on disk is used only if it is what was written."""

from __future__ import annotations

import copy
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import MagicMock, Mock

import numpy as np
import pytest
import torch
from conftest import info_of, lively_network

from dfanet_ros import engines
from dfanet_ros.engines import ENGINES, Engine, build_engine, choose_engine
from dfanet_ros.engines import onnx_model as onnx_model_module
from dfanet_ros.engines.cache import cached, fingerprint, folder
from dfanet_ros.frame import Frame
from dfanet_ros.image_files import ImageFolder
from dfanet_ros.segmenter import Segmenter, load_segmenter
from dfanet_ros.street_scenes import StreetScenes

ROOT = Path(__file__).parent.parent
CAMVID = Path(os.environ.get("CAMVID", ROOT.parent / "shared" / "camvid"))
CPU = torch.device("cpu")
OTHERS = [name for name in ENGINES if name != "torch"]
SIZE = (90, 122)  # divides by no stride


def device_for(name: str, precision: str = "fp32") -> torch.device:
    """The device that the engine runs on here; skips the test if there is none."""
    kinds = ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]
    why = ""
    for kind in kinds:
        try:
            choose_engine(name, torch.device(kind), precision)
        except ValueError as error:
            why = str(error)
        else:
            return torch.device(kind)
    pytest.skip(why)


def both(name: str) -> tuple[Engine, Engine]:
    """An engine of that name, and PyTorch's in float32 on the CPU, for the same random network."""
    device = device_for(name)
    network = lively_network(backbone="xception_b", backbones=2)
    reference = build_engine("torch", network, SIZE, CPU, "fp32")
    return build_engine(name, network, SIZE, device, "fp32", threads=2), reference


@pytest.mark.parametrize("name", OTHERS)
def test_logits_are_those_of_pytorch(name: str) -> None:
    engine, reference = both(name)
    device = device_for(name)
    random = torch.Generator().manual_seed(1)
    kept = []
    with torch.inference_mode():
        for batch in (1, 5, 2, 1):
            images = torch.randn(batch, 3, *SIZE, generator=random)
            expected, given = reference.logits(images), engine.logits(images.to(device))
            assert given.shape == expected.shape
            torch.testing.assert_close(given.cpu().float(), expected, rtol=0, atol=1e-4 * expected.abs().max().item())
            kept.append((given, expected))
    for given, expected in kept:  # later calls have not overwritten the results of earlier ones
        torch.testing.assert_close(given.cpu().float(), expected, rtol=0, atol=1e-4 * expected.abs().max().item())
    engine.close()


@pytest.mark.parametrize("network_name", ["fast_scnn", "deeplabv3"])
@pytest.mark.parametrize("name", OTHERS)
def test_other_networks_run_in_every_engine(name: str, network_name: str) -> None:
    """They have pyramids of means over areas, which overlap at most sizes; here of 3 x 4 and of 6 x 8 places."""
    device = device_for(name)
    network = lively_network(network_name)
    reference = build_engine("torch", network, SIZE, CPU, "fp32")
    engine = build_engine(name, network, SIZE, device, "fp32")
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, given = reference.logits(images), engine.logits(images.to(device)).cpu().float()
    # Random weights give each class nearly one value all over the image: what counts is how it varies.
    variation = (expected.amax((2, 3)) - expected.amin((2, 3))).min().item()
    torch.testing.assert_close(given, expected, rtol=0, atol=1e-3 * variation)


def agreement(name: str, precision: str, weights: str, frames: list[Frame]) -> float:
    """The share of pixels that get the same class from an engine as from PyTorch in float32."""
    device = device_for(name, precision)
    reference = load_segmenter(weights, backbone="xception_b", device="cpu", engine="torch")
    segmenter = load_segmenter(weights, backbone="xception_b", device=str(device), precision=precision, engine=name)
    assert segmenter.engine.name == name
    same = [
        np.mean(given.label_map == expected.label_map)
        for given, expected in zip(segmenter.segment(frames), reference.segment(frames), strict=True)
    ]
    return float(np.mean(same))


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("bf16", 0.995), ("fp16", 0.995)])
@pytest.mark.parametrize("name", ENGINES)
def test_label_maps_are_those_of_pytorch(name: str, precision: str, least: float) -> None:
    # As large as the network's input: the two pipelines, for the CPU and for CUDA, resize a little differently.
    scenes = StreetScenes(3, 360, 480, seed=5)
    frames = [Frame(scenes[index][0]) for index in range(3)]
    assert agreement(name, precision, "street_scenes", frames) >= least


@pytest.mark.parametrize("name", OTHERS)
def test_label_maps_on_camvid_are_those_of_pytorch(name: str) -> None:
    if not (CAMVID / "images/val").is_dir():
        pytest.skip("CamVid is not there (see the environment variable CAMVID)")
    folder = ImageFolder(CAMVID / "images/val")
    frames = [Frame(folder[index][0]) for index in range(0, len(folder), 17)]
    assert agreement(name, "fp32", "camvid_b", frames) >= 0.9999


# Which one is taken


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """As if these were not installed."""
    real = onnx_model_module.find_spec
    monkeypatch.setattr(onnx_model_module, "find_spec", lambda name: None if name in packages else real(name))


def test_auto_says_what_it_takes_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    hide(monkeypatch, "openvino", "onnxscript")
    choice = choose_engine("auto", CPU, "fp32")
    assert choice.name == "torch"
    assert str(choice) == (
        "torch (the fastest that there is here; openvino: it needs packages that are not installed (pip install "
        "openvino); onnxruntime: it needs packages that are not installed (pip install onnxscript))"
    )


def test_auto_takes_the_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    assert choose_engine("auto", CPU, "fp32").name == "openvino"
    hide(monkeypatch, "openvino")
    assert choose_engine("auto", CPU, "fp32").name == "onnxruntime"
    assert choose_engine("auto", CPU, "bf16").name == "torch"  # ONNX Runtime has no bf16 on the CPU


@pytest.mark.parametrize(
    ("name", "precision", "sentence"),
    [
        ("warp", "fp32", "engine is 'warp', but has to be one of auto, torch, cuda_graph"),
        ("cuda_graph", "fp32", "engine is 'cuda_graph', but it needs a CUDA device, and the device is cpu"),
        ("tensorrt", "fp32", "engine is 'tensorrt', but it needs a CUDA device, and the device is cpu"),
        ("torch", "fp16", "engine is 'torch', but the CPU has no fp16 arithmetic"),
        ("onnxruntime", "bf16", "engine is 'onnxruntime', but on cpu it computes in fp32, not in bf16"),
    ],
)
def test_what_cannot_be_is_refused(name: str, precision: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence.replace("(", "\\(")):
        choose_engine(name, CPU, precision)


def test_the_segmenter_names_its_engine() -> None:
    network = lively_network(backbone="xception_b")
    segmenter = Segmenter(network, info_of(network), device="cpu", engine="torch")
    assert str(segmenter).endswith("fp32 on cpu by torch (asked for)")


def test_an_engine_is_built_for_another_device_than_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's `meta` in place of a GPU: there are shapes and no values."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    engine = build_engine("torch", lively_network(), (64, 96), torch.device("meta"), "fp16")
    assert not torch.backends.cudnn.allow_tf32
    logits = engine.logits(torch.empty(2, 3, 64, 96, device="meta"))
    assert logits.shape == (2, 11, 16, 24) and logits.dtype == torch.float16


def test_fp32_is_not_tf32_in_onnxruntime_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its engine asks for on a GPU, by a stand-in for the session."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    session = Mock()
    session.return_value.get_providers.return_value = ["CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    module = engines._module("onnxruntime")
    monkeypatch.setattr(module, "coarse_model", lambda network, input_size, dtype: b"")
    module.Engine(lively_network(), SIZE, torch.device("cuda", 1), "fp32")
    assert session.call_args.kwargs["providers"] == [("CUDAExecutionProvider", {"device_id": 1, "use_tf32": 0})]


def test_fp32_is_not_tf32_in_tensorrt_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for TensorRT."""
    tensorrt = MagicMock()
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    builder = tensorrt.Builder.return_value
    builder.build_serialized_network.return_value = b"plan"
    assert engines._module("tensorrt")._built(b"", SIZE, Mock()) == b"plan"
    builder.create_builder_config.return_value.clear_flag.assert_called_once_with(tensorrt.BuilderFlag.TF32)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """One core is left to others by PyTorch, whose threads wait for one another; beside another engine it has one."""
    before = torch.get_num_threads()
    monkeypatch.setattr(engines, "CORES", 4)
    network = lively_network(backbone="xception_b", backbones=1)

    def threads(engine: str, wanted: int) -> int:
        Segmenter(network, info_of(network), device="cpu", engine=engine, threads=wanted)
        return torch.get_num_threads()

    try:
        assert [threads("torch", wanted) for wanted in (0, 1, 2)] == [3, 1, 2]
        monkeypatch.setattr(engines, "CORES", 1)
        assert threads("torch", 0) == 1
        if not engines._objection("onnxruntime", CPU, "fp32"):
            assert threads("onnxruntime", 2) == 1
    finally:
        torch.set_num_threads(before)


# What is kept on disk


def counting(content: bytes) -> tuple[Callable[[], bytes], list[int]]:
    calls: list[int] = []

    def build() -> bytes:
        calls.append(1)
        return content

    return build, calls


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return folder()


def test_what_was_built_is_read(empty_cache: Path) -> None:
    build, calls = counting(b"engine")
    assert [cached("test", ["a", 1], build) for _ in range(3)] == [b"engine"] * 3
    assert len(calls) == 1
    cached("test", ["a", 2], build)
    cached("other", ["a", 1], build)
    assert len(calls) == 3
    assert len(list(empty_cache.iterdir())) == 3


@pytest.mark.parametrize("damage", [b"", b"x", b"engine"])
@pytest.mark.parametrize("keep", [0, 20, 34])
def test_a_damaged_file_is_built_again(empty_cache: Path, damage: bytes, keep: int) -> None:
    build, calls = counting(b"engine")
    cached("test", ["a"], build)
    (file,) = empty_cache.iterdir()
    file.write_bytes(file.read_bytes()[:keep] + damage)
    assert cached("test", ["a"], build) == b"engine"
    assert len(calls) == 2
    assert cached("test", ["a"], build) == b"engine"
    assert len(calls) == 2


def test_the_oldest_files_go(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dfanet_ros.engines.cache.MOST_FILES", 3)
    for number in range(5):
        cached("test", [number], lambda: b"engine")
        for file in empty_cache.iterdir():
            os.utime(file, (file.stat().st_atime, file.stat().st_mtime - 1))
    build, calls = counting(b"engine")
    for number in (2, 3, 4):
        cached("test", [number], build)
    assert not calls
    assert len(list(empty_cache.iterdir())) == 3


@pytest.mark.parametrize("obstacle", ["a file", "no home", "a full disk"])
def test_where_nothing_can_be_kept_it_is_built_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    if obstacle == "a file":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    elif obstacle == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr("os.getuid", lambda: 123456)  # whom no file of users knows
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setattr("os.replace", raise_full)
    build, calls = counting(b"engine")
    assert cached("test", ["a"], build) == cached("test", ["a"], build) == b"engine"
    assert len(calls) == 2
    assert [record.message for record in caplog.records if "cannot be kept" in record.message]
    assert not list(tmp_path.rglob("*.unfinished"))


def raise_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_the_fingerprint_changes_with_weights_options_and_structure() -> None:
    network = lively_network(backbone="xception_b")
    same = lively_network(backbone="xception_b")
    assert fingerprint(network) == fingerprint(same)
    with torch.no_grad():
        next(same.parameters()).view(-1)[0] += 1e-3
    others = [
        same,
        lively_network(backbone="xception_a"),
        lively_network(backbone="xception_b", attention=False),
        lively_network(backbone="xception_b", input_scale=0.5),  # has the same layers and weights
        copy.deepcopy(network).to(torch.bfloat16),
    ]
    assert len({fingerprint(each) for each in [network, *others]}) == 6


@pytest.mark.parametrize("name", ["openvino", "onnxruntime", "tensorrt"])
def test_an_engine_is_made_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is converted, no process is started and the network stays as it was trained."""
    both(name)
    module = engines._module(name)
    for each in (module, onnx_model_module):
        monkeypatch.setattr(each, "inference_form", None, raising=False)
        monkeypatch.setattr(each, "apart", None, raising=False)
    monkeypatch.setattr(onnx_model_module, "convert", None)
    monkeypatch.setattr(module, "_compiled", None, raising=False)
    monkeypatch.setattr(module, "_built", None, raising=False)
    engine, reference = both(name)
    images = torch.randn(2, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected, given = reference.logits(images), engine.logits(images.to(device_for(name)))
    torch.testing.assert_close(given.cpu().float(), expected, rtol=0, atol=1e-4 * expected.abs().max().item())
