"""Measure weights on labelled images: `python -m training.evaluate --weights FILE --images DIR --labels DIR`.

The images go through the same segmenter as in the node, and are compared at the labels' own size. The last line is
the mean IoU in percent: `mIoU: 57.31`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tqdm import tqdm

from dfanet_ros.checkpoint import load_checkpoint
from dfanet_ros.frame import Frame
from dfanet_ros.image_files import LabelledFolder
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.segmenter import Segmenter, find_weights


def evaluate(segmenter: Segmenter, samples: LabelledFolder) -> ConfusionMatrix:
    """Segment all images one by one and count the pixels."""
    confusion = ConfusionMatrix(len(segmenter.info.labels))
    for image, label in tqdm(samples, desc="evaluating", leave=False):
        confusion.update(label, segmenter.segment([Frame(image)])[0].label_map)
    return confusion


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a .safetensors file, or the name of shipped weights (camvid)")
    parser.add_argument("--images", type=Path, required=True, help="folder of images")
    parser.add_argument("--labels", type=Path, required=True, help="folder of labels: 8-bit PNGs of ids, same names")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: %(default)s)")
    parser.add_argument("--precision", default="auto", help="fp32, fp16, bf16 (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        network, info = load_checkpoint(find_weights(arguments.weights))
        segmenter = Segmenter(network, info, device=arguments.device, precision=arguments.precision)
        confusion = evaluate(segmenter, LabelledFolder(arguments.images, arguments.labels))
    except ValueError as error:
        parser.exit(1, f"error: {error}\n")
    width = max(map(len, info.labels.names))
    for name, iou in zip(info.labels.names, confusion.iou(), strict=True):
        print(f"{name:{width}}  {iou:6.2f}")
    print(f"mIoU: {confusion.miou():.2f}")


if __name__ == "__main__":
    main()
