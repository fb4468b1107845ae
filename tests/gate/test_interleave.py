"""Pairs until all is decided: looks at fixed parts of the budget, and what is measured after each."""

from __future__ import annotations

import pytest

from joulebench.gate import interleave
from joulebench.gate.files import read_replicates
from joulebench.gate.interleave import look_of, measure_until_decided
from joulebench.gate.processes import Benchmarks
from joulebench.gate.statistics import LOOKS
from tests.gate_records import measurement, replicate


class Machine:
    """A stand-in for processes: a pair takes `pair_s` of a clock that only it moves."""

    def __init__(self, monkeypatch, pair_s):
        self.now_s, self.pair_s, self.only = 0.0, pair_s, []
        monkeypatch.setattr(interleave, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(interleave, "run_in_turn", self.run)

    def run(self, trees, benchmarks, place, only):
        self.now_s += self.pair_s
        self.only.append(tuple(only))
        return [replicate(measurement(), session=place.session, pair=place.pair, rerun=place.rerun) for _ in trees]


def measured(monkeypatch, pair_s, budget_s, answers, keep=None):
    """Looks of the pairs; `answers` are what is undecided at each look, the last one for ever."""
    machine, asked = Machine(monkeypatch, pair_s), []

    def undecided(sides):
        asked.append(len(sides[1]))
        return answers[min(len(asked), len(answers)) - 1]

    benchmarks = Benchmarks("tests", keep=keep)
    sides = measure_until_decided(("a", "b"), benchmarks, "s", budget_s, undecided, lambda _: None)
    return machine, asked, sides


def test_looks_are_at_fifths_of_the_budget_and_the_last_has_all(monkeypatch, tmp_path):
    machine, asked, (before, now) = measured(monkeypatch, 10.0, 300.0, [["b"]], tmp_path / "kept")
    assert asked == [6, 12, 18, 24, 30]
    assert [r.look for r in now] == [n // 6 + 1 for n in range(30)]
    assert [r.pair for r in before] == list(range(30))
    assert machine.now_s == 300.0
    assert read_replicates(tmp_path / "kept" / "current.jsonl") == now


def test_it_ends_at_the_look_that_decides_and_measures_only_what_is_open(monkeypatch):
    machine, asked, (_, now) = measured(monkeypatch, 10.0, 300.0, [["x", "y"], ["y"], []])
    assert asked == [6, 12, 18]
    assert len(now) == 18
    assert machine.only == [()] * 6 + [("x", "y")] * 6 + [("y",)] * 6


@pytest.mark.parametrize(("pair_s", "pairs"), [(70.0, 4), (140.0, 2), (400.0, 1), (299.0, 1)])
def test_long_pairs_keep_to_the_budget_but_for_one(monkeypatch, pair_s, pairs):
    _, asked, (_, now) = measured(monkeypatch, pair_s, 300.0, [["b"]])
    assert len(now) == asked[-1] == pairs
    assert [r.look for r in now] == sorted(r.look for r in now)
    if pairs > 1:
        assert now[-1].look == LOOKS  # nothing of what may go wrong is left for a look that never comes


def test_the_next_look_by_hand():
    assert look_of(0.0, 10.0, 300.0) == 1
    assert look_of(55.0, 10.0, 300.0) == 2
    assert look_of(281.0, 10.0, 300.0) == LOOKS
