"""Images and labels in folders, without ROS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfanet_ros.numbered import by_number

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24  # the place of the byte that says how many bits a channel has


class ImageFileError(ValueError):
    """A file or folder that cannot be used; the text names it."""


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image file as RGB (H, W, 3) uint8."""
    image = _read(path, cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


def read_label(path: Path) -> NDArray[np.uint8]:
    """A label file (8-bit PNG of ids) as (H, W) uint8."""
    label = _read(path, cv2.IMREAD_UNCHANGED)
    with path.open("rb") as file:
        start = file.read(PNG_DEPTH + 1)
    # OpenCV enlarges the values of fewer bits: those of 1 bit to 0 and 255, which is unlabelled.
    if start.startswith(PNG_SIGNATURE) and start[PNG_DEPTH] < 8:
        raise ImageFileError(f"{path} has a bit depth of {start[PNG_DEPTH]}; a label is 8 bits of one channel (ids)")
    if label.dtype != np.uint8 or label.ndim != 2:
        raise ImageFileError(f"{path} is {label.dtype} of shape {label.shape}; a label is 8 bits of one channel (ids)")
    return label


def _read(path: Path, flags: int) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), flags)
    if image is None:
        raise ImageFileError(f"{path} is not an image that OpenCV can read")
    return image  # type: ignore[return-value]  # the caller looks at the type


class ImageFolder(Sequence[tuple[NDArray[np.uint8], "NDArray[np.uint8] | None"]]):
    """Images of a folder, in the order of the numbers in their names.

    Each is with its label, of the same name as PNG in another folder, or None.

    Raises:
        ImageFileError: a folder is missing, or there are no images. Reading one may raise it too.
    """

    def __init__(self, images: Path, labels: Path | None = None) -> None:
        for folder in (images, labels):
            if folder is not None and not folder.is_dir():
                raise ImageFileError(f"there is no folder {folder}")
        found = (path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        self.images = sorted(found, key=by_number)
        if not self.images:
            raise ImageFileError(f"there are no images ({', '.join(IMAGE_SUFFIXES)}) in {images}")
        self.labels = [labels / f"{path.stem}.png" if labels else None for path in self.images]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # slices are not needed
        """The image RGB (H, W, 3) uint8, and its ids (H, W) uint8 if there is a label."""
        image, path = read_image(self.images[index]), self.labels[index]
        if path is None or not path.is_file():
            return image, None
        label = read_label(path)
        if image.shape[:2] != label.shape:
            raise ImageFileError(f"{self.images[index]} is {image.shape[:2]} but its label {path} is {label.shape}")
        return image, label


def open_folder(images: Path, labels: Path | None = None) -> ImageFolder:
    """The images of a folder. With `labels` not given, those in `.../labels/val` go with `.../images/val` if there."""
    if labels is None:
        beside = _labels_beside(images.absolute())
        labels = beside if beside and beside.is_dir() else None
    return ImageFolder(images, labels)


def _labels_beside(images: Path) -> Path | None:
    parts = list(images.parts)
    if "images" not in parts:
        return None
    last = len(parts) - 1 - parts[::-1].index("images")
    return Path(*parts[:last], "labels", *parts[last + 1 :])
