"""`joulebench.compare`: ratios of replayed joules are those of the seconds, and alike functions do not differ."""

from __future__ import annotations

import itertools
import random
import time

import pytest

import joulebench
from joulebench.errors import InputError
from joulebench.inline import running
from joulebench.inline.compare import _compared
from joulebench.inline.result import PHASE, Measured
from joulebench.records.model import Fault, FaultKind, Reading, Window
from joulebench.spec.task import Protocol

WATTS = "50"


@pytest.fixture(autouse=True)
def _fresh():
    yield
    running.stop()


def sleeping(seconds):
    return lambda: time.sleep(seconds)


def test_a_dearer_function_is_found_and_units_are_its_own():
    found = joulebench.compare(
        {"first": sleeping(0.004), "twice": sleeping(0.008), "twice the work": sleeping(0.008)},
        units={"first": 1, "twice": 1, "twice the work": 2}, unit="image", rounds=8, window_s=0.03, replay=WATTS,
        allow_busy=True,
        quality={"first": 0.9, "twice": 0.8},
    )  # fmt: skip
    first, twice = found["first"], found["twice"]
    assert (first.energy_ratio, first.quality) == (None, 0.9)
    assert twice.energy_ratio.mean == pytest.approx(2, rel=0.1)
    assert (twice.energy_ratio.n, twice.energy_ratio.varied, twice.answer) == (8, "rounds", "more")
    assert twice.time_ratio.mean == pytest.approx(twice.energy_ratio.mean, rel=1e-3)
    assert found["twice the work"].energy_ratio.mean == pytest.approx(1, rel=0.1)
    rows = found.rows()
    assert [row["name"] for row in rows] == ["first", "twice", "twice the work"]
    assert [row["quality"] for row in rows] == [0.9, 0.8, None]
    assert rows[0]["answer"] is None
    assert rows[1]["energy_ratio"] == twice.energy_ratio.mean
    assert len(str(found).splitlines()) == 5
    assert found._repr_html_().count("<tr>") == 4
    with pytest.raises(KeyError):
        found["third"]


def test_windows_of_a_round_come_together_and_their_order_is_by_the_seed():
    def orders(seed):
        found = joulebench.compare(
            {name: sleeping(0.001) for name in "abc"},
            rounds=6,
            window_s=0.01,
            replay=WATTS,
            seed=seed,
            allow_busy=True,
        )
        starts = [[w.start_s for w in one.measured.windows] for one in found.each]
        rounds = list(zip(*starts, strict=True))
        assert all(max(a) < min(b) for a, b in itertools.pairwise(rounds))
        return [sorted(range(3), key=lambda i, r=r: r[i]) for r in rounds[:6]]  # more where one was held up

    assert orders(1) == orders(1) != orders(2)
    shuffle, expected = random.Random(1).shuffle, []
    for _ in range(6):
        turns = [0, 1, 2]
        shuffle(turns)
        expected.append(turns)
    assert orders(1) == expected


def test_fewer_than_six_rounds_answer_nothing():
    found = joulebench.compare({"a": sleeping(0.002), "b": sleeping(0.006)}, rounds=3, window_s=0.01, replay=WATTS)
    assert found["b"].answer == "not known"
    assert found["b"].energy_ratio.mean > 1.5


def test_quality_may_be_a_function_of_the_name():
    found = joulebench.compare(
        {"a": sleeping(0.002), "bb": sleeping(0.002)}, rounds=2, window_s=0.01, replay=WATTS,
        quality=lambda name: float(len(name)),
    )  # fmt: skip
    assert [one.quality for one in found.each] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("functions", "arguments"),
    [
        ({"a": int}, {}),
        ({"a": int, "b": int}, {"units": 0}),
        ({"a": int, "b": int}, {"units": {"a": 1}}),
        ({"a": int, "b": int}, {"rounds": 0}),
        ({"a": int, "b": int}, {"units": 1.5}),
        ({"a": int, "b": int}, {"window_s": -1}),
        ({"a": int, "b": int}, {"unit": ""}),
        ({"a": int, "b": int}, {"quality": 0.5}),
        ({"a": int, "b": int}, {"quality": {"a": "good"}}),
        ({"a": int, "b": int}, {"quality": {"c": 1.0}}),
        ({"a": int, "b": None}, {}),
        ({1: int, 2: int}, {}),
        ([int, int], {}),
    ],
)
def test_bad_input_is_refused(functions, arguments):
    with pytest.raises(InputError) as error:
        joulebench.compare(functions, replay=WATTS, **arguments)
    assert "\n" not in str(error.value)
    assert "repeats" not in str(error.value)


def test_the_ratio_is_of_the_same_domains_as_the_joules_beside_it():
    """The GPU is in it by its name, and a window that lacks a reading, which does not count, leaves it in."""

    def measured(name, gpu_j, lost):
        own = []
        for n in range(8):
            readings = [reading("cpu", 1.0), *([] if n == lost else [reading("gpu:0", gpu_j)])]
            fault = Fault(kind=FaultKind.MISSING_READING, text="no reading of gpu:0") if n == lost else None
            own.append(
                Window(
                    phase=PHASE, start_utc="2026-01-01T00:00:00Z", start_s=float(n), end_s=n + 1.0, units=1,
                    steps=10, readings=tuple(readings), fault=fault,
                )
            )  # fmt: skip
        return Measured(name, "call", tuple(own), Protocol(window_s=0.5, repeats=7, max_repeats=14), None)

    first, dear = measured("first", 9.0, lost=2), measured("dear", 19.0, lost=None)
    found = _compared(dear, first, None)
    assert (first.joules, dear.joules) == (10.0, 20.0)
    assert (found.energy_ratio.mean, found.energy_ratio.n) == (pytest.approx(2.0, rel=1e-3), 7)
    assert {domain: value.mean for domain, value in dear.by_domain.items()} == {"cpu": 1.0, "gpu:0": 19.0}


def reading(domain, energy_j):
    return Reading(domain=domain, energy_j=energy_j, source="replay", kind="measured")
