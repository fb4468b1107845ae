"""Drift of a machine, found in simulated control windows of known drift."""

from __future__ import annotations

import numpy as np
import pytest

from joulebench.records.model import Manifest, Reading
from joulebench.reporting.findings import findings
from joulebench.reporting.summary import Summary
from joulebench.results.drift import CONTROL, control_protocol, drift_of
from joulebench.results.run import Run
from joulebench.stats.estimate import Spread
from tests.factories import fault, make_task, make_trial, make_windows

TASK = make_task(
    {"width": {"type": "int", "low": 1, "high": 9, "default": 3}}, {"init": {"method": "sobol", "trials": 9}}
)
WINDOW_S = control_protocol(TASK.protocol).window_s


def block(number, joules, node=None, **changes):
    """A trial with a control block of one window for each value, in joules per unit."""
    utc = f"2026-01-01T0{number}:00:00Z"
    windows = [w for j in joules for w in make_windows(TASK, CONTROL, j, windows=1)]
    windows = [w.model_copy(update={"start_utc": utc, "node": node, **changes}) for w in windows]
    trial = make_trial(TASK, {"width": 1 + number}, {"val_accuracy": 0.5}, trial=number)
    return trial.model_copy(update={"windows": (*trial.windows, *windows)})


def codes(trials):
    manifest = Manifest(
        joulebench="0", task=TASK.model_dump(mode="json"), budget=None, digest="", hardware={}, seed=0,
        created_utc="2026-01-01T00:00:00Z", environment={},
    )  # fmt: skip
    return {f.code: f.level for f in findings(Summary(Run(manifest, TASK, trials)))}


def test_the_change_from_the_first_block_to_the_last():
    drift = drift_of(TASK, [block(5, [0.0106, 0.0104]), block(0, [0.0101, 0.0099]), block(2, [0.0102, 0.0102])])
    assert drift.relative == pytest.approx(0.05)
    assert [b.trial for b in drift.blocks] == [0, 2, 5]
    assert (drift.unit, drift.between.n) == ("sample", 3)
    # pooled variance of windows 2 (0.01² + (1/105)²) / 3, twice 1/2; t of 3 degrees of freedom is 3.182
    half = 3.1824 * np.sqrt(2 * (0.01**2 + (1 / 105) ** 2) / 3) * 1.05
    assert (drift.low, drift.high) == pytest.approx((0.05 - half, 0.05 + half), rel=1e-4)
    assert drift.shows


def test_its_interval_holds_the_true_drift():
    rng, held = np.random.default_rng(3), 0
    for _ in range(400):
        truth = np.linspace(1.0, 1.03, 4)
        drift = drift_of(TASK, [block(n, 0.01 * t * (1 + rng.normal(0, 0.01, 2))) for n, t in enumerate(truth)])
        held += drift.low <= 0.03 <= drift.high
    assert 0.92 <= held / 400 <= 0.98


def test_runs_that_differ_without_drift_are_none():
    """With 2 % between runs, the spread of windows within blocks alone calls half of these drift."""
    rng, spread, shown = np.random.default_rng(4), Spread(0.02, 10), 0
    for _ in range(400):
        runs = 0.01 * (1 + rng.normal(0, 0.02, 4))
        shown += drift_of(
            TASK, [block(n, j * (1 + rng.normal(0, 0.005, 2))) for n, j in enumerate(runs)], spread
        ).shows
    assert shown / 400 <= 0.08


def test_no_drift_without_two_blocks_that_count():
    assert drift_of(TASK, []) is None
    assert drift_of(TASK, [block(0, [0.01, 0.01])]) is None
    assert drift_of(TASK, [block(0, [0.01, 0.01]), block(1, [0.01, 0.01], fault=fault("broken"))]) is None
    single = drift_of(TASK, [block(0, [0.01]), block(1, [0.02])])
    assert (single.relative, single.low, single.shows) == (pytest.approx(1.0), None, False)
    assert "machine_drift" not in codes([block(0, [0.01, 0.01])])


def test_each_node_drifts_for_itself():
    trials = [block(0, [0.01, 0.0101], "a"), block(1, [0.02, 0.0201], "b"), block(2, [0.01, 0.0101], "a")]
    assert drift_of(TASK, trials).relative == pytest.approx(0.0)
    drift = drift_of(TASK, [*trials, block(3, [0.022, 0.0221], "b")])
    assert (drift.node, len(drift.blocks)) == ("b", 2)
    assert drift.relative == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize(
    ("last", "level"),
    [([0.0110, 0.0111], "warning"), ([0.0101, 0.01011], "note"), ([0.0080, 0.0140], "note")],
    ids=["significant", "small", "not significant"],
)
def test_a_drift_is_a_finding(last, level):
    assert codes([block(0, [0.01, 0.01001]), block(1, last)])["machine_drift"] == level


def test_the_gpus_joules_are_in_it():
    """The CPU's stay as they are, the GPU's rise by a tenth: 1 + 9 to 1 + 9.9."""
    energy = {"phase": "inference", "domains": ["gpu", "cpu"], "basis": "gross", "goal": "minimize"}
    parameters = {"width": {"type": "int", "low": 1, "high": 9, "default": 3}}
    task = make_task(parameters, {"init": {"method": "sobol", "trials": 9}}, {"j_per_sample": energy})
    trials = []
    for number, rise in enumerate((1.0, 1.1)):
        trial = block(number, [0.01, 0.01])
        windows = [
            w if w.phase != CONTROL
            else w.model_copy(
                update={
                    "readings": tuple(
                        Reading(domain=d, energy_j=j, source="replay", kind="measured")
                        for d, j in (("cpu", 1.0), ("gpu:0", 9.0 * rise))
                    )
                }
            )
            for w in trial.windows
        ]  # fmt: skip
        trials.append(trial.model_copy(update={"windows": tuple(windows)}))
    assert drift_of(task, trials).relative == pytest.approx(0.09)
