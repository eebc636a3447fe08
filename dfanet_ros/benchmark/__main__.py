"""`python -m dfanet_ros.benchmark`: every engine.

With --cameras one node for several cameras or one for each, with --start how long the node takes to its first mask,
with --stages what a frame costs before, in and after the network.
"""

from __future__ import annotations

import argparse
import logging
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dfanet_ros.benchmark import engines, stages
from dfanet_ros.benchmark.machine import machine
from dfanet_ros.benchmark.results import device_table, draw, engine_table, node_table, write_json
from dfanet_ros.engines import ENGINES
from dfanet_ros.node_process import NodeError
from dfanet_ros.segmenter import resolve_device


def main() -> None:
    """Measure and print; exit code 1 with a sentence if something cannot be measured."""
    arguments = _arguments()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("dfanet_ros").setLevel(logging.INFO)
    try:
        if arguments.cameras > 1:
            from dfanet_ros.benchmark import many_cameras  # here, as below: nodes need ROS, and engines do not

            segmenter, table = many_cameras.run(arguments)
            print(
                f"{segmenter}\n{machine(segmenter.device)}; medians of {arguments.rounds} interleaved rounds\n\n{table}"
            )
        elif arguments.start:
            _start(arguments)
        elif arguments.stages:
            table = stages.measure(arguments)
            print(f"{machine(stages.CPU)}; medians of {arguments.rounds} interleaved rounds\n\n{table}")
        else:
            _one_camera(arguments)
    except (ValueError, OSError, NodeError) as error:
        sys.exit(f"benchmark: {error}")


def _one_camera(arguments: argparse.Namespace) -> None:
    measured, yardsticks = engines.measure(arguments)
    if arguments.node:
        from dfanet_ros.benchmark import one_camera

        for row in measured:
            if row.batch == 1 and row.size == arguments.sizes[0]:
                one_camera.measure(row, arguments.device, arguments.rounds, arguments.frames)
    here = machine(resolve_device(arguments.device))
    print(f"{here}; medians of {arguments.rounds} interleaved rounds")
    rates = {
        precision: yardsticks.operations_per_second(precision) for precision in {row.precision for row in measured}
    }
    for precision, rate in sorted(rates.items()):
        print(f"floor, {precision}: {rate / 1e9:.0f} GFLOP/s in a dense convolution", end=", ")
    print(f"{yardsticks.bytes_per_second / 1e9:.0f} GB/s in a copy", end="")
    if yardsticks.seconds_per_kernel:
        print(f", {1e6 * yardsticks.seconds_per_kernel:.1f} us a kernel", end="")
    print(f"\n\n{engine_table(measured)}")
    if any(row.on_device for row in measured):
        print(f"\n{device_table(measured)}")
    if arguments.node:
        print(f"\n{node_table(measured)}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        facts = {
            "operations_per_second": rates,
            "bytes_per_second": yardsticks.bytes_per_second,
            "seconds_per_kernel": yardsticks.seconds_per_kernel,
        }
        write_json(arguments.out / "benchmark.json", _facts(arguments, here) | facts, measured)
        try:
            draw(arguments.out / "benchmark.png", measured, here)
        except ModuleNotFoundError as error:
            print(f"no plot: {error} (pip install matplotlib)", file=sys.stderr)


def _start(arguments: argparse.Namespace) -> None:
    from dfanet_ros.benchmark import start

    measured = start.measure(arguments)
    here = machine(resolve_device(arguments.device))
    print(f"{here}; medians of {arguments.rounds} interleaved starts\n\n{start.table(measured)}")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out / "start.json", _facts(arguments, here), measured)


def _facts(arguments: argparse.Namespace, here: str) -> dict[str, Any]:
    """What has to be known of a measurement."""
    time = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"machine": here, "time": time, "rounds": arguments.rounds}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dfanet_ros.benchmark",
        description="Measures the network, the segmenter and the node over DDS with every engine that is installed, "
        "and prints Markdown tables.",
    )
    parser.add_argument(
        "--weights",
        nargs="+",
        default=["camvid"],
        help=".safetensors files or names of shipped weights; default: camvid",
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=engines.parse_size,
        default=[(512, 1024)],
        metavar="HxW",
        help="input sizes of the network; default: 512x1024; the node is measured with the first",
    )
    parser.add_argument("--batches", nargs="+", type=int, default=[1], help="frames at once; default: 1")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=[], help="default: all that can run here")
    parser.add_argument(
        "--frames", type=Path, metavar="DIR", help="images to measure with, brought to 720p; default: generated scenes"
    )
    parser.add_argument("--device", default="auto", help="as the node's parameter")
    parser.add_argument("--node", action=argparse.BooleanOptionalAction, default=True, help="measure the node, too")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for benchmark.json and benchmark.png, or start.json"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--cameras", type=int, default=1, help="more than one: one node for all is compared with one node for each"
    )
    what.add_argument(
        "--start", action="store_true", help="how long the node takes from its start to its first mask, step by step"
    )
    what.add_argument(
        "--stages", action="store_true", help="a frame on the CPU before the network, in it, and after it"
    )
    parser.add_argument(
        "--rate",
        type=float,
        default=3.0,
        help="with --cameras: frames a second of each that the nodes can keep up with",
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="with --cameras: how long each load takes a round")
    parser.add_argument("--rounds", type=int, default=10, help="more rounds, steadier medians")
    arguments = parser.parse_args()
    if not 1 <= arguments.cameras <= 64:
        parser.error(f"--cameras is {arguments.cameras}, but has to be from 1 to 64")
    if not 0 < arguments.rate <= 1000:
        parser.error(f"--rate is {arguments.rate:g}, but has to be more than 0 and at most 1000")
    if not 0 < arguments.seconds <= 3600:
        parser.error(f"--seconds is {arguments.seconds:g}, but has to be more than 0 and at most 3600")
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}, but has to be at least 1")
    if not all(1 <= batch <= 256 for batch in arguments.batches):
        parser.error(f"--batches are {arguments.batches}, but have to be from 1 to 256")
    return arguments


if __name__ == "__main__":
    main()
