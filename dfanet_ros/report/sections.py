"""The parts that a report on segmentation is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from dfanet_ros.label_set import UNLABELLED, LabelSet
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.pixels import blend, paint
from dfanet_ros.report.page import Image, Row, Section, Table
from dfanet_ros.report.pictures import NOT_LABELLED, WRONG, Ids, Picture, compare, encode_png, shrink, shrink_ids
from dfanet_ros.report.plots import confusion_map, iou_bars, png


@dataclass(frozen=True)
class ComparedFrame:
    """A frame to show.

    Attributes:
        caption: what is written above it.
        image: RGB (H, W, 3) uint8.
        truth: its ids (H, W) uint8, 255 where unlabelled.
        predicted: the segmenter's ids (H, W) uint8.
    """

    caption: str
    image: Picture
    truth: Ids
    predicted: Ids


def scores(confusion: ConfusionMatrix) -> Table:
    """The four measures, each with what it means."""
    rows = (
        ("mIoU", confusion.miou(), "mean over the classes of intersection / union of truth and prediction"),
        ("fIoU", confusion.frequency_weighted_iou(), "the same, each class weighted by its share of the pixels"),
        ("mean accuracy", confusion.mean_accuracy(), "mean over the classes of how many of its pixels were found"),
        ("pixel accuracy", confusion.pixel_accuracy(), "how many of all labelled pixels are right"),
    )
    return Table((), [(name, percent(value), meaning) for name, value, meaning in rows], words=(2,))


def class_section(confusion: ConfusionMatrix, labels: LabelSet) -> Section:
    """How well each class is found: bars from the best to the worst, and a table in the order of the classes."""
    total = confusion.counts.sum()
    shares = 100 * confusion.counts.sum(1) / total if total else np.full(len(labels), np.nan)
    rows = [
        (name, percent(iou), percent(accuracy), percent(share))
        for name, iou, accuracy, share in zip(labels.names, confusion.iou(), confusion.accuracy(), shares, strict=True)
    ]
    return Section(
        "Classes",
        "IoU: of the pixels that are of the class or are predicted so, how many are both. Accuracy: of the pixels that "
        "are of the class, how many are predicted so. Share: of all labelled pixels, how many are of the class.",
        table=Table(("class", "IoU", "accuracy", "share"), rows),
        image=plot(iou_bars(labels, confusion.iou()), "Bars: the IoU of each class"),
    )


def confusion_section(confusion: ConfusionMatrix, labels: LabelSet) -> Section:
    """What is taken for what."""
    return Section(
        "Confusions",
        "Each row is a true class and adds up to 100 %: where its pixels went. The diagonal is what was right.",
        image=plot(
            confusion_map(labels, confusion.counts),
            "Table in colours: true classes by predicted classes, in percent of the true class",
        ),
    )


def frames_section(heading: str, text: str, frames: Sequence[ComparedFrame], labels: LabelSet) -> Section:
    """Frames with truth, prediction and what is wrong side by side, and the colours that occur."""
    rows = []
    for frame in frames:
        pictures = compare(frame.image, frame.truth, frame.predicted, labels)
        images = [Image(encode_png(picture), f"{frame.caption}: {name}", name) for name, picture in pictures.items()]
        rows.append(Row(frame.caption, images))
    seen = {number for frame in frames for ids in (frame.truth, frame.predicted) for number in np.unique(ids).tolist()}
    legend = [label for number, label in enumerate(labels.labels) if number in seen]
    legend += [WRONG, NOT_LABELLED] if UNLABELLED in seen else [WRONG]
    return Section(heading, text, legend=legend, rows=rows)


def predictions_section(
    heading: str, text: str, frames: Sequence[tuple[str, Picture, Ids]], labels: LabelSet
) -> Section:
    """Frames, each with its caption, RGB and predicted ids; the prediction beside and over them."""
    rows = []
    for caption, image, predicted in frames:
        small, colors = shrink(image), paint(shrink_ids(predicted), labels.palette())
        pictures = {"frame": small, "prediction": colors, "overlay": blend(small, colors, 0.5)}
        images = [Image(encode_png(picture), f"{caption}: {name}", name) for name, picture in pictures.items()]
        rows.append(Row(caption, images))
    seen = {number for _, _, predicted in frames for number in np.unique(predicted).tolist()}
    legend = [label for number, label in enumerate(labels.labels) if number in seen]
    return Section(heading, text, legend=legend, rows=rows)


def plot(figure: Figure, description: str) -> Image:
    """A figure as a picture of the page, so large that its letters are those of the page."""
    return Image(png(figure), description, width=round(96 * figure.get_figwidth()))


def percent(value: float) -> str:
    """With two decimals, or a dash if there is nothing to measure."""
    return "–" if np.isnan(value) else f"{value:.2f} %"  # noqa: RUF001 (a dash is meant)
