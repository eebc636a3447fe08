"""A picture of some frames and what the node made of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.demo.bag import read_messages
from dfanet_ros.demo.frames import Sample
from dfanet_ros.demo.session import COLOR_MASK, OVERLAY, Exchange
from dfanet_ros.label_set import UNLABELLED, Label, LabelSet
from dfanet_ros.pixels import paint
from dfanet_ros.serialized import pixels_of, stamp_of

Picture = NDArray[np.uint8]  # RGB (H, W, 3)
Color = tuple[int, int, int]

MOST_ROWS = 5
PICTURE = 480  # width of each picture in pixels
MARGIN, GAP = 32, 12
LINE = 40  # height of a line of text
SWATCH = 18
BACKGROUND: Color = (250, 250, 250)
BLANK: Color = (225, 225, 225)
INK: Color = (40, 40, 40)


def write_contact_sheet(
    path: Path, exchanges: Sequence[Exchange], frames: Sequence[Sample], recorded: Path, labels: LabelSet
) -> None:
    """Draw frames, evenly spread over those that came back, with their masks, overlays and labels."""
    stamps = [{stamp_of(message) for message in read_messages(recorded, topic)} for topic in (COLOR_MASK, OVERLAY)]
    complete = [exchange for exchange in exchanges if all(exchange.sent in known for known in stamps)]
    spread = np.linspace(0, len(complete) - 1, min(MOST_ROWS, len(complete))).round().astype(int)
    chosen = {complete[index].sent: frames[complete[index].number] for index in spread}

    pictures: dict[int, list[Picture | None]] = {stamp: [image] for stamp, (image, _) in chosen.items()}
    for topic in (COLOR_MASK, OVERLAY):
        for message in read_messages(recorded, topic):
            if stamp_of(message) in chosen:
                pictures[stamp_of(message)].append(pixels_of(message))
    columns = ["frame", "mask", "overlay"]
    legend = list(labels.labels)
    truths = {stamp: label for stamp, (_, label) in chosen.items()}
    if any(truth is not None for truth in truths.values()):
        columns.append("label")
        for stamp, truth in truths.items():
            pictures[stamp].append(None if truth is None else paint(truth, labels.palette()))
        if any(truth is not None and (truth == UNLABELLED).any() for truth in truths.values()):
            legend.append(Label("unlabelled", (0, 0, 0)))
    sheet = draw_sheet(columns, list(pictures.values()), legend)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def draw_sheet(columns: Sequence[str], rows: Sequence[Sequence[Picture | None]], legend: Sequence[Label]) -> Picture:
    """Rows of pictures under the names of their columns, and the legend below; None is a blank."""
    width = 2 * MARGIN + len(columns) * (PICTURE + GAP) - GAP
    heights = [_height(row) for row in rows]
    lines = _legend_lines(legend, width - 2 * MARGIN)
    height = 2 * MARGIN + LINE + sum(heights) + GAP * len(rows) + LINE * len(lines)
    sheet = np.full((height, width, 3), BACKGROUND, np.uint8)

    lefts = [MARGIN + number * (PICTURE + GAP) for number in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        _write(sheet, name, left, MARGIN, scale=0.9)
    top = MARGIN + LINE
    for row, row_height in zip(rows, heights, strict=True):
        for left, picture in zip(lefts, row, strict=True):
            sheet[top : top + row_height, left : left + PICTURE] = (
                BLANK if picture is None else _fitted(picture, (PICTURE, row_height))
            )
        top += row_height + GAP
    for line in lines:
        for left, label in line:
            middle = top + LINE // 2
            corners = (MARGIN + left, middle - SWATCH // 2), (MARGIN + left + SWATCH, middle + SWATCH // 2)
            cv2.rectangle(sheet, *corners, label.color, cv2.FILLED)
            _write(sheet, label.name, MARGIN + left + SWATCH + 8, top, scale=0.65)
        top += LINE
    return sheet


def _height(row: Sequence[Picture | None]) -> int:
    """Of the row's pictures at the width of a column; they are all of one size."""
    height, width = next(picture.shape[:2] for picture in row if picture is not None)
    return max(1, round(height * PICTURE / width))


def _fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    method = cv2.INTER_AREA if picture.shape[1] > PICTURE else cv2.INTER_NEAREST
    return cv2.resize(picture, size, interpolation=method).astype(np.uint8, copy=False)


def _legend_lines(legend: Sequence[Label], width: int) -> list[list[tuple[int, Label]]]:
    """The entries, broken into lines, each with its distance from the left."""
    lines: list[list[tuple[int, Label]]] = [[]]
    left = 0
    for label in legend:
        needed = SWATCH + 8 + _text_size(label.name, 0.65)[0]
        if left + needed > width and lines[-1]:
            lines.append([])
            left = 0
        lines[-1].append((left, label))
        left += needed + 28
    return lines


def _text_size(text: str, scale: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return width, height


def _write(sheet: Picture, text: str, left: int, top: int, scale: float) -> None:
    """Text in the middle of the line that begins at `top`."""
    baseline = top + (LINE + _text_size("x", scale)[1]) // 2
    cv2.putText(sheet, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
