"""How often a kernel is compiled."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import triton


def compiled_once(function: Callable[..., None]) -> Any:
    """`triton.jit` for kernels whose arguments change with the frames.

    By default, Triton compiles a kernel again for numbers that are 1 or multiples of 16, and for pointers that are.
    Frames of another size would then wait a second for the compiler, in the middle of a drive.
    """
    parameters = inspect.signature(function).parameters.values()
    names = [each.name for each in parameters if "constexpr" not in str(each.annotation)]
    return triton.jit(do_not_specialize=names)(function)
