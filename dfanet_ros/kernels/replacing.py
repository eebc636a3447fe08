"""A network's parts are replaced by those of `fused`; where nothing measures them, they are tried first."""

from __future__ import annotations

import copy
import logging
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dfanet_ros.kernels import reason, stem
from dfanet_ros.kernels.compiling import compile_together
from dfanet_ros.kernels.fused import (
    ConvReLU,
    FusedAttention,
    FusedBlock,
    FusedDecoder,
    FusedEnlarge,
    FusedRefining,
    FusedSeparable,
    FusedStem,
    conv_of,
)
from dfanet_ros.network.dfanet import DFANet
from dfanet_ros.network.folded import FoldedBlock
from dfanet_ros.network.inference import FoldedAttention, SmallDecoder
from dfanet_ros.network.layers import Separable
from dfanet_ros.network.xception import Backbone, Enlarge, Features

# Of the largest value, in roundings: what stands between layers is rounded, too. What is wrong is off by far more.
TOLERANCE = 16

LOG = logging.getLogger(__name__)


class Trial(NamedTuple):
    """A part and what may take its place.

    Attributes:
        plain: the part.
        fused: by kernels that nothing measures.
        what: it does, for the log.
        inputs: to try it with; tensors, `Features`, lists of them, and sizes.
    """

    plain: nn.Module
    fused: nn.Module
    what: str
    inputs: list[Any]


def fuse(network: nn.Module) -> None:
    """Replace the parts of a network in the form for inference; it computes the same.

    Blocks, separable convolutions, projections and what refining backbones begin with become parts that are computed by
    PyTorch, as before, until `choosing` finds something faster. Maps are put beside others at once, attention takes two
    kernels, DFANet's decoder three and its first convolution one, where these give what PyTorch does; a ReLU after
    another convolution becomes a part of that.

    Args:
        network: on a CUDA device and of float16 or bfloat16.
    """
    example = next(network.parameters())
    trials = _trials(network, example.device, example.dtype)
    compile_together(partial(trial.fused, *trial.inputs) for trial in trials)
    taken: dict[nn.Module, nn.Module] = {}
    said: set[str] = set()
    for trial in trials:
        if problem := _problem(trial):
            line = f"{trial.what} without a kernel of their own: {problem}"
            if line not in said:
                LOG.warning(line)
            said.add(line)
        else:
            taken[trial.plain] = trial.fused
    _replace(network, taken)


def _replace(network: nn.Module, taken: dict[nn.Module, nn.Module]) -> None:
    """See `fuse`; `taken`: what takes the place of which parts that nothing measures."""
    for name, child in [*network.named_children()]:
        if child in taken:
            setattr(network, name, taken[child])
        elif isinstance(child, FoldedBlock):
            setattr(network, name, FusedBlock(child))
        elif isinstance(child, Separable):
            setattr(network, name, FusedSeparable(child))
        elif _is_conv_relu(child):
            setattr(network, name, ConvReLU(*child.children()))
        else:
            _replace(child, taken)
    if isinstance(network, DFANet):
        _replace_beginnings(network)


def _replace_beginnings(network: DFANet) -> None:
    """Join what the refining backbones of a fused network begin with, where maps are enlarged there."""
    for backbone in [*network.backbones][1:]:
        assert isinstance(backbone, Backbone)
        first, *rest = backbone.enc2
        if isinstance(backbone.aggregate, (Enlarge, FusedEnlarge)) and isinstance(first, FusedBlock):
            # They are called as what they replace.
            backbone.aggregate = FusedRefining(backbone.aggregate, first)  # type: ignore[assignment]
            backbone.enc2 = nn.Sequential(*rest)  # type: ignore[assignment]


def _is_conv_relu(part: nn.Module) -> bool:
    return isinstance(part, nn.Sequential) and [type(layer) for layer in part] == [nn.Conv2d, nn.ReLU]


def _trials(network: nn.Module, device: torch.device, dtype: torch.dtype) -> list[Trial]:
    """Of all parts that have such kernels, each with small inputs, as wide as its weights are."""
    random = torch.Generator().manual_seed(0)

    def values(*size: int) -> Tensor:
        return torch.randn(2, *size, generator=random).to(device, dtype, memory_format=torch.channels_last)

    trials = []
    for part in network.modules():
        if isinstance(part, Enlarge):
            trials.append(Trial(part, FusedEnlarge(), "maps are enlarged", [values(3, 2, 4), values(5, 6, 7)]))
        elif isinstance(part, FoldedAttention):
            channels = len(part.bias)
            trials.append(Trial(part, FusedAttention(part), "channels are weighed", [values(channels, 6, 7)]))
        elif isinstance(part, SmallDecoder) and part.fuse is not None:
            size, features = (8, 24), []
            low, high = (conv_of(level[0]).in_channels for level in (part.low, part.high))
            for number in range(len(part.low)):
                height, width = size[0] >> number, size[1] >> number  # of four backbones, the last one's has one row
                enc2, attention = values(low, height, width), values(high, max(1, height // 2), width // 2)
                features.append(Features(enc2, enc2, attention, attention))
            trials.append(Trial(part, FusedDecoder(part), "logits are decoded", [features, size]))
        elif _is_conv_relu(part) and stem.fits(conv := conv_of(part)):
            trials.append(Trial(part, FusedStem(conv), "images are convolved", [values(stem.INPUTS, 16, 48)]))
    return trials


def _problem(trial: Trial) -> str:
    """Why the fused part cannot be taken; empty if it can.

    The exact result is the CPU's: for a GPU's, PyTorch would first load the libraries of its convolutions.
    """
    try:
        with torch.inference_mode():
            y: Tensor = trial.fused(*trial.inputs)
            plain = copy.deepcopy(trial.plain).cpu().float()
            exact: Tensor = plain(*(_in_float32(each) for each in trial.inputs))
    except Exception as error:  # Triton, its compiler, the driver or the GPU: whatever it is, there is another way
        return reason(error)
    most = TOLERANCE * torch.finfo(y.dtype).eps * exact.abs().max()
    return "" if (y.cpu().float() - exact).abs().max() <= most else "the results are not those of PyTorch"


def _in_float32(value: Any) -> Any:
    """Tensors on the CPU, in whatever they stand; all else as it is."""
    if isinstance(value, Tensor):
        return value.cpu().float()
    if isinstance(value, Features):
        return Features(*(_in_float32(each) for each in value))
    return [_in_float32(each) for each in value] if isinstance(value, list) else value
