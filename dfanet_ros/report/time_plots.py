"""Plots of what was measured frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dfanet_ros.report.plots import BLUE, DOTS_PER_INCH, FAINT, INK, MOST_MARKED, SMALL, TEXT, WIDTH

SMOOTHED = 200  # frames; with more, a mean over neighbours is drawn over the single values
BINS = 40


@dataclass(frozen=True)
class Series:
    """A quantity over time.

    Attributes:
        name: of the quantity, with its unit.
        values: one for each time; NaN where there is none.
        mean: a level to mark, with what it is called; None for none.
        color: of the line.
    """

    name: str
    values: NDArray[np.float64]
    mean: tuple[str, float] | None = None
    color: str = BLUE


def over_time(seconds: NDArray[np.float64], series: Sequence[Series]) -> Figure:
    """Quantities over the same times (N,), one above the other."""
    figure = Figure((1.4 * WIDTH, 0.6 + 2.0 * len(series)), DOTS_PER_INCH, layout="constrained", facecolor="white")
    grid = figure.subplots(len(series), 1, sharex=True, squeeze=False)
    for axes, one in zip(grid[:, 0], series, strict=True):
        known = np.isfinite(one.values)
        times, values = seconds[known], one.values[known]
        many = len(values) > SMOOTHED
        marker = "." if len(values) <= MOST_MARKED else ""
        width, alpha = (0.6, 0.35) if many else (1.3, 1.0)
        axes.plot(times, values, color=one.color, linewidth=width, alpha=alpha, marker=marker, markersize=7)
        if many:
            axes.plot(times, _smoothed(values), color=one.color, linewidth=1.8)
        if one.mean and np.isfinite(one.mean[1]):
            axes.axhline(one.mean[1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
            place = (1.0, one.mean[1])
            words = f"{one.mean[0]} {one.mean[1]:.2f}"
            axes.annotate(
                words,
                place,
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=SMALL,
                color=INK,
            )
        axes.set_ylabel(one.name, fontsize=TEXT)
        axes.set_ylim(bottom=0)
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.spines[["right", "top"]].set_visible(False)
        axes.tick_params(labelsize=SMALL + 1)
    grid[-1, 0].set_xlabel("seconds from the first frame", fontsize=TEXT)
    return figure


def histogram(values: NDArray[np.float64], name: str, percentiles: Sequence[int]) -> Figure:
    """How often which value occurs, with some percentiles marked.

    Args:
        values: (N,), at least one, all finite.
        name: of the quantity, with its unit.
        percentiles: to be marked.
    """
    figure = Figure((WIDTH, 3.0), DOTS_PER_INCH, layout="constrained", facecolor="white")
    axes = figure.subplots()
    # A few slow frames, such as the first, would squeeze all others into one bar: they are counted in the last one.
    limit = min(float(values.max()), 3 * float(np.percentile(values, 99)))
    axes.hist(values.clip(max=limit), bins=BINS, color=BLUE, edgecolor="white", linewidth=0.4)
    top = axes.get_ylim()[1]
    for number, percentile in enumerate(percentiles):
        place = float(np.percentile(values, percentile))
        height = 1.22 - 0.08 * number  # one below the other, as they may be close together
        axes.vlines(min(place, limit), 0, height * top, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        words = f" p{percentile}: {place:.1f}"
        axes.text(min(place, limit), height * top, words, va="center", fontsize=SMALL + 1, color=INK)
    axes.set_xlabel(name, fontsize=TEXT)
    axes.set_ylabel("frames", fontsize=TEXT)
    axes.set_ylim(0, 1.3 * top)
    axes.margins(x=0.12)  # room for the words
    axes.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.spines[["right", "top"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(labelsize=SMALL + 1)
    return figure


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean over a fiftieth of all frames around each; at the ends, over those that there are."""
    window = np.ones(len(values) // 50 * 2 + 1)
    return np.convolve(values, window, "same") / np.convolve(np.ones(len(values)), window, "same")
