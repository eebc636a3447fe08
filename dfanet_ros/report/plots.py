"""Plots, as matplotlib figures that belong to nobody else: no pyplot, hence no display and no global state."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dfanet_ros.label_set import LabelSet

INK, FAINT, BLUE, RED = "#222222", "#8a8a8a", "#1f5fa8", "#b3261e"
TEXT, SMALL = 11, 9  # points
WIDTH = 6.4  # inches, so that a phone need not shrink a plot by much more than half
DOTS_PER_INCH = 144
MOST_NUMBERED = 25  # classes; with more, numbers in the cells would be too small to read
MOST_MARKED = 40  # epochs; with more, dots on a line would run together


def iou_bars(labels: LabelSet, iou: NDArray[np.float64], order: Literal["iou", "class"] = "iou") -> Figure:
    """A bar in its colour for each class, with the value beside it.

    Args:
        labels: the classes.
        iou: of each in percent, (classes,); NaN where it neither occurs nor is predicted.
        order: from the best class to the worst, or as in `labels`.
    """
    figure, axes = _class_bars(labels, iou, order == "iou", 100)
    if not np.isnan(iou).all():
        axes.axvline(float(np.nanmean(iou)), color=INK, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("IoU in percent (dashed: mean)", fontsize=TEXT)
    return figure


def share_bars(labels: LabelSet, shares: NDArray[np.float64]) -> Figure:
    """A bar in its colour for each class: its share of the pixels in percent, (classes,), from the largest on."""
    figure, axes = _class_bars(labels, shares, True, max(1.0, float(np.nanmax(shares, initial=0))))
    axes.set_xlabel("percent of the pixels", fontsize=TEXT)
    return figure


def _class_bars(labels: LabelSet, values: NDArray[np.float64], ranked: bool, top: float) -> tuple[Figure, Axes]:
    """Bars of percentages of at most `top`."""
    places = np.argsort(-values, kind="stable") if ranked else np.arange(len(labels))  # NaN comes last
    figure, axes = _figure(WIDTH, 1.1 + 0.34 * len(labels))
    for row, number in enumerate(places.tolist()):
        known = bool(np.isfinite(values[number]))
        if known:
            color = tuple(channel / 255 for channel in labels.labels[number].color)
            axes.barh(row, values[number], height=0.72, color=color, edgecolor=FAINT, linewidth=0.6)
        words = f"{values[number]:.1f}" if known else "not in these frames"
        left = values[number] if known else 0
        style: dict[str, Any] = {"fontsize": TEXT, "color": INK} if known else {"fontsize": SMALL, "color": FAINT}
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # over the dashed line
        axes.text(left + top / 100, row, words, va="center", bbox=box, **style)
    axes.set_yticks(range(len(labels)), [labels.names[number] for number in places], parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlim(0, 1.14 * top)  # room for the value beside the longest bar
    axes.tick_params(axis="y", length=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    return figure, axes


def confusion_map(labels: LabelSet, counts: NDArray[np.int64]) -> Figure:
    """What the pixels of each true class (row) are predicted as (column), in percent of the row.

    Args:
        labels: the classes.
        counts: pixels, (classes, classes). The row of a class that does not occur stays blank.
    """
    totals = counts.sum(1, keepdims=True)
    shares = np.divide(100 * counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    numbered = len(labels) <= MOST_NUMBERED
    cell, font = (0.5, TEXT - 1) if numbered else (0.19, SMALL - 2)  # inches, points
    longest = 0.09 * max(map(len, labels.names))  # inches
    figure, axes = _figure(cell * len(labels) + longest + 0.8, cell * len(labels) + longest + 0.8)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    if numbered:
        for (row, column), share in np.ndenumerate(shares):
            if np.isfinite(share):
                # The dot: not a single pixel.
                words = f"{share:.0f}" if share >= 0.5 else ("<1" if share else "·")
                color = "white" if share > 55 else (INK if share >= 0.5 else FAINT)
                axes.text(column, row, words, ha="center", va="center", fontsize=SMALL, color=color)
    else:
        bar = figure.colorbar(image, ax=axes, shrink=0.3, aspect=25, pad=0.02)
        bar.set_label("percent of the row", fontsize=TEXT)
        bar.outline.set_visible(False)
    places = range(len(labels))
    axes.set_xticks(places, labels.names, rotation=90, fontsize=font, parse_math=False)
    axes.set_yticks(places, labels.names, fontsize=font, parse_math=False)
    axes.set_xlabel("predicted", fontsize=TEXT)
    axes.set_ylabel("true", fontsize=TEXT)
    axes.tick_params(length=0)
    axes.spines[:].set_color("#cccccc")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DOTS_PER_INCH)
    return file.getvalue()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of this size in inches with one pair of axes."""
    figure = Figure((width, height), DOTS_PER_INCH, layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.tick_params(labelsize=TEXT)
    return figure, axes
