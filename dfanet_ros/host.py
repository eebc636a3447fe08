"""What stands before and after the network, on the CPU: OpenCV and NumPy, frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfanet_ros.checkpoint import WeightsInfo
from dfanet_ros.engines.torch import numpy_view
from dfanet_ros.frame import Frame
from dfanet_ros.label_set import UNLABELLED
from dfanet_ros.memory import keep_freed_memory
from dfanet_ros.network.base import label_grid
from dfanet_ros.pixels import blend, paint, resize_confidence, resize_frame, resize_labels
from dfanet_ros.style import Style
from dfanet_ros.upsampling import upsampled_argmax, upsampled_confidence


@dataclass(frozen=True, eq=False)
class HostSegmentation:
    """The result for one frame; what is asked for is computed then, label map and colours only once.

    Attributes:
        ids: class ids at the frame's size, (H, W) uint8.
        logits: coarse ones of the network, (classes, h, w) float32; kept for the confidence.
        logits_stride: of the network.
        input_size: (height, width) that the network got.
        frame: that all this is about.
        style: to be shown in.
    """

    ids: NDArray[np.uint8]
    logits: Tensor
    logits_stride: int
    input_size: tuple[int, int]
    frame: Frame
    style: Style

    def styled(self, style: Style) -> HostSegmentation:
        """The same result in another style."""
        return replace(self, style=style)

    @cached_property
    def label_map(self) -> NDArray[np.uint8]:
        """See `dfanet_ros.segmenter.Segmentation`."""
        if self.style.shows_all:
            return self.ids
        return cv2.LUT(self.ids, self.style.kept_ids).astype(np.uint8, copy=False)

    def color_mask(self) -> NDArray[np.uint8]:
        """See `dfanet_ros.segmenter.Segmentation`."""
        return self._colors

    def overlay(self, opacity: float) -> NDArray[np.uint8]:
        """See `dfanet_ros.segmenter.Segmentation`."""
        image = self.frame.rgb()
        blended = blend(image, self._colors, opacity)
        if self._unlabelled is not None:
            cv2.copyTo(image, self._unlabelled, blended)
        return blended

    def confidence(self) -> NDArray[np.uint8]:
        """See `dfanet_ros.segmenter.Segmentation`.

        By `upsampled_confidence`; from the network's input it is brought to the frame's size bilinearly.
        """
        height, width = self.input_size
        enlarged = upsampled_confidence(self.logits, self.logits_stride)
        confidence = resize_confidence(enlarged[:height, :width], self.frame.size)
        return confidence if self._unlabelled is None else confidence * (1 - self._unlabelled)

    @cached_property
    def _colors(self) -> NDArray[np.uint8]:
        return paint(self.ids, self.style.colors)

    @cached_property
    def _unlabelled(self) -> NDArray[np.uint8] | None:
        """1 where the label map is 255, else 0, (H, W); None where it is so nowhere."""
        if self.label_map.max() < UNLABELLED:
            return None
        return (self.label_map == UNLABELLED).view(np.uint8)


class HostPipeline:
    """Frames to the network's input, and its logits to results.

    Args:
        info: of the weights: normalisation and colours.
        input_size: (height, width) that the network gets.
        logits_stride: of the network, an even number.
        dtype: of the images for the network.
    """

    def __init__(
        self, info: WeightsInfo, input_size: tuple[int, int], logits_stride: int, dtype: torch.dtype = torch.float32
    ) -> None:
        keep_freed_memory()
        self.input_size = input_size
        self.logits_stride = logits_stride
        self.style = Style.of(info.labels)
        values = np.arange(256, dtype=np.float32) / 255
        table = (values[:, None] - np.array(info.mean)) / np.array(info.std)
        self._dtype = dtype
        self._table = numpy_view(torch.from_numpy(table).to(dtype))[None]  # (1, 256, 3), as OpenCV wants it

    def prepare(self, frames: Sequence[Frame]) -> Tensor:
        """Resized and normalised RGB, (N, 3, H, W), channels last in memory, as most engines compute."""
        batch = np.empty((len(frames), *self.input_size, 3), self._table.dtype)
        for image, frame in zip(batch, frames, strict=True):
            resized = Frame(resize_frame(frame.pixels, self.input_size), frame.encoding)
            cv2.LUT(resized.rgb(), self._table, dst=image)
        return torch.from_numpy(batch).view(self._dtype).permute(0, 3, 1, 2)

    def finish(self, coarse_logits: Tensor, frames: Sequence[Frame]) -> list[HostSegmentation]:
        """Results at each frame's size, of the network's coarse logits (N, classes, h, w)."""
        results = []
        for logits, frame in zip(coarse_logits.float().contiguous(), frames, strict=True):
            stride, (height, width) = label_grid(self.logits_stride, self.input_size, frame.size)
            ids = resize_labels(upsampled_argmax(logits, stride)[:height, :width], frame.size)
            results.append(HostSegmentation(ids, logits, self.logits_stride, self.input_size, frame, self.style))
        return results
