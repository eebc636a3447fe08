"""How the classes are shown: which of them, and in which colours."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.label_set import UNLABELLED, LabelSet


@dataclass(frozen=True, eq=False)
class Style:
    """Colours and a filter of classes. The arrays are not to be written to: make another style instead.

    Attributes:
        palette: colours by id, (256, 3) uint8 RGB; that of 255 (unlabelled) does not count, for it is never shown.
        shown: which ids are shown, (256,) bool; likewise.

    Raises:
        ValueError: an array of another shape or dtype.
    """

    palette: NDArray[np.uint8]
    shown: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name, array, shape, dtype in (
            ("palette", self.palette, (256, 3), np.uint8),
            ("shown", self.shown, (256,), np.bool_),
        ):
            if array.shape != shape or array.dtype != dtype:
                raise ValueError(
                    f"{name} has shape {array.shape} and dtype {array.dtype}, but has to be {shape}, {np.dtype(dtype)}"
                )

    @classmethod
    def of(cls, labels: LabelSet, ids: Collection[int] | None = None) -> Style:
        """The colours of a label set, and of its classes only those with these ids; None shows all."""
        shown = np.ones(256, np.bool_)
        if ids is not None:
            shown[[number for number in range(len(labels)) if number not in ids]] = False
        return cls(labels.palette(), shown)

    @cached_property
    def shows_all(self) -> bool:
        """Whether there is nothing to filter."""
        return bool(self.shown[:UNLABELLED].all())

    @cached_property
    def kept_ids(self) -> NDArray[np.uint8]:
        """By id, what the filter makes of it: the id itself, or 255 where it is not shown; (256,) uint8."""
        return np.where(self.shown, np.arange(256), UNLABELLED).astype(np.uint8)

    @cached_property
    def colors(self) -> NDArray[np.uint8]:
        """The palette with black for what is not shown, (256, 3) uint8 RGB."""
        return self.palette * (self.kept_ids != UNLABELLED)[:, None]
