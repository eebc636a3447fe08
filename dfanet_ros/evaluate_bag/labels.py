"""Where a frame's label comes from: a topic of the bag, or a folder of PNGs."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dfanet_ros.bags import BagError
from dfanet_ros.bags.reader import BagReader
from dfanet_ros.bags.storage import Message
from dfanet_ros.evaluate_bag.problems import Problems
from dfanet_ros.image_files import ImageFileError, read_label
from dfanet_ros.image_messages import BadImage, ids_from_message, stamp_of
from dfanet_ros.numbered import by_number

Ids = NDArray[np.uint8]  # (H, W)

STAMP_DIGITS = 10  # that a file's name has at least if it is a stamp in ns


class Labels(Protocol):
    """Labels of frames.

    Attributes:
        origin: where they are from, in words.
        count: how many there are.
    """

    origin: str
    count: int

    def of(self, number: int, stamp: int) -> Ids | None:
        """The ids of the frame with this number (from 0) and stamp (ns), 255 where unlabelled; None if it has none.

        Raises:
            ValueError: it has one that cannot be used.
        """


class TopicLabels:
    """Labels of a topic (mono8 or 8UC1), each for the frame of the same stamp.

    They are read beforehand and kept compressed, as they may come before or long after their frames. Labels that differ
    but have the same stamp are of no use: which of them is a frame's is not known.

    Args:
        bag: that they are in.
        topic: of type sensor_msgs/msg/Image.
        messages: of that topic, as the bag gives them.
        unusable: gets those that cannot be read.
    """

    def __init__(self, bag: BagReader, topic: str, messages: Iterable[Message], unusable: Problems) -> None:
        self.origin = f"topic {topic}"
        self._labels: dict[int, tuple[tuple[int, ...], bytes]] = {}  # size and compressed ids by stamp
        self._ambiguous: set[int] = set()  # stamps
        for number, (_, _, data) in enumerate(messages):
            try:
                message = bag.decoded(topic, data)
                ids = ids_from_message(message)
            except (BagError, BadImage) as error:
                unusable.add(f"label {number}", str(error))
            else:
                label = ids.shape, zlib.compress(ids.tobytes(), 1)
                stamp = stamp_of(message.header)
                if self._labels.setdefault(stamp, label) != label:
                    self._ambiguous.add(stamp)
        self.count = len(self._labels)

    def of(self, number: int, stamp: int) -> Ids | None:
        """See `Labels`."""
        if stamp not in self._labels:
            return None
        if stamp in self._ambiguous:
            raise ValueError("several labels have this stamp, and they differ: which one is the frame's is not known")
        size, packed = self._labels[stamp]
        return np.frombuffer(zlib.decompress(packed), np.uint8).reshape(size)


class FolderLabels:
    """PNGs of ids in a folder.

    Where all names are stamps in nanoseconds (whole numbers of at least ten digits), each is the label of the frame
    with that stamp. Else they are the labels of all frames, in the order of the numbers in their
    names.

    Args:
        folder: that they are in.
        frames: how many frames there are.

    Raises:
        ImageFileError: there is no such folder, it has no PNGs, or another number of them than there are frames.
    """

    def __init__(self, folder: Path, frames: int) -> None:
        if not folder.is_dir():
            raise ImageFileError(f"there is no folder {folder}")
        paths = sorted((path for path in folder.iterdir() if path.suffix.lower() == ".png"), key=by_number)
        if not paths:
            raise ImageFileError(f"there are no labels (.png) in {folder}")
        self.count = len(paths)
        self._by_stamp = all(path.stem.isdecimal() and int(path.stem) >= 10 ** (STAMP_DIGITS - 1) for path in paths)
        if self._by_stamp:
            self.origin = f"folder {folder}, by stamp"
            self._paths = {int(path.stem): path for path in paths}
        else:
            self.origin = f"folder {folder}, in the frames' order"
            self._paths = dict(enumerate(paths))
            if len(paths) != frames:
                raise ImageFileError(
                    f"there are {frames} frames, but {len(paths)} labels in {folder}: in the frames' order, there has "
                    "to be one for each; or name them by their frames' stamps in nanoseconds (1700000000100000000.png)"
                )

    def of(self, number: int, stamp: int) -> Ids | None:
        """See `Labels`."""
        path = self._paths.get(stamp if self._by_stamp else number)
        return None if path is None else read_label(path)
