"""Which configurations are confirmed: the ends of the frontier, an even choice between them, and the default."""

from __future__ import annotations

import pytest

from joulebench.results.confirmation import searching, to_confirm
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations
from joulebench.spec.task import CONFIRM
from tests.factories import make_task, make_trial

PARAMETERS = {"width": {"type": "int", "low": 1, "high": 100, "default": 50}}
STAGES = {"init": {"method": "sobol", "trials": 20}}


def chosen(count: int, default: bool = True, **fields):
    """Widths confirmed of a frontier of `count` members, from the most accurate to the most frugal."""
    task = make_task(PARAMETERS, STAGES, **fields)
    trials = [
        make_trial(task, {"width": w}, {"val_accuracy": 0.9 - 0.01 * w}, 0.01 / w, trial=w - 1, stage="init")
        for w in range(1, count + 1)
    ]
    if default:  # dominated by all
        trials.append(make_trial(task, {}, {"val_accuracy": 0.2}, 1.0, trial=count))
    every = configurations(task, trials)
    assert len(frontier(task, every)) == count
    return [c.params["width"] for c in to_confirm(task, every)]


@pytest.mark.parametrize(
    ("count", "members", "widths"),
    [
        (4, 6, [1, 2, 3, 4]),
        (6, 6, [1, 2, 3, 4, 5, 6]),
        (11, 6, [1, 3, 5, 7, 9, 11]),
        (20, 3, [1, 11, 20]),
        (20, 2, [1, 20]),
        (20, 1, [1]),
    ],
)
def test_the_ends_of_the_frontier_and_an_even_choice_between_them(count, members, widths):
    assert chosen(count, confirm={"members": members}) == [*widths, 50]


def test_a_default_without_a_value_is_not_confirmed():
    assert chosen(3, default=False) == [1, 2, 3]


@pytest.mark.parametrize("fields", [{"confirm": {"repeats": 0}}, {"analyses": ["proxies"]}])
def test_nothing_where_the_task_does_not_confirm_or_has_no_frontier(fields):
    assert chosen(3, **fields) == []


def test_a_default_alone_is_not_confirmed():
    task = make_task(PARAMETERS, STAGES)
    guesses = make_trial(task, {}, {"val_accuracy": 0.05})  # no better than the reference
    assert to_confirm(task, configurations(task, [guesses])) == []


def test_trials_of_the_stages_are_those_before_confirmation():
    task = make_task(PARAMETERS, STAGES)
    trials = [make_trial(task, trial=n, stage=stage) for n, stage in enumerate(("init", "init", CONFIRM))]
    assert [t.trial for t in searching(trials)] == [0, 1]
