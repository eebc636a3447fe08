"""Measure weights on labelled images.

    python -m training.evaluate --weights FILE --images DIR --labels DIR
    python -m training.evaluate --weights FILE --data-set NAME --data DIR --out DIR
    python -m training.evaluate --weights street_scenes --data-set street_scenes

The images go through the same segmenter as in the node, and are compared at the labels' own size. Printed are, in
percent, the IoU (intersection over union) of each class, fIoU (their mean, each class weighted by its share of the
pixels), mean accuracy, pixel accuracy, and as the last line the mean IoU: `mIoU: 57.31`.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dfanet_ros.checkpoint import WeightsInfo, load_checkpoint
from dfanet_ros.frame import Frame
from dfanet_ros.report.measures import class_lines, measure_lines
from dfanet_ros.report.scored_frames import SHOWN, ScoredFrames
from dfanet_ros.segmenter import Segmenter, find_weights
from training.curves import LOSSES, VAL_MIOU, Curve, log_files, read_curves
from training.data_sets import DATA_SETS, Labelled, LabelledFiles, Sample, open_part
from training.data_sets.files import plain_ids
from training.data_sets.layouts import same_names

PART = "val"


def evaluate(segmenter: Segmenter, samples: Sequence[Sample], shown: int = SHOWN) -> ScoredFrames[int]:
    """Segment all images one by one and count the pixels; the worst and best frames are given by their indices.

    Args:
        segmenter: to be measured.
        samples: images RGB (H, W, 3) uint8 with ids (H, W) uint8.
        shown: how many frames to name as worst and as best, at most.
    """
    frames = ScoredFrames[int](len(segmenter.info.labels), shown)
    for index in tqdm(range(len(samples)), desc="evaluating", unit="frame", leave=False):
        image, label = samples[index]
        frames.add(label, segmenter.segment([Frame(image)])[0].label_map, index)
    return frames


def open_samples(arguments: argparse.Namespace, info: WeightsInfo) -> Labelled:
    """The images and labels that were asked for.

    Raises:
        ValueError: they cannot be read, or are of another number of classes than the weights.
    """
    if arguments.images is not None:
        pairs = same_names(arguments.images, arguments.labels)
        return LabelledFiles(pairs, info.labels, plain_ids(info.labels))
    samples = open_part(arguments.data_set, arguments.data, arguments.part or PART, info.input_size)
    if len(samples.labels) != len(info.labels):
        raise ValueError(
            f"the weights '{arguments.weights}' have {len(info.labels)} classes (of {info.labels.name}), but data set "
            f"{arguments.data_set} has {len(samples.labels)}: take weights that were trained on its classes"
        )
    names = zip(samples.labels.names, info.labels.names, strict=True)
    renamed = [f"'{theirs}' for '{ours}'" for theirs, ours in names if theirs != ours]
    if renamed:
        print(f"note: classes have other names than in the weights: {', '.join(renamed[:5])}", file=sys.stderr)
    return samples


def open_curves(run: Path | None, weights: Path) -> dict[str, Curve]:
    """How the training went that gave the weights.

    Args:
        run: the training's folder, or None: that of the weights, if there are logs.
        weights: their file.

    Raises:
        ValueError: the run that was named has no logs, or neither loss nor mIoU in them; or logs cannot be read.
    """
    if run is None:
        return read_curves(weights.parent) if log_files(weights.parent) else {}
    curves = read_curves(run)
    if not curves.keys() & {*LOSSES, VAL_MIOU}:
        raise ValueError(f"the training logs in {run} have no {LOSSES[0]} and no {VAL_MIOU}, only {', '.join(curves)}")
    return curves


def write(
    arguments: argparse.Namespace,
    weights: Path,
    segmenter: Segmenter,
    samples: Labelled,
    found: ScoredFrames[int],
    curves: dict[str, Curve],
) -> Path:
    """Write the report to --out; gives the path of its page."""
    # Not at the top, as it needs matplotlib and jinja2, and the numbers are to be had without them.
    from dfanet_ros.report.sections import ComparedFrame
    from training.report import Findings, write_report

    def frames(chosen: Sequence[tuple[float, int]]) -> list[ComparedFrame]:
        shown = []
        for miou, index in chosen:
            image, truth = samples[index]
            predicted = segmenter.segment([Frame(image)])[0].label_map
            name = f"scene {index}"
            if isinstance(samples, LabelledFiles):
                name = str(samples.pairs[index][0].relative_to(arguments.images or arguments.data))
            shown.append(ComparedFrame(f"{name}: mIoU {miou:.1f} %", image, truth, predicted))
        return shown

    if arguments.images is None:
        part = arguments.part or PART
        place = f"in {arguments.data}" if arguments.data else "generated"
        subject, data = f"{arguments.data_set} ({part})", f"{arguments.data_set}, part {part}, {place}"
    else:
        subject, data = str(arguments.images), f"images in {arguments.images}, labels in {arguments.labels}"
    facts: dict[str, str | int] = {
        "weights": str(weights),
        "network": str(segmenter),
        "training": segmenter.info.training or "the weights do not say",
        "data": data,
        "frames": len(samples),
    }
    text = f"{len(samples)} labelled frames, {len(segmenter.info.labels)} classes."
    title = f"Weights {weights.stem} on {subject}"
    findings = Findings(
        title, text, facts, segmenter.info.labels, found.confusion, frames(found.worst), frames(found.best), curves
    )
    return write_report(arguments.out, findings)


def parse(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights", required=True, metavar="FILE", help="a .safetensors file, or the name of shipped weights (camvid)"
    )
    folders = parser.add_argument_group("what to measure on: two folders")
    folders.add_argument("--images", type=Path, metavar="DIR", help="folder of images")
    folders.add_argument(
        "--labels",
        type=Path,
        metavar="DIR",
        help="folder of their labels: 8-bit PNGs of the same names, each pixel the number of its class, 255 unlabelled",
    )
    data_set = parser.add_argument_group("or: a data set, as its download was unpacked")
    data_set.add_argument("--data-set", metavar="NAME", help=f"one of {', '.join(DATA_SETS)}")
    data_set.add_argument(
        "--data", type=Path, metavar="DIR", help="folder that it was unpacked into (street_scenes need none)"
    )
    data_set.add_argument("--part", metavar="PART", help=f"train, val, for some also test (default: {PART})")
    output = parser.add_argument_group("report")
    output.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="write report.html (plots, best and worst frames; one file, to be opened in a browser), metrics.json and "
        "the plots as PNG files to this folder",
    )
    output.add_argument(
        "--run",
        type=Path,
        metavar="DIR",
        help="folder that the training wrote to, with its logs/: its curves are put in the report (default: the folder "
        "of the weights, if there are logs)",
    )
    machine = parser.add_argument_group("how to compute")
    machine.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: %(default)s)")
    machine.add_argument("--precision", default="auto", help="fp32, fp16, bf16 (default: %(default)s)")
    return parser, parser.parse_args(argv)


def check(arguments: argparse.Namespace) -> None:
    """Raise ValueError where the arguments do not go together."""
    names = ("--images", "--labels", "--data-set", "--data")
    given = [name for name in names if getattr(arguments, name[2:].replace("-", "_")) is not None]
    generated = given == ["--data-set"] and arguments.data_set == "street_scenes"
    if given not in (["--images", "--labels"], ["--data-set", "--data"]) and not generated:
        raise ValueError(
            "say what to measure on, either with --images and --labels, or with --data-set and --data; given is "
            f"{' and '.join(given) or 'none of them'}"
        )
    if arguments.data_set is not None and arguments.data_set not in DATA_SETS:
        raise ValueError(f"--data-set is '{arguments.data_set}', but has to be one of {', '.join(DATA_SETS)}")
    if arguments.part is not None and arguments.data_set is None:
        raise ValueError("--part goes with --data-set; of --images and --labels, name the folders of the part")
    if arguments.run is not None and arguments.out is None:
        raise ValueError("--run is for the report: say with --out where to write it, or leave --run out")
    if arguments.out is not None:
        missing = [name for name in ("matplotlib", "jinja2") if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f"--out needs {' and '.join(missing)}: pip install -r requirements/training.txt")
        arguments.out.mkdir(parents=True, exist_ok=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the evaluation; exit code 1 with a sentence if it cannot."""
    parser, arguments = parse(argv)
    report: Path | None = None
    try:
        check(arguments)
        weights = find_weights(arguments.weights)
        network, info = load_checkpoint(weights)
        segmenter = Segmenter(network, info, device=arguments.device, precision=arguments.precision)
        samples = open_samples(arguments, info)
        curves = open_curves(arguments.run, weights) if arguments.out else {}
        found = evaluate(segmenter, samples)
        if arguments.out:
            report = write(arguments, weights, segmenter, samples, found, curves)
    except (ValueError, OSError) as error:
        parser.exit(1, f"error: {error}\n")
    print("\n".join(class_lines(found.confusion, info.labels)))
    if report:
        print(f"report: {report}")
    print("\n".join(measure_lines(found.confusion)))


if __name__ == "__main__":
    main()
