"""How processes end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

HANGS = """
import ctypes
from dfanet_ros.interruption import taking_down
with taking_down(1):
    ctypes.PyDLL(None).sleep(60)  # with Python's lock held
"""
ENDS = """
import time
from dfanet_ros.interruption import taking_down
with taking_down(1):
    pass
time.sleep(1.5)
"""


@pytest.mark.parametrize(("program", "code"), [(HANGS, -signal.SIGALRM), (ENDS, 0)])
def test_what_hangs_while_ros_is_taken_down_is_ended(program: str, code: int) -> None:
    start = time.monotonic()
    assert subprocess.run([sys.executable, "-c", program], timeout=50).returncode == code
    assert time.monotonic() - start > 1


def test_the_alarm_that_was_set_before_stays() -> None:
    program = "import signal; from dfanet_ros.interruption import taking_down; signal.alarm(50)\n"
    program += "before = signal.signal(signal.SIGALRM, print)\nwith taking_down(1):\n    pass\n"
    program += "assert signal.getsignal(signal.SIGALRM) is print and 45 < signal.alarm(0) <= 50"
    subprocess.run([sys.executable, "-c", program], timeout=50, check=True)
