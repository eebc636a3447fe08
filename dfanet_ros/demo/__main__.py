"""Frames through DDS to the node and back: the arguments, and the order of things."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from dfanet_ros.bags.images import IMAGE
from dfanet_ros.bags.writer import BagWriter
from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.demo.bag import read_messages, write_frames
from dfanet_ros.demo.contact_sheet import write_contact_sheet
from dfanet_ros.demo.frames import checked, generate
from dfanet_ros.demo.report import evaluate
from dfanet_ros.demo.session import COLOR_MASK, MASK, OVERLAY, Session
from dfanet_ros.image_files import open_folder
from dfanet_ros.node_process import CAMERA, NodeError, NodeProcess, prepare_process
from dfanet_ros.preparing import prepare
from dfanet_ros.segmenter import find_weights

BAG_RATE = 10.0  # frames a second in the bag, if no rate is asked for


def main() -> None:
    """Run the demo; exit code 1 with a sentence if it cannot."""
    arguments = _arguments()
    try:
        run(arguments)
    except (ValueError, OSError, NodeError) as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: interrupted")


def run(arguments: argparse.Namespace) -> None:
    """The demo itself."""
    prepare_process()
    out: Path = arguments.out
    weights = find_weights(arguments.weights)
    _, info = load_checkpoint(weights)
    frames = (
        open_folder(arguments.frames, arguments.labels)
        if arguments.frames
        else generate(arguments.count, info.input_size, info.labels)
    )
    rate: float | None = arguments.rate
    images = tqdm(checked(frames, len(info.labels)), "writing the bag", len(frames), unit="frame")
    write_frames(out / "frames", CAMERA, images, rate or BAG_RATE)

    prepare(weights)
    process = NodeProcess(out / "node.log", weights=str(weights))
    with Session(process) as session, process:
        print("starting the node ...", file=sys.stderr)
        session.connect(next(read_messages(out / "frames", CAMERA)))
        with BagWriter(out / "recorded", dict.fromkeys((MASK, COLOR_MASK, OVERLAY), IMAGE)) as recorded:
            messages = tqdm(read_messages(out / "frames", CAMERA), "playing the bag", len(frames), unit="frame")
            exchanges = session.play(messages, rate, record=recorded.write)

    report = evaluate(exchanges, frames, out / "recorded", info.labels)
    write_contact_sheet(out / "contact_sheet.png", exchanges, frames, out / "recorded", info.labels)
    print(report.table())
    print()
    print(f"contact sheet: {out / 'contact_sheet.png'}")
    print(f"bags (rosbag2, MCAP): {out / 'frames'}, {out / 'recorded'}; the node's log: {process.log}")
    for name, value in report.values().items():
        print(f"{name}: {value}")
    # Not among what scripts read.
    print("\nthe same live, in a browser: make demo LIVE=1, then open http://127.0.0.1:8080", file=sys.stderr)


def _path(text: str) -> Path:
    return Path(text).expanduser()  # make quotes it


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dfanet_ros.demo",
        description="Plays frames through DDS to the segmentation node, records what it publishes, and compares that "
        "with the labels.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the bags, the contact sheet and the log")
    parser.add_argument("--frames", type=_path, help="folder of images; without it, street scenes are generated")
    parser.add_argument(
        "--labels",
        type=_path,
        help="folder of their labels (PNG of ids, 255 unlabelled); default: .../labels/val for .../images/val",
    )
    parser.add_argument(
        "--weights",
        help="a .safetensors file or the name of shipped weights; default: street_scenes "
        "for generated scenes, otherwise the node's",
    )
    parser.add_argument("--count", type=int, default=60, help="how many scenes to generate")
    parser.add_argument("--rate", type=float, help="frames a second; default: the next as soon as a mask has arrived")
    arguments = parser.parse_args()
    if arguments.weights is None:
        arguments.weights = "" if arguments.frames else "street_scenes"
    if arguments.count < 1:
        parser.error(f"--count is {arguments.count}, but has to be at least 1")
    if arguments.rate is not None and not arguments.rate > 0:
        parser.error(f"--rate is {arguments.rate:g}, but has to be more than 0")
    if arguments.labels and not arguments.frames:
        parser.error("--labels go with --frames")
    return arguments


if __name__ == "__main__":
    main()
