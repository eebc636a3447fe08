"""The table of parameters: what is allowed and what is said of the rest."""

from __future__ import annotations

from typing import Any

import pytest

from dfanet_ros.engines import ENGINES
from dfanet_ros.engines.torch import DTYPES
from dfanet_ros.network import NETWORKS
from dfanet_ros.parameters import BACKBONES, PARAMETERS

TABLE = {parameter.name: parameter for parameter in PARAMETERS}


def test_choices_are_what_there_is() -> None:
    assert TABLE["outputs"].choices == tuple(TABLE["outputs"].default)
    assert TABLE["network"].choices == ("auto", *NETWORKS)
    assert {*BACKBONES} == {backbone for entry in NETWORKS.values() for backbone in entry.backbones}
    assert TABLE["backbone"].choices == ("auto", *BACKBONES)
    assert TABLE["precision"].choices == ("auto", *DTYPES)
    assert TABLE["engine"].choices == ("auto", *ENGINES)


@pytest.mark.parametrize("name", TABLE)
def test_defaults_are_allowed(name: str) -> None:
    parameter = TABLE[name]
    assert parameter.checked(parameter.default) == ([] if parameter.default == [""] else parameter.default)


@pytest.mark.parametrize(
    ("name", "value", "checked"),
    [
        ("overlay_opacity", 1, 1.0),
        ("overlay_opacity", 0, 0.0),
        ("image_topics", ("a", "b"), ["a", "b"]),
        ("input_height", 8192, 8192),
        ("autostart", False, False),
        ("class_filter", ["road", "car"], ["road", "car"]),
        ("class_filter", [], []),
        ("class_filter", [""], []),
        ("class_filter", None, []),
    ],
)
def test_allowed_values_come_in_the_parameters_type(name: str, value: Any, checked: Any) -> None:
    result = TABLE[name].checked(value)
    assert result == checked and type(result) is type(checked)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("overlay_opacity", 1.01, "parameter overlay_opacity is 1.01, but has to be a number from 0 to 1"),
        ("overlay_opacity", float("nan"), "is nan, but"),
        ("overlay_opacity", True, "is True, but"),
        ("input_height", 1.0, "is 1.0, but has to be a whole number from 0 to 8192"),
        ("input_width", 8193, "is 8193, but"),
        ("image_topics", [], r"is \[\], but has to be a list of strings, at least one"),
        ("image_topics", ["a", ""], r"is \['a', ''\], but"),
        ("image_topics", None, "is empty, but"),
        ("class_filter", ["road", ""], r"is \['road', ''\], but has to be a list of strings, which may be empty"),
        ("class_filter", "road", "is 'road', but"),
        ("outputs", [], "out of mask, color_mask, overlay, confidence, at least one"),
        ("outputs", ["mask", "depth"], r"is \['mask', 'depth'\], but"),
        ("autostart", 1, "is 1, but has to be true or false"),
        ("autostart", "false", "is 'false', but has to be true or false"),
        ("backbone", "XCEPTION_A", "is 'XCEPTION_A', but has to be one of auto, xception_a, xception_b"),
        ("weights", 5, "is 5, but has to be a string"),
    ],
)
def test_other_values_are_refused_with_a_sentence(name: str, value: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        TABLE[name].checked(value)
