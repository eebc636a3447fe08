"""Exported files: weights that the node loads, ONNX models that compute the same, and sentences where it cannot be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import info_of, lively_network

from dfanet_ros.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from dfanet_ros.network.base import Network
from training.export import main
from training.weights import export_weights, load_training_checkpoint

ROOT = Path(__file__).parents[1]


def small_network() -> Network:
    return lively_network(backbone="xception_b", backbones=1)


def content(network: Network, **changes: Any) -> dict[str, Any]:
    """What Lightning writes of a training, as far as it matters."""
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    state["auxiliary.0.weight"] = torch.zeros(11, 128, 1, 1)
    return {
        "epoch": 3,
        "state_dict": state,
        "optimizer_states": [{"state": {0: {"step": torch.tensor(5.0)}}}],
        "weights_info": info_of(network).to_metadata(),
        **changes,
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a training with images of 64 x 96."""
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    torch.save(content(small_network()), path)
    return path


def error_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The sentence that the command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert stopped.value.code == 1
    output = capsys.readouterr()
    assert output.out == "" and output.err.startswith("error: ") and output.err.count("\n") == 1
    return output.err


def assert_holds(path: Path, expected: Network) -> None:
    network, info = load_checkpoint(path)
    assert info == info_of(expected)
    tensors = network.state_dict()
    assert tensors.keys() == expected.state_dict().keys()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in expected.state_dict().items())


def test_a_checkpoint_becomes_weights(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "folder" / "weights.safetensors"
    main(["--weights", str(checkpoint), "--out", str(out)])
    expected = small_network()
    assert_holds(out, expected)
    assert [file.name for file in out.parent.iterdir()] == [out.name]
    printed = capsys.readouterr().out
    assert printed.startswith(f"wrote {out}: {out.stat().st_size / 1e6:.1f} MB, dfanet with xception_b\n11 classes of ")
    assert ", ".join(info_of(expected).labels.names) in printed

    read, read_info = load_training_checkpoint(checkpoint)
    assert not read.training and read_info == info_of(expected)
    export_weights(checkpoint, tmp_path / "again.safetensors")
    assert_holds(tmp_path / "again.safetensors", expected)


def test_weights_stay_what_they_are(random_weights: Path, tmp_path: Path) -> None:
    main(["--weights", str(random_weights), "--out", str(tmp_path / "copy.safetensors")])
    assert_holds(tmp_path / "copy.safetensors", load_checkpoint(random_weights)[0])


def test_options_that_change_no_parameter_may_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = lively_network("deeplabv3")
    save_checkpoint(tmp_path / "16.safetensors", network, info_of(network, name="deeplabv3"))
    words = ["--weights", tmp_path / "16.safetensors", "--out", tmp_path / "8.safetensors", "--option"]
    main([*map(str, words), "output_stride=8"])
    finer, info = load_checkpoint(tmp_path / "8.safetensors")
    assert info.options == {"backbone": "resnet18", "output_stride": 8} and finer.logits_stride == 8
    tensors = finer.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in network.state_dict().items())
    capsys.readouterr()
    for option, says in {
        "output_stride=4": "output_stride is 4, but DeepLabV3 has 16 and 8",
        "output_stride": "--option is 'output_stride', but has to be NAME=VALUE, as output_stride=8",
        "depth=3": "network 'deeplabv3' cannot be built with {'output_stride': 16, 'depth': 3}",
        'backbone="resnet50"': "do not fit network 'deeplabv3' with {'backbone': 'resnet50', 'output_stride': 16}",
    }.items():
        assert says in error_of(capsys, *words, option)


@pytest.fixture(scope="module")
def onnx_model(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the small network, for images of 64 x 96."""
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    out = tmp_path_factory.mktemp("onnx") / "folder" / "small.onnx"
    main(["--weights", str(checkpoint), "--out", str(out)])
    return out


def assert_computes_the_same(path: Path, weights: Path, height: int, width: int) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    network, info = load_training_checkpoint(weights) if weights.suffix == ".ckpt" else load_checkpoint(weights)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ((images,), (logits,)) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type, images.shape) == ("images", "tensor(float)", ["batch", 3, height, width])
    assert (logits.name, logits.type, logits.shape) == ("logits", "tensor(float)", ["batch", 11, height, width])
    rng = np.random.default_rng(1)
    for batch in (1, 2, 5):
        given = rng.standard_normal((batch, 3, height, width), np.float32)
        with torch.inference_mode():
            expected = network(torch.from_numpy(given)).numpy()
        (found,) = session.run(None, {"images": given})
        # Random weights give each class nearly one value all over the image: what counts is how it varies.
        variation = np.ptp(expected, axis=(2, 3)).min()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * variation)
    model = onnx.load(path, load_external_data=False)
    assert {entry.key: entry.value for entry in model.metadata_props} == info.to_metadata()
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # tensors are in it, nothing is left over
    assert str(ROOT).encode() not in path.read_bytes()


def test_an_onnx_model_has_the_size_of_the_training(onnx_model: Path, checkpoint: Path) -> None:
    assert_computes_the_same(onnx_model, checkpoint, 64, 96)


def test_an_onnx_model_of_an_odd_size(
    random_weights: Path, onnx_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "odd.onnx"
    main(["--weights", str(random_weights), "--out", str(out), "--input-size", "70", "90"])
    printed = capsys.readouterr().out
    assert "input images (N, 3, 70, 90), output logits (N, 11, 70, 90), opset 18\n" in printed
    assert "logits differ by at most" in printed and "of the pixels get the same class" in printed
    assert_computes_the_same(out, random_weights, 70, 90)


@pytest.mark.parametrize("broken", [False, True], ids=["other weights", "not finite"])
def test_a_model_that_computes_something_else_is_not_kept(
    onnx_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    import onnx

    from training import onnx_model as module

    network = small_network()
    with torch.no_grad():
        network.decoder.classifier.weight.mul_(float("nan") if broken else 1.01)
    out = tmp_path / "wrong.onnx"
    out.write_bytes(b"what was there")
    monkeypatch.setattr(module, "convert", lambda *_: onnx.load(onnx_model))
    with pytest.raises(module.ExportError, match=r"wrong\.onnx' was not written: in ONNX Runtime its logits differ"):
        module.write_onnx(out, network, info_of(network), (64, 96))
    assert out.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [out]


def test_weights_need_no_onnx_and_models_say_what_they_need(checkpoint: Path, tmp_path: Path) -> None:
    # Nor Lightning, without which a checkpoint can be read as well.
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['onnx', 'onnxruntime', 'onnxscript', 'lightning']))\n"
        "from training.export import main\n"
        "main(['--weights', sys.argv[1], '--out', sys.argv[2] + '.safetensors'])\n"
        "main(['--weights', sys.argv[1], '--out', sys.argv[2] + '.onnx'])"
    )
    words = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "weights")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        f"error: --out is '{tmp_path}/weights.onnx': it needs packages that are not installed (pip install onnx "
        "onnxruntime onnxscript)\n"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "weights.pt"], "--out is 'weights.pt', but has to end in .safetensors or .onnx"),
        (["--out", "w.safetensors", "--input-size", "64", "96"], "--input-size is for .onnx only"),
        (
            ["--out", "w.onnx", "--input-size", "0", "96"],
            "--input-size is 0 96, but height and width have to be at least",
        ),
    ],
    ids=["suffix", "size of weights", "no size"],
)
def test_arguments_that_do_not_go_together(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    assert says in error_of(capsys, "--weights", "camvid", *arguments)


def test_weights_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "w.safetensors"
    for name in ("none.ckpt", "none.safetensors", "no_such_name"):
        said = error_of(capsys, "--weights", name, "--out", out)
        assert said == f"error: cannot load the weights '{name}': there is no such file\n"


@pytest.mark.parametrize("noise", [b"", b"\x80\x04pickle", b"\xff" * 1000, b"PK\x03\x04" + bytes(100)], ids=repr)
def test_a_file_of_something_else_is_refused(noise: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "noise.ckpt"
    path.write_bytes(noise)
    said = error_of(capsys, "--weights", path, "--out", tmp_path / "w.safetensors")
    assert f"cannot load the weights '{path}': not a whole checkpoint of training.train (" in said


def test_a_cut_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cut.ckpt"
    path.write_bytes(checkpoint.read_bytes()[:-1000])
    assert "not a whole checkpoint" in error_of(capsys, "--weights", path, "--out", tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ([1, 2], "no checkpoint of training.train, as it has no state_dict"),
        ({"weights_info": {}}, "no checkpoint of training.train, as it has no state_dict"),
        (
            {"state_dict": {}, "hyper_parameters": Path("x")},
            "not a whole checkpoint of training.train (UnpicklingError)",
        ),
        ({"state_dict": {}}, "it has no weights_info, which says what the network is; checkpoints of training.train"),
        (
            {"state_dict": {}, "weights_info": {}, "stale_statistics": True},
            "it was written between two evaluations, and averaged weights get the statistics of their normalisation "
            "when they are evaluated; take best.ckpt, or go on",
        ),
        ({"state_dict": {}, "weights_info": {"format": "dfanet_ros/1"}}, "'classes' is missing in its metadata"),
        ({"state_dict": {}, "weights_info": {"format": "2"}}, "its format is '2', this version reads 'dfanet_ros/1'"),
    ],
    ids=["list", "no state", "foreign class", "no info", "stale", "no classes", "format"],
)
def test_checkpoints_of_others_are_refused(
    saved: object, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(saved, path)
    said = error_of(capsys, "--weights", path, "--out", tmp_path / "w.safetensors")
    assert f"cannot load the weights '{path}': " in said and says in said
    assert [file.name for file in tmp_path.iterdir()] == ["other.ckpt"]


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "unfit.ckpt"
    network = small_network()
    three = json.dumps([{"name": name, "color": [0, 0, 0]} for name in "abc"])
    torch.save(content(network, weights_info=info_of(network).to_metadata() | {"classes": three}), path)
    with pytest.raises(
        CheckpointError, match=r"unfit\.ckpt' do not fit .*weight is \(11, 32, 1, 1\) instead of \(3, 32"
    ):
        export_weights(path, tmp_path / "w.safetensors")
    saved = content(network)
    saved["state_dict"]["network.extra"] = saved["state_dict"].pop("network.stem.0.weight")
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match=r"extra is not in the network; stem\.0\.weight is missing"):
        export_weights(path, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == [path]
