"""What the shipped weights are worth: on CamVid where it is at hand, on generated scenes everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dfanet_ros.checkpoint import load_checkpoint, shipped_weights
from dfanet_ros.frame import Frame
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.segmenter import Segmenter
from dfanet_ros.street_scenes import StreetScenes

ROOT = Path(__file__).parents[1]
CAMVID = Path(os.environ.get("CAMVID", ROOT.parent / "shared" / "camvid"))


@pytest.mark.skipif(not (CAMVID / "images/val").is_dir(), reason="CamVid is not here (environment variable CAMVID)")
@pytest.mark.parametrize("weights", ["camvid", "camvid_b"])
def test_camvid_weights_are_what_they_say_on_val(weights: str) -> None:
    command = [sys.executable, "-m", "training.evaluate", "--weights", weights]
    command += ["--images", CAMVID / "images/val", "--labels", CAMVID / "labels/val"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    name, value = printed.splitlines()[-1].split()
    assert name == "mIoU:"
    _, info = load_checkpoint(shipped_weights()[weights])
    if info.val_miou is None:  # trained on val, too
        assert float(value) > 70
    else:
        assert float(value) == pytest.approx(info.val_miou, abs=0.2), "the metadata say another figure"


def test_street_scenes_weights_know_scenes_they_have_not_seen() -> None:
    network, info = load_checkpoint(shipped_weights()["street_scenes"])
    segmenter = Segmenter(network, info, device="cpu")
    confusion = ConfusionMatrix(len(info.labels))
    for image, label in StreetScenes(15, *info.input_size, seed=77):
        confusion.update(label, segmenter.segment([Frame(image)])[0].label_map)
    assert confusion.miou() > 65
    assert confusion.iou().min() > 15, dict(zip(info.labels.names, confusion.iou().round(1), strict=True))
