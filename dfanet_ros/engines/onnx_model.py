"""A network as an ONNX model, for the engines that read one."""

from __future__ import annotations

import logging
import warnings
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dfanet_ros.engines.apart import apart
from dfanet_ros.engines.cache import cached, fingerprint
from dfanet_ros.network.base import Network
from dfanet_ros.network.inference import inference_form

if TYPE_CHECKING:
    import onnx

OPSET = 18  # what the exporter writes without converting from one opset to another
INPUT, OUTPUT = "images", "logits"
NEEDED = ("onnx", "onnxscript")  # for the conversion


class CoarseLogits(nn.Module):
    """A network whose `forward` ends at its coarse logits, as converters want it."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.network.coarse_logits(images)


def missing(*packages: str) -> str:
    """The packages that are not installed, as a part of a sentence; empty if all are."""
    absent = [package for package in packages if find_spec(package) is None]
    return f"it needs packages that are not installed (pip install {' '.join(absent)})" if absent else ""


def coarse_model(network: Network, input_size: tuple[int, int], dtype: torch.dtype) -> bytes:
    """The network in its form for inference down to its coarse logits, for any batch; kept on disk.

    Args:
        network: in evaluation mode, on the CPU; it stays as it is.
        input_size: (H, W) of the images, in pixels.
        dtype: of images, weights and logits.
    """
    key = [fingerprint(network), input_size, dtype, OPSET]
    return cached("onnx", key, lambda: apart(_converted, network, input_size, dtype))


def _converted(network: Network, input_size: tuple[int, int], dtype: torch.dtype) -> bytes:
    return convert(CoarseLogits(inference_form(network).to(dtype)), input_size).SerializeToString()


def convert(module: nn.Module, input_size: tuple[int, int]) -> onnx.ModelProto:
    """A module of one input and one output, images and logits, as ONNX; the batch is free."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # or it says that torchvision is missing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of torch about torch
        # dynamo=True is PyTorch's default since 2.9. The exporter by tracing is deprecated, and its models give wrong
        # sizes (88 instead of 90 columns) where height or width is no multiple of 4.
        program = torch.onnx.export(
            module,
            (example(module, input_size),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=_free_batch(),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    graph = model.graph
    # Stack traces with paths of this machine, a third of the file.
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    return model


def exported(module: nn.Module, input_size: tuple[int, int]) -> torch.export.ExportedProgram:
    """A module of one input, images, as PyTorch hands it to others; the batch is free."""
    return torch.export.export(module, (example(module, input_size),), dynamic_shapes=_free_batch())


def example(module: nn.Module, input_size: tuple[int, int]) -> Tensor:
    """Images to export a module with; two, for a batch of 1 would be taken for a constant."""
    return torch.zeros(2, 3, *input_size, dtype=next(module.parameters()).dtype)


def _free_batch() -> tuple[dict[int, Any]]:
    """For exporters: the batch, dimension 0 of the only input, may be of any size."""
    return ({0: torch.export.Dim("batch")},)  # not a constant: it imports SymPy, which takes a third of a second
