"""A step of training: the loss is that of full-size logits, whatever the stride of the network's own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from training_runs import TINY

pytest.importorskip("lightning", reason="Lightning is not installed")

from dfanet_ros.label_set import STREET_SCENES, UNLABELLED
from training.config import Config, ConfigError
from training.segmentation import SegmentationTask, describe

STRIDES = {"dfanet": 4, "fast_scnn": 8, "deeplabv3": 16}


def task_of(**changes: Any) -> SegmentationTask:
    torch.manual_seed(0)
    config = Config(**{**TINY, "backbone": "auto", "class_weights": "none", **changes})
    return SegmentationTask(config, STREET_SCENES, iterations=10)


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("name", STRIDES)
@pytest.mark.parametrize("crop", [(64, 64), (50, 75)])
def test_the_loss_is_that_of_full_size_logits(name: str, crop: tuple[int, int]) -> None:
    task, stride = task_of(network=name), STRIDES[name]
    task.network.eval()  # or the reference would have other statistics and dropouts
    random = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, *crop, generator=random)
    target = torch.randint(len(STREET_SCENES), (2, *crop), generator=random)
    target[:, :10] = UNLABELLED
    with torch.inference_mode():
        loss = task.training_step((images, target), 0)
        expected = F.cross_entropy(task.network(images), target, ignore_index=UNLABELLED)
        rows, columns = (-side % task.network.stride for side in crop)
        _, features = task.network.outputs(F.pad(images, (0, columns, 0, rows), mode="replicate"))
        assert len(features) == len(task.auxiliary) > 0
        for head, feature in zip(task.auxiliary, features, strict=True):
            size = [(side + more) // stride for side, more in zip(crop, (rows, columns), strict=True)]
            coarse = F.interpolate(head(feature), size, mode="bilinear")
            middle = target[:, stride // 2 :: stride, stride // 2 :: stride]  # of the pixels that a logit stands for
            coarse = coarse[:, :, : middle.shape[1], : middle.shape[2]]
            expected = expected + 0.4 * F.cross_entropy(coarse, middle, ignore_index=UNLABELLED)
    torch.testing.assert_close(loss, expected)


def test_options_reach_the_network_and_its_weights() -> None:
    task = task_of(network="deeplabv3", options={"output_stride": 8})
    assert task.network.logits_stride == 8
    assert task.info.options == {"backbone": "resnet18", "output_stride": 8}


@pytest.mark.parametrize("name", ["fast_scnn", "deeplabv3", "backbone_aspp"])
def test_a_batch_that_cannot_be_normalised_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"batch_size is 1, but network {name} needs at least 2"):
        task_of(network=name, batch_size=1)
    task_of(network="dfanet", batch_size=1)


def test_weights_say_what_they_were_trained_with() -> None:
    plain = describe(task_of(gradient_clip=0.0).config)
    assert plain.endswith("EMA 0.8, seed 0, from scratch")
    changes = {"gradient_clip": 1.0, "label_smoothing": 0.1, "ohem": 0.7, "precision": "bf16-mixed", "val_part": "test"}
    more = ", gradient clip 1.0, label smoothing 0.1, ohem 0.7, precision bf16-mixed, val part test"
    assert describe(task_of(**changes).config) == plain + more
