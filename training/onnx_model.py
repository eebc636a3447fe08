"""A network as an ONNX model, checked against the network itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import onnx
import onnxruntime
import torch

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.engines.onnx_model import INPUT, OUTPUT, convert
from dfanet_ros.network.base import Network
from dfanet_ros.network.inference import inference_form

BATCHES = (1, 3)  # that a model is checked with; it is exported with 2
TOLERANCE = 1e-4  # of the largest logit; rounding is a hundred times smaller


class ExportError(ValueError):
    """A model that does not compute what the network does."""


class Agreement(NamedTuple):
    """How a model's logits compare with the network's.

    Attributes:
        difference: the largest one, as a share of the largest logit.
        same_class: share of the pixels that get the same class.
    """

    difference: float
    same_class: float


def write_onnx(path: Path, network: Network, info: WeightsInfo, input_size: tuple[int, int]) -> Agreement:
    """Write the network as one ONNX file, which is there whole and checked, or not at all.

    Its input `images` is float32 (N, 3, H, W), normalised RGB, its output `logits` float32 (N, classes, H, W); N is
    free. Its metadata are those of a weights file.

    Args:
        path: to be written or replaced.
        network: in evaluation mode.
        info: of its weights.
        input_size: (H, W) in pixels.

    Raises:
        ExportError: the model and the network differ by more than rounding.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.unfinished")
    try:
        model = convert(inference_form(network), input_size)
        onnx.helper.set_model_props(model, info.to_metadata())
        onnx.save(model, unfinished)
        onnx.checker.check_model(unfinished, full_check=True)
        agreement = compare(unfinished, network, input_size)
        if not agreement.difference <= TOLERANCE:  # NaN is not, either
            raise ExportError(
                f"'{path}' was not written: in ONNX Runtime its logits differ from PyTorch's by up to "
                f"{agreement.difference:.1e} of the largest logit, but at most {TOLERANCE:.0e} is allowed; check that "
                "the weights are finite, and try other versions of onnxruntime and onnxscript"
            )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return agreement


def compare(path: Path, network: Network, input_size: tuple[int, int]) -> Agreement:
    """Run a model in ONNX Runtime and the network in PyTorch on random images, both on the CPU; the worst counts."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()  # heeds OMP_NUM_THREADS, which ONNX Runtime does not
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(0)
    differences, same = [], []
    for batch in BATCHES:
        images = torch.randn(batch, 3, *input_size, generator=random)
        given = torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])
        with torch.inference_mode():
            expected = network(images)
        differences.append((given - expected).abs().max() / expected.abs().max())
        same.append((given.argmax(1) == expected.argmax(1)).double().mean())
    return Agreement(torch.stack(differences).max().item(), torch.stack(same).min().item())
