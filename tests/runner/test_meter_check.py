"""The meter check before a search: when it is due, what it records, and its effect with --strict."""

from __future__ import annotations

import itertools

import pytest

from joulebench.commands.main import main
from joulebench.errors import GateError
from joulebench.records.folder import RunFolder
from joulebench.reporting.findings import findings
from joulebench.reporting.summary import summarise
from joulebench.results.consistency import MAX_RSD, meter_checks
from joulebench.runner import meter_check
from joulebench.runner.local import resume, run
from joulebench.spec.catalog import find_task
from joulebench.spec.task import Task
from tests.problems import Linear
from tests.runner.test_local import run_toy


class Broken(Linear):
    """Its default cannot be built; its other configurations can."""

    def build(self, params):
        if params["features"] == 8:
            raise RuntimeError("no such layer")
        super().build(params)


def search_task(workload=Linear, **fields) -> Task:
    return Task(
        name="mine",
        title="My regression",
        workload=workload,
        parameters={
            "features": {"type": "int", "low": 4, "high": 64, "default": 8},
            "rate": {"type": "fixed", "value": 0.05},
        },
        objectives={
            "samples_per_j": {
                "goal": "maximize", "reference": 0.0, "phase": "inference", "domains": ["cpu", "ram"],
                "basis": "gross",
            },
        },
        stages=fields.pop("stages", {"init": {"method": "random", "trials": 2}}),
        confirm=fields.pop("confirm", {"repeats": 0}),
        protocol={"warmup_s": 0.02, "window_s": 0.05, "repeats": 2, "max_repeats": 2, "idle_s": 0.1},
        **fields,
    )  # fmt: skip


@pytest.fixture
def steady(monkeypatch):
    """A gate that any machine meets."""
    monkeypatch.setattr(meter_check, "MAX_RSD", 1e9)


@pytest.fixture
def unsteady(monkeypatch):
    """A gate that no machine meets."""
    monkeypatch.setattr(meter_check, "MAX_RSD", 0.0)


def entries(folder: RunFolder):
    return [e for e in folder.ledger() if e.event == "precheck"]


@pytest.mark.parametrize(
    ("name", "due"),
    [("digits", True), ("cifar10", True), ("meter_consistency", False), ("meter_repeatability", False)],
)
def test_it_is_due_before_a_search_only(name, due):
    assert meter_check.is_due(find_task(name)) is due


def test_a_task_without_energy_in_windows_has_none():
    task = find_task("digits")
    metric = {"val_accuracy": task.objectives["val_accuracy"]}
    assert not meter_check.is_due(task.model_copy(update={"objectives": metric}))


def test_its_windows_are_in_the_ledger_and_touch(tmp_path, steady):
    folder = run(search_task(), out=tmp_path)
    (entry,) = entries(folder)
    assert sum(w.phase == "precheck" for w in entry.windows) >= 10
    assert {w.of for w in entry.windows if w.phase == "warmup"} == {"precheck"}
    windows = [w for e in folder.ledger() for w in e.windows] + [w for t in folder.trials() for w in t.windows]
    windows.sort(key=lambda w: (w.start_s, w.end_s))
    assert all(a.end_s == pytest.approx(b.start_s) for a, b in itertools.pairwise(windows))
    ((_, consistency),) = meter_checks(folder.task(), folder.ledger())
    assert consistency.unit == "sample"
    assert consistency.rsd.n >= 10
    assert len(folder.trials()) == 2
    codes = [f.code for f in findings(summarise(folder))]
    said = {"below": "meter_consistent", "undecided": "meter_undecided", "above": "meter_inconsistent"}
    assert set(codes) & set(said.values()) == {said[consistency.rsd.against(MAX_RSD)]}
    account = next(a for a in summarise(folder).ledger.accounts if a.name == "precheck")
    assert account.group == "protocol"


def test_a_spread_is_a_warning_and_the_search_goes_on(tmp_path, unsteady):
    notes = []
    folder = run(search_task(), out=tmp_path, observer=lambda event: notes.append(event.text))
    assert len(folder.trials()) == 2
    assert any(note.startswith("warning: ") and "protocol.window_s" in note for note in notes)


def test_strict_refuses_and_a_resume_checks_once_more(tmp_path, unsteady, monkeypatch):
    with pytest.raises(GateError, match="--strict") as refused:
        run(search_task(), out=tmp_path, strict=True)
    (path,) = tmp_path.glob("mine/*/*")
    folder = RunFolder.open(path)
    assert folder.trials() == []
    assert (folder.ledger()[-1].ending, folder.ledger()[-1].note) == ("failed", str(refused.value))
    monkeypatch.setattr(meter_check, "MAX_RSD", 1e9)
    resume(path, strict=True)
    assert len(folder.trials()) == 2
    assert [session for session, _ in meter_checks(folder.task(), folder.ledger())] == [0, 1]
    resume(path)  # nothing left to run, so nothing to check
    assert len(entries(folder)) == 2


def test_a_default_that_cannot_be_built_is_unknown_not_steady(tmp_path, steady):
    notes = []
    folder = run(search_task(Broken), out=tmp_path, observer=lambda event: notes.append(event.text))
    assert len(folder.trials()) == 2
    assert any("RuntimeError: no such layer" in note for note in notes)
    assert "meter_unknown" in [f.code for f in findings(summarise(folder))]
    with pytest.raises(GateError, match="no such layer"):
        run(search_task(Broken), out=tmp_path / "strict", strict=True)


def test_a_replay_skips_it(tmp_path):
    folder = run_toy(tmp_path, method="random")
    assert not entries(folder)
    assert not entries(run(search_task(), out=tmp_path, replay="50", strict=True))


GATED = """
name = "gated"
title = "A gate"
workload = "tests.problems:Linear"
analyses = ["consistency"]
gate.max_rsd = {max_rsd}
[parameters]
features = {{ type = "fixed", value = 8 }}
rate = {{ type = "fixed", value = 0.05 }}
[objectives.j_per_sample]
goal = "minimize"
phase = "inference"
domains = ["cpu", "ram"]
basis = "gross"
[stages.default]
method = "default"
repeats = 1
[protocol]
warmup_s = 0.02
window_s = 0.05
repeats = 10
max_repeats = 10
idle_s = 0.1
"""


@pytest.mark.parametrize(("max_rsd", "code", "word"), [(1.0, 0, "PASS: "), (1e-9, 1, "FAIL: ")])
def test_a_gate_decides_the_exit_code(monkeypatch, capsys, tmp_path, max_rsd, code, word):
    path = tmp_path / "gated.toml"
    path.write_text(GATED.format(max_rsd=max_rsd))
    monkeypatch.setattr("sys.argv", ["joulebench", "run", str(path), "--out", str(tmp_path), "--quiet"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert (stop.value.code or 0) == code
    assert word in capsys.readouterr().out
    (run_path,) = tmp_path.glob("gated/*/*")
    monkeypatch.setattr("sys.argv", ["joulebench", "report", str(run_path)])
    with pytest.raises(SystemExit) as stop:  # writing the report anew judges nothing
        main()
    assert not stop.value.code
