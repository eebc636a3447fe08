"""Operations and parameters of the networks, beside the paper's: `python -m dfanet_ros.network.complexity`.

The paper's "FLOPs" are multiply-accumulates, and its "Params" are megabytes of float32 (arXiv 1904.02216, tables 2
to 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from dfanet_ros.network import build_network
from dfanet_ros.network.dfanet import DFANet


class Complexity(NamedTuple):
    """Billions of multiply-accumulates a frame, and megabytes of float32 parameters."""

    gmacs: float
    megabytes: float


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's tables: what it is built with here, and the paper's figures."""

    name: str
    gmacs: float
    megabytes: float
    options: dict[str, Any]
    input_size: tuple[int, int] = (1024, 1024)


def _backbones(name: str, gmacs: float, megabytes: float, backbone: str, count: int) -> PaperRow:
    options = {"backbone": backbone, "backbones": count, "high_level": False, "low_level": False}
    return PaperRow(name, gmacs, megabytes, options)


PAPER_ROWS = (
    _backbones("Backbone A", 1.6, 2.1, "xception_a", 1),
    _backbones("Backbone A x2", 2.4, 4.9, "xception_a", 2),
    _backbones("Backbone A x3", 2.6, 7.6, "xception_a", 3),
    _backbones("Backbone A x4", 2.7, 10.2, "xception_a", 4),
    PaperRow("Backbone A x3 + HL", 2.7, 7.7, {"low_level": False}),
    PaperRow("DFANet A (x3 + HL + LL)", 3.4, 7.8, {}),
    PaperRow("DFANet A' (512 x 1024)", 1.7, 7.8, {}, (512, 1024)),
    _backbones("Backbone B", 0.83, 1.4, "xception_b", 1),
    _backbones("Backbone B x2", 1.2, 3.1, "xception_b", 2),
    _backbones("Backbone B x3", 1.4, 4.7, "xception_b", 3),
    PaperRow("DFANet B (x3 + HL + LL)", 2.1, 4.8, {"backbone": "xception_b"}),
)


def complexity(network: DFANet, input_size: tuple[int, int]) -> Complexity:
    """Count a network at (height, width), without computing anything: convolutions and matrices count, as usual."""
    counted = network.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted.coarse_logits(torch.empty(1, 3, *input_size, device="meta"))
    macs = counter.get_total_flops() / 2  # it counts a multiplication and an addition as two
    return Complexity(macs / 1e9, sum(p.numel() for p in counted.parameters()) * 4 / 1e6)


def table() -> str:
    """The paper's rows as Markdown, the paper's figures beside ours."""
    lines = ["| | paper GMACs | ours | paper MB | ours |", "|---|---|---|---|---|"]
    for row in PAPER_ROWS:
        ours = complexity(build_network("dfanet", num_classes=19, **row.options), row.input_size)
        lines.append(f"| {row.name} | {row.gmacs} | {ours.gmacs:.2f} | {row.megabytes} | {ours.megabytes:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
