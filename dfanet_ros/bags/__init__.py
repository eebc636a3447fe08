"""rosbag2 bags without ROS: read, also what is left of damaged ones, and written."""

from __future__ import annotations

import importlib.util
import sys

MODULES = {"PyYAML": "yaml"}  # of packages that are imported by another name than they are installed by


class BagError(ValueError):
    """A bag, or a part of it, that cannot be used; the text says which and why."""


def require(command: str, *packages: str) -> None:
    """End with a sentence if a package that the command needs, by its name for pip, is not installed."""
    missing = [name for name in packages if importlib.util.find_spec(MODULES.get(name, name)) is None]
    if missing:
        sys.exit(f"error: {command} needs {' and '.join(missing)}: pip install {' '.join(missing)}")
