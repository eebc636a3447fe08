"""Kernels that start while the one before them ends, and wait for it only before they read what it wrote.

What a start takes, from the launch to the first address, is then over when there is something to do. CUDA calls this
programmatic dependent launch; GPUs have it from compute capability 9.0 on.
"""

from __future__ import annotations

import inspect
import logging
from threading import Lock

import torch
import triton
import triton.language as tl

from dfanet_ros.kernels import reason

COUNT, PART = 2**20, 1024  # numbers in the check at start, and those of a program
TIMES = 10

LOG = logging.getLogger(__name__)
_lock = Lock()
_known: dict[int, bool] = {}  # by device


@triton.jit  # type: ignore[untyped-decorator]
def wait_for_the_one_before(WAITS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Has to stand before anything in a kernel that reads memory, other than weights, or writes to it.

    All that are launched in this way have to wait: what comes after one takes all that came before it to be done.
    """
    if WAITS:  # by hand: Triton 3.3 does not know the names that later ones have for it
        tl.inline_asm_elementwise("griddepcontrol.wait; // $0", "=r", [], tl.int32, is_pure=False, pack=1)
        tl.inline_asm_elementwise("griddepcontrol.launch_dependents; // $0", "=r", [], tl.int32, is_pure=False, pack=1)


def overlaps() -> bool:
    """Whether kernels are launched in this way on the current GPU; why not stands in the log."""
    if not torch.cuda.is_available():
        return False
    device = torch.cuda.current_device()
    with _lock:  # two threads must not capture the trial at once
        if device not in _known:
            _known[device] = _overlaps(device)
        return _known[device]


def _overlaps(device: int) -> bool:
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) < (9, 0):
        return False
    from triton.backends.nvidia.compiler import CUDAOptions  # here, for not every Triton has it

    if "launch_pdl" not in inspect.signature(CUDAOptions).parameters:  # from Triton 3.4 on
        return False
    try:
        problem = _problem(torch.device("cuda", device))
    except Exception as error:  # Triton's, the driver's: whatever it is, kernels can wait for one another
        problem = reason(error)
    if problem:
        LOG.warning(f"kernels do not start while the one before ends: {problem}")
    return not problem


def _problem(device: torch.device) -> str:
    """What is wrong with kernels that are launched so and captured, which drivers before CUDA 12.3 cannot do."""
    with torch.cuda.device(device):
        first, second = torch.zeros(2, COUNT, dtype=torch.int32, device=device)

        def add() -> None:
            for _ in range(TIMES):  # each program needs what another one wrote just before
                for x, y in ((first, second), (second, first)):
                    _add_one_kernel[(COUNT // PART,)](x, y, COUNT=COUNT, PART=PART, WAITS=True, launch_pdl=True)

        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            add()
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                add()
            graph.replay()
            right = bool((first == 4 * TIMES).all())
    return "" if right else "their results are wrong"


@triton.jit  # type: ignore[untyped-decorator]
def _add_one_kernel(x, y, COUNT: tl.constexpr, PART: tl.constexpr, WAITS: tl.constexpr):  # type: ignore[no-untyped-def]
    """What stands at the other end, and one."""
    wait_for_the_one_before(WAITS)
    place = tl.program_id(0) * PART + tl.arange(0, PART)
    tl.store(y + place, tl.load(x + COUNT - 1 - place) + 1)
