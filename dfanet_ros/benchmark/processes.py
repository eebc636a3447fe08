"""What processes take of the machine, from /proc (Linux)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # of the CPU times, in a second


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that the processes have had since their start, all cores, user and system."""
    return sum(_ticks(pid) for pid in pids) / TICKS


def _ticks(pid: int) -> int:
    # The name in brackets before may have spaces; user and system time are fields 14 and 15 of all.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def memory_mb(pids: Iterable[int], kind: str) -> float:
    """Memory in MB of the processes together.

    Args:
        kind: `Rss` counts what processes share for each of them, `Pss` once.
    """
    texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    matches = [re.search(rf"^{kind}: +(\d+) kB$", text, re.MULTILINE) for text in texts]
    return sum(int(match[1]) for match in matches if match) * 1024 / 1e6
