"""How well the search finds, on problems with known fronts; minutes each, medians over seeds."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from joulebench.records.model import TrialRecord
from joulebench.results.outcome import configuration_key
from joulebench.results.promises import RECENTLY_KEPT
from tests.synthetic_search import Problem, branin_currin, categorical, dtlz2, integers, mixed

SEEDS = range(11)
CAP = 600  # trials of random search; where it has not got there by then, it counts with as many


def found(problem: Problem, records: list[TrialRecord]) -> float:
    return problem.hypervolume([r.params for r in records])


def checked(problem: Problem, records: list[TrialRecord], initial: int) -> list[TrialRecord]:
    """No configuration twice, and every proposal after the initial ones the model's, or made for its promises."""
    keys = [configuration_key(problem.task, r.params) for r in records]
    assert len(set(keys)) == len(keys)
    assert {r.origin for r in records[initial:] if RECENTLY_KEPT not in r.expected} <= {"qnehvi"}
    return records


@pytest.mark.slow
def test_noisy_branin_currin():
    """BoTorch's tutorial: 6 initial points and 80 more, noise of 15.19 and 0.63; the whole front is worth 59.36."""
    problem = branin_currin()
    studies = [checked(problem, problem.study([("init", 6), ("search", 80)], seed), 6) for seed in SEEDS]
    values = sorted(found(problem, records) for records in studies)
    print("Branin-Currin:", [round(v, 2) for v in values])
    assert median(values) >= 57.5  # 57.74 of 11 seeds; 57.8 is aimed at


@pytest.mark.slow
def test_dtlz2_against_evolution_and_sampling():
    problem = dtlz2(6)
    plans = {
        "qnehvi": [("init", 14), ("search", 86)],
        "nsga2": [("evolution", 100)],
        "sobol": [("init", 100)],
    }
    values = {name: sorted(found(problem, problem.study(plan, s)) for s in SEEDS) for name, plan in plans.items()}
    print("DTLZ2:", {name: [round(v, 3) for v in row] for name, row in values.items()})
    assert median(values["qnehvi"]) > 2 * max(median(values["nsga2"]), median(values["sobol"]))


@pytest.mark.slow
@pytest.mark.parametrize("make", [categorical, integers, mixed])
def test_a_third_of_the_trials_of_random_search(make: Callable[[], Problem]):
    """95 % of the true hypervolume, of spaces of more than 10,000 configurations."""
    problem = make()
    everything = {configuration_key(problem.task, p): p for p in problem.everything()}
    assert len(everything) >= 10_000
    goal = 0.95 * problem.hypervolume(list(everything.values()))
    sampled = [problem.trials_to(goal, "random", 0, CAP, seed)[0] for seed in SEEDS]
    searched = []
    for seed in SEEDS:
        trials, records = problem.trials_to(goal, "search", 14, CAP // 3, seed)
        checked(problem, records, 14)
        searched.append(trials)
    print(f"{make.__name__}: qnehvi {sorted(searched)}, random {sorted(sampled)} (at most {CAP})")
    assert median(searched) <= median(sampled) / 3


def test_the_front_of_a_small_problem():
    """What the slow tests ask, in seconds."""
    problem = branin_currin()
    records = checked(problem, problem.study([("init", 6), ("search", 14)], 0), 6)
    sampled = problem.study([("init", 20)], 0)
    assert found(problem, records) > found(problem, sampled)
