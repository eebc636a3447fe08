"""The report of an evaluation on labelled frames, and of the training before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dfanet_ros.label_set import LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.report.measures import measures, write_json
from dfanet_ros.report.page import Page, Section, Table, write_page
from dfanet_ros.report.sections import (
    ComparedFrame,
    class_section,
    confusion_section,
    frames_section,
    plot,
    scores,
)
from training.curve_plots import training_curves
from training.curves import Curve


@dataclass(frozen=True)
class Findings:
    """What there is to report.

    Attributes:
        title: of the page.
        text: what it is about, in a sentence.
        facts: what was measured on what, by name; the numbers among them are numbers in the JSON file too.
        labels: the classes.
        confusion: of all frames.
        worst: the frames with the lowest mIoU, the worst first.
        best: the frames with the highest, the best first.
        curves: of the training by the names of their columns, see `read_curves`; empty without.
    """

    title: str
    text: str
    facts: Mapping[str, str | int]
    labels: LabelSet
    confusion: ConfusionMatrix
    worst: Sequence[ComparedFrame]
    best: Sequence[ComparedFrame]
    curves: Mapping[str, Curve]


def write_report(folder: Path, findings: Findings) -> Path:
    """Write `report.html`, `metrics.json` and the plots as PNG files into the folder; gives the path of the first."""
    confusion, labels = findings.confusion, findings.labels
    plots = {
        "iou": class_section(confusion, labels),
        "confusion": confusion_section(confusion, labels),
        "training": training_section(findings.curves),
    }
    sections = [section for section in plots.values() if section]
    for heading, frames in (("Worst frames", findings.worst), ("Best frames", findings.best)):
        if frames:
            text = "By the mean IoU over the classes that occur or are predicted in the frame."
            sections.append(frames_section(heading, text, frames, labels))
    facts = Table((), [(name.replace("_", " "), str(value)) for name, value in findings.facts.items()], words=(1,))
    sections.append(Section("What was measured", table=facts))

    folder.mkdir(parents=True, exist_ok=True)
    for name, section in plots.items():
        path = folder / f"{name}.png"
        path.unlink(missing_ok=True)  # that of an earlier report
        if section and section.image:
            path.write_bytes(section.image.png)
    write_json(folder / "metrics.json", {**findings.facts, **measures(confusion, labels)})
    path = folder / "report.html"
    write_page(path, Page(findings.title, findings.text, scores(confusion), sections))
    return path


def training_section(curves: Mapping[str, Curve]) -> Section | None:
    """How the training went; None if the run has logged neither loss nor mIoU."""
    figure = training_curves(curves)
    if figure is None:
        return None
    return Section("Training", "The run that gave these weights.", image=plot(figure, "Loss and mIoU over the epochs"))
