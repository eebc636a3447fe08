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


def resident_mb(pids: Iterable[int]) -> float:
    """Memory in MB of the processes; what they share counts for each of them."""
    return sum(_mb(pid)["Rss"] for pid in pids)


def resident_together_mb(pids: Iterable[int]) -> float:
    """Memory in MB of the processes; what they share counts once: as much as the one that shares most has of it.

    Not the sum of `Pss`, which counts the less the more other processes map the same libraries.
    """
    sizes = [_mb(pid) for pid in pids]
    private = [size["Private_Clean"] + size["Private_Dirty"] for size in sizes]
    return sum(private) + max(size["Rss"] - own for size, own in zip(sizes, private, strict=True))


def _mb(pid: int) -> dict[str, float]:
    """All that Linux says of a process's memory."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(kb) * 1024 / 1e6 for name, kb in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}
