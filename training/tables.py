"""Print the tables of DFANet's paper with its figures beside ours, and draw its figure 1, e.g.:

    python -m training.tables
    python -m training.tables --runs runs/* --out runs/figure1

Operations and parameters are counted. The time of a frame is measured, from its normalised image to coarse logits,
in rounds in which each network has its turn, on the CPU and on CUDA where there is one. With --runs, each run's mIoU
on val, as its weights have it, stands over its operations.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from dfanet_ros.benchmark.machine import machine
from dfanet_ros.engines import ENGINES, choose_engine
from dfanet_ros.network.complexity import PAPER_ROWS, Complexity, PaperRow, complexity
from dfanet_ros.segmenter import resolve_device, resolve_precision
from training.figure1 import Run, figure, read_runs, run_table
from training.timing import Timed, prepared, time_all

REFERENCE = "DFANet A (x3 + HL + LL)"
SLOW, SLOW_EVERY = 5, 5  # what takes five times as long as that is measured in every fifth round only
# Rows whose counts in the paper, if it has any, are not known to us.
ASPP = tuple(
    PaperRow(f"Backbone {letter} + ASPP{text}", "backbone_aspp", None, None, f"xception_{letter.lower()}", options)
    for letter in "AB"
    for text, options in (
        ("", {}),
        (", without FC attention", {"attention": False}),
        (", input scale 0.25", {"input_scale": 0.25}),
    )
)
OTHERS = (
    PaperRow("DFANet A without FC attention", "dfanet_without_attention", None, None),
    PaperRow("DFANet A, input scale 0.25", "dfanet_quarter_scale", None, None),
)
SAME_SIZE = (
    PaperRow("Fast-SCNN", "fast_scnn", None, 4.44),
    *(PaperRow(f"DeepLabV3, ResNet-{depth}", "deeplabv3", None, None, f"resnet{depth}") for depth in (18, 50)),
)
PUBLISHED_SIZE = tuple(row for row in PAPER_ROWS if row.network in ("fast_scnn", "deeplabv3"))
ROWS = {row.name: row for row in (*PAPER_ROWS, *ASPP, *OTHERS, *SAME_SIZE)}


def _names(rows: Sequence[PaperRow]) -> tuple[str, ...]:
    return tuple(row.name for row in rows)


TABLES: dict[str, tuple[str, ...]] = {
    "Table 2: one backbone with atrous spatial pyramid pooling": _names(ASPP),
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
    "Ablations of the whole network": (REFERENCE, *_names(OTHERS)),
    "The systems that it is compared with, at 1024 x 1024 (DeepLabV3 at output stride 16)": (
        REFERENCE,
        *_names(SAME_SIZE),
    ),
    "The same as published (DeepLabV3 at output stride 8)": _names(PUBLISHED_SIZE),
}


def table(names: Sequence[str], counts: Mapping[str, Complexity], times: Mapping[str, Mapping[str, Timed]]) -> str:
    """Rows as Markdown.

    Args:
        names: of the rows.
        counts: ours, by row.
        times: of a frame, by device and row; ratios are to DFANet A at 1024 x 1024.
    """
    lines = [
        "| | paper GMACs | ours | paper MB | ours |" + "".join(f" ms, {device} | x DFANet A |" for device in times),
        "|---|---:|---:|---:|---:|" + "---:|---:|" * len(times),
    ]
    for name in names:
        row, ours = ROWS[name], counts[name]
        line = f"| {name} | {_known(row.gmacs)} | {ours.gmacs:.2f} | {_known(row.megabytes)} | {ours.megabytes:.2f} |"
        for measured in times.values():
            line += f" {measured[name].median:.1f} | {measured[name].ratio_to(measured[REFERENCE]):.2f} |"
        lines.append(line)
    return "\n".join(lines)


def _known(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def devices_named(name: str) -> list[torch.device]:
    """`auto`: the CPU and, where there is one, CUDA; else the one of this name. Raises ValueError as its resolver."""
    if name != "auto":
        return [resolve_device(name)]
    return [torch.device("cpu"), *([torch.device("cuda")] if torch.cuda.is_available() else [])]


def conditions(device: torch.device, engine: str) -> str:
    """What is measured on a device, and with what."""
    threads = f", threads of PyTorch: {torch.get_num_threads()}" if device.type == "cpu" else ""
    return f"{machine(device)}; {engine} in {resolve_precision('auto', device)}{threads}"


def main(argv: Sequence[str] | None = None) -> None:
    """Count, measure, print and draw; exit code 1 with a sentence if a run cannot be read."""
    arguments = _arguments(argv)
    try:
        devices = devices_named(arguments.device)
        for device in devices:
            choose_engine(arguments.engine, device, resolve_precision("auto", device))
        trained = read_runs(arguments.runs)
    except ValueError as error:
        sys.exit(f"error: {error}")
    counts = {name: complexity(row.build(), row.input_size) for name, row in ROWS.items()}
    rows: dict[str, dict[str, Timed]] = {}
    runs: dict[str, dict[str, Timed]] = {}
    for device in devices if arguments.rounds else []:
        rows[device.type] = {
            name: prepared(row.build("cpu"), row.input_size, device, arguments.engine) for name, row in ROWS.items()
        }
        for timed in rows[device.type].values():
            timed.every = SLOW_EVERY if timed.warm > SLOW * rows[device.type][REFERENCE].warm else 1
        runs[device.type] = {
            name: prepared(network, info.input_size, device, arguments.engine)
            for name, (network, info) in trained.items()
        }
        print(f"{conditions(device, arguments.engine)}, medians of {arguments.rounds} interleaved rounds")
        print(f"(of every {SLOW_EVERY}th for what takes over {SLOW} x DFANet A; ratios are medians over the rounds)\n")
    time_all([each for group in (rows, runs) for some in group.values() for each in some.values()], arguments.rounds)
    for title, names in TABLES.items():
        print(f"{title}\n\n{table(names, counts, rows)}\n")
    if not trained:
        return
    drawn = [
        Run(
            name,
            info.val_miou or 0.0,
            complexity(network, info.input_size).gmacs,
            {device: timed[name].median for device, timed in runs.items()},
        )
        for name, (network, info) in trained.items()
    ]
    print(run_table(drawn))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for suffix in ("png", "svg"):
        figure(drawn, devices[-1].type).savefig(arguments.out / f"figure1.{suffix}", dpi=144)
    print(f"\nfigure 1: {arguments.out / 'figure1.png'} and figure1.svg")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m training.tables", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20, help="of measuring; 0: count only (default: %(default)s)")
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, or auto: the CPU and CUDA, if there is one (default: %(default)s)"
    )
    parser.add_argument("--engine", choices=ENGINES, default="torch", help="what is measured (default: %(default)s)")
    parser.add_argument(
        "--runs", nargs="+", type=Path, default=[], metavar="RUN", help="folders of training.train, or weights files"
    )
    parser.add_argument("--out", type=Path, default=Path("tables"), help="folder for figure 1 (default: %(default)s)")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 0 or (arguments.runs and not arguments.rounds):
        parser.error(
            f"--rounds is {arguments.rounds}, but has to be at least 0, with --runs at least 1: their speed is drawn"
        )
    return arguments


if __name__ == "__main__":
    main()
