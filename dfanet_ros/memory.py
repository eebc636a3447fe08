"""The C library's memory: kept for the next frame instead of being given back after each."""

from __future__ import annotations

import ctypes
import os
from functools import cache

# Of glibc's malloc.h, and the largest values that it takes where size does not matter.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3
MIB = 2**20
KEPT = {
    MMAP_THRESHOLD: 1024 * MIB,  # smaller blocks come from what is kept
    TRIM_THRESHOLD: 2048 * MIB - 1,  # of it, free at its end
    TOP_PAD: 64 * MIB,  # the whole part that a thread takes at once; it is address space until it is used
}


@cache
def keep_freed_memory() -> None:
    """Let glibc keep what this process frees, for what it allocates next; once, from any thread.

    By default, large blocks go back to the system when they are freed, and come again as pages that the system fills
    with zeros one by one, when they are first written to. PyTorch does not keep its tensors' memory on the CPU: a frame
    of 512 x 1024 through DFANet A took 11,000 such page faults, and they up to 40 % of its time (docs/performance.md).

    What the user chose by one of glibc's variables, MALLOC_..., stays; other C libraries stay as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    for option, value in KEPT.items():
        mallopt(option, value)
