"""What was measured, as a Markdown table, as JSON to compare with later, and as a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

Size = tuple[int, int]  # height and width
REFERENCE = "torch"


@dataclass
class Measured:
    """One engine with one network at one input size and batch; times are of a whole batch, in ms.

    Attributes:
        floor: that this machine cannot go below (see `yardsticks`).
        network: the network alone.
        segmenter: from frames of 720p to label maps of 720p.
        on_device: from frames of 720p that are on the GPU to label maps there, while the next batch is always waiting;
            empty on the CPU.
        eager: the network as it was trained, in PyTorch, float32 and channels_last, to logits of full size; the same
            for all engines.
        frame: from one mask of the node to the next, while there is always a next frame; empty if not measured.
        latency: from a camera's stamp to the mask's publication; likewise.
        same: of some frames' pixels, how many in percent have the class that PyTorch in float32 gives them.
    """

    weights: str
    engine: str
    precision: str
    size: Size
    batch: int
    floor: float = 0.0
    network: list[float] = field(default_factory=list)
    segmenter: list[float] = field(default_factory=list)
    on_device: list[float] = field(default_factory=list)
    eager: list[float] = field(default_factory=list)
    frame: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)
    same: float = 100.0

    @property
    def name(self) -> str:
        return f"{self.engine} {self.precision}"

    @property
    def short(self) -> str:
        """The weights' name, of a file with that of its folder: runs are told apart by it."""
        return "/".join(Path(self.weights).with_suffix("").parts[-2:])

    @property
    def outside(self) -> float:
        """The segmenter's share outside the network, in percent."""
        return 100 * (1 - median(self.network) / median(self.segmenter))


def reference_of(measured: Sequence[Measured], row: Measured) -> Measured:
    """PyTorch with the first weights, in the first precision, at the same size and batch."""
    return next(
        other for other in measured if (other.engine, other.size, other.batch) == (REFERENCE, row.size, row.batch)
    )


def engine_table(measured: Sequence[Measured]) -> str:
    """Medians; ratios are to PyTorch's network at the same size and batch, to the floor, and to the eager network."""
    lines = [
        "| weights | input | batch | engine | network, ms | x PyTorch | x floor | segmenter, ms | outside | x eager "
        "| same pixels |",
        "|---|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in measured:
        network = median(row.network)
        ratio = network / median(reference_of(measured, row).network)
        lines.append(
            f"| {row.short} | {row.size[0]} x {row.size[1]} | {row.batch} | {row.name} | "
            f"{_ms(network)} | {ratio:.2f} | {network / row.floor:.1f} | "
            f"{_ms(median(row.segmenter))} | {row.outside:.0f} % | {median(row.segmenter) / median(row.eager):.2f} | "
            f"{row.same:.2f} % |"
        )
    return "\n".join(lines)


def device_table(measured: Sequence[Measured]) -> str:
    """On a GPU, without the way to it and back; the floor is the network's."""
    lines = [
        "| weights | input | batch | engine | frames on the GPU to label maps, ms | frames/s | x floor |",
        "|---|---|---:|---|---:|---:|---:|",
    ]
    for row in measured:
        if row.on_device:
            time = median(row.on_device)
            lines.append(
                f"| {row.short} | {row.size[0]} x {row.size[1]} | {row.batch} | {row.name} | "
                f"{time:.3f} | {1e3 * row.batch / time:.0f} | {time / row.floor:.1f} |"
            )
    return "\n".join(lines)


def node_table(measured: Sequence[Measured]) -> str:
    """The node over DDS; throughput as a multiple of the segmenter's."""
    lines = [
        "| weights | input | engine | node: ms a frame at full load | throughput / segmenter's | stamp to mask, ms |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in measured:
        if row.frame:
            frame = median(row.frame)
            lines.append(
                f"| {row.short} | {row.size[0]} x {row.size[1]} | {row.name} | {frame:.1f} | "
                f"{median(row.segmenter) / frame:.2f} | {median(row.latency):.1f} |"
            )
    return "\n".join(lines)


def _ms(time: float) -> str:
    """With three digits at least, for on a GPU a network may take less than a millisecond."""
    return f"{time:.{1 + (time < 10) + (time < 1)}f}"


def write_json(path: Path, facts: dict[str, Any], measured: Sequence[Any]) -> None:
    """All times (of dataclasses), not only the medians."""
    path.write_text(json.dumps({**facts, "measured": [asdict(row) for row in measured]}, indent=1) + "\n")


def draw(path: Path, measured: Sequence[Measured], title: str) -> None:
    """Bars of network and what stands around it at batch 1, a group for each input size; PNG or SVG by the name."""
    from matplotlib.figure import Figure

    rows = [row for row in measured if row.batch == 1]
    sizes = list(dict.fromkeys(row.size for row in rows))
    figure = Figure(figsize=(8, 1.2 + 0.34 * len(rows) + 0.5 * len(sizes)), layout="constrained")
    panels = figure.subplots(
        len(sizes), 1, squeeze=False, height_ratios=[sum(row.size == size for row in rows) + 1 for size in sizes]
    )[:, 0]
    for axes, size in zip(panels, sizes, strict=True):
        group = [row for row in rows if row.size == size]
        names = [f"{row.name}, {row.short}" for row in group]
        network = [median(row.network) for row in group]
        around = [max(0.0, median(row.segmenter) - alone) for row, alone in zip(group, network, strict=True)]
        axes.barh(names, network, color="#1f5fa8", label="network")
        axes.barh(names, around, left=network, color="#9cc3e6", label="before and after it")
        for place, row in enumerate(group):
            axes.plot(
                [row.floor, row.floor], [place - 0.4, place + 0.4], color="#b3261e", label="floor" if not place else ""
            )
            axes.annotate(
                f" {network[place] + around[place]:.1f}", (network[place] + around[place], place), va="center"
            )
        axes.invert_yaxis()
        axes.set_title(f"{size[0]} x {size[1]}", loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.1)
    panels[0].legend(frameon=False, fontsize=9, loc="lower right")
    panels[-1].set_xlabel("ms a frame of 720p")
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=144)
