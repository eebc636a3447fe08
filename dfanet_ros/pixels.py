"""Images, ids and confidences in another size or in colours: OpenCV, with what this project means by each."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def resize_frame(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image at (height, width): bilinear, of the means over squares where it shrinks to half or less."""
    height, width, channels = pixels.shape
    side = min(height // size[0], width // size[1])
    if side >= 2:
        # Whole squares first: by INTER_AREA alone, whose areas would end within pixels, it takes four times as long.
        pixels = _resized(pixels, (height // side, width // side), cv2.INTER_AREA)
    return _resized(pixels, size, cv2.INTER_LINEAR).reshape(*size, channels)  # OpenCV drops the axis of a single one


def resize_labels(label_map: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Ids at (height, width): of the nearest pixel, by pixel centres, so that nothing shifts."""
    if label_map.shape == size:
        return np.ascontiguousarray(label_map)
    return cv2.resize(label_map, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False)


def _resized(pixels: NDArray[np.uint8], size: tuple[int, int], interpolation: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == size:
        return pixels
    return cv2.resize(pixels, size[::-1], interpolation=interpolation).astype(np.uint8, copy=False)


def resize_confidence(confidence: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Confidences (H, W) uint8 at (height, width), bilinear."""
    if confidence.shape == size:
        return np.ascontiguousarray(confidence)
    return cv2.resize(confidence, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8, copy=False)


def paint(label_map: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Ids (H, W) in the colours of a palette (256, 3): (H, W, 3) uint8."""
    return cv2.applyColorMap(label_map, palette[:, None, :]).astype(np.uint8, copy=False)


def blend(image: NDArray[np.uint8], colors: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """`opacity` of the colours over the rest of the image, both (H, W, 3) uint8."""
    return cv2.addWeighted(image, 1 - opacity, colors, opacity, 0).astype(np.uint8, copy=False)
