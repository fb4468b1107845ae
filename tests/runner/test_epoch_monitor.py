"""The epoch callback: reports, forecasts, and the end of a training over budget."""

from __future__ import annotations

import pytest

from joulebench import run
from joulebench.spec.task import Task

TASK = {
    "name": "long", "title": "t", "workload": "tests.problems:SteadyEpochs",
    "parameters": {"epochs": {"type": "fixed", "value": 10}, "epoch_s": {"type": "fixed", "value": 10.0}},
    "objectives": {
        "j_per_training_sample": {"goal": "minimize", "phase": "train", "domains": ["cpu"], "basis": "gross"},
    },
    "analyses": ["extrapolation"],
    "stages": {"default": {"method": "default", "repeats": 1}},
    "protocol": {"idle_s": 0.0, "warmup_s": 0.1, "window_s": 0.1, "repeats": 2},
}  # fmt: skip


def work(tmp_path, **choices):
    """Ten epochs of 10 s at 100 W: 1000 J each."""
    told = []

    def tell(event):
        told.append((event.kind, event.text))

    folder = run(Task.model_validate(TASK), out=tmp_path, replay="100", observer=tell, **choices)
    return folder, told


def test_without_it_only_the_epochs_are_said(tmp_path):
    folder, told = work(tmp_path)
    assert ("epoch", "epoch 3") in told
    assert not [text for kind, text in told if "take" in text]
    assert len(folder.trials()[0].epochs) == 10


def test_the_whole_training_is_told_from_its_first_epochs(tmp_path):
    folder, told = work(tmp_path, extrapolate=True)
    (note,) = [text for kind, text in told if kind == "note" and "after 2 epochs" in text]
    assert "all 10 epochs take about 1e+04 J, 100 s" in note
    assert folder.trials()[0].status == "ok"


def test_a_training_that_must_break_the_budget_is_ended_early(tmp_path):
    folder, _ = work(tmp_path, extrapolate=True, max_energy_j=6000.0)
    (trial,) = folder.trials()
    assert trial.status == "failed"
    assert "training would take at least 1e+04 J, and the energy budget has 6000 J left" in trial.error
    assert 2 <= len(trial.epochs) <= 3
    roomy, _ = work(tmp_path / "roomy", extrapolate=True, max_energy_j=11_000.0)
    assert roomy.trials()[0].status == "ok"
    assert sum(r.energy_j for w in folder.trials()[0].windows for r in w.readings) == pytest.approx(2000, rel=0.6)
