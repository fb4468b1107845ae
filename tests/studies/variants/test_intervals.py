"""Intervals of ratios on simulated runs whose truth is known: paired, apart, and what none can be given for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from joulebench.records.model import TrialRecord
from joulebench.results.run import Run
from joulebench.stats.intervals import Answer
from joulebench.studies.variants.analysis import Between, Cost, Variants, variants
from joulebench.studies.variants.section import VariantsStudy
from tests.coverage_study import Machine, _task, _window

TRUE = 1.1
NOISE = 0.03  # of a run
RUNS = 400


def with_windows(trial, windows):
    return TrialRecord.model_construct(**{**dict(trial), "windows": tuple(windows)})


def simulated(rng, order, *, true=TRUE, drift=0.0, controls=(), rsd=NOISE, **stages):
    """A run of widths 0 (the default) and 1 in this order, on a machine that walks by `drift` a round."""
    task = _task(stages=stages or {"all": {"method": "random", "trials": len(order)}})
    machine, walk, trials = Machine(rng, task, rsd, metric_sd=0.01), 0.0, []
    for number, width in enumerate(order):
        walk += drift * rng.normal() if number % 2 == 0 else 0.0
        j_per_unit = 0.01 * (true if width else 1) * math.exp(walk)
        trial = machine.trial(width, j_per_unit, 0.9 - 0.1 * width, next(iter(task.stages)))
        if number in controls:
            factor = 1 + rsd * rng.normal()
            joules = [factor * (1 + 0.02 * rng.normal()) for _ in range(2)]
            windows = [_window("control", machine.now_s + i, 1.0, j, 100) for i, j in enumerate(joules)]
            trial = with_windows(trial, (*trial.windows, *windows))
        trials.append(trial)
    return Run(None, task, trials)  # type: ignore[arg-type]


def in_rounds(rng, rounds):
    return [int(w) for _ in range(rounds) for w in rng.permutation(2)]


ROUNDS = {"rounds": {"method": "points", "points": [{"width": 0}, {"width": 1}], "repeats": 10}}


def compared(run: Run) -> tuple[Variants, Cost]:
    result = variants(run)
    (cost,) = result.each[1].costs.values()
    return result, cost


def held(cost: Cost) -> bool:
    return cost.energy_ratio.low <= TRUE <= cost.energy_ratio.high


def test_intervals_of_rounds_hold_the_truth_while_the_machine_drifts():
    rng = np.random.default_rng(1)
    costs = [compared(simulated(rng, in_rounds(rng, 10), drift=0.2, **ROUNDS))[1] for _ in range(RUNS)]
    assert {c.energy_ratio.varied for c in costs} == {"rounds"}
    assert 0.93 <= np.mean([held(c) for c in costs]) <= 0.98
    # what a drift of 20 % a round leaves to the means: nothing
    assert np.median([c.energy_ratio.high / c.energy_ratio.low for c in costs]) < 1.12


@pytest.mark.parametrize("order", [(0, 0, 0, 1, 1, 1), (0, 0, 0, 0, 0, 1)])
def test_intervals_of_means_hold_the_truth_by_the_spread_of_repeated_runs(order):
    rng = np.random.default_rng(2)
    found = [compared(simulated(rng, order)) for _ in range(RUNS)]
    assert {b for result, _ in found for b in result.between.values()} == {Between.REPEATED}
    assert {c.energy_ratio.varied for _, c in found} == {"means"}
    assert 0.93 <= np.mean([held(c) for _, c in found]) <= 0.98


def test_intervals_of_single_runs_hold_the_truth_by_the_control_windows():
    """Those of the windows within the runs would hold it in half of all."""
    rng = np.random.default_rng(3)
    found = [compared(simulated(rng, (0, 1, 2), controls=(0, 1, 2), rsd=0.05)) for _ in range(RUNS)]
    assert {b for result, _ in found for b in result.between.values()} == {Between.CONTROLS}
    assert np.mean([held(c) for _, c in found]) >= 0.93
    assert np.mean([c.energy_ratio.mean for _, c in found]) == pytest.approx(TRUE, rel=0.02)


@pytest.mark.parametrize(
    ("order", "controls"), [((0, 1), ()), ((0, 1), (0, 1)), ((0, 0, 1), ())], ids=["none", "two blocks", "a pair"]
)
def test_where_it_is_not_known_what_runs_differ_by_there_is_a_ratio_alone(order, controls):
    result, cost = compared(simulated(np.random.default_rng(4), order, controls=controls, rsd=0.0))
    assert [*result.between.values()] == [Between.UNKNOWN]
    assert cost.energy_ratio.mean == pytest.approx(TRUE, rel=0.1)
    assert (cost.energy_ratio.low, cost.time_ratio.low, cost.answer) == (None, None, Answer.UNKNOWN)


def test_a_configuration_with_one_valid_window_has_no_interval_and_no_verdict():
    run = simulated(np.random.default_rng(5), (0, 0, 0, 1))
    trials = [*run.trials[:-1], with_windows(run.trials[-1], run.trials[-1].windows[:1])]
    _, cost = compared(Run(None, run.task, trials))  # type: ignore[arg-type]
    assert cost.energy_ratio.mean == pytest.approx(TRUE, rel=0.15)
    assert (cost.energy_ratio.low, cost.answer) == (None, Answer.UNKNOWN)


@pytest.mark.parametrize("stages", [ROUNDS, {}])
def test_equal_joules_are_no_difference_and_others_one_also_without_any_variance(stages):
    """Coarse counters repeat themselves."""
    for factor, answer in ((1.0, Answer.SAME), (1.25, Answer.MORE), (0.8, Answer.LESS)):
        run = simulated(np.random.default_rng(6), in_rounds(np.random.default_rng(6), 10), **stages)
        trials = []
        for trial in run.trials:
            joules = 2.0 * (factor if trial.params["width"] else 1.0)
            windows = tuple(_window("inference", w.start_s, 1.0, joules, 100) for w in trial.windows)
            trials.append(with_windows(trial, windows))
        _, cost = compared(Run(None, run.task, trials))  # type: ignore[arg-type]
        assert (cost.energy_ratio.mean, cost.answer) == (pytest.approx(factor), answer)


def test_verdicts_on_configurations_that_are_alike_are_rarely_wrong():
    rng = np.random.default_rng(7)
    answers = [compared(simulated(rng, (0, 0, 0, 1, 1, 1), true=1.0))[1].answer for _ in range(RUNS)]
    assert 0.02 <= 1 - np.mean([answer is Answer.SAME for answer in answers]) <= 0.08


def test_differences_of_quality_hold_the_truth():
    rng = np.random.default_rng(8)
    found = [compared(simulated(rng, (0, 0, 0, 1, 1, 1)))[0] for _ in range(RUNS)]
    differences = [result.each[1].qualities["val_accuracy"].difference for result in found]
    assert 0.93 <= np.mean([d.low <= -0.1 <= d.high for d in differences]) <= 0.98
    single = variants(simulated(rng, (0, 1))).each[1].qualities["val_accuracy"].difference
    assert (single.mean < 0, single.low) == (True, None)


@pytest.mark.parametrize(("order", "stages"), [((0, 0, 0, 1, 1, 1), {}), ((0, 1) * 10, ROUNDS)])
@pytest.mark.parametrize("lacking", [1, 4])  # the first run of the other, or a later one of either
def test_joules_of_other_domains_have_no_ratio(order, stages, lacking):
    """A run of which a second socket was not read takes fewer joules of the domains that were."""
    run = simulated(np.random.default_rng(7), order, **stages)
    trials = []
    for number, trial in enumerate(run.trials):
        windows = trial.windows
        if number != lacking:
            more = [w.readings[0].model_copy(update={"domain": "cpu:1"}) for w in windows]
            windows = [
                w.model_copy(update={"readings": (*w.readings, m)}) for w, m in zip(windows, more, strict=True)
            ]
        trials.append(with_windows(trial, windows))
    run = Run(None, run.task, trials)  # type: ignore[arg-type]
    result, cost = compared(run)
    assert (cost.energy_ratio, cost.answer) == (None, Answer.UNKNOWN)
    assert cost.time_ratio is not None
    assert any("different domains" in text for text in VariantsStudy().section(result, run).sentences)
