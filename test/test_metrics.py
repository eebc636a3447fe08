"""The confusion matrix against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfanet_ros.metrics import ConfusionMatrix


def test_a_case_counted_by_hand() -> None:
    confusion = ConfusionMatrix(3)
    truth = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], np.uint8)
    predicted = np.array([[0, 0, 1, 1], [1, 0, 0, 2]], np.uint8)
    confusion.update(truth, predicted)
    np.testing.assert_array_equal(confusion.counts, [[2, 1, 0], [1, 2, 0], [0, 0, 0]])
    # Class 0: 2 hits of 4 pixels that are or are called 0; class 2 neither occurs nor is predicted where labelled.
    np.testing.assert_allclose(confusion.iou(), [50, 50, np.nan])
    assert confusion.miou() == 50


@given(seed=st.integers(0, 100), classes=st.integers(1, 6))
def test_iou_is_intersection_over_union(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    confusion, frames = ConfusionMatrix(classes), []
    for _ in range(3):
        truth, predicted = (rng.integers(0, classes, (4, 5), np.uint8) for _ in range(2))
        truth[rng.random((4, 5)) < 0.2] = 255
        frames.append((truth, predicted))
        confusion.update(truth, predicted)
    for number in range(classes):
        both = sum(((t == number) & (p == number)).sum() for t, p in frames)
        either = sum(((t == number) | ((p == number) & (t != 255))).sum() for t, p in frames)
        expected = 100 * both / either if either else np.nan
        np.testing.assert_allclose(confusion.iou()[number], expected)


def test_nothing_labelled_is_not_a_number() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    assert np.isnan(confusion.miou())


def test_what_does_not_fit_is_refused() -> None:
    confusion = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=r"the label is \(2, 2\) but the prediction \(2, 3\)"):
        confusion.update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"the label has id 2, but the classes are 0\.\.1"):
        confusion.update(np.full((1, 1), 2, np.uint8), np.zeros((1, 1), np.uint8))
    with pytest.raises(ValueError, match="the prediction has id 9"):
        confusion.update(np.zeros((1, 1), np.uint8), np.full((1, 1), 9, np.uint8))
