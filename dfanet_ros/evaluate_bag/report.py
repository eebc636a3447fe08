"""The report on a bag, as a page and as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dfanet_ros.evaluate_bag.evaluation import Evaluation, Seen
from dfanet_ros.label_set import LabelSet
from dfanet_ros.report.measures import measures, write_json
from dfanet_ros.report.page import Page, Section, Table, write_page
from dfanet_ros.report.plots import RED, share_bars
from dfanet_ros.report.sections import (
    ComparedFrame,
    class_section,
    confusion_section,
    frames_section,
    percent,
    plot,
    predictions_section,
    scores,
)
from dfanet_ros.report.time_plots import Series, histogram, over_time

METRICS, REPORT = "metrics.json", "report.html"
PERCENTILES = (50, 90, 99)


@dataclass(frozen=True)
class Subject:
    """What was measured.

    Attributes:
        title: of the page.
        facts: what was measured on what, by name.
        labels: the classes.
        remarks: what did not go as it should, in sentences.
    """

    title: str
    facts: dict[str, str | int]
    labels: LabelSet
    remarks: Sequence[str]


def remove_report(folder: Path) -> None:
    """Remove what `write_report` wrote there before, so that it is not taken for that of a run that failed."""
    for name in (METRICS, REPORT):
        (folder / name).unlink(missing_ok=True)


def write_report(folder: Path, subject: Subject, found: Evaluation) -> Path:
    """Write `report.html` and `metrics.json` into the folder; gives the path of the first."""
    write_json(folder / METRICS, _metrics(subject, found))
    path = folder / REPORT
    write_page(path, _page(subject, found))
    return path


def mean_flips(found: Evaluation) -> float:
    """How many percent of its pixels are of another class than in the frame before, in the mean of all frames."""
    known = np.array(found.flips)[np.isfinite(found.flips)]
    return float(known.mean()) if known.size else float("nan")


def _metrics(subject: Subject, found: Evaluation) -> dict[str, Any]:
    total = found.pixels.sum()
    return {
        **subject.facts,
        "remarks": [*subject.remarks],
        "frames_segmented": found.segmented,
        "frames_refused": found.refused.count,
        "frames_labelled": found.scored.labelled,
        "ms_per_frame": {f"p{percentile}": _percentile(found, percentile) for percentile in PERCENTILES},
        "flips": mean_flips(found),
        "class_shares": {
            name: float(100 * pixels / total) if total else float("nan")
            for name, pixels in zip(subject.labels.names, found.pixels.tolist(), strict=True)
        },
        **(measures(found.scored.confusion, subject.labels) if found.labels else {}),
    }


def _page(subject: Subject, found: Evaluation) -> Page:
    labels, confusion = subject.labels, found.scored.confusion
    text = f"{found.segmented} frames, {len(labels)} classes"
    text += f"; {found.used} frames have a label." if found.labels else "; there are no labels to compare with."
    numbers = [*scores(confusion).rows] if found.labels else []
    numbers += [
        (
            "flips",
            percent(mean_flips(found)),
            "of a frame's pixels, how many are of another class than in the frame before",
        ),
        ("time per frame", f"{_percentile(found, 50):.1f} ms", "median of the segmenter's, from frame to class ids"),
    ]
    sections = []
    if subject.remarks:
        rows = [(f"{number}.", remark) for number, remark in enumerate(subject.remarks, 1)]
        sections.append(Section("What went wrong", table=Table((), rows, words=(1,))))
    if found.labels:
        sections += [class_section(confusion, labels), confusion_section(confusion, labels)]
    if found.segmented > found.used:  # else the classes' shares are those of the labels, nearly
        sections.append(_shares_section(labels, found))
    if found.segmented:
        sections += [_time_section(found), _speed_section(found)]
    if found.labels:
        by = "By the mean IoU over the classes that occur or are predicted in the frame."
        for heading, chosen in (("Worst frames", found.scored.worst), ("Best frames", found.scored.best)):
            frames = [_compared(miou, seen) for miou, seen in chosen]
            if frames:
                sections.append(frames_section(heading, by, frames, labels))
    elif found.examples:
        seen = [(one.name, one.frame.rgb(), one.predicted) for one in found.examples]
        sections.append(predictions_section("Some frames", "Evenly spread over the bag.", seen, labels))
    facts = Table((), [(name.replace("_", " "), str(value)) for name, value in subject.facts.items()], words=(1,))
    sections.append(Section("What was measured", table=facts))
    return Page(subject.title, text, Table((), numbers, words=(2,)), sections)


def _shares_section(labels: LabelSet, found: Evaluation) -> Section:
    shares = 100 * found.pixels / max(1, found.pixels.sum())
    return Section(
        "What was seen",
        "Of all pixels, how many were predicted as each class.",
        image=plot(share_bars(labels, shares), "Bars: the share of each class in the predicted pixels"),
    )


def _time_section(found: Evaluation) -> Section:
    series = [Series("flips in percent", np.array(found.flips), ("mean", mean_flips(found)), RED)]
    if found.labels:
        total = found.scored.confusion.miou()
        series.insert(0, Series("mIoU in percent", np.array(found.mious), ("together", total)))
    text = (
        "Each frame by itself. Flips are pixels of another class than in the frame before: the fewer, the steadier, "
        "as far as the camera does not move."
    )
    if found.labels:
        text += " A frame's own mIoU suffers from classes of which it has a few pixels only."
    return Section(
        "Over time",
        text,
        image=plot(over_time(np.array(found.seconds), series), "Lines: each frame's values over the time"),
    )


def _speed_section(found: Evaluation) -> Section:
    return Section(
        "Time per frame",
        "What the segmenter takes from a frame to its class ids, without reading and writing bags.",
        image=plot(
            histogram(np.array(found.ms), "ms per frame", PERCENTILES), "Histogram of the segmenter's times per frame"
        ),
    )


def _compared(miou: float, seen: Seen) -> ComparedFrame:
    assert seen.truth is not None
    return ComparedFrame(f"{seen.name}: mIoU {miou:.1f} %", seen.frame.rgb(), seen.truth, seen.predicted)


def _percentile(found: Evaluation, percentile: int) -> float:
    return float(np.percentile(found.ms, percentile)) if found.ms else float("nan")
