"""Racing: what may be decided early, from which records, and by what margin."""

from __future__ import annotations

import math

import pytest

from joulebench.measurement.racing import Race, is_beaten, race
from joulebench.records.model import Costs
from tests.factories import ENERGY, make_task, make_trial, make_windows

STAGES = {"default": {"method": "default", "repeats": 1}, "init": {"method": "sobol", "trials": 9}}
WIDTH = {"width": {"type": "int", "low": 1, "high": 60, "default": 9}}


def search_task(**fields):
    protocol = {"window_s": 1.0, "repeats": 4, "max_repeats": 5}
    return make_task(WIDTH, fields.pop("stages", STAGES), **{"protocol": protocol, **fields})


def trials_of(task, count=6, spread=0.02):
    """A frontier of two: width 1 (0.5, 10 mJ) and width 2 (0.9, 20 mJ); the others are worse than both."""
    best = [({"width": 1}, 0.5, 0.01), ({"width": 2}, 0.9, 0.02)]
    rest = [({"width": 10 + n}, 0.4, 0.03 + 0.01 * n) for n in range(count - 2)]
    return [
        make_trial(task, p, {"val_accuracy": a}, j, trial=n, stage="init", windows=4, spread=spread)
        for n, (p, a, j) in enumerate([*best, *rest])
    ]


def test_it_races_against_the_frontier_with_the_pooled_spread_of_windows():
    task = search_task()
    against = race(task, "init", task.resolve({"width": 40}), trials_of(task))
    assert [r["val_accuracy"] for r in against.rivals] == [0.9, 0.5]
    assert [1 / r["samples_per_j"] for r in against.rivals] == pytest.approx([0.02, 0.01])
    # four windows at -1, -1/3, 1/3 and 1 times 2 %
    assert against.spread == {"samples_per_j": pytest.approx(0.02 * math.sqrt(20 / 27))}
    assert against.between == {}


def test_runs_of_one_configuration_add_their_spread():
    task = search_task()
    trials = trials_of(task)
    again = make_trial(task, {"width": 1}, {"val_accuracy": 0.5}, 0.011, trial=9, stage="init", windows=4)
    against = race(task, "init", task.resolve({"width": 40}), [*trials, again])
    assert 0.05 < against.between["samples_per_j"] < 0.08


@pytest.mark.parametrize(
    ("stage", "width", "count", "fields"),
    [
        ("default", 40, 6, {}),
        ("confirm", 40, 6, {}),
        ("init", 9, 6, {}),  # the default
        ("init", 2, 6, {}),  # on the frontier
        ("init", 40, 3, {}),  # nine degrees of freedom
        ("init", 40, 0, {}),
        ("init", 40, 6, {"analyses": ["frontier", "repeatability"]}),
        ("init", 40, 6, {"constraints": {"j_per_sample": {"at_most": 1.0, **ENERGY}}}),
        ("init", 40, 6, {"stages": {"init": {"method": "grid"}}}),
    ],
)
def test_what_is_measured_in_full(stage, width, count, fields):
    task = search_task(**fields)
    trials = trials_of(task, count) if count else []
    assert race(task, stage, task.resolve({"width": width}), trials) is None


@pytest.mark.parametrize(
    ("accuracy", "joules", "windows", "beaten"),
    [
        (0.4, 0.0130, 2, True),
        (0.4, 0.0130, 1, False),  # fewer windows than `min_windows`
        (0.4, 0.0102, 2, False),  # 2 % dearer, within 3 √2 standard errors
        (0.5, 0.0130, 2, True),  # as good in what is exact
        (0.51, 0.0190, 2, False),  # nobody is as accurate for less
        (0.51, 0.0250, 2, True),
        (0.95, 0.9000, 2, False),
    ],
)
def test_only_what_is_clearly_dominated_is_beaten(accuracy, joules, windows, beaten):
    task = search_task()
    against = race(task, "init", task.resolve({"width": 40}), trials_of(task))
    own = make_windows(task, "inference", joules, windows=windows, spread=0.005)
    assert is_beaten(task, against, {"val_accuracy": accuracy}, Costs(), own, ()) is beaten


def test_variation_between_runs_widens_the_margin():
    task = search_task()
    own = make_windows(task, "inference", 0.013, windows=2)
    rivals = ({"val_accuracy": 0.5, "samples_per_j": 100.0},)
    for between, beaten in (({}, True), ({"samples_per_j": 0.05}, True), ({"samples_per_j": 0.06}, False)):
        against = Race(rivals, {"samples_per_j": 0.01}, between)
        assert is_beaten(task, against, {"val_accuracy": 0.4}, Costs(), own, ()) is beaten


def test_no_race_is_wrong_more_often_than_its_margin_says():
    """Of 2,000 configurations exactly as dear as the rival, about 0.13 % may be called beaten."""
    import numpy as np

    rng, task, lost = np.random.default_rng(1), search_task(), 0
    for _ in range(2000):
        theirs = 0.01 * (1 + rng.normal(0, 0.02, 2).mean())
        against = Race(({"val_accuracy": 0.5, "samples_per_j": 1 / theirs},), {"samples_per_j": 0.02}, {})
        own = [
            w for j in 0.01 * (1 + rng.normal(0, 0.02, 2)) for w in make_windows(task, "inference", j, windows=1)
        ]
        lost += is_beaten(task, against, {"val_accuracy": 0.4}, Costs(), own, ())
    assert lost <= 8
