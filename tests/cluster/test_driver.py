"""Runs on a real Ray cluster of several nodes, all on this machine: the same records, whatever is lost."""

from __future__ import annotations

import csv
import hashlib
import itertools
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from joulebench.cluster import driver as cluster_study
from joulebench.cluster.pool import Pool
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations, idle_windows, trial_outcomes
from joulebench.runner import local
from joulebench.search import propose
from joulebench.spec.task import CONFIRM, Task
from tests.cluster_tasks import DIGITS, cluster_task, gist
from tests.commands.calling import call
from tests.ray_clusters import clear_marks, local_cluster

OTHER = 'name = "other_cpu"\ntitle = "Another kind"\n[match]\n'


@pytest.fixture(scope="module")
def marks(tmp_path_factory):
    return tmp_path_factory.mktemp("marks")


@pytest.fixture(scope="module")
def shared(marks):
    with local_cluster(marks, {"one": "generic_cpu", "two": "generic_cpu", "three": "other_cpu"}) as found:
        yield found


@pytest.fixture
def cluster(shared, marks):
    clear_marks(marks)
    shared.restore()
    return shared


def run_on(cluster, task, out, hardware=("generic_cpu",), **choices) -> list[RunFolder]:
    given = {"replay": "100", "force_hardware": True, **choices}
    return cluster_study.run(task, address=cluster.address, hardware=list(hardware), out=out, **given)


def outcomes(folder):
    """Objective values of each trial, joules included."""
    task, records = folder.task(), folder.trials()
    found = [trial_outcomes(task, record, idle_windows(records, task.protocol)) for record in records]
    return [{name: pytest.approx(o.value.mean) for name, o in each.items()} for each in found]


def nodes_of(records):
    return {record.node.split("@")[0] for record in records}


class Losses:
    """Nodes whose worker was lost. The system may end one at any time; the others then may do all that is left."""

    def __init__(self):
        self.nodes = set()

    def __call__(self, event):
        if lost := re.match(r"node (\w+): worker lost", event.text):
            self.nodes.add(lost[1])


def given_to(folder):
    """Nodes that were given a trial. One whose worker is lost in it need not record any."""
    return {entry.node.split("@")[0] for entry in folder.ledger() if entry.event == "begin"}


def assert_apart(folder):
    """No two windows of one node overlap, and none had a proposal in it."""
    spans: dict[str, list[tuple[float, float]]] = {}
    for window in (w for r in folder.trials() for w in r.windows):
        spans.setdefault(window.node, []).append((window.start_s, window.end_s))
    for found in spans.values():
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(sorted(found)))


def test_a_table_gives_what_it_gives_on_one_machine(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [(w, k, w * (3 if k == "a" else 2) % 17, w % 5 + 1) for w in range(1, 31) for k in "ab"]
    with Path("t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("width", "kind", "loss", "joules"), *rows])
    task = Task.model_validate(
        {
            "name": "tabled", "title": "Rows", "workload": "table",
            "options": {"csv": "t.csv", "metrics": ["loss", "joules"], "noise": {"loss": 0.1}},
            "parameters": {
                "width": {"type": "int", "low": 1, "high": 30, "default": 10},
                "kind": {"type": "choice", "values": ["a", "b"], "default": "a"},
            },
            "objectives": {
                "loss": {"goal": "minimize", "reference": 20.0},
                "joules": {"goal": "minimize", "reference": 10.0},
            },
            "stages": {
                "default": {"method": "default", "repeats": 3},
                "init": {"method": "sobol", "trials": 6},
                "search": {"method": "qnehvi", "trials": 4, "batch": 2},
                "evolution": {"method": "nsga2", "trials": 8, "population": 4},
            },
        }
    )  # fmt: skip
    alone = local.run(task, out=tmp_path / "alone", replay="100")
    losses = Losses()
    (together,) = run_on(cluster, task, tmp_path / "together", observer=losses)
    records = together.trials()
    assert gist(records) == gist(alone.trials())
    assert outcomes(together) == outcomes(alone)
    assert given_to(together) | losses.nodes == {"one", "two"}
    assert together.ledger()[-1].ending == "done"
    # every proposal is what it was said to rest on: the records of its time, and what was pending
    assert {r.stage for r in records} == {*task.stages, CONFIRM}
    for entry in (e for e in together.ledger() if e.event == "propose" and e.proposal.stage != CONFIRM):
        known = [r for r in records if r.trial < entry.trial and r.trial not in entry.pending]
        if entry.proposal.origin in ("default", "sobol"):
            waiting = [records[n].params for n in entry.pending]
            assert propose(task, entry.proposal.stage, known, 0, waiting).params == entry.proposal.params


def test_real_models_are_trained_measured_and_scored(cluster, tmp_path):
    task = Task.model_validate(DIGITS)
    alone = local.run(task, out=tmp_path / "alone", hardware="generic_cpu", force_hardware=True)
    losses = Losses()
    (together,) = run_on(cluster, task, tmp_path / "together", replay=None, observer=losses)
    records = together.trials()
    for mine, its in zip(alone.trials(), records, strict=True):
        assert (mine.params, mine.seed, mine.status) == (its.params, its.seed, its.status)
        assert mine.metrics == pytest.approx(its.metrics, abs=1e-6)
        assert mine.costs.macs == its.costs.macs
    assert given_to(together) | losses.nodes == {"one", "two"}
    assert all(any(w.phase == "idle" for w in next(r for r in records if r.node == n).windows)
               for n in {r.node for r in records})  # fmt: skip
    assert_apart(together)
    assert alone.manifest().data == together.manifest().data
    measured = together.task()  # with the choices of the run
    members = {t.trial for c in frontier(measured, configurations(measured, records)) for t in c.trials}
    assert members
    assert {int(file.stem) for file in together.weights_path.iterdir()} == members
    assert {score.trial for score in together.scores()} == members
    theirs = {s.trial: s.metrics for s in alone.scores()}
    assert all(s.metrics == pytest.approx(theirs[s.trial]) for s in together.scores() if s.trial in theirs)
    notes = {e.note for e in together.ledger()}
    assert all(f"worker on node {name}" in notes or name in losses.nodes for name in ("one", "two"))


OWN_CODE = """
from own_constants import ACCURACY

def mine(params, seed):
    return {"accuracy": ACCURACY if "runtime_resources" in __file__ else 0.1, "step_s": 0.01 * params["width"]}
"""

OWN_TASK = """
name = "own"
title = "My own function"
workload = "function"
options.function = "own_problem:mine"
cluster.search = "shared"
[parameters]
width = { type = "int", low = 1, high = 4, default = 1 }
[objectives.accuracy]
goal = "maximize"
reference = 0.0
[objectives.samples_per_j]
goal = "maximize"
reference = 0.0
phase = "inference"
domains = ["cpu"]
basis = "gross"
[confirm]
repeats = 0
[stages.all]
method = "grid"
"""


@pytest.fixture
def everything_twice(monkeypatch):
    """Each result is delivered twice, and once more as another run's."""
    deliver = Pool.deliver

    def thrice(pool, worker, done):
        deliver(pool, worker, done)
        deliver(pool, worker, done)
        deliver(pool, worker, replace(done, run="another"))

    monkeypatch.setattr(Pool, "deliver", thrice)


def test_the_command_takes_ones_own_code_to_the_nodes_and_counts_no_result_twice(
    cluster, tmp_path, monkeypatch, capsys, everything_twice
):
    monkeypatch.chdir(tmp_path)
    Path("own_problem.py").write_text(OWN_CODE)
    Path("own_constants.py").write_text("ACCURACY = 0.75\n")
    Path("own.toml").write_text(OWN_TASK)
    code, out, err = call(
        monkeypatch, capsys, "run", "own.toml", "--ray", cluster.address, "--hardware", "generic_cpu",
        "--force-hardware", "--replay", "50", "--out", "runs", "--quiet",
    )  # fmt: skip
    assert code == 0, err
    assert "Frontier of" in out
    (path,) = Path("runs/own/generic_cpu").iterdir()
    folder = RunFolder.open(path)
    assert [r.metrics["accuracy"] for r in folder.trials()] == [0.75] * 4
    assert len(folder.trials_path.read_text().splitlines()) == 4
    assert out.count("a second result of trial") == 4
    assert out.count("a result of another run (another) is dropped") == 4
    assert "Measured on a cluster" in (path / "report.md").read_text()
    assert nodes_of(folder.trials()) <= {"one", "two"}


def test_the_nodes_are_listed_with_their_profiles_and_meters(cluster, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "hardware", "--ray", cluster.address)
    assert code == 0, err
    head, one, three, two = out.split("Node ")[1:]
    assert head.startswith("head (")
    assert "  CPU  " not in head
    for text in (one, two):
        assert "generic_cpu 1, joulebench 1" in text
        assert "Hardware profile generic_cpu" in text
        assert re.search(r"cpu +(rapl_package|cpu_load_model|tdp_constant) .*available", text)
    assert three.startswith("three (")
    assert "other_cpu 1" in three


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        (
            "generic_cpu,nvidia_h100",
            "--hardware: no node of the cluster has the resource 'nvidia_h100' (there are:",
        ),
        ("generic_cpus", "did you mean 'generic_cpu'"),
    ],
)
def test_bad_input_is_one_line(cluster, monkeypatch, capsys, tmp_path, hardware, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = call(monkeypatch, capsys, "run", "digits", "--ray", cluster.address, "--hardware", hardware)
    assert code == 2
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("joulebench:")]) == 1
    assert not list(tmp_path.glob("runs/*/*/*"))


POINTS = {
    "given": {"method": "points", "points": [{"width": w} for w in range(1, 9)], "order": "given"}
}  # fmt: skip


def test_workers_and_a_node_that_are_lost_lose_no_trial(cluster, marks, tmp_path):
    lost = []

    def lose_it():
        while not (marks / "node").exists():
            time.sleep(0.02)
        lost.append(cluster.lose((marks / "node").read_text()))

    thread = threading.Thread(target=lose_it, daemon=True)
    thread.start()
    task = cluster_task("tests.cluster_problems:falls_once", POINTS)
    (folder,) = run_on(cluster, task, tmp_path / "runs")
    thread.join(timeout=10)
    records = folder.trials()
    assert [r.trial for r in records] == list(range(8))
    assert len(folder.trials_path.read_text().splitlines()) == 8
    assert (marks / "fell-2").exists()
    assert (marks / "fell-4").exists()
    assert len(lost) == 1
    died = [e for e in folder.ledger() if e.event == "died"]
    assert sorted(e.trial for e in died) == [1, 3, 5]
    assert {r.trial: r.attempt for r in records if r.attempt} == {1: 1, 3: 1, 5: 1}
    assert records[5].node.split("@")[0] not in lost
    same = cluster_task("tests.cluster_problems:calm", POINTS)
    alone = local.run(same, out=tmp_path / "alone", replay="100")
    assert gist(records) == gist(alone.trials())
    assert outcomes(folder) == outcomes(alone)


@pytest.mark.slow
def test_one_search_for_two_kinds_of_hardware_and_a_resume(cluster, tmp_path):
    (tmp_path / "other_cpu.toml").write_text(OTHER)
    stages = {"init": {"method": "sobol", "trials": 8}}
    task = cluster_task("tests.cluster_problems:sleeps", stages, cluster={"search": "shared"})
    seen = []

    def stop(event):
        seen.append(event.text)
        if event.kind == "result" and sum("→" in text for text in seen) == 5:
            raise KeyboardInterrupt

    kinds = ["generic_cpu", str(tmp_path / "other_cpu.toml")]
    with pytest.raises(KeyboardInterrupt):
        run_on(cluster, task, tmp_path / "runs", kinds, observer=stop)
    paths = sorted((tmp_path / "runs/toy").glob("*/*"))
    assert [path.parent.name for path in paths] == ["generic_cpu", "other_cpu"]
    before = [RunFolder.open(path).trials() for path in paths]
    assert sum(map(len, before)) == 5
    begun = [e.trial for e in RunFolder.open(paths[0]).ledger() if e.event == "propose"]
    assert len(begun) > len(before[0]), "some were under way"
    with pytest.raises(InputError, match="began on a Ray cluster; resume it there, with --ray"):
        local.resume(paths[0])
    leader, follower = cluster_study.resume(paths[1], address=cluster.address)
    assert gist(leader.trials()) == gist(follower.trials())
    assert [r.trial for r in leader.trials()] == list(range(8))
    assert [leader.trials()[r.trial] for r in before[0]] == before[0]
    alone = local.run(task, out=tmp_path / "alone", replay="100")
    assert gist(leader.trials()) == gist(alone.trials())
    assert [e.ending for e in leader.ledger() if e.event == "end"] == ["interrupted", "done"]
    assert nodes_of(follower.trials()) == {"three"}
    assert leader.manifest().hardware["name"] == "generic_cpu"
    assert follower.manifest().hardware["name"] == "other_cpu"
    again = cluster_study.resume(paths[0], address=cluster.address)
    assert [len(folder.trials()) for folder in again] == [8, 8]


def test_own_code_is_recorded_with_its_commit_and_has_to_be_the_same_on_resume(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = tmp_path / "cluster_own.py"
    module.write_text("def f(params, seed): return {'accuracy': 0.1}\n")
    for arguments in (("init",), ("add", "."), ("commit", "-m", "mine")):
        who = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *who, *arguments], check=True, capture_output=True)
    task = cluster_task("cluster_own:f", {"default": {"method": "default", "repeats": 2}})
    (folder,) = run_on(cluster, task, tmp_path / "runs")
    (code,) = folder.manifest().own_code
    assert code.files == {"cluster_own.py": hashlib.sha256(module.read_bytes()).hexdigest()}
    assert len(code.commit) == 40
    assert code.uncommitted == ()
    entries = folder.ledger_path.read_text().splitlines(keepends=True)
    folder.ledger_path.write_text("".join(entries[:-1]))  # as if it had been killed at its end
    module.write_text("def f(params, seed): return {'accuracy': 0.2}\n")
    with pytest.raises(InputError, match=r"cluster_own\.py has changed"):
        cluster_study.resume(folder.path, address=cluster.address)
