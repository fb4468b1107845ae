"""Numbers as printed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.presentation import numbers as q


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5812.4, "5 812"), (0.97138, "0.9714"), (0, "0"), (10.0, "10"), (99999.6, "100 000"), (1.2e-7, "1.2e−7"),
        (-3.14159, "−3.142"), (math.inf, "∞"), (math.nan, "not a number"), (None, "not measured"),
    ],
)  # fmt: skip
def test_number(value: float | None, text: str) -> None:
    assert q.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123, "12.3 mJ"), (4212.0, "4.212 kJ"), (999.96, "1 kJ"), (1.0, "1 J"), (3.6e6, "3.6 MJ"),
        (None, "not measured"), (0.0, "0 J"), (-12.0, "−12 J"),
    ],
)  # fmt: skip
def test_joules(value: float | None, text: str) -> None:
    assert q.joules(value) == text


def test_times_memory_shares_and_carbon() -> None:
    assert [q.seconds(s) for s in (0.0123, 183, 975, 7380, None)] == [
        "12.3 ms", "183 s", "16.2 min", "2.05 h", "not measured",
    ]  # fmt: skip
    assert [q.octets(b) for b in (None, 512, 222298112, 3 * 2**30)] == ["not measured", "512 B", "212 MiB", "3 GiB"]
    assert [q.percent(s) for s in (None, 0.0, 0.0001, 0.62, 0.9999, 1.0)] == [
        "not measured", "0 %", "< 0.05 %", "62 %", "> 99.9 %", "100 %",
    ]  # fmt: skip
    assert q.kilowatt_hours(3.6e6) == "1 kWh"
    assert (q.grams(12.34), q.grams(1234.0)) == ("12.3 g", "1.23 kg")
    assert (q.count(119248), q.count(None)) == ("119 248", "not measured")


@given(st.floats(1e-12, 1e15))
def test_an_si_prefix_keeps_the_value(value: float) -> None:
    factor, letter = q.prefix(value)
    assert letter in ("T", "G", "M", "k", "", "m", "µ", "n")
    assert q.si(value, "J").endswith(f" {letter}J")
    if 1e-9 <= value < 9e14:
        assert 0.999 <= value / factor < 1000
