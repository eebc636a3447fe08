"""Each network learns four frames by heart.

Not those that are cascades without the low-level decoder: their logits stand for 32 to 128 pixels, too coarse for
frames as small as these. DeepLabV3 with ResNet-50 and 101 would take too long.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.optim.swa_utils import update_bn

from dfanet_ros.checkpoint import MEAN, STD
from dfanet_ros.network import build_network
from dfanet_ros.street_scenes import StreetScenes

pytestmark = pytest.mark.usefixtures("one_thread")
PLACES = torch.tensor([0, 1, 2, 2, 1, 1, 1, 1])  # sky, what stands on the ground, ground: by class of the scenes


@pytest.mark.parametrize(
    ("name", "backbone", "iterations", "learning_rate"),
    [
        ("dfanet", "xception_a", 28, 1e-2),
        ("dfanet", "xception_b", 28, 1e-2),
        ("fast_scnn", "auto", 25, 1e-2),
        ("deeplabv3", "resnet18", 35, 5e-3),
        ("dfanet_without_attention", "xception_a", 28, 1e-2),
        ("backbone", "xception_a", 28, 1e-2),
        ("backbone_aspp", "xception_a", 28, 1e-2),
    ],
)
def test_four_frames_are_learnt_by_heart(name: str, backbone: str, iterations: int, learning_rate: float) -> None:
    scenes = [StreetScenes(4, 64, 96, seed=3)[number] for number in range(4)]
    images = torch.stack([torch.from_numpy(image.copy()).permute(2, 0, 1) / 255 for image, _ in scenes])
    images = (images - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    target = PLACES[torch.stack([torch.from_numpy(labels.copy()).long() for _, labels in scenes])]
    blind = (target == target.mode(0).values).double().mean().item()
    assert blind < 0.9, "where things use to be is nearly enough: no image has to be looked at"
    torch.manual_seed(0)
    network = build_network(name, backbone=backbone, num_classes=3)
    optimizer = torch.optim.AdamW(network.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=iterations)
    for _ in range(iterations):
        optimizer.zero_grad()
        F.cross_entropy(network(images), target).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    update_bn([images], network)  # as the trainer does: so few iterations are too few for the running statistics
    network.eval()
    with torch.inference_mode():
        right = (network(images).argmax(1) == target).double().mean().item()
    assert right > 0.95, f"{100 * right:.1f} %"
