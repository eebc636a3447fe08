"""A folder of images, and labels if there are some, as a bag."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dfanet_ros.bags.images import COMPRESSED_IMAGE, IMAGE, compressed_bytes, header_of, image_bytes
from dfanet_ros.bags.writer import BagWriter
from dfanet_ros.image_files import ImageFileError, ImageFolder
from dfanet_ros.interruption import EXIT_CODE, Interruption
from dfanet_ros.topics import input_topic

START = 1_700_000_000.0  # in November 2023: every tool sees that it is a date, and two runs give the same bag
LATEST = 2.0**31  # seconds that a stamp can have


def run(argv: Sequence[str] | None = None) -> None:
    """Write the bag; exit code 1 with a sentence if that cannot be done, 130 if it was interrupted."""
    arguments = _parse(argv)
    try:
        complete = write(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        complete = False
    sys.exit(0 if complete else EXIT_CODE)


def write(arguments: argparse.Namespace) -> bool:
    """Write the bag and say what it has; whether it is complete, not interrupted.

    Raises:
        ValueError: images or labels cannot be read, or something that is no bag is in the way.
    """
    folder = ImageFolder(arguments.images, arguments.labels)
    if arguments.labels and not any(path and path.is_file() for path in folder.labels):
        raise ImageFileError(
            f"none of the {len(folder)} images in {arguments.images} has a label in {arguments.labels}: that is a PNG "
            f"of the same name, e.g. {folder.images[0].stem}.png"
        )
    kind = arguments.compressed
    topic, _ = input_topic(arguments.topic, "compressed" if kind else "raw")
    topics = {topic: COMPRESSED_IMAGE if kind else IMAGE}
    if arguments.labels:
        topics[arguments.label_topic] = IMAGE
    written = dict.fromkeys(topics, 0)
    with Interruption() as interruption, BagWriter(arguments.out, topics) as bag:
        for number in tqdm(range(len(folder)), "writing the bag", unit="frame"):
            image, label = folder[number]
            stamp = round(arguments.start * 10**9) + round(number * 10**9 / arguments.rate)
            header = header_of(stamp, arguments.frame_id)
            bag.write(
                topic,
                stamp,
                compressed_bytes(image, "rgb8", header, kind) if kind else image_bytes(image, "rgb8", header),
            )
            written[topic] += 1
            if label is not None:
                bag.write(arguments.label_topic, stamp, image_bytes(label, "mono8", header))
                written[arguments.label_topic] += 1
            if interruption.requested:
                break
    complete = written[topic] == len(folder)
    if not complete:
        print(f"note: interrupted after {written[topic]} frames of {len(folder)}", file=sys.stderr)
    for name, count in written.items():
        print(f"{name}: {count} messages of {topics[name]}")
    print(f"bag: {arguments.out}")
    return complete


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bag_from_images",
        description="Writes a folder of images as a rosbag2 bag (MCAP), as if a camera had published them.",
    )
    parser.add_argument("images", type=Path, help="folder of images, taken in the order of the numbers in their names")
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FOLDER",
        help="folder of their labels: 8-bit PNGs of the same names, each pixel the number of its class, 255 unlabelled",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="BAG", help="the bag's folder; a bag there is overwritten"
    )
    parser.add_argument("--rate", type=float, default=10.0, help="frames a second (default: %(default)g)")
    parser.add_argument("--topic", default="/camera/image_raw", help="of the images (default: %(default)s)")
    parser.add_argument("--label-topic", default="/camera/label", metavar="TOPIC", help="(default: %(default)s)")
    parser.add_argument(
        "--compressed", choices=("jpeg", "png"), help="write compressed images, on the topic's /compressed"
    )
    parser.add_argument("--frame-id", default="camera", help="in the headers (default: %(default)s)")
    parser.add_argument(
        "--start",
        type=float,
        default=START,
        metavar="SECONDS",
        help="the first frame's stamp, since 1970 (default: %(default).0f, in November 2023)",
    )
    arguments = parser.parse_args(argv)
    if not 0 < arguments.rate < float("inf"):
        parser.error(f"--rate is {arguments.rate:g}, but has to be more than 0")
    if not 0 <= arguments.start < LATEST:
        parser.error(f"--start is {arguments.start:g}, but has to be from 0 to {LATEST - 1:.0f}")
    return arguments
