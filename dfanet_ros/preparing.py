"""What takes long when a network runs here for the first time, done before nodes are started."""

from __future__ import annotations

from pathlib import Path

from dfanet_ros.segmenter import load_segmenter


def prepare(weights: Path) -> None:
    """Load and run the network as a node with default parameters does, which then finds on disk what this has made.

    Nodes that look for each other on a busy machine, with LARGE_DATA, may never find the others.

    Raises:
        CheckpointError: the weights cannot be read.
        ValueError: the network cannot run here.
    """
    segmenter = load_segmenter(str(weights), engine="auto")
    segmenter.warm_up()
    segmenter.close()
