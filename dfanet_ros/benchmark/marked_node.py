"""The segmentation node, which also prints when each step of its start is done.

    mark 1234567890 ROS initialised

The number is of `time.monotonic_ns`, which all processes share.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Any


def mark(step: str) -> None:
    """Say that a step is done, now."""
    print(f"mark {time.monotonic_ns()} {step}", flush=True)


def mark_after(owner: Any, name: str, step: str) -> None:
    """Let a function of a module or of a class say when it returns for the first time."""
    function: Callable[..., Any] = getattr(owner, name)
    done: list[str] = []

    @wraps(function)
    def marked(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        if not done:
            done.append(step)
            mark(step)
        return result

    setattr(owner, name, marked)


def main() -> None:
    """Run the node as it is."""
    mark("interpreter started")
    import rclpy

    mark("rclpy imported")
    from dfanet_ros import segmentation_node, segmenter
    from dfanet_ros.camera import Camera

    mark("PyTorch and the node imported")
    node = segmentation_node.SegmentationNode
    mark_after(rclpy, "init", "ROS initialised")
    mark_after(node, "__init__", "node made")
    mark_after(segmenter, "load_checkpoint", "weights loaded")
    mark_after(segmenter, "build_engine", "engine ready")
    mark_after(node, "_load", "network run once")
    mark_after(node, "_subscribe", "node active")
    mark_after(Camera, "_receive", "first image received")
    segmentation_node.main()


if __name__ == "__main__":
    main()
