"""F1, precision and recall from a confusion matrix: against scikit-learn, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from joulebench.workloads.class_scores import f1_scores, scores_by_class


@pytest.mark.parametrize("classes", [2, 10, 37])
def test_they_are_those_of_scikit_learn(classes):
    draw = np.random.default_rng(classes)
    true = draw.integers(0, classes, 2000)
    predicted = np.where(draw.random(2000) < 0.6, true, draw.integers(0, classes, 2000))
    names = [f"c{i}" for i in range(classes)]
    confusion = confusion_matrix(true, predicted, labels=range(classes))
    for average in ("weighted", "macro"):
        expected = f1_score(true, predicted, average=average)
        assert f1_scores(confusion)[f"f1_{average}"] == pytest.approx(expected, abs=1e-12)
    scores = scores_by_class(confusion, names)
    each = precision_recall_fscore_support(true, predicted)
    for measure, values in zip(("precision", "recall", "f1"), each, strict=False):
        assert [scores[f"{measure}.{name}"] for name in names] == pytest.approx(list(values), abs=1e-12)


def test_by_hand_with_a_class_that_is_never_predicted_and_one_that_does_not_occur():
    # cat: 3 of 4 found, 1 taken for a dog; dog: 2 of 2; cow: 1 image, taken for a cat; eel: none
    confusion = np.array([[3, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    cat, dog = 2 * 3 / (4 + 4), 2 * 2 / (2 + 3)
    f1 = f1_scores(confusion)
    assert f1["f1_macro"] == pytest.approx((cat + dog + 0) / 3)
    assert f1["f1_weighted"] == pytest.approx((4 * cat + 2 * dog) / 7)
    assert scores_by_class(confusion, ["cat", "dog", "cow", "eel"]) == pytest.approx(
        {
            "precision.cat": 3 / 4, "recall.cat": 3 / 4, "f1.cat": cat,
            "precision.dog": 2 / 3, "recall.dog": 1.0, "f1.dog": dog,
            "recall.cow": 0.0, "f1.cow": 0.0,
        }
    )  # fmt: skip
    true, predicted = [0] * 4 + [1] * 2 + [2], [0, 0, 0, 1, 1, 1, 0]
    assert f1["f1_macro"] == pytest.approx(f1_score(true, predicted, average="macro"))


def test_names_of_classes_become_parts_of_metrics_names():
    confusion = np.eye(4, dtype=np.int64)
    names = ["Airplane / jet", "airplane.jet", "猫", "---"]
    recalls = [name for name in scores_by_class(confusion, names) if name.startswith("recall")]
    assert recalls == ["recall.Airplane_jet", "recall.airplane_jet", "recall.猫", "recall.class"]
    twice = scores_by_class(np.eye(2, dtype=np.int64), ["a b", "a-b"])
    assert "f1.a_b_1" in twice
