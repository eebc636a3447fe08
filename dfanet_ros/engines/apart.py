"""Long computations in a process of their own and of low priority, so that this one goes on answering.

`python -m dfanet_ros.engines.apart` is that process: it gets a function and its arguments on its standard input and
writes what the function gives to its standard output, both pickled. It ends with the process that started it.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import Any

NICENESS = 10  # a tenth of what others get of a core that all want; at 19, a busy machine would never be done

_running: set[subprocess.Popen[bytes]] = set()
_interrupted = Event()


def apart(make: Callable[..., bytes], *arguments: Any) -> bytes:
    """What `make` gives for these arguments; computed here where no such process can be had.

    Args:
        make: a function of a module; what it raises is raised here.
        arguments: that can be pickled.

    Raises:
        ValueError: the process was killed, by `interrupt` or others; the sentence says so.
    """
    path = os.pathsep.join(folder or os.getcwd() for folder in sys.path)
    try:
        # Not in this session: Ctrl-C is for us.
        process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
    except OSError:  # processes are not allowed, or there is no memory for one
        return make(*arguments)
    assert process.stdin is not None and process.stdout is not None
    _running.add(process)
    if _interrupted.is_set():
        process.kill()
    with suppress(BrokenPipeError), process:  # a broken pipe: it has ended, see below
        pickle.dump((make, arguments), process.stdin)
        process.stdin.flush()  # not closed: at its end the process ends, too
        answer = process.stdout.read()
        process.wait()  # while its standard input is open
    _running.discard(process)
    if _interrupted.is_set():
        raise ValueError("the network was not prepared to its end, for this process was interrupted")
    if process.returncode < 0:
        raise ValueError(
            f"the process that prepares the network was killed by signal {-process.returncode}: if it was by the "
            "system (signal 9), there was not enough memory"
        )
    if process.returncode:  # it could not even begin, say because it does not find this package
        return make(*arguments)
    made, error = pickle.loads(answer)
    if error is not None:
        raise error
    return bytes(made)


def interrupt() -> None:
    """This process ends: what is computed apart is not waited for, now and from now on; `apart` raises ValueError."""
    _interrupted.set()
    for process in tuple(_running):
        process.kill()


def _main() -> None:
    os.nice(NICENESS)
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no part of it
    make, arguments = pickle.load(sys.stdin.buffer)
    Thread(target=_end_with_parent, daemon=True).start()
    made = error = None
    try:
        made = make(*arguments)
    except Exception as raised:
        error = raised
    with answer:
        pickle.dump((made, error), answer)


def _end_with_parent() -> None:
    os.read(0, 1)  # comes back when the other end of the pipe is closed
    os._exit(1)


if __name__ == "__main__":
    _main()
