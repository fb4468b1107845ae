"""Values of configurations over their runs: what their intervals hold, and what leaves a trial without one."""

from __future__ import annotations

import numpy as np
import pytest

from joulebench.results.frontier import frontier
from joulebench.results.losses import near_zero
from joulebench.results.outcome import configurations, trial_outcomes
from tests.factories import ENERGY, make_task, make_trial, make_windows

WIDTH = {"width": {"type": "int", "low": 1, "high": 9, "default": 1}}
STAGES = {"init": {"method": "sobol", "trials": 9}}


@pytest.mark.parametrize(
    ("name", "truth"),
    [("j_per_sample", 0.017), ("samples_per_j", 1 / 0.017), ("samples_per_wh", 3600 / 0.017),
     ("edp_js_per_sample", 0.017 * 0.001), ("ed2p_js2_per_sample", 0.017 * 1e-6)],
)  # fmt: skip
def test_a_net_objective_over_runs_holds_the_error_of_the_idle_block_that_they_share(name, truth):
    """Load 100 W, idle 83 W ± 2 %: five runs that share four idle windows do not average that error away."""
    goal = "maximize" if name.startswith("samples") else "minimize"
    task = make_task(WIDTH, STAGES, {name: {"goal": goal, **ENERGY, "basis": "net"}})
    rng, held = np.random.default_rng(1), 0
    for _ in range(150):
        idle = [
            w for i in range(4)
            for w in make_windows(task, "idle", 0.083 * (1 + rng.normal(0, 0.02)), start_s=float(i), windows=1)
        ]  # fmt: skip
        runs = [make_trial(task, {}, {}, 0.1 * (1 + rng.normal(0, 0.001)), trial=i, spread=0.002) for i in range(5)]
        runs[0] = runs[0].model_copy(update={"windows": (*idle, *runs[0].windows)})
        value = configurations(task, runs)[0].outcomes[name].value
        held += value.low <= truth <= value.high
    assert 0.9 <= held / 150 <= 1.0


def test_latencies_of_any_size_have_the_relative_spread_between_runs():
    task = make_task(WIDTH, STAGES, {"step_s": {"goal": "minimize", "phase": "inference", "quantile": 0.5}})
    trials = []
    for width, seconds in ((1, 0.001), (2, 0.1)):
        for factor in (0.95, 1.05):
            made = make_trial(task, {"width": width}, {}, trial=len(trials))
            windows = [w.model_copy(update={"step_s": (seconds * factor,) * 9, "steps": 9}) for w in made.windows]
            trials.append(made.model_copy(update={"windows": tuple(windows)}))
    fast, slow = (c.outcomes["step_s"].value for c in configurations(task, trials))
    assert fast.rel_half_width == pytest.approx(slow.rel_half_width)
    # 5 % · √2 / √2, by Student's t with 2 degrees of freedom
    assert slow.rel_half_width == pytest.approx(4.3027 * 0.05, rel=1e-4)


def test_a_trial_whose_bound_was_measured_in_too_few_windows_has_no_value():
    task = make_task(
        WIDTH,
        STAGES,
        {"val_accuracy": {"goal": "maximize"}},
        constraints={"j_per_sample": {**ENERGY, "at_most": 0.02}},
    )
    trials = []
    for width, accuracy, cpus in ((1, 0.6, 0.0), (2, 0.9, 0.9)):
        made = make_trial(task, {"width": width}, {"val_accuracy": accuracy}, trial=width, phases=["inference"])
        windows = [w.model_copy(update={"conditions": {"other_load_cpus": cpus}}) for w in made.windows]
        trials.append(made.model_copy(update={"windows": tuple(windows)}))
    every = configurations(task, trials)
    assert [c.complete for c in every] == [True, False]
    assert [c.params["width"] for c in frontier(task, every)] == [1]


@pytest.mark.parametrize(("load", "has_value"), [(0.1, True), (0.05, False)])
def test_a_net_objective_of_one_window_has_no_interval_and_a_value_above_idle(load, has_value):
    """Trials of one window each are repeated themselves; that one has no interval is no reason to call it idle."""
    protocol = {"window_s": 1.0, "repeats": 1, "min_windows": 1, "max_repeats": 3}
    objective = {"j_per_sample": {"goal": "minimize", **ENERGY, "basis": "net"}}
    task = make_task(WIDTH, STAGES, objective, protocol=protocol)
    idle = [make_windows(task, "idle", 0.083, start_s=float(i), windows=1)[0] for i in range(4)]
    made = make_trial(task, {}, {}, load)
    trial = made.model_copy(update={"windows": (*idle, made.windows[0])})
    found = trial_outcomes(task, trial, idle)
    assert bool(found) is has_value
    assert near_zero(task, trial, idle) is not has_value
    if has_value:
        assert (found["j_per_sample"].value.n, found["j_per_sample"].value.low) == (1, None)
