"""Weights to start from go where they belong, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("lightning", reason="Lightning is not installed")

from dfanet_ros.network import build_network
from training.classification import XceptionClassifier
from training.config import ConfigError
from training.transfer import initialise


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[XceptionClassifier, Path]:
    torch.manual_seed(1)
    classifier = XceptionClassifier("xception_b")
    path = tmp_path / "backbone.safetensors"
    save_file(classifier.state_dict(), path)
    return classifier, path


def test_a_pretrained_backbone_starts_all_three(pretrained: tuple[XceptionClassifier, Path]) -> None:
    classifier, path = pretrained
    network = build_network("dfanet", backbone="xception_b", num_classes=5)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    remarks = initialise(network, path)
    after = network.state_dict()
    given = {
        name.replace("fc.", "backbone.attention.fc.", 1): tensor for name, tensor in classifier.state_dict().items()
    }
    kept = {remark.split()[0] for remark in remarks if "keeps its random weights" in remark}
    for name, tensor in after.items():
        kind, _, rest = name.partition(".")
        source = f"backbone.{rest.partition('.')[2]}" if kind == "backbones" else name
        if name in kept:
            assert torch.equal(tensor, before[name])
        else:
            assert torch.equal(tensor, given[source]), name
    # The aggregation widens the first block of each stage in the second and third backbone; nothing else differs.
    wider = {
        f"backbones.{number}.enc{stage}.0.{layer}.weight"
        for number in (1, 2)
        for stage in (2, 3, 4)
        for layer in ("convs.0.0", "convs.0.1", "skip.0")
    }
    ours = {name for name in kept if name.startswith("backbones")}
    assert ours - {name for name in ours if ".attention.conv." in name} == wider
    assert any(".attention.fc." in name for name in after.keys() - kept)
    assert "skip.0.weight is (32, 8, 1, 1) there, (32, 160, 1, 1) here" in "\n".join(remarks)
    assert remarks[0].startswith(f"{len(after) - len(kept)} of {len(after)} tensors start from")


def test_another_number_of_classes_costs_the_classifier_only(tmp_path: Path) -> None:
    trained = build_network("dfanet", backbone="xception_b", num_classes=5)
    save_file(trained.state_dict(), tmp_path / "five.safetensors")
    network = build_network("dfanet", backbone="xception_b", num_classes=7)
    remarks = initialise(network, tmp_path / "five.safetensors")
    assert [remark.split()[0] for remark in remarks[1:]] == ["decoder.classifier.weight", "decoder.classifier.bias"]
    same = trained.state_dict()
    assert all(torch.equal(t, same[n]) for n, t in network.state_dict().items() if "classifier" not in n)


def test_what_is_not_used_is_named(pretrained: tuple[XceptionClassifier, Path]) -> None:
    _, path = pretrained
    network = build_network("dfanet", backbone="xception_b", num_classes=5, backbones=1, attention=False)
    remarks = initialise(network, path)
    assert "fc.weight of backbone.safetensors is not used" in remarks


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    network = build_network("dfanet", backbone="xception_b", num_classes=5)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"init is '.*broken\.safetensors', which is not a \.safetensors file"):
        initialise(network, tmp_path / "broken.safetensors")
    with pytest.raises(
        ConfigError, match=r"init is 'camvod', but has to be a file that ends in .safetensors or .pth, or"
    ):
        initialise(network, Path("camvod"))
    with pytest.raises(ConfigError, match=r"weights \(camvid, .*\); a run's weights are in best\.safetensors, in the"):
        initialise(network, tmp_path / "checkpoints" / "best.ckpt")
    with pytest.raises(ConfigError, match="missing"):
        initialise(network, tmp_path / "missing.safetensors")
    save_file({"layer.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"nothing in it fits the network; it has layer\.weight"):
        initialise(network, tmp_path / "other.safetensors")
