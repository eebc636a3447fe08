"""Processes that are started for nodes end with the one that started them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SLEEPS = "import time; print('begun', flush=True); time.sleep(60)"
STARTS_IT = """
import os, sys, time
from pathlib import Path
from dfanet_ros.node_process import ModuleProcess, prepare_process
prepare_process()
with ModuleProcess("the sleeper", "sleeper", Path(sys.argv[1])) as process:
    while "begun" not in process.log.read_text():
        time.sleep(0.02)
    print("started", flush=True)
    time.sleep(60)
"""


def started(folder: Path, *before: str) -> subprocess.Popen[str]:
    """A process that has started a sleeper."""
    (folder / "sleeper.py").write_text(SLEEPS)
    process = subprocess.Popen(
        [*before, sys.executable, "-c", STARTS_IT, str(folder / "log")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT)))},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def children(process: subprocess.Popen[str]) -> list[Path]:
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [Path("/proc", child) for child in listed.split()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_process_ends_what_it_has_started(tmp_path: Path, number: signal.Signals) -> None:
    with started(tmp_path) as process:
        (child,) = children(process)
        process.send_signal(number)
        process.wait(20)
    assert not child.exists()


def test_nohup_makes_it_deaf_to_the_end_of_the_terminal(tmp_path: Path) -> None:
    with started(tmp_path, "nohup") as process:
        (child,) = children(process)
        ignored = re.search(r"SigIgn:\s+(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        assert ignored and int(ignored[1], 16) & 1 << signal.SIGHUP - 1
        process.terminate()
        process.wait(20)
    assert not child.exists()
