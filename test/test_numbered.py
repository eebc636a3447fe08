"""Files are sorted by the numbers in their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from dfanet_ros.numbered import by_number


@pytest.mark.parametrize(
    "names",
    [
        ["0.png", "2.png", "10.png"],
        ["a_2_x.png", "a_10_b.png", "b_1.png"],
        ["01.png", "1.png", "02.png"],
        ["bag", "bag_0", "bag_9.mcap", "bag_10.mcap"],
        ["7.png", "seven.png", "x٣.png", "x².png"],  # a digit of another script is a number, a power is none
    ],
    ids=str,
)
def test_names_are_sorted_by_their_numbers_in_any_order(names: list[str]) -> None:
    for given in (names, names[::-1]):
        assert [path.name for path in sorted(map(Path, given), key=by_number)] == names
