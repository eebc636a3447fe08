"""`python -m dfanet_ros.benchmark`: one camera, or with --cameras several, in one node and in one node each."""

from __future__ import annotations

import argparse
import sys

from dfanet_ros.benchmark import many_cameras, one_camera
from dfanet_ros.benchmark.machine import machine
from dfanet_ros.demo.node_process import NodeError


def main() -> None:
    """Measure and print; exit code 1 with a sentence if the node cannot be measured."""
    arguments = _arguments()
    benchmark = one_camera if arguments.cameras == 1 else many_cameras
    try:
        segmenter, table = benchmark.run(arguments)
    except (ValueError, OSError, NodeError) as error:
        sys.exit(f"benchmark: {error}")
    print(f"{segmenter}")
    print(f"{machine(segmenter.device)}; medians of {arguments.rounds} interleaved rounds")
    print()
    print(table)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dfanet_ros.benchmark",
        description="Measures the network, the segmenter and the node over DDS, and prints a Markdown table.",
    )
    parser.add_argument(
        "--weights", default="", help="a .safetensors file or the name of shipped weights; default: the node's"
    )
    parser.add_argument("--input-height", type=int, default=512, help="of the network's input")
    parser.add_argument("--input-width", type=int, default=1024, help="of the network's input")
    parser.add_argument("--device", default="auto", help="as the node's parameter")
    parser.add_argument("--precision", default="auto", help="as the node's parameter")
    parser.add_argument(
        "--cameras", type=int, default=1, help="more than one: one node for all is compared with one node for each"
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
    return arguments


if __name__ == "__main__":
    main()
