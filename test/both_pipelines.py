"""The same logits finished by both pipelines; the one for GPUs runs on the CPU too."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.device import DevicePipeline, DeviceSegmentation
from dfanet_ros.frame import RGB_CHANNELS, Frame
from dfanet_ros.host import HostPipeline, HostSegmentation
from dfanet_ros.kernels import steps
from dfanet_ros.label_set import CAMVID
from dfanet_ros.network.layers import coarse_size
from dfanet_ros.segmenter import Segmentation
from dfanet_ros.style import Style

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
ENCODINGS = sorted(RGB_CHANNELS)
INFO = WeightsInfo("dfanet", {"backbone": "xception_b"}, CAMVID, data_set="random", input_size=(64, 96))


STRIDES = [4, 8, 16]  # of logits


def random_logits(
    input_size: tuple[int, int], classes: int = len(CAMVID), count: int = 1, seed: int = 0, stride: int = 4
) -> Tensor:
    """(count, classes, h, w) float32 for a network's input of this size: areas of one class, and noise."""
    size = coarse_size(*input_size, stride)
    noise = torch.randn(count, classes, *size, generator=torch.Generator().manual_seed(seed))
    return 6 * torch.nn.functional.avg_pool2d(noise, 3, 1, 1) + noise / 2


def random_frame(size: tuple[int, int], encoding: str = "rgb8", seed: int = 0) -> Frame:
    """Random pixels in padded rows, which nobody may write to."""
    channels = {"mono8": 1, "rgb8": 3, "bgr8": 3}.get(encoding, 4)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[0], size[1] + 3, channels), np.uint8)
    pixels.setflags(write=False)
    return Frame(pixels[:, : size[1]], encoding)


def finished(
    logits: Tensor, frames: list[Frame], input_size: tuple[int, int], stride: int = 4
) -> list[list[Segmentation]]:
    """The results of these coarse logits by each pipeline."""
    results: list[list[Segmentation]] = [[*HostPipeline(INFO, input_size, stride).finish(logits, frames)]]
    for device in DEVICES:
        pipeline = DevicePipeline(INFO, input_size, stride, torch.device(device))
        pixels, on_device = pipeline.upload(frames), logits.to(device)
        _, *label_maps = pipeline.label(
            pixels, lambda images, logits=on_device: logits, [frame.rgb_channels for frame in frames]
        )
        results.append([*pipeline.results(frames, pixels, on_device, label_maps)])
    return results


def results_of(ids: NDArray[np.uint8], frame: Frame, style: Style) -> list[Segmentation]:
    """What each pipeline's result is for a label map that no network need have given."""
    logits, stride, input_size = torch.zeros(1, 1, 1), 4, (4, 4)
    pixels, channels = torch.from_numpy(frame.pixels.copy()), frame.rgb_channels
    return [
        HostSegmentation(ids, logits, stride, input_size, frame, style),
        *(
            DeviceSegmentation(
                *(torch.from_numpy(ids).to(d), logits.to(d), stride, input_size, pixels.to(d), channels, style),
                steps(torch.device(d), logits.dtype),
            )
            for d in DEVICES
        ),
    ]
