"""A bag through the running node: `python -m dfanet_ros.evaluate_live --help`.

What evaluate.launch.py does, without launch. evaluate_bag tells how good the weights are; this tells how good the masks
are that arrive, of as many frames as the node keeps up with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dfanet_ros.bags import BagError, require
from dfanet_ros.interruption import EXIT_CODE
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.node_process import ModuleProcess, NodeError, NodeProcess, prepare_process
from dfanet_ros.preparing import prepare
from dfanet_ros.report.measures import measure_lines
from dfanet_ros.segmenter import find_weights
from dfanet_ros.topics import output_namespace

READY_WITHIN = 90  # seconds that the nodes have for loading and for discovery
DISCOVERED_WITHIN = 3.0  # seconds that the nodes have to find each other, once the player has found them
LAST_WITHIN = 2.0  # seconds that the last mask has after the bag's end


def main() -> None:
    """Run the evaluation; exit code 1 with a sentence if it cannot, 130 if it was interrupted."""
    arguments = _arguments()
    require("evaluate_live", "rosbags")
    prepare_process()
    try:
        values = run(arguments)
    except (ValueError, OSError, NodeError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)
    for name, value in values.items():
        if isinstance(value, int):
            print(f"{name.replace('_', ' ')}: {value}")
    print("\n".join(measure_lines(ConfusionMatrix.from_counts(values["confusion"]))))


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play the bag through the nodes; gives what is in metrics.json.

    Raises:
        BagError: the bag cannot be played, or no frame of it could be compared.
        NodeError: a node has stopped.
    """
    from dfanet_ros.bags.images import IMAGE, IMAGES, check_topic  # not before it is known that rosbags is there
    from dfanet_ros.bags.reader import BagReader

    with BagReader(arguments.bag) as bag:
        check_topic(bag, arguments.image_topic, *IMAGES)
        check_topic(bag, arguments.label_topic, IMAGE)
    out: Path = arguments.out
    metrics = out / "metrics.json"
    metrics.unlink(missing_ok=True)
    weights = find_weights(arguments.weights)
    prepare(weights)  # here, so that it is also said what is wrong with the weights
    evaluation = ModuleProcess(
        "the evaluation node",
        "dfanet_ros.evaluation_node",
        out / "evaluation.log",
        mask_topic=f"{output_namespace(arguments.image_topic)}/mask",
        label_topic=arguments.label_topic,
        out=str(metrics.absolute()),
        use_sim_time=True,
    )
    node = NodeProcess(
        out / "node.log",
        image_topics=[arguments.image_topic],
        weights=str(weights.absolute()),
        use_sim_time=True,
    )
    with evaluation, node:  # the node ends first, and its last masks still arrive
        print("starting the nodes ...", file=sys.stderr)
        _play(arguments, evaluation, node)
        time.sleep(LAST_WITHIN)
    values: dict[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))
    if not values["frames"]:
        raise node.error(f"no mask of the node fits a label of {arguments.bag} ({evaluation.log} counts them)")
    return values


def _play(arguments: argparse.Namespace, *nodes: ModuleProcess) -> None:
    """Play the bag in a process of its own, as long as the nodes live."""
    command = [sys.executable, "-m", "dfanet_ros.play_bag", str(arguments.bag), "--clock"]
    command += ["--wait", str(READY_WITHIN), "--delay", str(DISCOVERED_WITHIN), "--rate", str(arguments.rate)]
    command += ["--topics", arguments.image_topic, arguments.label_topic]
    player = subprocess.Popen(command, start_new_session=True)  # Ctrl-C is for us, and we end it
    try:
        while player.poll() is None:
            for node in nodes:
                node.check()
            time.sleep(0.1)
    finally:
        player.terminate()
        player.wait()
    if player.returncode:
        raise BagError(f"{arguments.bag} could not be played to its end")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dfanet_ros.evaluate_live",
        description="Plays a bag through the running segmentation node and compares the masks that arrive with the "
        "bag's labels. The last line printed is the mean IoU in percent: mIoU: 57.31",
    )
    parser.add_argument("bag", type=Path, help="the bag's folder, or a file of it")
    parser.add_argument("--image-topic", default="/camera/image_raw", metavar="TOPIC", help="(default: %(default)s)")
    parser.add_argument("--label-topic", default="/camera/label", metavar="TOPIC", help="(default: %(default)s)")
    parser.add_argument(
        "--weights", default="", help="a .safetensors file or the name of shipped weights; default: the node's"
    )
    parser.add_argument("--rate", type=float, default=1.0, help="play it so many times as fast (default: %(default)g)")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for metrics.json and the logs")
    arguments = parser.parse_args()
    if not 0 < arguments.rate < float("inf"):
        parser.error(f"--rate is {arguments.rate:g}, but has to be more than 0")
    for name in ("image_topic", "label_topic"):
        if not getattr(arguments, name).startswith("/"):
            parser.error(f"--{name.replace('_', '-')} is {getattr(arguments, name)}, but has to begin with /")
    return arguments


if __name__ == "__main__":
    main()
