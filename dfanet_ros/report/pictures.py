"""Pictures of frames and of what was made of them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.label_set import UNLABELLED, Label, LabelSet
from dfanet_ros.pixels import paint, resize_frame, resize_labels

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
        raise ValueError(f"frame, label and prediction are {', '.join(map(str, sizes))}: they must have the same size")
    image, truth, predicted = shrink(image), shrink_ids(truth), shrink_ids(predicted)
    palette = labels.palette()
    return {
        "frame": image,
        "truth": paint(truth, palette),
        "prediction": paint(predicted, palette),
        "wrong pixels": mark_wrong(image, truth, predicted),
    }


def shrink(image: Picture) -> Picture:
    """The frame, at most `MOST_WIDTH` wide."""
    return resize_frame(image, _shown_size(image)) if image.shape[1] > MOST_WIDTH else image


def shrink_ids(ids: Ids) -> Ids:
    """The ids of such a frame."""
    return resize_labels(ids, _shown_size(ids)) if ids.shape[1] > MOST_WIDTH else ids


def _shown_size(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    return max(1, round(pixels.shape[0] * MOST_WIDTH / pixels.shape[1])), MOST_WIDTH


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
