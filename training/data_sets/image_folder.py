"""Images sorted into folders by class, as ImageNet's usual layout has them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.image_files import IMAGE_SUFFIXES, ImageFileError, read_image


class ClassFolders(Sequence[tuple[NDArray[np.uint8], int]]):
    """<root>/<class>/*.{jpg,jpeg,png,bmp}: images RGB (H, W, 3) uint8, each with the number of its class.

    Classes are numbered in the order of their folders' names.

    Raises:
        ImageFileError: a folder is missing or has no images. Reading one may raise it too.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise ImageFileError(f"there is no folder {root} (it has a folder of images for each class)")
        self.classes = sorted(path.name for path in root.iterdir() if path.is_dir())
        if not self.classes:
            raise ImageFileError(f"there are no folders of classes in {root}")
        self.images: list[tuple[Path, int]] = []
        for number, name in enumerate(self.classes):
            # Suffixes in any case: ImageNet's are .JPEG.
            paths = sorted(path for path in (root / name).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
            if not paths:
                raise ImageFileError(f"there are no images ({', '.join(IMAGE_SUFFIXES)}) in {root / name}")
            self.images += [(path, number) for path in paths]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int]:  # type: ignore[override]  # no slices
        path, number = self.images[index]
        return read_image(path), number
