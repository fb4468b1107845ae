"""Scores of a classifier from its confusion matrix: F1 over all classes, and precision, recall and F1 of each."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Confusion = NDArray[np.int64]  # (classes, classes): rows are true, columns predicted


def f1_scores(confusion: Confusion) -> dict[str, float]:
    """`f1_weighted`: mean F1 weighted by the classes' images; `f1_macro`: plain mean over the classes that occur.

    F1 = 2 tp / (true + predicted), which is 0 where nothing of a class was found. A class that is neither among the
    labels nor predicted has none.
    """
    hits, true, predicted = _counts(confusion)
    occurs = true + predicted > 0
    f1 = 2 * hits[occurs] / (true + predicted)[occurs]
    return {"f1_weighted": float(f1 @ true[occurs] / true.sum()), "f1_macro": float(f1.mean())}


def scores_by_class(confusion: Confusion, classes: Sequence[str]) -> dict[str, float]:
    """`precision.cat`, `recall.cat`, `f1.cat`; absent where undefined (never predicted, or no images)."""
    scores: dict[str, float] = {}
    for name, hits, true, predicted in zip(_names(classes), *_counts(confusion), strict=False):
        scores |= {f"precision.{name}": float(hits / predicted)} if predicted else {}
        scores |= {f"recall.{name}": float(hits / true)} if true else {}
        scores |= {f"f1.{name}": float(2 * hits / (true + predicted))} if true + predicted else {}
    return scores


def _counts(confusion: Confusion) -> tuple[Confusion, Confusion, Confusion]:
    """Of each class: images recognised, images, predictions."""
    return confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)


def _names(classes: Sequence[str]) -> list[str]:
    """Classes as parts of metrics' names: letters, digits and `_`; of two alike the later has its number."""
    names: list[str] = []
    for number, given in enumerate(classes):
        plain = re.sub(r"\W+", "_", given)[:100].strip("_") or "class"
        names.append(plain if plain not in names else f"{plain}_{number}")
    return names
