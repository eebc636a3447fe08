"""Weights files: what is saved is loaded, and what does not fit is said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import info_of, lively_network
from safetensors.torch import load_file, save_file

from dfanet_ros.checkpoint import (
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    shipped_weights,
)
from dfanet_ros.label_set import CAMVID, STREET_SCENES
from dfanet_ros.network import NETWORKS
from dfanet_ros.segmenter import DEFAULT_WEIGHTS, find_weights, load_segmenter


def rewrite(source: Path, target: Path, **metadata: str) -> Path:
    """The same tensors under changed metadata."""
    network, info = load_checkpoint(source)
    save_file(network.state_dict(), target, metadata={**info.to_metadata(), **metadata})
    return target


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network = lively_network(num_classes=8, backbone="xception_b", low_level=False)
    info = info_of(network, STREET_SCENES, input_size=(37, 91))
    path = tmp_path / "folder" / "weights.safetensors"
    save_checkpoint(path, network, info)
    loaded, loaded_info = load_checkpoint(path)
    assert loaded_info == info
    assert not loaded.training
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))
    assert [file.name for file in path.parent.iterdir()] == ["weights.safetensors"]


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'.*none\.safetensors': there is no such file"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04pickle", b"\xff" * 1000], ids=["empty", "pickle", "noise"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.safetensors': not a whole \.safetensors file"):
        load_checkpoint(path)


def test_a_cut_file_is_refused(tmp_path: Path, random_weights: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(random_weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a whole"):
        load_checkpoint(path)


def test_tensors_without_our_metadata_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="does not say that it is of dfanet_ros"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({"format": "dfanet_ros/9"}, "its format is 'dfanet_ros/9', this version reads 'dfanet_ros/1'"),
        ({"network": "unet"}, "network is 'unet', but has to be one of dfanet"),
        ({"classes": "{"}, "foreign"),
        ({"classes": json.dumps([{"name": "road"}])}, "'color' is missing"),
        ({"input_size": "[1]"}, "foreign"),
    ],
    ids=str,
)
def test_unusable_metadata_are_refused(
    tmp_path: Path, random_weights: Path, metadata: dict[str, str], says: str
) -> None:
    path = rewrite(random_weights, tmp_path / "foreign.safetensors", **metadata)
    with pytest.raises(CheckpointError, match=says):
        load_checkpoint(path)


def test_what_differs_is_said_exactly(tmp_path: Path, random_weights: Path) -> None:
    classes = json.dumps([{"name": name, "color": [0, 0, 0]} for name in "abc"])
    path = rewrite(random_weights, tmp_path / "other.safetensors", classes=classes)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert "3 classes" in str(error.value)
    assert "decoder.classifier.weight is (11, 32, 1, 1) instead of (3, 32, 1, 1)" in str(error.value)

    _, info = load_checkpoint(random_weights)
    tensors = load_file(random_weights)
    tensors["extra"] = tensors.pop("decoder.classifier.bias")
    save_file(tensors, path, metadata=info.to_metadata())
    with pytest.raises(CheckpointError, match=r"decoder\.classifier\.bias is missing; extra is not in the network"):
        load_checkpoint(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, random_weights: Path, value: float) -> None:
    _, info = load_checkpoint(random_weights)
    tensors = load_file(random_weights)
    tensors["decoder.classifier.bias"][3] = value
    path = tmp_path / "damaged.safetensors"
    save_file(tensors, path, metadata=info.to_metadata())
    with pytest.raises(CheckpointError, match=r"damaged.*: decoder\.classifier\.bias has values that are not finite"):
        load_checkpoint(path)


def test_weights_of_another_backbone_are_refused(random_weights: Path) -> None:
    with pytest.raises(CheckpointError, match="are of dfanet with xception_b, but dfanet with xception_a was"):
        load_segmenter(str(random_weights), backbone="xception_a")
    with pytest.raises(CheckpointError, match="are of dfanet with xception_b, but fast_scnn with xception_b was"):
        load_segmenter(str(random_weights), network="fast_scnn")
    for backbone in ("xception_b", "auto"):
        assert load_segmenter(str(random_weights), backbone=backbone).info.backbone == "xception_b"


def test_shipped_weights_load_and_say_how_they_came_about() -> None:
    shipped = shipped_weights()
    assert {"camvid", "camvid_b", "street_scenes"} <= set(shipped)
    for name, path in shipped.items():
        network, info = load_checkpoint(path)
        assert network.num_classes == len(info.labels)
        assert name.startswith(info.data_set)
        assert info.training
        if info.val_miou is None:
            assert "train + val" in info.training, "a figure is missing only where val was trained on"
        else:
            assert info.val_miou >= 55
        assert path.stat().st_size < 12e6


def test_empty_weights_are_the_shipped_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    for backbone in ("xception_a", "xception_b"):
        assert load_segmenter(backbone=backbone).info.backbone == backbone
    assert find_weights("").name == "camvid.safetensors"
    assert find_weights("", backbone="xception_b").name == "camvid_b.safetensors"
    assert find_weights("street_scenes").name == "street_scenes.safetensors"
    monkeypatch.delitem(DEFAULT_WEIGHTS, ("dfanet", "xception_b"))
    with pytest.raises(CheckpointError, match="no weights of dfanet with xception_b are shipped"):
        find_weights("", backbone="xception_b")


@pytest.mark.parametrize(
    ("network", "backbone", "says"),
    [
        ("deeplabv3", "auto", "no weights of deeplabv3 with resnet18 are shipped: name a file"),
        ("deeplabv3", "resnet101", "no weights of deeplabv3 with resnet101 are shipped"),
        ("auto", "resnet50", "backbone is 'resnet50', but has to be one of xception_a, xception_b for network dfanet"),
        ("fast_scnn", "resnet50", "backbone is 'resnet50', but network fast_scnn has none to choose: leave it at auto"),
    ],
)
def test_without_weights_the_sentence_names_the_network(network: str, backbone: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        find_weights("", network, backbone)


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_of_every_network_load(name: str, tmp_path: Path) -> None:
    network = lively_network(name, num_classes=len(CAMVID))
    info = info_of(network, name=name)
    save_checkpoint(tmp_path / "weights.safetensors", network, info)
    backbone = network.options.get("backbone")
    for asked in ({}, {"network": name}, {"network": name, "backbone": backbone or "auto"}):
        segmenter = load_segmenter(str(tmp_path / "weights.safetensors"), **asked, device="cpu", engine="torch")
        assert segmenter.info == info
    assert str(segmenter).startswith(f"{name} with {backbone}, 11 classes" if backbone else f"{name}, 11 classes")
