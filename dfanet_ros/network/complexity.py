"""Operations and parameters of the networks, beside the published ones: `python -m dfanet_ros.network.complexity`.

What DFANet's paper calls FLOPs are multiply-accumulates, and its "Params" are megabytes of float32 (arXiv 1904.02216,
tables 2 to 4). Fast-SCNN's paper (arXiv 1902.04502) has 1.11 million parameters, which is what its convolutions have
without normalisation, and no operations. DeepLabV3's paper has neither; torchvision publishes both for its own, at
520 x 520 with an auxiliary head, which is not part of the network here.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from dfanet_ros.network import AUTO, NETWORKS, build_network
from dfanet_ros.network.base import Network


class Complexity(NamedTuple):
    """Billions of multiply-accumulates a frame, and megabytes of float32 parameters."""

    gmacs: float
    megabytes: float


@dataclass(frozen=True)
class PaperRow:
    """A published row: what it is built with here, and its figures.

    Attributes:
        name: as published.
        network: name in the registry.
        gmacs: billions of multiply-accumulates; None where nothing is published.
        megabytes: of float32 parameters; likewise.
        backbone: of the network.
        options: others.
        input_size: (H, W) in pixels.
        num_classes: of the data set.
    """

    name: str
    network: str
    gmacs: float | None
    megabytes: float | None
    backbone: str = AUTO
    options: dict[str, Any] = field(default_factory=dict)
    input_size: tuple[int, int] = (1024, 1024)
    num_classes: int = 19

    def build(self, device: str = "meta") -> Network:
        """The network with random weights; on `meta`, without memory for them."""
        with torch.device(device):
            return build_network(self.network, num_classes=self.num_classes, backbone=self.backbone, **self.options)


def _torchvision(depth: int, gmacs: float, parameters: float) -> PaperRow:
    """A row of torchvision's, from which its auxiliary head is taken off."""
    return PaperRow(
        f"DeepLabV3, ResNet-{depth} (torchvision, 520 x 520)",
        "deeplabv3",
        round(gmacs - 9.991, 3),
        round(4 * (parameters - 2.365205), 2),
        f"resnet{depth}",
        {"output_stride": 8},
        (520, 520),
        num_classes=21,
    )


PAPER_ROWS = (
    PaperRow("Backbone A", "backbone", 1.6, 2.1),
    PaperRow("Backbone A x2", "backbone_x2", 2.4, 4.9),
    PaperRow("Backbone A x3", "backbone_x3", 2.6, 7.6),
    PaperRow("Backbone A x4", "backbone_x4", 2.7, 10.2),
    PaperRow("Backbone A x3 + HL", "backbone_x3_hl", 2.7, 7.7),
    PaperRow("DFANet A (x3 + HL + LL)", "dfanet", 3.4, 7.8),
    PaperRow("DFANet A' (512 x 1024)", "dfanet", 1.7, 7.8, input_size=(512, 1024)),
    PaperRow("Backbone B", "backbone", 0.83, 1.4, "xception_b"),
    PaperRow("Backbone B x2", "backbone_x2", 1.2, 3.1, "xception_b"),
    PaperRow("Backbone B x3", "backbone_x3", 1.4, 4.7, "xception_b"),
    PaperRow("DFANet B (x3 + HL + LL)", "dfanet", 2.1, 4.8, "xception_b"),
    PaperRow("Fast-SCNN (1024 x 2048)", "fast_scnn", None, 4.44, input_size=(1024, 2048)),
    _torchvision(50, 178.722, 42.004074),
    _torchvision(101, 258.743, 60.996202),
)


def complexity(network: Network, input_size: tuple[int, int]) -> Complexity:
    """Count a network at (height, width), without computing anything: convolutions and matrices count, as usual."""
    counted = deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        counted.coarse_logits(torch.empty(1, 3, *input_size, device="meta"))
    macs = counter.get_total_flops() / 2  # it counts a multiplication and an addition as two
    return Complexity(macs / 1e9, sum(p.numel() for p in counted.parameters()) * 4 / 1e6)


def table() -> str:
    """The published rows as Markdown, the published figures beside ours."""
    lines = ["| | published GMACs | ours | published MB | ours |", "|---|---|---|---|---|"]
    for row in PAPER_ROWS:
        ours = complexity(row.build(), row.input_size)
        gmacs = "" if row.gmacs is None else row.gmacs
        lines.append(f"| {row.name} | {gmacs} | {ours.gmacs:.2f} | {row.megabytes} | {ours.megabytes:.2f} |")
    return "\n".join(lines)


def registry_table(input_size: tuple[int, int] = (512, 1024), num_classes: int = 19) -> str:
    """All networks of the registry with each of their backbones, as Markdown."""
    lines = [f"| network | backbone | parameters, M | GMACs, {input_size[0]} x {input_size[1]} |", "|---|---|---|---|"]
    for name, entry in NETWORKS.items():
        for backbone in entry.backbones or ("",):
            with torch.device("meta"):
                network = build_network(name, num_classes=num_classes, backbone=backbone)
            ours = complexity(network, input_size)
            lines.append(f"| `{name}` | {backbone} | {ours.megabytes / 4:.2f} | {ours.gmacs:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(), registry_table(), sep="\n\n")
