"""Errors of the disk name the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfanet_ros.report.measures import write_json
from dfanet_ros.writing import writing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux alone has /dev/full")
def test_full_disk_is_named() -> None:
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        write_json(Path("/dev/full"), {"frames": 1})


@pytest.mark.parametrize(
    "error", [OSError("in words"), FileNotFoundError(2, "No such file", "/another"), ValueError("another")], ids=str
)
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, writing(Path("/this")):
        raise error
    assert caught.value is error
