"""Print the tables of DFANet's paper with its figures beside ours, and draw its figure 1, e.g.:

    python -m training.tables
    python -m training.tables --runs runs/* --out tables

Operations and parameters are counted, the time of a frame is measured, every network in every round. The paper's times
are of a Titan X. With --runs, each run's mIoU on val, as its weights have it, stands over its operations.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from dfanet_ros.benchmark.machine import machine
from dfanet_ros.checkpoint import WeightsInfo, load_checkpoint
from dfanet_ros.engines import ENGINES, build_engine, choose_engine
from dfanet_ros.network.base import Network
from dfanet_ros.network.complexity import PAPER_ROWS, Complexity, PaperRow, complexity
from dfanet_ros.segmenter import resolve_device, resolve_precision

WEIGHTS = "best.safetensors"  # of a run
REFERENCE = "DFANet A (x3 + HL + LL)"
ASPP = tuple(
    PaperRow(
        f"Backbone {letter} + ASPP{text}", "backbone_aspp", None, None, f"xception_{letter.lower()}", input_size=size
    )
    for letter in "AB"
    for text, size in (("", (1024, 1024)), (", scale 0.25", (256, 256)))
)
# Rows by their names: of `PAPER_ROWS`, and those of which we do not know the paper's counts.
TABLES: dict[str, tuple[str, ...]] = {
    "Table 2: one backbone with atrous spatial pyramid pooling (the paper has mIoU only)": tuple(
        row.name for row in ASPP
    ),
    "Table 3: backbones in a cascade": (
        "Backbone A",
        "Backbone A x2",
        "Backbone A x3",
        "Backbone A x4",
        "Backbone B",
        "Backbone B x2",
        "Backbone B x3",
    ),
    "Table 4: the decoder": (
        "Backbone A x3",
        "Backbone A x3 + HL",
        REFERENCE,
        "Backbone B x3",
        "DFANet B (x3 + HL + LL)",
    ),
    "Table 5: whole networks": (REFERENCE, "DFANet A' (512 x 1024)", "DFANet B (x3 + HL + LL)"),
    "The systems that it is compared with": tuple(
        row.name for row in PAPER_ROWS if row.network in ("fast_scnn", "deeplabv3")
    ),
}
ROWS = {row.name: row for row in (*PAPER_ROWS, *ASPP)}


@dataclass
class Timed:
    """Something that takes a while, with how long it took each time, in ms."""

    call: Callable[[], object]
    times: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.times)


def prepared(network: Network, size: tuple[int, int], device: torch.device, precision: str, engine: str) -> Timed:
    """A frame through a network, once to warm up."""
    running = build_engine(engine, network, size, device, precision)
    image = torch.randn(1, 3, *size, device=device)

    def run() -> None:
        running.logits(image)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        run()
    return Timed(run)


@torch.inference_mode()
def time_all(timed: Sequence[Timed], rounds: int) -> None:
    """Each of them once a round, so that whatever else the machine does meets all alike."""
    for _ in tqdm(range(rounds), "measuring", unit="round", leave=False):
        for each in timed:
            start = time.perf_counter()
            each.call()
            each.times.append(1e3 * (time.perf_counter() - start))


def table(names: Sequence[str], counts: dict[str, Complexity], times: dict[str, float]) -> str:
    """Rows as Markdown; ratios of times are to DFANet A at 1024 x 1024."""
    timed = bool(times)
    lines = [
        "| | paper GMACs | ours | paper MB | ours |" + (" ms a frame | x DFANet A |" if timed else ""),
        "|---|---:|---:|---:|---:|" + ("---:|---:|" if timed else ""),
    ]
    for name in names:
        row, ours = ROWS[name], counts[name]
        line = f"| {name} | {_known(row.gmacs)} | {ours.gmacs:.2f} | {_known(row.megabytes)} | {ours.megabytes:.2f} |"
        lines.append(line + (f" {times[name]:.1f} | {times[name] / times[REFERENCE]:.2f} |" if timed else ""))
    return "\n".join(lines)


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


@dataclass(frozen=True)
class Run:
    """A trained network: where it stands in figure 1."""

    name: str
    miou: float  # in percent, on val
    gmacs: float  # a frame at the size that it was trained for
    milliseconds: float  # a frame


def read_run(folder: Path) -> tuple[Network, WeightsInfo]:
    """The best weights of a run.

    Raises:
        ValueError: there are none, or they do not know their mIoU.
    """
    network, info = load_checkpoint(folder / WEIGHTS if folder.is_dir() else folder)
    if info.val_miou is None:
        raise ValueError(f"the weights of {folder} do not say what mIoU they have on val: leave them out")
    return network, info


def run_table(runs: Sequence[Run]) -> str:
    """Runs as Markdown, from the best on."""
    lines = ["| run | val mIoU | GMACs a frame | ms a frame |", "|---|---:|---:|---:|"]
    for run in sorted(runs, key=lambda run: -run.miou):
        lines.append(f"| {run.name} | {run.miou:.1f} | {run.gmacs:.2f} | {run.milliseconds:.1f} |")
    return "\n".join(lines)


def figure(runs: Sequence[Run]) -> Figure:
    """The paper's figure 1: mIoU over operations; the area of a circle is the number of frames a second."""
    drawn = Figure(figsize=(7, 4.5), layout="constrained")
    axes = drawn.subplots()
    fastest = max(1 / run.milliseconds for run in runs)
    for run in runs:
        area = 1200 / run.milliseconds / fastest
        axes.scatter(run.gmacs, run.miou, s=area, color="#1f5fa8", alpha=0.6, linewidths=0)
        label = f"{run.name}\n{1e3 / run.milliseconds:.0f} frames/s"
        offset = (0, -(area**0.5) / 2 - 4)
        axes.annotate(
            label, (run.gmacs, run.miou), offset, textcoords="offset points", fontsize=9, ha="center", va="top"
        )
    axes.set_xscale("log")
    axes.margins(0.25)
    axes.set_xlabel("billions of multiply-accumulates a frame")
    axes.set_ylabel("mIoU on val, percent")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    return drawn


def main(argv: Sequence[str] | None = None) -> None:
    """Count, measure, print and draw; exit code 1 with a sentence if a run cannot be read."""
    arguments = _arguments(argv)
    try:
        device = resolve_device(arguments.device)
        precision = resolve_precision("auto", device)
        choose_engine(arguments.engine, device, precision)
        trained = {folder.name: read_run(folder) for folder in arguments.runs}
    except ValueError as error:
        sys.exit(f"error: {error}")
    counts = {name: complexity(row.build(), row.input_size) for name, row in ROWS.items()}
    timed = {
        name: prepared(row.build("cpu"), row.input_size, device, precision, arguments.engine)
        for name, row in ROWS.items()
        if arguments.rounds
    }
    rounds = max(arguments.rounds, 1)
    ran = {
        name: prepared(network, info.input_size, device, precision, arguments.engine)
        for name, (network, info) in trained.items()
    }
    time_all([*timed.values(), *ran.values()], rounds)
    if arguments.rounds:
        print(f"{machine(device)}; {arguments.engine} in {precision}, medians of {rounds} interleaved rounds\n")
    for title, names in TABLES.items():
        print(f"{title}\n\n{table(names, counts, {name: each.median for name, each in timed.items()})}\n")
    if not trained:
        return
    runs = [
        Run(name, info.val_miou or 0.0, complexity(network, info.input_size).gmacs, ran[name].median)
        for name, (network, info) in trained.items()
    ]
    print(run_table(runs))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        figure(runs).savefig(arguments.out / f"figure1.{suffix}", dpi=144)
    print(f"\nfigure 1: {arguments.out / 'figure1.png'} and figure1.svg")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="of measuring; 0: count only (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (default: %(default)s)")
    parser.add_argument("--engine", choices=ENGINES, default="torch", help="what is measured (default: %(default)s)")
    parser.add_argument(
        "--runs", nargs="+", type=Path, default=[], metavar="RUN", help="folders of training.train, or weights files"
    )
    parser.add_argument("--out", type=Path, default=Path("tables"), help="folder for figure 1 (default: %(default)s)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
