"""A bag of street scenes through player, segmentation node and evaluation node, as `evaluate_live` runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")
pytest.importorskip("std_srvs.srv", reason="the package std_srvs is not installed")

from ros_harness import next_domain

from dfanet_ros.bags.from_images import run as write_bag
from dfanet_ros.frame import Frame
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.segmenter import load_segmenter
from dfanet_ros.street_scenes import StreetScenes

COUNT = 8


@pytest.fixture(scope="module")
def scenes() -> StreetScenes:
    return StreetScenes(COUNT, seed=31)


@pytest.fixture(scope="module")
def bag(scenes: StreetScenes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for number, (image, ids) in enumerate(scenes):
        cv2.imwrite(str(root / f"images/{number}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(root / f"labels/{number}.png"), ids)
    with pytest.raises(SystemExit) as ended:
        write_bag([str(root / "images"), "--labels", str(root / "labels"), "--out", str(root / "bag")])
    assert ended.value.code == 0
    return root / "bag"


def evaluate_live(bag: Path, out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dfanet_ros.evaluate_live", str(bag), "--out", str(out), *map(str, arguments)]
    # One thread: on a machine that is shared, those of OpenMP would wait for one another most of the time.
    environment = {**os.environ, "ROS_DOMAIN_ID": str(next_domain()), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=110)


def test_live_miou_is_that_of_the_segmenter(bag: Path, scenes: StreetScenes, tmp_path: Path) -> None:
    done = evaluate_live(bag, tmp_path, "--weights", "street_scenes", "--rate", 0.3)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert done.stdout.splitlines()[-1] == f"mIoU: {metrics['miou']:.2f}"
    frames = metrics["frames"]
    assert (metrics["refused"], metrics["masks_without_label"], frames + metrics["labels_without_mask"]) == (
        0,
        0,
        COUNT,
    )

    segmenter = load_segmenter("street_scenes", backbone="xception_b", device="cpu")
    counts = []
    for image, ids in scenes:
        confusion = ConfusionMatrix(8)
        confusion.update(ids, segmenter.segment([Frame(image)])[0].label_map)
        counts.append(confusion.counts)
    segmenter.close()
    # A node without time drops a frame for a newer one: on a machine that is busy some are missing, whichever.
    assert frames > COUNT / 2
    live = np.array(metrics["confusion"])
    nearest = min(combinations(counts, frames), key=lambda chosen: np.abs(sum(chosen) - live).sum())
    expected = ConfusionMatrix.from_counts(sum(nearest))
    assert metrics["miou"] == pytest.approx(expected.miou(), abs=0.1)
    assert np.abs(expected.counts - live).sum() < 1e-3 * live.sum()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--weights", "/none.safetensors"], "error: "),
        (["--weights", "street_scenes", "--label-topic", "/none"], "there is no topic /none in "),
    ],
    ids=str,
)
def test_what_cannot_be_evaluated_is_said(bag: Path, tmp_path: Path, arguments: list[str], says: str) -> None:
    failed = evaluate_live(bag, tmp_path, *arguments)
    assert failed.returncode == 1
    assert says in failed.stderr and "Traceback" not in failed.stderr
