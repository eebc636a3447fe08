"""The bag of results, to be played or looked at beside the one that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dfanet_ros.bags.images import IMAGE, image_bytes
from dfanet_ros.bags.writer import BagWriter
from dfanet_ros.segmenter import ENCODINGS, Segmentation, drawn
from dfanet_ros.topics import output_namespace


class SegmentedBag:
    """Results as the node publishes them: topics, headers and packed rows; received when their frames were.

    Args:
        path: the bag's folder.
        topic: of the images.
        outputs: which results, keys of `ENCODINGS`.
        opacity: of the overlay's colours, 0 to 1.

    Raises:
        BagError: something that is no bag is in the way.
    """

    def __init__(self, path: Path, topic: str, outputs: Sequence[str], opacity: float) -> None:
        self._topics = {name: f"{output_namespace(topic)}/{name}" for name in outputs}
        self._writer = BagWriter(path, dict.fromkeys(self._topics.values(), IMAGE), compress=True)
        self._opacity = opacity

    def __enter__(self) -> SegmentedBag:
        self._writer.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._writer.__exit__(*exception)

    def add(self, header: Any, received: int, result: Segmentation) -> None:
        """Write a frame's results."""
        for name, topic in self._topics.items():
            pixels = drawn(result, name, self._opacity)
            self._writer.write(topic, received, image_bytes(pixels, ENCODINGS[name], header))
