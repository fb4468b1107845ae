"""FLOPs of trainings by hand, and where a report, its exports and a study state them."""

from __future__ import annotations

import csv
import io
import json

import pytest

from joulebench.records.model import Costs, EpochRecord
from joulebench.reporting.mlflow_content import _energy_metrics
from joulebench.reporting.render import write_report
from joulebench.results.ledger import balance
from joulebench.results.training_flops import training_flops
from tests.run_factory import TRAINED, RunBuilder, make_task

PARTLY = TRAINED["costs"].model_copy(update={"train_unsupported_ops": {"aten::mv": 2}})


def one(**fields) -> RunBuilder:
    built = RunBuilder(make_task())
    built.add({}, 8000, {"val_accuracy": 0.9}, **{**TRAINED, **fields})
    return built


def test_each_training_counts_the_units_that_it_did():
    """One stopped early, in the midst of its second epoch."""
    built = one()
    whole = tuple(EpochRecord(index=i, units=800) for i in range(3))
    built.add({}, 8000, {"val_accuracy": 0.9}, **{**TRAINED, "epochs": whole})
    found = training_flops(built.trials)
    assert found.each == (3.6e9, 7.2e9)
    assert found.mean == 5.4e9
    assert found.of_forward == pytest.approx(3 / 1.05)


def test_what_was_not_trained_or_not_counted_has_none():
    assert training_flops([]) is None
    assert training_flops(one(epochs=()).trials) is None
    assert training_flops(one(costs=Costs(flops=10)).trials) is None
    mixed = one()
    mixed.add({}, 8000, {"val_accuracy": 0.9})
    assert training_flops(mixed.trials) is None


def test_a_forward_pass_counted_in_part_is_no_measure_of_it():
    part = TRAINED["costs"].model_copy(update={"unsupported_ops": {"aten::_fft_r2c": 1}})
    assert training_flops(one(costs=part).trials).of_forward is None
    tokens = TRAINED["costs"].model_copy(update={"phase_flops": {"decode": 5.0, "train": 3e6}})
    assert training_flops(one(costs=tokens).trials).of_forward is None  # `flops` is of a request's token


def written(built, tmp_path):
    folder = built.write(tmp_path / "run")
    write_report(folder)
    (row,) = csv.DictReader(io.StringIO((folder.path / "frontier.csv").read_text()))
    facts = json.loads((folder.path / "report.json").read_text())
    return (folder.path / "report.md").read_text(), row, facts["frontier"][0]


def test_a_report_states_them(tmp_path):
    page, row, member = written(one(), tmp_path)
    assert "FLOPs of training" in page
    assert "3.6 G" in page
    assert "1 200 samples × 3 M" in page.replace("\u202f", " ").replace("\u00a0", " ")
    assert "2.86 × forward" in page
    assert "less than 3 × forward" in page
    assert "Counted for one sample's forward pass" in page  # the note on inference stands
    assert (float(row["train_flops_per_unit"]), float(row["train_flops"])) == (3e6, 3.6e9)
    assert row["train_flops_at_least"].lower() == "false"
    assert member["training"]["flops"] == [3.6e9]
    assert member["training"]["units"] == [1200]


def test_a_count_in_part_is_the_least(tmp_path):
    page, row, member = written(one(costs=PARTLY), tmp_path)
    assert "≥ 3.6 G" in page
    assert "Those marked ≥ lack aten::mv" in page
    assert row["train_flops_at_least"].lower() == "true"
    assert member["training"]["missed"] == ["aten::mv"]
    assert "≥ 1.05 M" not in page  # the forward pass is counted in full


def test_why_there_is_none_is_said(tmp_path):
    costs = Costs(flops=10, train_uncounted="RuntimeError: no values on meta")
    page, row, member = written(one(costs=costs), tmp_path)
    assert "absent where they cannot be counted: RuntimeError: no values on meta" in page
    assert "train_flops" not in row
    assert "training" not in member


def test_mlflow_has_them_by_trial():
    run = one().read()
    metrics = _energy_metrics(run, run.trials[0], balance(run.trials, ()))
    assert metrics["train_flops"] == 3.6e9
