"""The frontier against its definition, and against brute force."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.records.model import TrialRecord
from joulebench.results.frontier import (
    frontier,
    hypervolume,
    hypervolume_by_trial,
    non_dominated,
    task_hypervolume,
)
from joulebench.results.outcome import Configuration, Outcome
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate

GOALS = ("maximize", "minimize")
# few distinct values, so that ties and duplicates are common
VALUES = st.integers(-4, 4).map(float) | st.floats(-5, 5, allow_subnormal=False)


@st.composite
def problems(draw: Any, most: int = 4) -> tuple[np.ndarray, list[str]]:
    d = draw(st.integers(1, most))
    rows = draw(st.lists(st.lists(VALUES, min_size=d, max_size=d), min_size=0, max_size=14))
    goals = draw(st.lists(st.sampled_from(GOALS), min_size=d, max_size=d))
    return np.asarray(rows, dtype=float).reshape(len(rows), d), goals


def dominates(a: np.ndarray, b: np.ndarray, goals: list[str]) -> bool:
    gains = [(x - y) * (1 if g == "maximize" else -1) for x, y, g in zip(a, b, goals, strict=True)]
    return min(gains) >= 0 and max(gains) > 0


@given(problems())
@settings(max_examples=200, deadline=None)
def test_the_mask_is_the_definition(problem: tuple[np.ndarray, list[str]]) -> None:
    points, goals = problem
    mask = non_dominated(points, goals)
    for i, point in enumerate(points):
        dominated = any(dominates(other, point, goals) for other in points)
        assert mask[i] == (not dominated)


@given(problems(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_of_points_does_not_matter(problem: tuple[np.ndarray, list[str]], random: Any) -> None:
    points, goals = problem
    order = list(range(len(points)))
    random.shuffle(order)
    assert (non_dominated(points[order], goals) == non_dominated(points, goals)[order]).all()
    reference = np.zeros(len(goals))
    assert hypervolume(points[order], reference, goals) == pytest.approx(hypervolume(points, reference, goals))


@given(problems())
@settings(max_examples=100, deadline=None)
def test_hypervolume_grows_with_points_and_needs_only_the_frontier(problem: tuple[np.ndarray, list[str]]) -> None:
    points, goals = problem
    reference = np.zeros(len(goals))
    volumes = [hypervolume(points[:n], reference, goals) for n in range(len(points) + 1)]
    assert volumes[0] == 0.0
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(volumes))
    front = points[non_dominated(points, goals)]
    assert hypervolume(front, reference, goals) == pytest.approx(volumes[-1])


@given(
    st.lists(st.tuples(st.integers(-3, 6), st.integers(-3, 6)), max_size=12),
    st.tuples(*[st.sampled_from(GOALS)] * 2),
)
@settings(max_examples=100, deadline=None)
def test_two_dimensional_hypervolume_is_the_number_of_cells_covered(
    points: list[tuple[int, int]], goals: tuple[str, str]
) -> None:
    turned = [tuple(v if g == "maximize" else -v for v, g in zip(p, goals, strict=True)) for p in points]
    cells = sum(any(x > i and y > j for x, y in turned) for i, j in itertools.product(range(7), repeat=2))
    values = np.asarray(points, dtype=float).reshape(len(points), 2)
    assert hypervolume(values, [0.0, 0.0], list(goals)) == pytest.approx(cells)


def test_duplicates_are_kept_together() -> None:
    points = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [0.0, 2.0], [0.0, 0.0]])
    assert non_dominated(points, ["maximize", "maximize"]).tolist() == [True, True, True, False, False]


def test_nan_and_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="row 1 of points holds a NaN"):
        non_dominated([[0.0, 1.0], [np.nan, 1.0]], ["maximize", "minimize"])
    with pytest.raises(ValueError, match="n × 2"):
        non_dominated([[0.0, 1.0, 2.0]], ["maximize", "minimize"])
    with pytest.raises(ValueError, match="NaN"):
        hypervolume([[0.0]], [np.nan], ["maximize"])


def _task(**objectives: dict[str, Any]) -> Task:
    return Task(
        name="t",
        title="t",
        workload="function",
        parameters={"x": {"type": "int", "low": 0, "high": 99, "default": 0}},
        objectives=objectives,
        stages={"init": {"method": "sobol", "trials": 4}},
    )


TWO = {"a": {"goal": "maximize", "reference": 0.0}, "b": {"goal": "minimize", "reference": 10.0}}


def _configuration(x: int, **values: float) -> Configuration:
    outcomes = {name: Outcome(Estimate(v, 1, None, None, None, "single run")) for name, v in values.items()}
    return Configuration(f'{{"x": {x}}}', {"x": x}, (), outcomes)


def _trial(number: int, x: int, status: str = "ok", **metrics: float) -> TrialRecord:
    return TrialRecord(
        trial=number, session=0, stage="init", origin="sobol", params={"x": x}, seed=0,
        status=status, metrics=metrics, windows=(),
    )  # fmt: skip


def test_frontier_is_sorted_best_first_whatever_the_order_of_trials() -> None:
    found = [_configuration(1, a=1, b=1), _configuration(2, a=3, b=5), _configuration(3, a=2, b=5),
             _configuration(4, a=3, b=5), _configuration(5)]  # fmt: skip
    for order in itertools.permutations(found):
        assert [c.params["x"] for c in frontier(_task(**TWO), order)] == [2, 4, 1]


def test_one_objective_has_a_frontier_of_its_best() -> None:
    found = [_configuration(1, a=1), _configuration(2, a=3), _configuration(3, a=2)]
    assert [c.params["x"] for c in frontier(_task(a=TWO["a"]), found)] == [2]
    assert frontier(_task(a=TWO["a"]), []) == []


def test_hypervolume_by_trial_ends_at_the_frontiers_and_never_falls() -> None:
    trials = [
        _trial(0, 1, a=1.0, b=9.0),  # 1 × 1
        _trial(1, 2, status="oom"),
        _trial(2, 3, a=2.0, b=8.0),  # 2 × 2 covers it
        _trial(3, 4, a=-1.0, b=1.0),  # not better than the reference
        _trial(4, 3, a=4.0, b=8.0),  # the same configuration again: its mean was counted at once
    ]
    assert hypervolume_by_trial(_task(**TWO), trials) == pytest.approx([1.0, 1.0, 6.0, 6.0, 6.0])


def test_no_reference_no_hypervolume() -> None:
    task = _task(a=TWO["a"], b={"goal": "minimize"})
    assert hypervolume_by_trial(task, [_trial(0, 1, a=1.0, b=1.0)]) == [None]
    assert hypervolume_by_trial(task, []) == []


def test_what_does_not_beat_every_reference_is_no_member() -> None:
    found = [_configuration(1, a=1, b=1), _configuration(2, a=9, b=10), _configuration(3, a=0, b=0)]
    assert [c.params["x"] for c in frontier(_task(**TWO), found)] == [1]
    assert frontier(_task(**TWO), found[1:]) == []
    unbounded = _task(a={"goal": "maximize"}, b={"goal": "minimize"})
    assert [c.params["x"] for c in frontier(unbounded, found)] == [2, 1, 3]


LOG_COST = {"a": TWO["a"], "b": {"goal": "minimize", "reference": 100.0, "scale": "log"}}


def test_a_log_scale_counts_ratios_from_the_reference() -> None:
    """(2, 10) spans 2 × ln(100 / 10); (4, 50) adds 2 × ln(100 / 50) beside it."""
    points = [(2.0, 10.0), (4.0, 50.0), (3.0, 60.0), (9.0, 100.0)]  # two that add nothing
    assert task_hypervolume(_task(**LOG_COST), points) == pytest.approx(2 * math.log(10) + 2 * math.log(2))
    best = {"b": {"goal": "maximize", "reference": 5.0, "scale": "log"}}
    assert task_hypervolume(_task(**best), [[10.0], [20.0]]) == pytest.approx(math.log(4))


def test_three_objectives_with_mixed_scales() -> None:
    """With L = ln 2 the sides are (1, 3L, L) and (2, L, 2L), which share (1, L, L)."""
    costly = {"goal": "minimize", "reference": 8.0, "scale": "log"}
    frugal = {"goal": "maximize", "reference": 1.0, "scale": "log"}
    task = _task(a=TWO["a"], b=costly, c=frugal)
    found = task_hypervolume(task, [(1.0, 1.0, 2.0), (2.0, 4.0, 4.0)])
    assert found == pytest.approx((3 + 4 - 1) * math.log(2) ** 2)


@given(
    st.lists(st.tuples(st.floats(0.1, 5), st.floats(0.01, 500)), min_size=1, max_size=8),
    st.floats(1e-6, 1e6),
    st.sampled_from(GOALS),
)
@settings(max_examples=100, deadline=None)
def test_the_unit_of_what_is_on_a_log_scale_does_not_matter(
    points: list[tuple[float, float]], factor: float, goal: str
) -> None:
    def volume(unit: float) -> float | None:
        energy = {"goal": goal, "reference": 10.0 * unit, "scale": "log"}
        return task_hypervolume(_task(a=TWO["a"], b=energy), [(a, b * unit) for a, b in points])

    assert volume(factor) == pytest.approx(volume(1.0), rel=1e-6, abs=1e-9)


def test_a_scale_changes_no_frontier_but_its_hypervolume() -> None:
    found = [_configuration(x, a=x, b=b) for x, b in enumerate((120.0, 1.0, 20.0, 10.0, 60.0, 60.0))]
    log, plain = _task(**LOG_COST), _task(a=TWO["a"], b={"goal": "minimize", "reference": 100.0})
    for task in (log, plain):
        assert [c.params["x"] for c in frontier(task, found)] == [5, 3, 1]
    trials = [_trial(x, x, a=c.outcomes["a"].value.mean, b=c.outcomes["b"].value.mean) for x, c in enumerate(found)]
    first, *_, last = hypervolume_by_trial(log, trials)
    assert first == 0.0  # worse than the reference
    assert last == pytest.approx(math.log(100) + 2 * math.log(10) + 2 * math.log(100 / 60))
    assert hypervolume_by_trial(plain, trials)[-1] == pytest.approx(99 + 2 * 90 + 2 * 40)


@pytest.mark.parametrize("low", [0.0, -3.0])
def test_what_has_no_logarithm_counts_for_nothing_or_leaves_no_hypervolume(low: float) -> None:
    best = _task(a=TWO["a"], b={"goal": "maximize", "reference": 1.0, "scale": "log"})
    assert task_hypervolume(best, [(2.0, math.e), (5.0, low)]) == pytest.approx(2.0)
    assert task_hypervolume(_task(**LOG_COST), [(2.0, 10.0), (5.0, low)]) is None
    trials = [_trial(0, 1, a=2.0, b=10.0), _trial(1, 2, a=5.0, b=low)]
    assert hypervolume_by_trial(_task(**LOG_COST), trials) == [None, None]
    with pytest.raises(ValueError, match="NaN"):
        task_hypervolume(best, [(2.0, math.nan)])
