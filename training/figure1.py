"""Figure 1 of DFANet's paper from runs of `training.train`: mIoU over operations, and how fast each network is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from dfanet_ros.checkpoint import WeightsInfo, load_checkpoint
from dfanet_ros.network.base import Network

WEIGHTS = "best.safetensors"  # of a run
LARGEST = 1500  # square points: the circle of the fastest


@dataclass(frozen=True)
class Run:
    """A trained network: where it stands in figure 1.

    Attributes:
        name: of the run.
        miou: in percent, on val.
        gmacs: billions of multiply-accumulates a frame, at the size that it was trained for.
        milliseconds: a frame, by what it was measured on (cpu, cuda).
    """

    name: str
    miou: float
    gmacs: float
    milliseconds: dict[str, float]


def read_runs(paths: Sequence[Path]) -> dict[str, tuple[Network, WeightsInfo]]:
    """The best weights of runs by the runs' names, which are those of their folders, or of weights files.

    Raises:
        ValueError: there are none, they do not know their mIoU, or two runs have one name.
    """
    runs: dict[str, tuple[Network, WeightsInfo]] = {}
    for path in paths:
        network, info = load_checkpoint(path / WEIGHTS if path.is_dir() else path)
        if info.val_miou is None:
            raise ValueError(f"the weights of {path} do not say what mIoU they have on val: leave them out")
        name = path.parent.name if path.name == WEIGHTS else path.stem if path.is_file() else path.name
        if name in runs:
            raise ValueError(f"two runs are called '{name}', the second is {path}: rename one of them")
        runs[name] = network, info
    return runs


def run_table(runs: Sequence[Run]) -> str:
    """Runs as Markdown, from the best on."""
    devices = list(runs[0].milliseconds)
    lines = [
        "| run | val mIoU | GMACs a frame |" + "".join(f" ms a frame, {device} |" for device in devices),
        "|---|---:|---:|" + "---:|" * len(devices),
    ]
    for run in sorted(runs, key=lambda run: -run.miou):
        times = "".join(f" {run.milliseconds[device]:.1f} |" for device in devices)
        lines.append(f"| {run.name} | {run.miou:.1f} | {run.gmacs:.2f} |{times}")
    return "\n".join(lines)


def figure(runs: Sequence[Run], device: str) -> Figure:
    """Circles whose area is the number of frames a second on a device (cpu, cuda).

    What each is stands in a legend: networks that are alike lie on top of each other, and so would their names.
    """
    drawn = Figure(figsize=(7, 4.5 + 0.2 * len(runs)), layout="constrained", facecolor="white")
    axes = drawn.subplots()
    fastest = min(run.milliseconds[device] for run in runs)
    circles = []
    for number, run in enumerate(sorted(runs, key=lambda run: -run.miou)):
        label = f"{run.name}: {run.miou:.1f} %, {1e3 / run.milliseconds[device]:.1f} frames/s"
        area = LARGEST * fastest / run.milliseconds[device]
        circles.append(axes.scatter(run.gmacs, run.miou, s=area, color=f"C{number}", alpha=0.7, lw=0, label=label))
        axes.plot(run.gmacs, run.miou, ".", color="black", markersize=3)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(0.2)
    axes.set_xlabel("operations, billions of multiply-accumulates a frame")
    axes.set_ylabel("mIoU on val, percent")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    legend = drawn.legend(
        handles=circles,
        title=f"area of a circle: frames a second ({device})",
        loc="outside upper left",
        frameon=False,
        alignment="left",
    )
    for handle in legend.legend_handles:
        handle.set_sizes([60])  # type: ignore[union-attr]  # those of scatter() have sizes
    return drawn
