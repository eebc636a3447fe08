"""Make a file to run a network from: weights for the node, or an ONNX model for other programs, e.g.:

    python -m training.export --weights runs/camvid/checkpoints/best.ckpt --out camvid.safetensors
    python -m training.export --weights camvid.safetensors --out camvid.onnx --input-size 512 1024

A .safetensors file is what the node loads (parameter `weights`). An .onnx file runs in ONNX Runtime and others, without
this package; it is compared with PyTorch before it is kept. Its input `images` is float32 (N, 3, H, W), RGB as
(value / 255 - mean) / std; its output `logits` is float32 (N, classes, H, W), and the largest is the pixel's class.
Any number N of images goes in at once, all of one size H x W. Mean, std and classes are in the metadata of either file.

Options that change no parameter may change after training, as DeepLabV3's authors do: --option output_stride=8 makes
four times as many logits of a deeplabv3 that was trained at 16, --option input_scale=0.5 shrinks a dfanet's images.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dfanet_ros.checkpoint import WeightsInfo, load_checkpoint, network_from, save_checkpoint
from dfanet_ros.engines.onnx_model import OPSET, missing
from dfanet_ros.network.base import Network
from dfanet_ros.segmenter import find_weights
from training.weights import load_training_checkpoint

SUFFIXES = (".safetensors", ".onnx")
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def with_options(
    network: Network, info: WeightsInfo, options: Sequence[str], path: Path
) -> tuple[Network, WeightsInfo]:
    """The same weights in a network with other options.

    Args:
        network: as it was trained.
        info: of its weights.
        options: as NAME=VALUE, with values as JSON has them.
        path: of the weights, for the text of an error.

    Raises:
        ValueError: the network has no such option, or other parameters with it.
    """
    changed = {}
    for option in options:
        name, _, value = option.partition("=")
        try:
            changed[name] = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"--option is '{option}', but has to be NAME=VALUE, as output_stride=8") from error
    info = replace(info, options=info.options | changed)
    return network_from(info.to_metadata(), network.state_dict(), path)


def parse(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="python -m training.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights",
        required=True,
        metavar="FILE",
        help="a checkpoint of the training (.ckpt), a .safetensors file, or the name of shipped weights (camvid)",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="FILE", help="file to write, which ends in .safetensors or .onnx"
    )
    parser.add_argument(
        "--input-size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="for .onnx: height and width of its input in pixels (default: the size that the weights were trained for)",
    )
    parser.add_argument(
        "--option", nargs="+", default=[], metavar="NAME=VALUE", help="options of the network to change, see above"
    )
    return parser, parser.parse_args(argv)


def check(arguments: argparse.Namespace) -> None:
    """Raise ValueError where the arguments do not go together."""
    out, size = arguments.out, arguments.input_size
    if out.suffix not in SUFFIXES:
        raise ValueError(f"--out is '{out}', but has to end in {' or '.join(SUFFIXES)}")
    if size is not None and out.suffix != ".onnx":
        raise ValueError("--input-size is for .onnx only: weights take images of any size, so leave it out")
    if size is not None and min(size) < 1:
        raise ValueError(f"--input-size is {size[0]} {size[1]}, but height and width have to be at least 1 pixel")
    if out.suffix == ".onnx" and (why := missing(*ONNX_PACKAGES)):
        raise ValueError(f"--out is '{out}': {why}")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the export; exit code 1 with a sentence if it cannot."""
    parser, arguments = parse(argv)
    out: Path = arguments.out
    remarks = []
    try:
        check(arguments)
        weights = find_weights(arguments.weights)
        network, info = load_training_checkpoint(weights) if weights.suffix == ".ckpt" else load_checkpoint(weights)
        if arguments.option:
            network, info = with_options(network, info, arguments.option, weights)
        if out.suffix == ".onnx":
            # Not at the top, as weights are to be had without onnx.
            from training.onnx_model import write_onnx

            height, width = arguments.input_size or info.input_size
            agreement = write_onnx(out, network, info, (height, width))
            remarks = [
                f"input images (N, 3, {height}, {width}), output logits (N, {len(info.labels)}, {height}, {width}), "
                f"opset {OPSET}",
                f"ONNX Runtime and PyTorch on random images: logits differ by at most {agreement.difference:.1e} of "
                f"the largest, {100 * agreement.same_class:.4f} % of the pixels get the same class",
            ]
        else:
            save_checkpoint(out, network, info)
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    print(f"wrote {out}: {out.stat().st_size / 1e6:.1f} MB, {info.system}")
    print(f"{len(info.labels)} classes of {info.data_set}: {', '.join(info.labels.names)}")
    for remark in remarks:
        print(remark)


if __name__ == "__main__":
    main()
