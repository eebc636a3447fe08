"""The segmentation node with an error in one of its steps, once: for what cannot be made to fail from outside.

python test/failing_node.py STEP --ros-args ...    STEP: a method of Camera, Outputs or Segmenter, e.g. Outputs.destroy
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # where `dfanet_ros` lies

from dfanet_ros.camera import Camera
from dfanet_ros.outputs import Outputs
from dfanet_ros.segmentation_node import main
from dfanet_ros.segmenter import Segmenter


def fail_once(owner: type[Any], method: str) -> None:
    """Have the method raise an error at its first call."""
    original = getattr(owner, method)

    def failing(*arguments: Any, **named: Any) -> Any:
        setattr(owner, method, original)
        raise RuntimeError(f"{owner.__name__}.{method} fails for once")

    setattr(owner, method, failing)


if __name__ == "__main__":
    owner, _, method = sys.argv.pop(1).partition(".")
    fail_once({"Camera": Camera, "Outputs": Outputs, "Segmenter": Segmenter}[owner], method)
    main()
