"""State dicts in torchvision's layout: DeepLabV3 computes what torchvision's does, ResNets start an encoder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision_deeplab

pytest.importorskip("lightning", reason="Lightning is not installed")

from dfanet_ros.network import build_network
from dfanet_ros.network.resnet import ResNet
from training.config import ConfigError
from training.transfer import initialise

PUBLISHED_PARAMETERS = 42_004_074  # of deeplabv3_resnet50, with its auxiliary head


def test_the_layout_is_that_of_the_published_weights() -> None:
    learnt = [shape for name, shape in torchvision_deeplab.shapes() if "running" not in name and "num_" not in name]
    assert sum(math.prod(shape) for shape in learnt) == PUBLISHED_PARAMETERS


def test_a_deeplabv3_gives_the_stored_reference(tmp_path: Path) -> None:
    state = torchvision_deeplab.state_dict()
    path = tmp_path / "deeplabv3_resnet50.pth"
    torch.save(state, path)
    network = build_network("deeplabv3", backbone="resnet50", output_stride=8, num_classes=21).eval()
    first, *others = initialise(network, path)
    assert first.startswith(f"{len(network.state_dict())} of {len(network.state_dict())} tensors start from")
    head = sorted(name for name in state if name.startswith("aux_classifier."))
    assert others == [f"{name} of {path.name} is not used" for name in head]

    stored = torch.from_numpy(np.load(torchvision_deeplab.REFERENCE)["logits"])
    images = torchvision_deeplab.images()
    with torch.inference_mode():
        again = torchvision_deeplab.logits(state, images)
        coarse, full = network.coarse_logits(images), network(images)
    tolerance = 1e-4 * stored.abs().max().item()
    torch.testing.assert_close(again, stored, rtol=0, atol=tolerance)
    torch.testing.assert_close(coarse, stored, rtol=0, atol=tolerance)
    enlarged = torch.nn.functional.interpolate(stored, images.shape[-2:], mode="bilinear")
    torch.testing.assert_close(full, enlarged, rtol=0, atol=tolerance)


@pytest.mark.parametrize(("name", "entries", "width"), [("resnet18", 122, 512), ("resnet50", 320, 2048)])
def test_a_resnet_starts_the_encoder(name: str, entries: int, width: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    pretrained = ResNet(name, 16).state_dict()
    assert {"conv1.weight", "layer2.0.downsample.0.weight", "layer4.1.bn2.running_var"} <= pretrained.keys()
    assert len(pretrained) == entries - 2
    torch.save(pretrained | {"fc.weight": torch.ones(1000, width), "fc.bias": torch.ones(1000)}, tmp_path / "r.pth")
    network = build_network("deeplabv3", backbone=name, num_classes=5)
    remarks = initialise(network, tmp_path / "r.pth")
    assert remarks[-2:] == ["fc.bias of r.pth is not used", "fc.weight of r.pth is not used"]
    for key, tensor in network.state_dict().items():
        if key.startswith("backbone."):
            assert torch.equal(tensor, pretrained[key.removeprefix("backbone.")])
        else:
            assert any(remark.startswith(f"{key} keeps its random weights") for remark in remarks)


@pytest.mark.parametrize("content", [b"nothing", {"model": {}}, torch.zeros(2)])
def test_other_files_are_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    network = build_network("deeplabv3", num_classes=5)
    with pytest.raises(ConfigError, match=r"init is '.*other\.pth', which is not a state dict"):
        initialise(network, path)
    with pytest.raises(ConfigError, match=r"init is '.*missing\.pth', which is not a \.pth file that can be read"):
        initialise(network, tmp_path / "missing.pth")
