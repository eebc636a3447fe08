"""Pairs of an image file and a label file, and the ways in which a label file tells classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.image_files import ImageFileError, read_image, read_label
from dfanet_ros.label_set import UNLABELLED, LabelSet

Ids = NDArray[np.uint8]  # (H, W)
Sample = tuple[NDArray[np.uint8], Ids]  # RGB (H, W, 3) and ids (H, W)
Color = tuple[int, int, int]  # red, green, blue; 0..255
Decoder = Callable[[Path], Ids]


class Labelled(Sequence[Sample]):
    """Images with their ids, and the classes that these are of."""

    @property
    @abstractmethod
    def labels(self) -> LabelSet: ...


class LabelledFiles(Labelled):
    """Images with labels in files, read when they are asked for.

    Args:
        pairs: the image file and the label file of each.
        labels: the classes.
        decode: reads a label file as ids (H, W) uint8.

    Raises:
        ImageFileError: a file is missing. Reading one may raise it too.
    """

    def __init__(self, pairs: Iterable[tuple[Path, Path]], labels: LabelSet, decode: Decoder) -> None:
        self.pairs = list(pairs)
        self._labels = labels
        self.decode = decode
        for image, label in self.pairs:
            for kind, path in (("image", image), ("label", label)):
                if not path.is_file():
                    raise ImageFileError(f"the {kind} {path} is missing")

    @property
    def labels(self) -> LabelSet:
        return self._labels

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # slices are not needed
        """The image RGB (H, W, 3) uint8 and its ids (H, W) uint8."""
        image_path, label_path = self.pairs[index]
        image, ids = read_image(image_path), self.decode(label_path)
        if image.shape[:2] != ids.shape:
            raise ImageFileError(f"{image_path} is {image.shape[:2]} but its label {label_path} is {ids.shape}")
        return image, ids


class IdDecoder:
    """Reads label files of one channel, whose values stand for classes as `ids` says; 255 stays unlabelled.

    Args:
        ids: the class's id by the value in the file.
        read: reads the file's values (H, W) uint8.
    """

    def __init__(self, ids: Mapping[int, int], read: Decoder = read_label) -> None:
        self.read = read
        self.known = sorted(ids)
        self.table = np.full(256, UNLABELLED, np.uint8)
        self.table[self.known] = [ids[value] for value in self.known]

    def __call__(self, path: Path) -> Ids:
        values = self.read(path)
        present = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
        unknown = np.setdiff1d(present, [*self.known, UNLABELLED])
        if len(unknown):
            first, last = self.known[0], self.known[-1]
            unused = ", ".join(map(str, sorted({*range(first, last)} - {*self.known})))
            without = f" without {unused}" if unused else ""
            raise ImageFileError(f"the label {path} has id {unknown[0]}, but the classes are {first}..{last}{without}")
        return cv2.LUT(values, self.table).astype(np.uint8, copy=False)


def plain_ids(labels: LabelSet) -> IdDecoder:
    """For label files whose values are the ids."""
    return IdDecoder({number: number for number in range(len(labels))})


def read_grey(path: Path) -> Ids:
    """A label (H, W) uint8 whose palette may be grey (index i looks like (i, i, i)), where OpenCV gives no indices."""
    image = read_image(path)
    if (image != image[..., :1]).any():
        raise ImageFileError(f"the label {path} has colours; it should be 8 bits of one channel (ids)")
    return np.ascontiguousarray(image[..., 0])


class ColorDecoder:
    """Reads label files in colour, or with a palette, where `ids` says whose colour it is."""

    def __init__(self, ids: Mapping[Color, int]) -> None:
        codes = {red << 16 | green << 8 | blue: number for (red, green, blue), number in ids.items()}
        self.codes = np.array(sorted(codes), np.int32)
        self.ids = np.array([codes[code] for code in sorted(codes)], np.uint8)

    def __call__(self, path: Path) -> Ids:
        image = read_image(path)
        codes = image.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
        position = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
        unknown = np.argwhere(self.codes[position] != codes)
        if len(unknown):
            row, column = unknown[0]
            color = tuple(image[row, column].tolist())
            raise ImageFileError(f"the label {path} has the colour {color}, which is no class's")
        return self.ids[position]
