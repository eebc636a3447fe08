"""What stands before and after the network, on the CPU: OpenCV and NumPy, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.frame import Frame
from dfanet_ros.network.dfanet import LOGITS_STRIDE


class HostSegmentation:
    """The result for one frame; colours are painted when they are asked for."""

    def __init__(self, label_map: NDArray[np.uint8], frame: Frame, palette: NDArray[np.uint8]) -> None:
        self.label_map = label_map
        self._frame = frame
        self._palette = palette

    def color_mask(self) -> NDArray[np.uint8]:
        """The classes in their colours, RGB (H, W, 3) uint8."""
        return paint(self.label_map, self._palette)

    def overlay(self, opacity: float) -> NDArray[np.uint8]:
        """The frame under its colour mask, RGB (H, W, 3) uint8; opacity 0 is the frame, 1 the mask."""
        return blend(self._frame.rgb(), self.color_mask(), opacity)


class HostPipeline:
    """Frames to the network's input, and its logits to label maps.

    Args:
        info: of the weights: normalisation and colours.
        input_size: (height, width) that the network gets.
    """

    def __init__(self, info: WeightsInfo, input_size: tuple[int, int]) -> None:
        self.input_size = input_size
        self.palette = info.labels.palette()
        values = np.arange(256, dtype=np.float32) / 255
        self._tables = [
            ((values - mean) / std).astype(np.float32) for mean, std in zip(info.mean, info.std, strict=True)
        ]

    def prepare(self, frames: Sequence[Frame]) -> Tensor:
        """Resized and normalised RGB, (N, 3, H, W) float32."""
        batch = np.empty((len(frames), 3, *self.input_size), np.float32)
        for planes, frame in zip(batch, frames, strict=True):
            resized = resize_frame(frame.pixels, self.input_size)
            for plane, channel, table in zip(planes, frame.rgb_channels, self._tables, strict=True):
                cv2.LUT(cv2.extractChannel(resized, channel), table, dst=plane)
        return torch.from_numpy(batch)

    def finish(self, coarse_logits: Tensor, frames: Sequence[Frame]) -> list[HostSegmentation]:
        """Label maps at each frame's size, of logits (N, classes, ceil(H / 4), ceil(W / 4))."""
        height, width = self.input_size
        results = []
        for logits, frame in zip(coarse_logits.float(), frames, strict=True):
            label_map = upsampled_argmax(logits)[:height, :width]
            results.append(HostSegmentation(resize_labels(label_map, frame.size), frame, self.palette))
        return results


def resize_frame(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """An image at (height, width): bilinear, or the mean over areas where it shrinks to half or less."""
    if pixels.shape[:2] == size:
        return pixels
    shrinks = pixels.shape[0] >= 2 * size[0] and pixels.shape[1] >= 2 * size[1]
    resized = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    # OpenCV drops the axis of a single channel.
    return resized.reshape(*size, pixels.shape[2]).astype(np.uint8, copy=False)


def resize_labels(label_map: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Ids at (height, width): of the nearest pixel, by pixel centres, so that nothing shifts."""
    if label_map.shape == size:
        return np.ascontiguousarray(label_map)
    return cv2.resize(label_map, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT).astype(np.uint8, copy=False)


def _corner_weights() -> NDArray[np.float32]:
    """How much each corner of a cell counts at each of the 4 x 4 pixels between the corners: (16, 4)."""
    across = (np.arange(LOGITS_STRIDE, dtype=np.float32) + 0.5) / LOGITS_STRIDE
    ends = np.stack([1 - across, across], 1)  # (4, 2): weights of the first and of the second end
    return np.einsum("ya,xb->yxab", ends, ends).reshape(LOGITS_STRIDE**2, 4)


_CORNER_WEIGHTS = torch.from_numpy(_corner_weights())


def upsampled_argmax(logits: Tensor) -> NDArray[np.uint8]:
    """Class ids of logits (classes, h, w) at four times the size: bilinear, then the largest, (4 h, 4 w) uint8.

    The pixels between four neighbouring logits are weighted means of these four. Where they agree on the class, so
    does every pixel between; only the other cells, along the borders of things, are interpolated.
    """
    ids = logits.argmax(0).to(torch.uint8).numpy()
    height, width = ids.shape
    corners = np.pad(ids, 1, mode="edge")  # pixels beyond the outermost logits take theirs
    first = corners[:-1, :-1]
    same = (first == corners[:-1, 1:]) & (first == corners[1:, :-1]) & (first == corners[1:, 1:])

    size = LOGITS_STRIDE * (height + 1), LOGITS_STRIDE * (width + 1)
    full = cv2.resize(first, size[::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    rows, columns = np.nonzero(~same)
    if rows.size:
        above, below = np.clip([rows - 1, rows], 0, height - 1) * width
        left, right = np.clip([columns - 1, columns], 0, width - 1)
        places = torch.from_numpy(np.stack([above + left, above + right, below + left, below + right]))
        at_corners = logits.flatten(1).index_select(1, places.flatten()).view(-1, 4, rows.size)  # (classes, 4, cells)
        between = torch.matmul(_CORNER_WEIGHTS, at_corners)  # (classes, 16, cells)
        mixed = between.argmax(0).to(torch.uint8).numpy()
        cells = full.reshape(height + 1, LOGITS_STRIDE, width + 1, LOGITS_STRIDE)
        cells[rows, :, columns, :] = mixed.T.reshape(-1, LOGITS_STRIDE, LOGITS_STRIDE)

    margin = LOGITS_STRIDE // 2
    return full[margin:-margin, margin:-margin]


def paint(label_map: NDArray[np.uint8], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Ids (H, W) in the colours of a palette (256, 3): (H, W, 3) uint8."""
    return cv2.applyColorMap(label_map, palette[:, None, :]).astype(np.uint8, copy=False)


def blend(image: NDArray[np.uint8], colors: NDArray[np.uint8], opacity: float) -> NDArray[np.uint8]:
    """`opacity` of the colours over the rest of the image, both (H, W, 3) uint8."""
    return cv2.addWeighted(image, 1 - opacity, colors, opacity, 0).astype(np.uint8, copy=False)
