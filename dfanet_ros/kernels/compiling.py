"""How often kernels are compiled, and that it does not take minutes."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from typing import Any

import triton

from dfanet_ros.kernels.overlapping import overlaps

_only_compiled: ContextVar[bool] = ContextVar("only_compiled", default=False)


def compiled_once(function: Callable[..., None]) -> Any:
    """`triton.jit` for kernels whose arguments change with the frames.

    By default, Triton compiles a kernel again for numbers that are 1 or multiples of 16, and for pointers that are.
    Frames of another size would then wait a second for the compiler, in the middle of a drive.
    """
    parameters = inspect.signature(function).parameters.values()
    names = [each.name for each in parameters if "constexpr" not in str(each.annotation)]
    return triton.jit(do_not_specialize=names)(function)


def interpreted() -> bool:
    """Whether kernels run on the CPU, by Triton's interpreter."""
    if hasattr(triton, "knobs"):
        return bool(triton.knobs.runtime.interpret)
    return os.environ.get("TRITON_INTERPRET") == "1"  # before 3.4


def launching(kernel: Any, grid: tuple[int, ...]) -> Callable[..., None]:
    """What `kernel[grid]` is, for a kernel that begins with `wait_for_the_one_before(WAITS)`.

    Within `compile_together` it is not run.
    """
    launch: Callable[..., None] = partial(kernel.warmup, grid=grid) if _only_compiled.get() else kernel[grid]
    # Older Tritons (3.3) do not know the option.
    return partial(launch, WAITS=True, launch_pdl=True) if overlaps() else partial(launch, WAITS=False)


def compile_together(calls: Iterable[Callable[[], object]]) -> None:
    """Compile the kernels that these calls launch (by `launching`), several at once, and run none.

    One after the other, those of a network take minutes. What goes wrong is not said here, but when it is called.
    """
    if interpreted() or not compiles_together():
        return
    with ThreadPoolExecutor(os.cpu_count()) as pool, triton.AsyncCompileMode(pool, ignore_errors=True):
        before = _only_compiled.set(True)
        try:
            for call in calls:
                with suppress(Exception):
                    call()
        finally:
            _only_compiled.reset(before)


def compiles_together() -> bool:
    """Whether this Triton can do so, and go on after a kernel that does not compile."""
    mode = getattr(triton, "AsyncCompileMode", None)
    return mode is not None and "ignore_errors" in inspect.signature(mode).parameters
