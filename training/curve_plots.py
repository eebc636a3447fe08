"""How a training went, drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dfanet_ros.report.plots import BLUE, DOTS_PER_INCH, INK, MOST_MARKED, RED, SMALL, TEXT, WIDTH
from training.curves import LOSSES, VAL_MIOU, Curve


def training_curves(curves: Mapping[str, Curve]) -> Figure | None:
    """Loss and mIoU on val over the epochs, one above the other; None if the run has logged neither."""
    loss = next((curves[name] for name in LOSSES if name in curves and curves[name].epochs.size), None)
    miou = curves.get(VAL_MIOU)
    panels = [
        (curve, name, color)
        for curve, name, color in ((loss, "training loss", RED), (miou, "mIoU on val in percent", BLUE))
        if curve is not None and curve.epochs.size
    ]
    if not panels:
        return None
    figure = Figure((WIDTH, 0.6 + 2.3 * len(panels)), DOTS_PER_INCH, layout="constrained", facecolor="white")
    grid = figure.subplots(len(panels), 1, sharex=True, squeeze=False)
    for axes, (curve, name, color) in zip(grid[:, 0], panels, strict=True):
        marker = "." if len(curve.epochs) <= MOST_MARKED else ""
        axes.plot(curve.epochs, curve.values, color=color, linewidth=1.6, marker=marker, markersize=7)
        axes.set_ylabel(name, fontsize=TEXT)
        axes.grid(color="#e4e4e4", linewidth=0.8)
        axes.spines[["right", "top"]].set_visible(False)
        axes.tick_params(labelsize=SMALL + 1)
        if curve is miou and np.isfinite(curve.values).any():
            _mark_best(axes, curve)
    grid[-1, 0].set_xlabel("epoch", fontsize=TEXT)
    grid[-1, 0].xaxis.get_major_locator().set_params(integer=True)
    return figure


def _mark_best(axes: Axes, curve: Curve) -> None:
    """A dot and the value at the highest point."""
    best = int(np.nanargmax(curve.values))
    place = float(curve.epochs[best]), float(curve.values[best])
    axes.plot(*place, "o", color=BLUE, markersize=7, markerfacecolor="white", markeredgewidth=1.8)
    axes.margins(y=0.18)
    axes.annotate(
        f"best: {place[1]:.2f} in epoch {curve.epochs[best]}",
        place,
        xytext=(-6 if best > len(curve.epochs) / 2 else 6, 9),
        textcoords="offset points",
        ha="right" if best > len(curve.epochs) / 2 else "left",
        fontsize=SMALL + 1,
        color=INK,
    )
