"""Labelled inputs or texts as a data set: classes, labels that index them, and a test split where there is none."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from joulebench.data.arrays import (
    FloatArray,
    ImageArrays,
    Integers,
    Pixels,
    absent_classes,
    test_indices,
    with_test_cut,
)
from joulebench.data.text import LabelledTexts
from joulebench.errors import InputError

MAX_BYTES = 2**32  # of arrays, unpacked
_SHOWN = 8  # names in a message
Inputs = Pixels | FloatArray


def labelled(
    inputs: dict[str, Inputs], labels: dict[str, list[str]], source: str, where: str, seed: int
) -> ImageArrays:
    """Arrays with a test split: a stratified fifth of train where there is none.

    Raises:
        InputError: there is one class, or test has another class or shape than train.
    """
    classes, y = _indexed(labels, where)
    if "test" in inputs:
        train, test = inputs["train"], inputs["test"]
        if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
            raise InputError(
                f"{where}: test has {test.dtype} {test.shape[1:]}, "
                f"train {train.dtype} {train.shape[1:]}; expected alike"
            )
        arrays = ImageArrays(train, y["train"], test, y["test"], classes, source)
    else:
        arrays = with_test_cut(inputs["train"], y["train"], classes, source, seed)
    return replace(arrays, remarks=absent_classes(arrays.train_y, arrays.test_y, classes, arrays.noun))


def labelled_texts(
    texts: dict[str, list[str]], labels: dict[str, list[str]], source: str, where: str, seed: int
) -> LabelledTexts:
    """Texts with a test split, as `labelled`."""
    classes, y = _indexed(labels, where)
    x, train_y = texts["train"], y["train"]
    if "test" in texts:
        test_x, test_y = texts["test"], y["test"]
    else:
        train, test = test_indices(train_y, seed)
        test_x, test_y = [x[i] for i in test], train_y[test]
        x, train_y = [x[i] for i in train], train_y[train]
    remarks = absent_classes(train_y, test_y, classes, "texts")
    return LabelledTexts(tuple(x), train_y, tuple(test_x), test_y, classes, source, remarks=remarks)


def _indexed(labels: dict[str, list[str]], where: str) -> tuple[tuple[str, ...], dict[str, Integers]]:
    """The classes of train in order, and labels by split that index them.

    Raises:
        InputError: there is one class, or test has another class than train.
    """
    present = set(labels["train"])
    numeric = all(re.fullmatch(r"-?\d{1,18}", name) for name in present)
    classes = tuple(sorted(present, key=int) if numeric else sorted(present))
    if len(classes) < 2:
        raise InputError(f"{where}: has one class ({listed(classes)}); expected at least 2")
    if stray := sorted(set(labels.get("test", ())) - present):
        raise InputError(f"{where}: test has the class '{stray[0]}', train has not (expected: {listed(classes)})")
    if len(classes) == len(labels["train"]):
        raise InputError(
            f"{where}: each of its {len(classes)} rows has a class of its own; expected classes that repeat"
        )
    index = {name: number for number, name in enumerate(classes)}
    y = {split: np.array([index[name] for name in names], dtype=np.int64) for split, names in labels.items()}
    return classes, y


def listed(names: Any) -> str:
    """The first names, and how many more there are."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
