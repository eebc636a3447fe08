"""Computations in a process of their own: what they give comes back, and so do errors; nothing is left behind."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from dfanet_ros.engines.apart import NICENESS, apart, interrupt


def about_me(text: str) -> bytes:
    print("this is not a part of the answer")
    atexit.register(time.sleep, 0.5)  # ending takes libraries some time
    return f"{text} {os.getpid()} {os.nice(0)}".encode()


def refuse(text: str) -> bytes:
    raise KeyError(text)


def be_killed() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


def last_long(pid_file: str) -> bytes:
    Path(pid_file).write_text(str(os.getpid()))
    time.sleep(60)
    return b""


def test_another_process_of_low_priority_computes() -> None:
    text, pid, niceness = apart(about_me, "hello").decode().split()
    assert text == "hello"
    assert int(pid) != os.getpid()
    assert int(niceness) == min(os.nice(0) + NICENESS, 19)


def test_errors_come_back() -> None:
    with pytest.raises(KeyError, match="what is wrong"):
        apart(refuse, "what is wrong")


def test_a_killed_process_is_said_to_be_killed() -> None:
    with pytest.raises(ValueError, match=r"was killed by signal 9: .* not enough memory"):
        apart(be_killed)


def test_without_processes_it_is_computed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert int(apart(about_me, "hello").split()[1]) == os.getpid()


def test_where_the_package_is_not_found_it_is_computed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert int(apart(about_me, "hello").split()[1]) == os.getpid()


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = f"from test_apart import *; apart(last_long, {str(pid_file)!r})"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    parent = subprocess.Popen([sys.executable, "-c", program], env=environment)
    until(lambda: pid_file.exists() and pid_file.read_text() != "", parent)
    child = Path("/proc") / pid_file.read_text()
    assert child.exists()
    parent.kill()
    parent.wait()
    until(lambda: not child.exists() or "Z" in (child / "stat").read_text().rpartition(")")[2])


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_is_interrupted_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    monkeypatch.setattr("dfanet_ros.engines.apart._interrupted", Event())
    pid_file = tmp_path / "pid"
    if when == "before":
        interrupt()
    else:
        Thread(target=lambda: (until(pid_file.exists), interrupt())).start()
    begun = time.monotonic()
    with pytest.raises(ValueError, match="was not prepared to its end, for this process was interrupted"):
        apart(last_long, str(pid_file))
    assert time.monotonic() - begun < 50


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None, seconds: float = 60.0) -> None:
    """Wait for it; fails if it does not come, or if the process ends before."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.05)
