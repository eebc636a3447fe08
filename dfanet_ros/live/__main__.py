"""A camera, the segmentation node and the page, for people without ROS: the arguments, and what is started."""

from __future__ import annotations

import argparse
import os

from rclpy.logging import get_logging_directory

from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.interruption import EXIT_CODE
from dfanet_ros.live.view import add_options, run
from dfanet_ros.node_process import CAMERA, ModuleProcess, NodeProcess, prepare_process
from dfanet_ros.preparing import prepare
from dfanet_ros.segmenter import find_weights
from dfanet_ros.topics import camera_namespace

SCENES = "street_scenes"  # the built-in source, and the weights that were trained on it
NAMESPACE = camera_namespace(CAMERA)


def main() -> None:
    """Start what was asked for and serve the page until interrupted; exit code 1 with a sentence if that cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m dfanet_ros.live",
        description="Shows a camera with what the segmentation node makes of it, live in a browser.",
    )
    parser.add_argument(
        "--source",
        default=SCENES,
        help="where the frames come from: a webcam's number, a video file, a folder of images, or %(default)s, which "
        "is generated; default: %(default)s",
    )
    parser.add_argument(
        "--weights",
        help="a .safetensors file or the name of shipped weights; default: street_scenes for that source, otherwise "
        "the node's",
    )
    parser.add_argument("--rate", type=float, default=0.0, help="frames a second; default: the source's own")
    parser.add_argument("--attach", action="store_true", help="start no nodes, show those that run already")
    add_options(parser)
    arguments = parser.parse_args()
    if arguments.attach:
        run("live", arguments)
        return
    if arguments.cameras:
        parser.error("--cameras go with --attach: what is started here is one camera, /camera")
    prepare_process()
    arguments.cameras = [NAMESPACE]
    try:
        processes = _processes(arguments)
    except ValueError as error:  # CheckpointError, too
        parser.exit(1, f"live: {error}\n")
    except KeyboardInterrupt:
        parser.exit(EXIT_CODE)
    run("live", arguments, processes)


def _processes(arguments: argparse.Namespace) -> list[ModuleProcess]:
    """Camera and node, to be started in this order; the network is prepared for the node."""
    weights = arguments.weights
    if weights is None:
        weights = SCENES if arguments.source == SCENES else ""
    path = find_weights(weights)
    _, info = load_checkpoint(path)
    prepare(path)
    logs = get_logging_directory() / f"dfanet_ros_live_{os.getpid()}"
    height, width = info.input_size if arguments.source == SCENES else (0, 0)
    camera = ModuleProcess(
        "the camera",
        "dfanet_ros.camera_source",
        logs / "camera.log",
        ["-r", f"__ns:={NAMESPACE}"],
        source=arguments.source,
        rate=arguments.rate,
        height=height,
        width=width,
    )
    node = NodeProcess(logs / "node.log", weights=str(path.absolute()), device="auto")
    return [camera, node]


if __name__ == "__main__":
    main()
