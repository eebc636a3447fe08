"""DeepLabV3 with ResNet-50 in torchvision's layout, without torchvision: a state dict, and what it computes.

Plain functions over tensors by name, with the strides and dilations written out, so that nothing here follows from
dfanet_ros/network. `python test/torchvision_deeplab.py` writes the reference again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

REFERENCE = Path(__file__).parent / "data" / "torchvision_deeplabv3_resnet50.npz"
CLASSES = 21
# Blocks, width, stride and dilation of the first block, dilation of the others: `replace_stride_with_dilation` is
# [False, True, True].
STAGES = {1: (3, 64, 1, 1, 1), 2: (4, 128, 2, 1, 1), 3: (6, 256, 1, 1, 2), 4: (3, 512, 1, 2, 4)}
RATES = {1: 12, 2: 24, 3: 36}

State = dict[str, Tensor]


def state_dict(seed: int = 0) -> State:
    """Random tensors by torchvision's names, the auxiliary head's too; every layer counts."""
    rng = np.random.default_rng(seed)
    state: State = {}
    for name, shape in shapes():
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            state[name] = torch.tensor(7)
            continue
        if len(shape) == 4:
            values = rng.standard_normal(shape, np.float32) * np.float32(2 / np.prod(shape[1:])) ** 0.5
        elif kind in ("weight", "running_var"):
            values = rng.uniform(0.5, 1, shape).astype(np.float32)
        else:
            values = rng.normal(0, 0.1, shape).astype(np.float32)
        state[name] = torch.from_numpy(values)
    return state


def shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names and shapes of torchvision's state dict, in its order."""
    yield from conv_norm("backbone.conv1", "backbone.bn1", 64, 3, 7)
    inputs = 64
    for stage, (count, width, *_) in STAGES.items():
        for number in range(count):
            block = f"backbone.layer{stage}.{number}"
            yield from conv_norm(f"{block}.conv1", f"{block}.bn1", width, inputs, 1)
            yield from conv_norm(f"{block}.conv2", f"{block}.bn2", width, width, 3)
            yield from conv_norm(f"{block}.conv3", f"{block}.bn3", 4 * width, width, 1)
            if number == 0:
                yield from conv_norm(f"{block}.downsample.0", f"{block}.downsample.1", 4 * width, inputs, 1)
            inputs = 4 * width
    yield from conv_norm("classifier.0.convs.0.0", "classifier.0.convs.0.1", 256, 2048, 1)
    for branch in RATES:
        yield from conv_norm(f"classifier.0.convs.{branch}.0", f"classifier.0.convs.{branch}.1", 256, 2048, 3)
    yield from conv_norm("classifier.0.convs.4.1", "classifier.0.convs.4.2", 256, 2048, 1)
    yield from conv_norm("classifier.0.project.0", "classifier.0.project.1", 256, 5 * 256, 1)
    yield from conv_norm("classifier.1", "classifier.2", 256, 256, 3)
    yield from (("classifier.4.weight", (CLASSES, 256, 1, 1)), ("classifier.4.bias", (CLASSES,)))
    yield from conv_norm("aux_classifier.0", "aux_classifier.1", 256, 1024, 3)
    yield from (("aux_classifier.4.weight", (CLASSES, 256, 1, 1)), ("aux_classifier.4.bias", (CLASSES,)))


def conv_norm(conv: str, norm: str, outputs: int, inputs: int, kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{conv}.weight", (outputs, inputs, kernel, kernel)
    for name in ("weight", "bias", "running_mean", "running_var"):
        yield f"{norm}.{name}", (outputs,)
    yield f"{norm}.num_batches_tracked", ()


def logits(state: State, images: Tensor) -> Tensor:
    """What torchvision's network computes up to its last enlargement: (N, 3, H, W) to (N, 21, H / 8, W / 8)."""

    def step(x: Tensor, conv: str, norm: str, **options: int) -> Tensor:
        y = F.conv2d(x, state[f"{conv}.weight"], **options)
        mean, var = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
        return F.batch_norm(y, mean, var, state[f"{norm}.weight"], state[f"{norm}.bias"])

    x = F.relu(step(images, "backbone.conv1", "backbone.bn1", stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, (count, _, stage_stride, first, rest) in STAGES.items():
        for number in range(count):
            block = f"backbone.layer{stage}.{number}"
            stride, dilation = (stage_stride, first) if number == 0 else (1, rest)
            y = F.relu(step(x, f"{block}.conv1", f"{block}.bn1"))
            options = {"stride": stride, "padding": dilation, "dilation": dilation}
            y = F.relu(step(y, f"{block}.conv2", f"{block}.bn2", **options))
            y = step(y, f"{block}.conv3", f"{block}.bn3")
            if number == 0:
                x = step(x, f"{block}.downsample.0", f"{block}.downsample.1", stride=stride)
            x = F.relu(x + y)
    head = "classifier.0.convs"
    parts = [F.relu(step(x, f"{head}.0.0", f"{head}.0.1"))]
    for branch, rate in RATES.items():
        parts.append(F.relu(step(x, f"{head}.{branch}.0", f"{head}.{branch}.1", padding=rate, dilation=rate)))
    pooled = F.relu(step(x.mean((2, 3), keepdim=True), f"{head}.4.1", f"{head}.4.2"))
    parts.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear"))
    x = F.relu(step(torch.cat(parts, 1), "classifier.0.project.0", "classifier.0.project.1"))
    x = F.relu(step(x, "classifier.1", "classifier.2", padding=1))
    return F.conv2d(x, state["classifier.4.weight"], state["classifier.4.bias"])


def images() -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).standard_normal((1, 3, 64, 96), np.float32))


if __name__ == "__main__":
    REFERENCE.parent.mkdir(exist_ok=True)
    np.savez_compressed(REFERENCE, logits=logits(state_dict(), images()).numpy())
