"""Memory that is freed stays with the process: frames do not fetch theirs from the system again and again."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

if not hasattr(ctypes.CDLL(None), "mallopt"):
    pytest.skip("the C library is not glibc", allow_module_level=True)

# Page faults a frame of a network whose largest tensors are larger than what glibc keeps by itself (32 MiB).
FAULTS = """
import resource, statistics, sys, threading
import torch

def faults():
    if sys.argv[1] == "kept":
        from dfanet_ros.memory import keep_freed_memory
        keep_freed_memory()
    torch.set_num_threads(1)
    with torch.inference_mode():
        image, layer = torch.zeros(1, 16, 512, 1024), torch.nn.Conv2d(16, 24, 3, padding=1, groups=8)
        counts = []
        for step in range(9):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            layer(torch.relu(image))
            counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    print(statistics.median(counts[2:]))  # now and then one more piece of memory is taken

thread = threading.Thread(target=faults)
(thread.run if sys.argv[2] == "main" else thread.start)()
"""


def faults(kept: str, thread: str, **environment: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, kept, thread],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return int(done.stdout)


@pytest.mark.parametrize("thread", ["main", "another"])
def test_memory_is_kept(thread: str) -> None:
    page = os.sysconf("SC_PAGESIZE")
    tensor = 4 * 16 * 512 * 1024 // page  # pages of the smaller of the two
    assert faults("given back", thread) > tensor, "else this test could not fail"
    assert faults("kept", thread) < tensor // 10


def test_what_the_user_chose_stays() -> None:
    assert faults("kept", "main", MALLOC_MMAP_THRESHOLD_="100000") > 4 * 16 * 512 * 1024 // os.sysconf("SC_PAGESIZE")
