"""The generated street scenes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.label_set import STREET_SCENES
from dfanet_ros.street_scenes import Sample, StreetScenes

IDS = {name: number for number, name in enumerate(STREET_SCENES.names)}


@cache
def scenes() -> list[Sample]:
    return list(StreetScenes(40))


def test_has_as_many_scenes_as_asked_for():
    assert len(StreetScenes(40)) == len(scenes()) == 40
    assert list(StreetScenes(0)) == []


@settings(max_examples=25, deadline=None)
@given(height=st.integers(64, 300), width=st.integers(64, 400), seed=st.integers(0, 2**40), index=st.integers(0, 10**6))
def test_any_size_gives_an_image_and_its_label(height, width, seed, index):
    image, ids = StreetScenes(10**6 + 1, height, width, seed)[index]
    assert image.shape == (height, width, 3)
    assert ids.shape == (height, width)
    assert image.dtype == ids.dtype == np.uint8
    assert image.flags.c_contiguous and ids.flags.c_contiguous
    assert ids.max() < len(STREET_SCENES)
    assert image.std() > 5


@pytest.mark.parametrize("height, width", [(64, 1024), (1024, 64), (720, 960)])
def test_sky_road_and_buildings_are_there_in_odd_shapes(height, width):
    _, ids = StreetScenes(1, height, width)[0]
    assert {IDS["sky"], IDS["road"], IDS["building"]} <= set(np.unique(ids))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**40), index=st.integers(0, 99))
def test_a_scene_depends_on_seed_and_index_only(seed, index):
    image, ids = StreetScenes(100, 96, 128, seed)[index]
    again, ids_again = StreetScenes(index + 1, 96, 128, seed)[index]
    assert np.array_equal(image, again)
    assert np.array_equal(ids, ids_again)
    for other in (StreetScenes(200, 96, 128, seed)[index + 1], StreetScenes(100, 96, 128, seed + 1)[index]):
        assert not np.array_equal(image, other[0])
        assert not np.array_equal(ids, other[1])


@pytest.mark.parametrize("index", [3, 100, -1])
def test_there_is_no_scene_outside(index):
    with pytest.raises(IndexError):
        StreetScenes(3)[index]


@pytest.mark.parametrize("name", STREET_SCENES.names)
def test_classes_occur_often_enough_to_be_learned(name):
    share = np.mean([np.any(ids == IDS[name]) for _, ids in scenes()])
    assert share >= (0.97 if name in ("sky", "building", "road", "pavement") else 0.7)


def test_the_sky_is_above_the_road():
    for _, ids in scenes():
        sky, road = (np.nonzero(ids == IDS[name])[0].mean() for name in ("sky", "road"))
        assert sky < road


def test_colour_alone_does_not_tell_the_classes_apart():
    """The mean colours of a class differ more from scene to scene than those of the classes do."""
    means = np.array(
        [[image[ids == number].mean(0) for number in (IDS["building"], IDS["road"])] for image, ids in scenes()]
    )
    within, between = means.std(axis=0).mean(), np.abs(np.diff(means.mean(axis=0), axis=0)).mean()
    assert within > between
