"""The order of numbered files."""

from __future__ import annotations

import re
from pathlib import Path


def by_number(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts files by the numbers in their names, so that frame_10.png comes after frame_9.png."""
    # Every other part is a number; the name itself decides between 1 and 01.
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if number % 2 else (0, part) for number, part in enumerate(parts)], path.name
