"""Pictures of frames and of what was made of them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.host import paint, resize_frame, resize_labels
from dfanet_ros.label_set import UNLABELLED, Label, LabelSet

Picture = NDArray[np.uint8]  # RGB (H, W, 3)
Ids = NDArray[np.uint8]  # (H, W)

MOST_WIDTH = 640  # pixels; larger frames are shrunk, so that a report stays small enough to send
WRONG = Label("wrong", (230, 20, 50))
NOT_LABELLED = Label("unlabelled, does not count", (0, 0, 0))


def compare(image: Picture, truth: Ids, predicted: Ids, labels: LabelSet) -> dict[str, Picture]:
    """A frame, its truth, the prediction, and where the two differ; by the names of the pictures, all of one size.

    Raises:
        ValueError: frame, truth and prediction are not of one size.
    """
    sizes = image.shape[:2], truth.shape, predicted.shape
    if len(set(sizes)) > 1:
        raise ValueError(f"frame, label and prediction are {', '.join(map(str, sizes))}: they must be one size")
    height, width = truth.shape
    if width > MOST_WIDTH:
        size = max(1, round(height * MOST_WIDTH / width)), MOST_WIDTH
        image, truth, predicted = resize_frame(image, size), resize_labels(truth, size), resize_labels(predicted, size)
    palette = labels.palette()
    return {
        "frame": image,
        "truth": paint(truth, palette),
        "prediction": paint(predicted, palette),
        "wrong pixels": mark_wrong(image, truth, predicted),
    }


def mark_wrong(image: Picture, truth: Ids, predicted: Ids) -> Picture:
    """The frame in pale grey, with the pixels that are predicted wrong in the colour `WRONG`, unlabelled ones black."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    marked = cv2.merge([cv2.addWeighted(grey, 0.55, np.full_like(grey, 255), 0.45, 0)] * 3).astype(np.uint8, copy=False)
    marked[truth != predicted] = WRONG.color
    marked[truth == UNLABELLED] = NOT_LABELLED.color
    return marked


def encode_png(picture: Picture) -> bytes:
    """The picture as a PNG file."""
    _, file = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return file.tobytes()
