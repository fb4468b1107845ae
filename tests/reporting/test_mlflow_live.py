"""Trials in an MLflow store while a run goes: all of them, once, and never at the run's cost."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from joulebench.commands.progress import logged
from joulebench.measurement.timeline import Timeline
from joulebench.records.folder import RunFolder
from joulebench.reporting import mlflow_live
from joulebench.reporting.mlflow_export import TRIAL_TAG
from joulebench.runner.local import resume, run
from tests.commands.calling import call
from tests.conftest import REPOSITORY
from tests.runner.test_local import write_toy

mlflow = pytest.importorskip("mlflow", reason="the optional extra joulebench[mlflow] is not installed")


def started(tmp_path, monkeypatch, capsys, uri):
    """Run a task of 8 trials on a virtual clock; its output lines and its folder."""
    task = write_toy(tmp_path, method="random", sobol=3, search=3)
    options = ("--replay", 100, "--out", tmp_path / "runs", "--mlflow", uri)
    code, out, err = call(monkeypatch, capsys, "run", task, *options)
    assert (code, err) == (0, "")
    (path,) = (tmp_path / "runs/toy").glob("*/*")
    folder = RunFolder.open(path)
    assert len(folder.trials()) == 8
    assert folder.ledger()[-1].ending == "done"
    return out.splitlines(), folder


def test_a_run_is_in_the_store_when_it_ends_and_an_export_adds_nothing(tmp_path, monkeypatch, capsys):
    uri = f"sqlite:///{tmp_path / 'm.db'}"
    (tmp_path / "mlflow.py").write_text("a script in the current folder, to be left alone")
    monkeypatch.chdir(tmp_path)
    out, folder = started(tmp_path, monkeypatch, capsys, uri)
    assert out[-1] == f"mlflow: {folder.path.name} is in the store"
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("joulebench/toy").experiment_id
    every = client.search_runs([experiment])
    (parent,) = (r for r in every if r.data.tags["joulebench.role"] == "study")
    assert (len(every), parent.info.status) == (9, "FINISHED")
    assert {r.data.tags[TRIAL_TAG] for r in every if r is not parent} == set(map(str, range(8)))
    # each was made while the run went, and none was made again
    made = client.search_runs([experiment], run_view_type=mlflow.entities.ViewType.ALL)
    assert {r.info.run_id for r in made} == {r.info.run_id for r in every}
    code, text, _ = call(monkeypatch, capsys, "export", folder.path, "--mlflow", uri)
    assert (code, text.strip()) == (
        0, "mlflow: experiment joulebench/toy: 0 trials written, 0 replaced, 8 already there",
    )  # fmt: skip


def test_a_store_that_refuses_costs_one_line(tmp_path, monkeypatch, capsys):
    out, _ = started(tmp_path, monkeypatch, capsys, "nothing://me:secret@here")
    said = [line for line in out if "mlflow" in line]
    assert len(said) == 1
    assert said[0].startswith("--mlflow: ")
    assert "secret" not in said[0]
    assert said[0].endswith("goes on without it: `joulebench export RUN --mlflow URI` writes it later")


def test_a_store_that_hangs_costs_one_line_and_a_bounded_time(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(mlflow_live, "START_S", 0.5)
    monkeypatch.setattr(mlflow_live, "TRIAL_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        out, _ = started(tmp_path, monkeypatch, capsys, f"http://127.0.0.1:{silent.getsockname()[1]}")
    said = [line for line in out if "mlflow" in line]
    assert len(said) == 1
    assert said[0].startswith("--mlflow: no answer from the store within 1 s; ")


def test_without_the_extra_nothing_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    options = ("--replay", 100, "--out", tmp_path / "runs", "--mlflow", "m.db")
    code, _, err = call(monkeypatch, capsys, "run", write_toy(tmp_path), *options)
    assert (code, err.startswith("joulebench: --mlflow: this needs the extra [mlflow]")) == (2, True)
    assert not (tmp_path / "runs").exists()


def test_what_an_observer_does_with_a_result_counts_as_record_keeping(tmp_path, monkeypatch):
    order = []
    cut = Timeline.cut

    def noted(self, phase, *rest, **more):
        order.append(phase)
        return cut(self, phase, *rest, **more)

    monkeypatch.setattr(Timeline, "cut", noted)
    task = str(write_toy(tmp_path, method="random", sobol=1, search=1))
    run(task, out=tmp_path / "runs", replay="100", observer=lambda event: order.append(event.kind))
    results = [i for i, what in enumerate(order) if what == "result"]
    assert len(results) == 4
    assert {order[i + 1] for i in results} == {"record"}
    assert "record" not in {order[i - 1] for i in results}  # all since the trial's last window


def ended(uri: str) -> list[str]:
    """Statuses in the store: the parent's, then the trials'."""
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("joulebench/toy")
    every = client.search_runs([experiment.experiment_id]) if experiment is not None else []
    parents = [r for r in every if r.data.tags["joulebench.role"] == "study"]
    return [r.info.status for r in (*parents, *(r for r in every if r not in parents))]


def test_an_interrupted_run_is_killed_in_the_store_until_it_goes_on(tmp_path):
    uri = f"sqlite:///{tmp_path / 'm.db'}"
    task = str(write_toy(tmp_path, method="random", sobol=1, search=1))

    def interrupt(event):
        if event.kind == "result" and event.done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), logged(uri) as beside:
        run(task, out=tmp_path / "runs", replay="100", observer=beside(interrupt))
    assert ended(uri) == ["KILLED", "FINISHED"]
    (path,) = (tmp_path / "runs/toy").glob("*/*")
    seen = []
    with logged(uri) as beside:
        see = beside(lambda event: None)

        def look(event):
            see(event)
            seen.extend(ended(uri)[:1] if event.kind == "result" else ())

        resume(path, observer=look)
    assert set(seen) == {"RUNNING"}
    assert (ended(uri)[0], len(ended(uri))) == ("FINISHED", 5)


def begun(folder):
    """Number of trials begun in the run under a folder."""
    return sum(e.event == "begin" for path in folder.glob("*/*") for e in RunFolder.open(path).ledger())


def test_a_run_that_is_killed_is_killed_in_the_store(tmp_path):
    uri = f"sqlite:///{tmp_path / 'm.db'}"
    write_toy(tmp_path, function="stuck", method="random", sobol=1, search=1)
    command = [sys.executable, "-m", "joulebench", "run", "toy.toml", "--replay", "100", "--out", "runs"]
    folders = os.pathsep.join(map(str, (REPOSITORY / "suite", REPOSITORY)))
    assert ended(uri) == []  # the store's tables are made before anybody else asks for them
    output = tmp_path / "output.txt"
    with output.open("w") as file:
        process = subprocess.Popen(
            [*command, "--mlflow", uri], cwd=tmp_path, env={**os.environ, "PYTHONPATH": folders},
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    until_s = time.monotonic() + 300
    try:
        # the third trial never ends; once it begins, the two before it are in the store
        while begun(tmp_path / "runs/toy") < 3 and process.poll() is None and time.monotonic() < until_s:
            time.sleep(0.2)
        assert ended(uri) == ["RUNNING", "FINISHED", "FINISHED"], output.read_text()
    finally:
        process.kill()
        process.wait()
    until_s = time.monotonic() + 60
    while ended(uri)[0] == "RUNNING" and time.monotonic() < until_s:
        time.sleep(0.1)
    assert ended(uri) == ["KILLED", "FINISHED", "FINISHED"]
