"""The command's options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from dfanet_ros.parameters import OUTPUTS, PARAMETERS
from dfanet_ros.segmenter import Segmenter, find_weights, load_segmenter

# Parameters of the node that are options here too.
SHARED = ("network", "backbone", "weights", "input_height", "input_width", "device", "precision", "engine", "threads")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, each of them allowed by itself."""
    parser = argparse.ArgumentParser(
        prog="evaluate_bag",
        description="Segments every image of a topic in a bag, in order, and writes the results as a bag, with a "
        "report. The last line printed is the mean IoU in percent, if there are labels: mIoU: 57.31",
    )
    parser.add_argument("bag", type=Path, help="a rosbag2 folder, or one of its .mcap or .db3 files")
    parser.add_argument(
        "--image-topic",
        metavar="TOPIC",
        help="raw or compressed images; default: the bag's only image topic beside the labels'",
    )
    labels = parser.add_mutually_exclusive_group()
    labels.add_argument(
        "--label-topic",
        metavar="TOPIC",
        help="mono8 or 8UC1 images of class ids, 255 unlabelled, each with the stamp of its frame",
    )
    labels.add_argument(
        "--labels",
        type=Path,
        metavar="FOLDER",
        help="8-bit PNGs of class ids, 255 unlabelled: one for each frame, in the order of the numbers in their names; "
        "or named by their frames' stamps in nanoseconds (1700000000100000000.png), then any number of them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for the bag segmented/, report.html and metrics.json",
    )
    parser.add_argument(
        "--outputs",
        nargs="+",
        choices=OUTPUTS,
        default=[name for name in OUTPUTS if name != "confidence"],
        help="what the bag of results gets (default: all but the confidence)",
    )
    parser.add_argument(
        "--batch", type=int, default=0, help="frames that are segmented at once (default: 8 on a GPU, 1 on the CPU)"
    )
    shared = parser.add_argument_group("parameters of the node")
    for parameter in PARAMETERS:
        if parameter.name in SHARED:
            shared.add_argument(
                f"--{parameter.name.replace('_', '-')}",
                type=type(parameter.default),
                default=parameter.default,
                metavar="VALUE",
                help=f"{parameter.description} Allowed: {parameter.allowed}.".replace("%", "%%"),
            )
    arguments = parser.parse_args(argv)
    if arguments.batch < 0:
        parser.error(f"--batch is {arguments.batch}, but has to be at least 1")
    for parameter in PARAMETERS:
        if parameter.name in SHARED:
            try:
                parameter.checked(getattr(arguments, parameter.name))
            except ValueError as error:
                parser.error(str(error))
    return arguments


def open_segmenter(arguments: argparse.Namespace) -> tuple[Segmenter, Path]:
    """The segmenter that was asked for, and the file of its weights.

    Raises:
        ValueError: see `load_segmenter`.
    """
    chosen = {name: getattr(arguments, name) for name in SHARED}
    input_size = (chosen.pop("input_height"), chosen.pop("input_width"))
    weights = find_weights(arguments.weights, arguments.network, arguments.backbone)
    return load_segmenter(**chosen, input_size=input_size), weights
