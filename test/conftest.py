"""What several test files share."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dfanet_ros import transports
from dfanet_ros.checkpoint import MEAN, STD, WeightsInfo, save_checkpoint
from dfanet_ros.label_set import CAMVID, LabelSet
from dfanet_ros.network import build_network
from dfanet_ros.network.base import Network

# Both sides of every test over DDS, before a participant is made: see "Large images" in the README.
os.environ[transports.VARIABLE] = transports.LARGE_DATA
# Background jobs of a shell ignore Ctrl-C, those of nohup SIGHUP, and what the tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

SKIPS_WITHOUT_ROS = re.compile(r'^pytest\.importorskip\("(rclpy|\w+_msgs)"', re.MULTILINE)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ros: needs ROS 2, so that `make test ROS=jazzy` runs it too")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # Not item.path, which the pytest of Ubuntu 22.04 (Humble) does not have.
        if SKIPS_WITHOUT_ROS.search(Path(item.module.__file__).read_text()):
            item.add_marker(pytest.mark.ros)
        if torch.cuda.is_available() and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))  # the first one to need them compiles and measures kernels


@pytest.fixture
def one_thread() -> Iterator[None]:
    """PyTorch's threads wait for each other after every layer: where something else runs, ten times as long."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def lively_network(name: str = "dfanet", num_classes: int = 11, seed: int = 0, **options: object) -> Network:
    """A network with random weights whose every layer counts: none is zero, normalisation is not the identity."""
    torch.manual_seed(seed)
    network = build_network(name, num_classes=num_classes, **options).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.running_mean, std=0.5)
            torch.nn.init.uniform_(layer.running_var, 0.5, 2)
            torch.nn.init.uniform_(layer.weight, 0.5, 1)
            torch.nn.init.normal_(layer.bias, std=0.1)
    return network


def even_classes(network: Network, rgb: NDArray[np.uint8]) -> Network:
    """Move the classifier's bias so that each class is as likely as the others in the mean of this image, (H, W, 3).

    Otherwise random weights give one class everywhere, whatever they are shown: masks that say nothing.
    """
    image = (torch.from_numpy(rgb / 255) - torch.tensor(MEAN)) / torch.tensor(STD)
    *_, classifier = (layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d))
    with torch.inference_mode():
        logits = network.coarse_logits(image.permute(2, 0, 1)[None].float())
    assert classifier.bias is not None and len(classifier.bias) == network.num_classes
    classifier.bias.data -= logits.mean((0, 2, 3))
    return network


def info_of(
    network: Network, labels: LabelSet = CAMVID, input_size: tuple[int, int] = (64, 96), name: str = "dfanet"
) -> WeightsInfo:
    return WeightsInfo(name, network.options, labels, data_set="random", input_size=input_size)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Engines of all tests and of the nodes that they start in a new folder, not in the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of DFANet B with random weights, for frames of 64 x 96."""
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    network = lively_network(backbone="xception_b")
    save_checkpoint(path, network, info_of(network))
    return path
