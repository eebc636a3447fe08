"""The confusion matrix against counting by hand, scikit-learn and torchmetrics."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dfanet_ros.metrics import ConfusionMatrix

Maps = tuple[int, NDArray[np.uint8], NDArray[np.uint8]]  # how many classes, truth and prediction (H, W)


@st.composite
def label_maps(draw: st.DrawFn) -> Maps:
    """With unlabelled pixels, and classes that do not occur."""
    classes = draw(st.integers(1, 6))
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    ids = st.integers(0, classes - 1)
    truth = draw(arrays(np.uint8, shape, elements=ids | st.just(255), fill=st.nothing()))
    predicted = draw(arrays(np.uint8, shape, elements=ids, fill=st.nothing()))
    return classes, truth, predicted


def counted(maps: Maps) -> ConfusionMatrix:
    classes, truth, predicted = maps
    confusion = ConfusionMatrix(classes)
    confusion.update(truth, predicted)
    return confusion


def test_a_case_counted_by_hand() -> None:
    confusion = ConfusionMatrix(3)
    truth = np.array([[0, 0, 0, 1], [1, 1, 255, 255]], np.uint8)
    predicted = np.array([[0, 0, 1, 1], [1, 0, 0, 2]], np.uint8)
    confusion.update(truth, predicted)
    np.testing.assert_array_equal(confusion.counts, [[2, 1, 0], [1, 2, 0], [0, 0, 0]])
    # Class 0: 2 hits of 4 pixels that are or are called 0; class 2 neither occurs nor is predicted where labelled.
    np.testing.assert_allclose(confusion.iou(), [50, 50, np.nan])
    assert confusion.miou() == 50


def test_measures_calculated_by_hand() -> None:
    # Class 2 is predicted but does not occur, class 3 is neither.
    confusion = ConfusionMatrix.from_counts([[6, 0, 2, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    np.testing.assert_allclose(confusion.iou(), [100 * 6 / 9, 50, 0, np.nan])
    np.testing.assert_allclose(confusion.accuracy(), [75, 50, np.nan, np.nan])
    assert confusion.miou() == pytest.approx((100 * 6 / 9 + 50 + 0) / 3)
    assert confusion.mean_accuracy() == pytest.approx(62.5)
    assert confusion.pixel_accuracy() == pytest.approx(70)
    assert confusion.frequency_weighted_iou() == pytest.approx(0.8 * 100 * 6 / 9 + 0.2 * 50)


def test_perfect_is_100_percent() -> None:
    confusion = ConfusionMatrix.from_counts(np.diag([5, 1, 0]))
    measures = (confusion.miou, confusion.mean_accuracy, confusion.pixel_accuracy, confusion.frequency_weighted_iou)
    assert [measure() for measure in measures] == [100] * 4


@settings(derandomize=True, deadline=None)
@given(frames=st.lists(st.integers(0, 999), min_size=1, max_size=3), classes=st.integers(1, 6))
def test_iou_is_intersection_over_union(frames: list[int], classes: int) -> None:
    confusion, pairs = ConfusionMatrix(classes), []
    for seed in frames:
        rng = np.random.default_rng(seed)
        truth, predicted = (rng.integers(0, classes, (4, 5), np.uint8) for _ in range(2))
        truth[rng.random((4, 5)) < 0.2] = 255
        pairs.append((truth, predicted))
        confusion.update(truth, predicted)
    for number in range(classes):
        both = sum(((t == number) & (p == number)).sum() for t, p in pairs)
        either = sum(((t == number) | ((p == number) & (t != 255))).sum() for t, p in pairs)
        expected = 100 * both / either if either else np.nan
        np.testing.assert_allclose(confusion.iou()[number], expected)


@settings(derandomize=True, deadline=None)
@given(label_maps())
def test_scikit_learn_agrees(maps: Maps) -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    classes, truth, predicted = maps
    confusion = counted(maps)
    labelled = truth != 255
    if not labelled.any():
        return
    pair = truth[labelled], predicted[labelled]
    ids = list(range(classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a class does not occur
        np.testing.assert_array_equal(confusion.counts, sklearn_metrics.confusion_matrix(*pair, labels=ids))
        iou = sklearn_metrics.jaccard_score(*pair, labels=ids, average=None, zero_division=0)
        recall = sklearn_metrics.recall_score(*pair, labels=ids, average=None, zero_division=np.nan)
        weighted = sklearn_metrics.jaccard_score(*pair, labels=ids, average="weighted", zero_division=0)
        balanced = sklearn_metrics.balanced_accuracy_score(*pair)
    np.testing.assert_allclose(np.nan_to_num(confusion.iou()), 100 * iou)
    np.testing.assert_allclose(confusion.accuracy(), 100 * recall)
    np.testing.assert_allclose(confusion.frequency_weighted_iou(), 100 * weighted)
    np.testing.assert_allclose(confusion.mean_accuracy(), 100 * balanced)
    np.testing.assert_allclose(confusion.pixel_accuracy(), 100 * sklearn_metrics.accuracy_score(*pair))


@settings(derandomize=True, deadline=None)
@given(label_maps())
def test_torchmetrics_agrees(maps: Maps) -> None:
    functional = pytest.importorskip("torchmetrics.functional.classification")
    classes, truth, predicted = maps
    confusion = counted(maps)
    if classes < 2 or (truth == 255).all():  # it knows neither one class nor nothing
        return
    pair = torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()
    options = {"num_classes": classes, "ignore_index": 255}
    expected = {
        "miou": functional.multiclass_jaccard_index(*pair, average="macro", **options),
        "frequency_weighted_iou": functional.multiclass_jaccard_index(*pair, average="weighted", **options),
        "pixel_accuracy": functional.multiclass_accuracy(*pair, average="micro", **options),
    }
    for name, value in expected.items():
        assert getattr(confusion, name)() == pytest.approx(100 * value.item(), abs=1e-3), name
    iou = 100 * functional.multiclass_jaccard_index(*pair, average="none", **options).numpy()
    np.testing.assert_allclose(np.nan_to_num(confusion.iou()), iou, atol=1e-3)


@settings(derandomize=True, deadline=None)
@given(label_maps())
def test_unlabelled_pixels_do_not_count(maps: Maps) -> None:
    classes, truth, predicted = maps
    other = np.where(truth == 255, (predicted + 1) % classes, predicted).astype(np.uint8)
    np.testing.assert_array_equal(counted(maps).counts, counted((classes, truth, other)).counts)
    assert counted(maps).counts.sum() == (truth != 255).sum()


def test_nothing_labelled_is_not_a_number() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(np.full((2, 2), 255, np.uint8), np.zeros((2, 2), np.uint8))
    assert np.isnan(confusion.miou())
    assert np.isnan(confusion.frequency_weighted_iou())
    assert np.isnan(confusion.mean_accuracy())
    assert np.isnan(confusion.pixel_accuracy())
    assert np.isnan(confusion.accuracy()).all()


def test_counts_are_taken_over_and_copied() -> None:
    counts = np.array([[1, 2], [3, 4]], np.int32)
    confusion = ConfusionMatrix.from_counts(counts)
    confusion.update(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8))
    np.testing.assert_array_equal(confusion.counts, [[1, 2], [3, 8]])
    np.testing.assert_array_equal(counts, [[1, 2], [3, 4]])
    assert confusion.num_classes == 2 and confusion.counts.dtype == np.int64


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ([[1, 2, 3], [4, 5, 6]], r"the counts have shape \(2, 3\); a confusion matrix has \(classes, classes\)"),
        ([1, 2], r"shape \(2,\)"),
        ([[]], r"shape \(1, 0\)"),
        ([[1, -2], [3, 4]], r"from -2\) have to be whole numbers from 0"),
        ([[0.5, 1], [1, 1]], r"\(float64, from 0\.5\) have to be whole numbers"),
    ],
    ids=str,
)
def test_counts_that_are_none_are_refused(counts: list[object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ConfusionMatrix.from_counts(counts)


def test_what_does_not_fit_is_refused() -> None:
    confusion = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=r"the label is \(2, 2\) but the prediction \(2, 3\)"):
        confusion.update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
    with pytest.raises(ValueError, match=r"the label has id 2, but the classes are 0\.\.1"):
        confusion.update(np.full((1, 1), 2, np.uint8), np.zeros((1, 1), np.uint8))
    with pytest.raises(ValueError, match="the prediction has id 9"):
        confusion.update(np.zeros((1, 1), np.uint8), np.full((1, 1), 9, np.uint8))
