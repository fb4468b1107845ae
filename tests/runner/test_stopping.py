"""Stopping before the stages are done: an energy budget, and a search that no longer pays."""

from __future__ import annotations

import re

import pytest

from joulebench import run
from joulebench.errors import InputError
from joulebench.records.model import LedgerEntry, Reading, Window
from joulebench.runner.local import resume
from joulebench.runner.stopping import next_trial_j, parse_energy_j, spent_j, stop_reason
from joulebench.spec.task import Stopping, Task
from tests.factories import make_task, make_trial

PARAMETERS = {"width": {"type": "int", "low": 1, "high": 100, "default": 3}}
TASK = make_task(PARAMETERS, {"default": {"method": "default", "repeats": 1}})


def trials(n, saving=None):
    """Each trial's windows hold 5 × 1000 units at 10 mJ: 50 J."""
    expected = {} if saving is None else {"saving_j_per_unit": saving}
    return [
        make_trial(TASK, {"width": 1 + i}, {"val_accuracy": 0.5}, 0.01, trial=i, expected=expected)
        for i in range(n)
    ]


def ledger(energy_j):
    reading = Reading(domain="cpu", energy_j=energy_j, source="replay", kind="measured")
    window = Window(phase="start", start_utc="", start_s=0.0, end_s=1.0, readings=(reading,))
    return [LedgerEntry(session=0, event="start", windows=(window,))]


@pytest.mark.parametrize(
    ("text", "joules"),
    [("500kJ", 5e5), ("2 kWh", 7.2e6), ("1.5e3 J", 1500.0), ("3Wh", 10800.0), ("0.5MJ", 5e5)],
)
def test_energies(text, joules):
    assert parse_energy_j(text, "--max-energy") == pytest.approx(joules)


@pytest.mark.parametrize("text", ["", "500", "kJ", "-3 J", "0 J", "5 kg", "1.2.3 J", "5 mJ", "inf J"])
def test_what_is_no_energy_is_refused(text):
    with pytest.raises(InputError, match="--max-energy: "):
        parse_energy_j(text, "--max-energy")


def test_a_budget_stops_before_the_trial_that_would_break_it():
    rules = Stopping(max_energy_j=400.0)
    assert spent_j(trials(4), ledger(100.0)) == pytest.approx(300.0)
    assert next_trial_j(trials(4)) == pytest.approx(50.0)
    assert stop_reason(rules, trials(5), ledger(100.0), {}) is None  # 350 + 50 = 400
    reason = stop_reason(rules, trials(5), ledger(101.0), {})
    assert re.findall(r"[\d.]+(?= J)", reason) == ["400", "351", "50"]


def test_a_search_stops_when_three_proposals_in_a_row_do_not_pay():
    rules = Stopping(inferences=1e6)
    little, much = {"saving_j_per_unit": 4e-5}, {"saving_j_per_unit": 6e-5}  # 40 J and 60 J; a trial takes 50 J
    assert stop_reason(rules, trials(6, 4e-5), [], little) is not None
    assert stop_reason(rules, trials(6, 4e-5), [], much) is None
    assert stop_reason(rules, [*trials(5, 4e-5), *trials(1, 6e-5)], [], little) is None
    assert stop_reason(rules, [*trials(5, 4e-5), *trials(1)], [], little) is None  # one without expectation
    assert stop_reason(rules, trials(6, 4e-5), [], {}) is None
    assert stop_reason(Stopping(), trials(6, 4e-5), [], little) is None


def test_a_run_keeps_to_its_energy_budget(tmp_path):
    task = {
        "name": "budgeted", "title": "t", "workload": "function",
        "options": {"function": "tests.problems:tradeoff"},
        "parameters": PARAMETERS,
        "objectives": {
            "accuracy": {"goal": "maximize"},
            "samples_per_j": {
                "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["cpu"], "basis": "gross",
            },
        },
        "stages": {"init": {"method": "random", "trials": 40}},
        "confirm": {"repeats": 0},
        "protocol": {"warmup_s": 1.0, "window_s": 1.0, "repeats": 3, "idle_s": 0.0},
    }  # fmt: skip
    folder = run(Task.model_validate(task), out=tmp_path, replay="100", max_energy_j=20_000.0)
    spent = spent_j(folder.trials(), folder.ledger())
    assert 3 < len(folder.trials()) < 40
    assert 15_000 < spent < 22_500
    (reason,) = [e.note for e in folder.ledger() if e.event == "stopped"]
    assert "20000 J" in reason
    assert folder.ledger()[-1].ending == "done"
    again = len(folder.trials())
    resume(folder.path)
    assert len(folder.trials()) == again
