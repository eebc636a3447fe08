"""What every network here has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from dfanet_ros.network.layers import coarse_size, pad_to_multiple, upsample


class Network(nn.Module, ABC):
    """A network that gives coarse logits for images; the rest, any size and full size, is the same for all.

    Args:
        num_classes: channels of the output.
        options: all that the network is built from besides, for its weights file; `backbone` is one if it has any.
        stride: sizes are padded to multiples of it; a multiple of `logits_stride`.
        logits_stride: pixels to each side that one logit stands for; even.
        auxiliary_channels: of what auxiliary classifiers are trained on, see `outputs`.
        least_batch: images that a batch needs in training.

    Raises:
        ValueError: a number of classes that is not possible.
    """

    def __init__(
        self,
        num_classes: int,
        options: dict[str, Any],
        stride: int,
        logits_stride: int,
        auxiliary_channels: list[int],
        least_batch: int = 1,
    ) -> None:
        super().__init__()
        if not 1 <= num_classes <= 255:
            raise ValueError(f"num_classes is {num_classes}, but 8-bit masks hold 1 to 255 classes")
        self.num_classes = num_classes
        self.options = options
        self.stride = stride
        self.logits_stride = logits_stride
        self.auxiliary_channels = auxiliary_channels
        self.least_batch = least_batch

    @abstractmethod
    def outputs(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Coarse logits, and what auxiliary classifiers are trained on, for images of a multiple of `stride`.

        (N, 3, H, W) gives logits (N, num_classes, H / logits_stride, W / logits_stride) and features (N, C, h, w) with
        C as in `auxiliary_channels`.
        """

    def coarse_logits(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes, ceil(H / logits_stride), ceil(W / logits_stride)) for images (N, 3, H, W).

        Images are normalised RGB of any size; what is padded inside is cut off again.
        """
        rows, columns = coarse_size(images.shape[-2], images.shape[-1], self.logits_stride)
        logits, _ = self.outputs(pad_to_multiple(images, self.stride))
        return logits[:, :, :rows, :columns]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, num_classes, H, W) for normalised RGB images (N, 3, H, W) of any size."""
        height, width = images.shape[-2:]
        return enlarge_logits(self.coarse_logits(images), self.logits_stride)[:, :, :height, :width]


def enlarge_logits(coarse: Tensor, stride: int) -> Tensor:
    """Logits (N, C, h, w) at `stride` times the size, bilinear: what label maps are made of, by definition."""
    return upsample(coarse, (coarse.shape[-2] * stride, coarse.shape[-1] * stride))


def label_grid(stride: int, input_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """At which pixels the enlarged logits give classes: how many to a logit on each side, and (height, width) of all.

    They are the network's input's, from which the nearest goes to the frame's size; but where the input is the frame
    enlarged by a whole factor, they are the frame's own, between which the input's lie.

    Args:
        stride: of the logits, in pixels of the input; even.
        input_size: (height, width).
        size: of the frame.
    """
    factor = input_size[0] // size[0]
    if factor > 1 and (factor * size[0], factor * size[1]) == input_size and stride % (2 * factor) == 0:
        return stride // factor, size
    return stride, input_size
