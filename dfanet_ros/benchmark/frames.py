"""The frames of 720p that engines, segmenter and node are measured with."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.image_files import ImageFolder
from dfanet_ros.pixels import resize_frame
from dfanet_ros.street_scenes import StreetScenes

FRAME_SIZE = (720, 1280)


def frames(count: int, folder: Path | None) -> list[NDArray[np.uint8]]:
    """So many RGB images of `FRAME_SIZE`: a folder's, again from the first one if there are too few, or generated ones.

    Time depends on what is seen: label maps take the longer, the more borders there are between classes, and weights
    see borders everywhere in what they have not learnt.

    Raises:
        ImageFileError: the folder cannot be read.
    """
    if folder is None:
        return [image for image, _ in StreetScenes(count, *FRAME_SIZE, seed=1)]
    return [resize_frame(image, FRAME_SIZE) for image, _ in islice(cycle(ImageFolder(folder)), count)]
