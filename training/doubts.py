"""What a run can start with but is hardly meant, in sentences."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.label_set import LabelSet
from training.config import Config

SQUEEZED = 1.2  # by how much height and width may be resized differently without a word
AROUND = (0.6, 2.0)  # the proposed scale, as a multiple of the size that is evaluated: that of configs/camvid.yaml


def scale_doubts(config: Config, frame_size: tuple[int, int]) -> list[str]:
    """Whether the network is trained on frames as large as those that it is evaluated on.

    Args:
        config: of the run.
        frame_size: (height, width) in pixels of the frames that are trained on.
    """
    height, width = (given / own for given, own in zip(config.input_size, frame_size, strict=True))
    sizes = f"input_size is {list(config.input_size)} and the first frame is {list(frame_size)}"
    doubts = []
    smallest, largest = config.scale
    if not smallest <= min(height, width) <= max(height, width) <= largest:
        proposed = [round(factor * math.sqrt(height * width), 2) for factor in AROUND]
        doubts.append(
            f"{sizes}: frames are evaluated at {height:.2f} of their height and {width:.2f} of their width, but "
            f"trained on at {smallest} to {largest}. Choose a scale that has both in it, like {proposed}."
        )
    if max(height, width) > SQUEEZED * min(height, width):
        doubts.append(
            f"{sizes}: evaluation and node squeeze frames to another shape than they are trained on in. Choose an "
            "input_size of the frames' ratio of height to width."
        )
    return doubts


def class_doubts(shares: NDArray[np.float64], labels: LabelSet, name: str) -> list[str]:
    """Whether each class is there to be learnt.

    Args:
        shares: (C,) of the labelled pixels.
        labels: the classes.
        name: of what is trained on.
    """
    absent = [labels.names[number] for number in np.flatnonzero(shares == 0)]
    if not absent:
        return []
    return [
        f"no pixel of {name} is labelled as {', '.join(absent)}, which cannot be learnt so. The values in a label file "
        f"are ids, 0..{len(labels) - 1}, and 255 is unlabelled: of a mask in black and white, white counts as nothing."
    ]
