"""Rows of data: typed, and written as CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.presentation.numbers import significant
from joulebench.presentation.rows import Exact, csv_text, is_row, json_text

TEXT = st.text() | st.sampled_from(["1e5", "007", "-gpt2", "=1+1", "true", "null", "NaN", "", "0 1", "\n2", "٣"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = SCALARS | st.lists(SCALARS) | st.lists(SCALARS).map(tuple)
ROWS = st.lists(st.dictionaries(TEXT, VALUES | VALUES.map(Exact)))


def rounded(value: object) -> object:
    """What JSON has for a value: the same, but for six digits, and tuples as lists."""
    if isinstance(value, Exact):
        return list(value.value) if isinstance(value.value, tuple) else value.value
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return significant(value) if isinstance(value, float) else value


def typed(value: object) -> object:
    """A value with its type, as True == 1 == 1.0."""
    return (type(value), [typed(v) for v in value] if isinstance(value, list) else value)


@given(ROWS)
def test_any_row_goes_through_json_as_it_is(rows: list[dict[str, object]]) -> None:
    known = [{name: value for name, v in row.items() if (value := rounded(v)) is not None} for row in rows]
    found = json.loads(json_text(rows))
    assert [{n: typed(v) for n, v in row.items()} for row in found] == [
        {n: typed(v) for n, v in row.items()} for row in known
    ]


@given(ROWS)
def test_no_cell_of_a_csv_is_a_formula(rows: list[dict[str, object]]) -> None:
    lines = list(csv.reader(io.StringIO(csv_text(rows), newline="")))
    names = {name for row in rows for name in row}
    assert len(lines) == len(rows) + 1
    assert all(len(line) == len(names) for line in lines)
    for cell in (c for line in lines for c in line if c.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))):
        assert math.isfinite(float(cell)) or cell.lstrip("+-").lower() in ("inf", "infinity", "nan")


def test_what_a_value_is_in_csv() -> None:
    row = {
        "none": None,
        "yes": True,
        "n": 7,
        "y": 0.00123456789,
        "rate": Exact(0.00123456789),
        "text": "-gpt2",
        "trials": (0, 1),
        "one": [2],
        "low": -0.5,
        "shares": [0.1234567, None],
        "set": Exact(("a", 0.1234567)),
    }
    (found,) = csv.DictReader(io.StringIO(csv_text([row])))
    assert found == {
        "none": "", "yes": "true", "n": "7", "y": "0.00123457", "rate": "0.00123456789", "text": "'-gpt2",
        "trials": "0 1", "one": "2", "low": "-0.5", "shares": "0.123457 ", "set": "a 0.1234567",
    }  # fmt: skip


def test_faithful_csv_is_text_and_decimals_as_they_are() -> None:
    assert csv_text([{"=a": 0.00123456789, "b": "-gpt2"}], faithful=True) == "=a,b\n0.00123456789,-gpt2\n"


def test_columns_are_those_asked_for_then_those_of_any_row() -> None:
    rows = [{"b": 1}, {"c": 2, "a": 3}]
    assert csv_text(rows) == "b,c,a\n1,,\n,2,3\n"
    assert csv_text(rows, ("a", "d")).splitlines()[0] == "a,d,b,c"
    assert csv_text((), ("a", "d")) == "a,d\n"


def test_what_is_not_known_is_left_out_of_json_and_what_is_no_number_is_null() -> None:
    row = {"a": float("nan"), "b": None, "c": [None, 2.00000049], "d": Exact(None), "e": Exact(-math.inf)}
    assert json.loads(json_text(row)) == {"a": None, "c": [None, 2.0], "e": None}


@pytest.mark.parametrize(
    "value", [np.arange(2), np.int64(1), {"a": 1}, [[1]], {1}, b"a", Exact({"a": 1}), object()]
)
def test_what_neither_can_write_is_no_value(value: object) -> None:
    assert not is_row({1: 2})
    assert not is_row({"a": value})


@given(VALUES)
def test_what_both_can_write_is_a_value(value: object) -> None:
    assert is_row({"a": value})
    assert is_row({"a": Exact(value)})
