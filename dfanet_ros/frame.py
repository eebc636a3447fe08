"""A camera frame in memory, without ROS."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

# Where red, green and blue stand in each pixel layout that the segmenter reads in place.
RGB_CHANNELS = {
    "rgb8": (0, 1, 2),
    "bgr8": (2, 1, 0),
    "rgba8": (0, 1, 2),
    "bgra8": (2, 1, 0),
    "mono8": (0, 0, 0),
}
# Some 40 times as fast as indexing with `RGB_CHANNELS`, which a test holds equal.
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}


@dataclass(frozen=True)
class Frame:
    """One image of any size; its pixels may be a view on somebody else's bytes and are never written to.

    Attributes:
        pixels: (H, W, channels) uint8; rows may be padded.
        encoding: a key of `RGB_CHANNELS`.
    """

    pixels: NDArray[np.uint8]
    encoding: str = "rgb8"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def rgb_channels(self) -> tuple[int, int, int]:
        """Which channel is red, which green, which blue."""
        return RGB_CHANNELS[self.encoding]

    def rgb(self) -> NDArray[np.uint8]:
        """The frame as packed RGB (H, W, 3); a copy unless it is that already."""
        if self.encoding == "rgb8":
            return np.ascontiguousarray(self.pixels)
        return cv2.cvtColor(self.pixels, _TO_RGB[self.encoding]).astype(np.uint8, copy=False)
