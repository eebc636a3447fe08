"""Masks and labels that come one by one, in any order."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfanet_ros.label_set import CAMVID, STREET_SCENES
from dfanet_ros.metrics import ConfusionMatrix
from dfanet_ros.report.measures import as_json
from dfanet_ros.stream_evaluation import StreamEvaluation, labels_from_json

CLASSES = len(STREET_SCENES)


def ids(seed: int, size: tuple[int, int] = (6, 8), unlabelled: bool = True) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(0, CLASSES + unlabelled, size, np.uint8)
    drawn[drawn == CLASSES] = 255
    return drawn


@settings(deadline=None, max_examples=60)
@given(
    masks=st.lists(st.integers(1, 12), unique=True),
    truths=st.lists(st.integers(1, 12), unique=True),
    random=st.randoms(use_true_random=False),
)
def test_frames_count_once_in_whatever_order_their_parts_come(
    masks: list[int], truths: list[int], random: np.random.Generator
) -> None:
    evaluation, expected = StreamEvaluation(), ConfusionMatrix(CLASSES)
    calls = [(evaluation.add_mask, stamp, ids(stamp, unlabelled=False)) for stamp in masks]
    calls += [(evaluation.add_truth, stamp, ids(100 + stamp)) for stamp in truths]
    calls += [(lambda *_: evaluation.describe(STREET_SCENES), 0, ids(0))]  # also after some frames have come
    random.shuffle(calls)
    for call, stamp, pixels in calls:
        assert call(stamp, pixels) == ""
    both = {*masks} & {*truths}
    for stamp in both:
        expected.update(ids(100 + stamp), ids(stamp, unlabelled=False))
    assert evaluation.confusion is not None
    np.testing.assert_array_equal(evaluation.confusion.counts, expected.counts)
    assert evaluation.counts() == {
        "frames": len(both),
        "refused": 0,
        "unreadable": 0,
        "masks_without_label": len(masks) - len(both),
        "labels_without_mask": len(truths) - len(both),
    }
    np.testing.assert_equal(evaluation.miou, expected.miou())


@settings(deadline=None, max_examples=20)
@given(count=st.integers(1, 40))
def test_what_waits_takes_no_more_than_allowed(count: int) -> None:
    evaluation = StreamEvaluation(most_bytes=10 * 48)
    evaluation.describe(STREET_SCENES)
    for stamp in range(1, count + 1):
        evaluation.add_truth(stamp, ids(stamp))
    for stamp in reversed(range(1, count + 1)):
        evaluation.add_mask(stamp, ids(stamp, unlabelled=False))
    assert evaluation.compared == min(count, 10), "the newest ten"
    assert evaluation.counts()["labels_without_mask"] == max(0, count - 10)


def test_one_frame_may_be_larger_than_all_that_may_wait() -> None:
    evaluation = StreamEvaluation(most_bytes=1)
    evaluation.describe(STREET_SCENES)
    evaluation.add_truth(1, ids(1))
    evaluation.add_mask(1, ids(1, unlabelled=False))
    assert evaluation.compared == 1


@pytest.mark.parametrize(
    ("mask", "truth", "says"),
    [
        (ids(0, (6, 8), False), ids(0, (8, 6)), r"the label is \(8, 6\) but the prediction \(6, 8\)"),
        (ids(0, (6, 8), False), np.full((6, 8), CLASSES, np.uint8), "the label has id 8, but the classes are 0..7"),
        (np.full((6, 8), 255, np.uint8), np.zeros((6, 8), np.uint8), "the prediction has id 255, but .*class_filter"),
    ],
)
def test_frames_that_do_not_fit_are_refused_and_change_nothing(mask: np.ndarray, truth: np.ndarray, says: str) -> None:
    evaluation = StreamEvaluation()
    evaluation.describe(STREET_SCENES)
    evaluation.add_truth(5, truth)
    with pytest.raises(ValueError, match=says):
        raise ValueError(evaluation.add_mask(5, mask))
    assert (evaluation.refused, evaluation.compared) == (1, 0)
    assert evaluation.confusion is not None and not evaluation.confusion.counts.any()
    assert math.isnan(evaluation.miou)


@pytest.mark.parametrize("stamp", [0, 7])
def test_stamps_that_do_not_tell_frames_apart_are_refused(stamp: int) -> None:
    """Each mask comes after the next frame's label."""
    evaluation = StreamEvaluation()
    evaluation.describe(STREET_SCENES)
    said = [evaluation.add_truth(stamp, ids(1))]
    for number in range(1, 4):
        said.append(evaluation.add_truth(stamp, ids(number + 1)))
        said.append(evaluation.add_mask(stamp, ids(number, unlabelled=False)))
    refusal = f"the stamp {stamp} ns does not say which frame it is: it is 0, or several labels have it and differ"
    assert said == [refusal if stamp == 0 else "", *[refusal] * 6]
    assert evaluation.compared == 0
    assert evaluation.counts()["masks_without_label"] == 3 and evaluation.counts()["labels_without_mask"] == 4
    evaluation.reset()
    evaluation.add_truth(7, ids(1))
    assert evaluation.add_mask(7, ids(1, unlabelled=False)) == "" and evaluation.compared == 1


def test_labels_may_come_twice() -> None:
    """E.g. of a bag that is played in a loop."""
    evaluation = StreamEvaluation()
    evaluation.describe(STREET_SCENES)
    for _ in range(2):
        assert evaluation.add_truth(7, ids(1)) == ""
    assert evaluation.add_mask(7, ids(1, unlabelled=False)) == "" and evaluation.compared == 1


def test_reset_forgets_frames_and_what_waits_but_not_the_classes() -> None:
    evaluation = StreamEvaluation()
    evaluation.describe(STREET_SCENES)
    evaluation.add_truth(1, ids(1))
    evaluation.add_mask(1, ids(1, unlabelled=False))
    evaluation.add_truth(2, ids(2))
    evaluation.reset()
    evaluation.add_mask(2, ids(2, unlabelled=False))
    assert evaluation.counts() == {
        "frames": 0,
        "refused": 0,
        "unreadable": 0,
        "masks_without_label": 1,
        "labels_without_mask": 0,
    }
    assert evaluation.values()["confusion"] == np.zeros((CLASSES, CLASSES)).tolist()


def test_other_classes_begin_anew_and_other_colours_do_not() -> None:
    evaluation = StreamEvaluation()
    evaluation.describe(STREET_SCENES)
    for stamp in (1, 2):
        evaluation.add_truth(stamp, ids(stamp))
        evaluation.add_mask(stamp, ids(stamp, unlabelled=False))
    evaluation.describe(STREET_SCENES.with_colors(["road=#010203"]))
    assert evaluation.compared == 2
    evaluation.describe(CAMVID)
    assert evaluation.compared == 0
    assert evaluation.confusion is not None and evaluation.confusion.num_classes == len(CAMVID)


def test_values_are_json_before_and_after_there_is_something_to_measure() -> None:
    evaluation = StreamEvaluation()
    assert json.loads(as_json(evaluation.values()))["frames"] == 0
    evaluation.describe(STREET_SCENES)
    assert json.loads(as_json(evaluation.values()))["miou"] is None
    evaluation.add_truth(1, np.zeros((2, 2), np.uint8))
    evaluation.add_mask(1, np.zeros((2, 2), np.uint8))
    values = json.loads(as_json(evaluation.values()))
    assert (values["miou"], values["label_set"], values["classes"][0]["iou"]) == (100, "street_scenes", 100)


@pytest.mark.parametrize("labels", [CAMVID, STREET_SCENES], ids=lambda labels: labels.name)
def test_classes_survive_json(labels: object) -> None:
    assert labels_from_json(labels.to_json()) == labels


@pytest.mark.parametrize("text", ["", "5", "[]", '{"classes": []}', '{"label_set": "a", "classes": [{"class_id": 1}]}'])
def test_other_texts_are_no_classes(text: str) -> None:
    with pytest.raises(ValueError, match="these are no classes, as the segmentation node describes them: "):
        labels_from_json(text)
