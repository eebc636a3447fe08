"""Classes by name, colours from text, JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.label_set import CAMVID, CITYSCAPES, STREET_SCENES, Label, LabelSet

SETS = [CAMVID, CITYSCAPES, STREET_SCENES]
values = st.integers(0, 255)
colors = st.tuples(values, values, values)
FORMS = {
    "hex": "{}=#{:02x}{:02x}{:02x}",
    "HEX": "{}=#{:02X}{:02X}{:02X}",
    "decimal": "{}={},{},{}",
    "spaces": " {} = {}, {} ,{} ",
}


@settings(max_examples=50, deadline=None, derandomize=True)
@given(labels=st.sampled_from(SETS), data=st.data())
def test_ids_stand_in_the_order_of_the_names(labels: LabelSet, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(labels) - 1)))
    assert labels.ids_of([labels.labels[number].name for number in ids]) == ids


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raod", r"^there is no class 'raod' \(did you mean 'road'\?\): the classes of camvid are sky, .*, bicyclist$"),
        ("CAR", r"there is no class 'CAR' \(did you mean 'car'\?\)"),
        ("zebra", "there is no class 'zebra': the classes of camvid are sky, building, pole, road, "),
        ("", "there is no class '': the classes of camvid are sky, "),
    ],
)
def test_unknown_classes_are_named(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        CAMVID.ids_of(["sky", name])
    if name:
        with pytest.raises(ValueError, match=says):
            CAMVID.with_colors([f"{name}=#000000"])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(labels=st.sampled_from(SETS), form=st.sampled_from(sorted(FORMS)), data=st.data())
def test_colors_are_those_of_the_entries(labels: LabelSet, form: str, data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(labels.names), colors)))
    changed = labels.with_colors([FORMS[form].format(name, *color) for name, color in chosen])
    assert changed.name == labels.name and changed.names == labels.names
    own = {label.name: label.color for label in labels.labels}
    assert {label.name: label.color for label in changed.labels} == own | dict(chosen)


def test_the_last_equals_sign_counts() -> None:
    labels = LabelSet("odd", (Label("speed=30", (0, 0, 0)),))
    assert labels.with_colors(["speed=30=#010203"]).labels == (Label("speed=30", (1, 2, 3)),)


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "road",
        "#804080",
        "=#804080",
        "road=",
        "road:#804080",
        "road=804080",
        "road=#80408",
        "road=#8040800",
        "road=#80408g",
        "road=1,2",
        "road=1,2,3,4",
        "road=1,2,x",
        "road=1 2 3",
        "road=1.0,2,3",
        "road=1_0,2,3",
        "road=red",
        "road=+1,2,3",
        "road=#804080,",
    ],
)
def test_malformed_colors_are_refused(entry: str) -> None:
    with pytest.raises(ValueError) as error:
        CAMVID.with_colors(["sky=#000000", entry])
    assert str(error.value) == f"'{entry}' has to be a class and its colour, like road=#804080 or road=128,64,128"


@pytest.mark.parametrize("entry", ["road=256,0,0", "road=0,-1,0", "road=0,0,999999999"])
def test_values_outside_a_byte_are_refused(entry: str) -> None:
    with pytest.raises(ValueError) as error:
        CAMVID.with_colors([entry])
    assert str(error.value) == f"'{entry}' has a value outside 0..255: red, green and blue have to lie in that range"


@pytest.mark.parametrize("labels", SETS, ids=lambda labels: labels.name)
def test_json_says_all(labels: LabelSet) -> None:
    assert json.loads(labels.to_json()) == {
        "label_set": labels.name,
        "classes": [
            {"class_id": number, "class_name": label.name, "color": list(label.color)}
            for number, label in enumerate(labels.labels)
        ],
        "unlabelled": 255,
    }


def test_json_as_it_is_written() -> None:
    text = LabelSet("two", CAMVID.labels[2:4]).to_json()
    assert text == (
        '{"label_set": "two", "classes": [{"class_id": 0, "class_name": "pole", "color": [192, 192, 128]}, '
        '{"class_id": 1, "class_name": "road", "color": [128, 64, 128]}], "unlabelled": 255}'
    )
