"""The order of things: bag, labels, segmenter, loop, report."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from dfanet_ros.bags import BagError
from dfanet_ros.bags.images import IMAGE, IMAGES, check_topic, image_topics, read_frames
from dfanet_ros.bags.reader import BagReader
from dfanet_ros.evaluate_bag.evaluation import Evaluation, evaluate
from dfanet_ros.evaluate_bag.labels import FolderLabels, Labels, TopicLabels
from dfanet_ros.evaluate_bag.options import open_segmenter, parse
from dfanet_ros.evaluate_bag.problems import Problems
from dfanet_ros.evaluate_bag.report import Subject, mean_flips, remove_report, write_report
from dfanet_ros.evaluate_bag.segmented import SegmentedBag
from dfanet_ros.interruption import EXIT_CODE, Interruption
from dfanet_ros.report.measures import class_lines, measure_lines

GPU_BATCH = 8
SEGMENTED = "segmented"  # the folder of the bag of results
OPACITY = 0.5  # of the overlay's colours, as the node has it by default


def run(argv: Sequence[str] | None = None) -> None:
    """Run the evaluation; exit code 1 with a sentence if it cannot, 130 if it was interrupted."""
    arguments = parse(argv)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("dfanet_ros").setLevel(logging.INFO)
    try:
        with BagReader(arguments.bag) as bag:
            code = _run(arguments, bag)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)
    sys.exit(code)


def _run(arguments: argparse.Namespace, bag: BagReader) -> int:
    """The exit code."""
    topic = _image_topic(bag, arguments.image_topic, arguments.label_topic)
    _spare_the_source(bag.path, arguments.out / SEGMENTED)
    unusable = Problems("labels")
    labels = _open_labels(arguments, bag, topic, unusable)
    segmenter, weights = open_segmenter(arguments)
    print(segmenter, file=sys.stderr)
    count = bag.counts[topic]
    found = Evaluation(len(segmenter.info.labels), labels, unusable, count)
    batch = arguments.batch or (1 if segmenter.device.type == "cpu" else GPU_BATCH)
    results = SegmentedBag(arguments.out / SEGMENTED, topic, arguments.outputs, OPACITY)
    remove_report(arguments.out)
    failure = ""
    with Interruption() as interruption:
        try:
            with results, tqdm(read_frames(bag, topic), "evaluating", count, unit="frame") as frames:
                evaluate(frames, segmenter, batch, found, results, lambda: interruption.requested)
        except OSError as error:  # the disk is full: what was found out so far is still worth a report
            failure = str(error)
        done = found.segmented + found.refused.count
        stopped = interruption.requested and done < count
        complete = not stopped and not failure
        facts: dict[str, str | int] = {
            "weights": str(weights),
            "network": str(segmenter),
            "bag": str(bag.path),
            "images": f"{topic} ({bag.topics[topic]})",
            "labels": labels.origin if labels else "none",
            "frames": count,
            "batch": batch,
        }
        remarks = [f"ended after {done} frames of {count}: {failure}"] if failure else []
        remarks += [f"interrupted after {done} frames of {count}"] if stopped else []
        remarks += _remarks(bag, found, complete)
        title = f"Weights {weights.stem} on {bag.path.name}, {topic}"
        report = write_report(arguments.out, Subject(title, facts, segmenter.info.labels, remarks), found)

    for remark in remarks:
        print(f"note: {remark}", file=sys.stderr)
    if not found.segmented and complete:
        raise BagError(f"no frame on {topic} could be segmented")
    if labels and not found.used and complete:
        raise BagError(f"no frame on {topic} could be compared with a label ({labels.origin})")
    if labels:
        print("\n".join(class_lines(found.scored.confusion, segmenter.info.labels)))
    print(f"results: {arguments.out / SEGMENTED}")
    print(f"report: {report}")
    print(f"frames: {found.segmented}")
    print(f"flips: {mean_flips(found):.2f}")
    if labels:
        print("\n".join(measure_lines(found.scored.confusion)))
    return 1 if failure else EXIT_CODE if stopped else 0


def _image_topic(bag: BagReader, named: str | None, labels: str | None) -> str:
    """The topic to segment: the one that was named, or the only one with images that are not the labels."""
    if named is not None:
        check_topic(bag, named, *IMAGES)
        return named
    topics = [topic for topic in image_topics(bag) if topic != labels]
    if len(topics) != 1:
        found = f"there are {len(topics)} image topics" if topics else "there is no image topic"
        raise BagError(f"{found} in {bag.path}: name one with --image-topic; {bag.listing()}")
    return topics[0]


def _spare_the_source(bag: Path, results: Path) -> None:
    """Raise BagError if the results would overwrite the bag that they are of."""
    if results.resolve() in (bag.resolve(), bag.resolve().parent):
        raise BagError(f"the results would overwrite the bag {bag}: name another folder with --out")


def _open_labels(arguments: argparse.Namespace, bag: BagReader, topic: str, unusable: Problems) -> Labels | None:
    if arguments.labels is not None:
        return FolderLabels(arguments.labels, bag.counts[topic])
    if arguments.label_topic is None:
        return None
    check_topic(bag, arguments.label_topic, IMAGE)
    count = bag.counts[arguments.label_topic]
    messages = tqdm(bag.messages([arguments.label_topic]), "reading labels", count, unit="label", leave=False)
    return TopicLabels(bag, arguments.label_topic, messages, unusable)


def _remarks(bag: BagReader, found: Evaluation, complete: bool) -> list[str]:
    """What did not go as it should, in sentences."""
    remarks = [bag.problem] if bag.problem else []
    remarks += [str(problems) for problems in (found.refused, found.unusable) if problems.count]
    if complete and found.labels and found.labels.count > found.matched:
        remarks.append(f"{found.labels.count - found.matched} of {found.labels.count} labels belong to no frame")
    return remarks
