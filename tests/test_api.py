"""What a program calls: runs, their results with intervals, tables of them; opened again and resumed."""

from __future__ import annotations

import csv
import json

import pytest

import joulebench
from joulebench.errors import InputError
from joulebench.results.run import Run
from tests.cluster_tasks import cluster_task
from tests.commands.calling import call

STAGES = {"init": {"method": "sobol", "trials": 5}}
REPLAY = {"replay": "100", "hardware": "generic_cpu", "force_hardware": True}


@pytest.fixture
def task():
    return cluster_task("tests.cluster_problems:calm", STAGES)


def test_trials_carry_their_objectives_with_intervals(task, tmp_path, capsys):
    results = joulebench.run(task, out=tmp_path, **REPLAY)
    assert len(results) == 5
    assert results
    for trial, record in zip(results, results.trials(), strict=True):
        assert trial.record == record
        assert trial.params == record.params
        value = trial["samples_per_j"]
        assert value.low <= value.mean <= value.high
        assert trial["accuracy"].mean == record.metrics["accuracy"]
        with pytest.raises(KeyError):
            trial["nothing"]
    assert results[3].record.trial == 3
    out, err = capsys.readouterr()
    assert out == ""  # progress is not in a program's own output
    assert err.count("samples_per_j") == 5
    members = len(results.frontier())
    assert repr(results) == f"<{task.name}: 5 trials, {members} on the frontier; {results.path}>"


def test_nothing_is_printed_where_it_is_not_wanted(task, tmp_path, capsys):
    events = []
    joulebench.run(task, out=tmp_path, progress=False, **REPLAY)
    joulebench.run(task, out=tmp_path, observer=events.append, **REPLAY)
    assert capsys.readouterr() == ("", "")
    assert sum(event.kind == "result" for event in events) == 5


def test_tables_have_a_row_a_trial(task, tmp_path):
    results = joulebench.run(task, out=tmp_path, progress=False, **REPLAY)
    frame = results.to_dataframe()
    assert list(frame["trial"]) == [0, 1, 2, 3, 4]
    assert list(frame["samples_per_j"]) == [trial["samples_per_j"].mean for trial in results]
    assert (frame["samples_per_j_low"] <= frame["samples_per_j"]).all()
    assert list(frame["width"]) == [trial.params["width"] for trial in results]
    path = results.export(tmp_path / "trials.csv")
    with path.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 5
    assert results.report().is_file()


def test_a_failed_trial_has_no_value_and_says_why(tmp_path):
    task = cluster_task("tests.test_api:failing", STAGES, max_consecutive_failures=50)
    results = joulebench.run(task, out=tmp_path, progress=False, **REPLAY)
    assert {trial.status for trial in results} == {"failed"}
    assert all(trial.outcomes == {} and "no luck" in trial.row()["error"] for trial in results)
    assert results.frontier() == []


def failing(params, seed):
    raise ValueError("no luck")


def test_what_was_run_is_opened_again_with_the_same_results(task, tmp_path):
    results = joulebench.run(task, out=tmp_path, progress=False, **REPLAY)
    again = joulebench.load(results.path)
    assert [t.outcomes for t in again] == [t.outcomes for t in results]
    assert [c.key for c in again.frontier()] == [c.key for c in Run.of(results).frontier]
    assert [c.key for c in again.configurations()] == [c.key for c in results.configurations()]
    assert joulebench.resume(str(results.path), progress=False).path == results.path


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    for way in (joulebench.load, joulebench.resume):
        with pytest.raises(InputError):
            way(tmp_path)


EVIL = """
from pathlib import Path
Path(__file__).with_suffix(".ran").touch()
"""


def test_code_that_records_name_runs_only_in_reports_of_what_was_run_here(task, tmp_path, monkeypatch, capsys):
    """Records may come from anybody, also complete ones, which `resume` leaves unchanged."""
    results = joulebench.run(task, out=tmp_path / "runs", progress=False, **REPLAY)
    manifest = json.loads(results.manifest_path.read_text())
    manifest["task"]["analyses"] = ["somebodys_study:Study"]
    results.manifest_path.write_text(json.dumps(manifest))
    (tmp_path / "somebodys_study.py").write_text(EVIL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert joulebench.load(results.path).task().analyses == ("somebodys_study:Study",)
    joulebench.load(results.path).report()
    joulebench.resume(results.path, progress=False).report()
    assert call(monkeypatch, capsys, "resume", results.path)[0] == 0
    assert not (tmp_path / "somebodys_study.ran").exists()
    joulebench.api.Results(results.path, trusted=True).report()
    assert (tmp_path / "somebodys_study.ran").exists()
