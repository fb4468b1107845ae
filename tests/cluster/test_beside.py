"""Trials beside each other on several GPUs of one machine, each on its own: real workers, replayed joules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from joulebench.cluster import driver
from joulebench.cluster.cards import Card
from joulebench.commands.resume import began_on_gpus
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.reporting.findings import findings
from joulebench.reporting.repeat import needs, repeat_command
from joulebench.reporting.summary import Summary
from joulebench.results.findings import Code
from joulebench.results.outcome import idle_windows, trial_outcomes
from joulebench.results.run import Run
from joulebench.runner import local
from joulebench.spec.task import Task
from tests.cluster_problems import MARKS
from tests.cluster_tasks import cluster_task, gist
from tests.ray_clusters import ray

GRID = {"given": {"method": "points", "points": [{"width": w} for w in range(1, 9)], "order": "given"}}
GPU_W, CPU_W = 200, 50


def cards(*numbers):
    return [Card(f"GPU-{n:08d}-2222-3333-4444-555555555555", "Fake H100", 80 << 30, 700.0) for n in numbers]


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine's GPUs, which a test may exchange; functions leave their marks beside the trace of power."""
    there = cards(0, 1, 2)
    monkeypatch.setattr(driver, "equal_cards", lambda count: there[:count])
    monkeypatch.setenv(MARKS, str(tmp_path))
    (tmp_path / "power.csv").write_text(f"t_s,gpu:0,cpu\n0,{GPU_W},{CPU_W}\n100000,{GPU_W},{CPU_W}\n")
    return there


@pytest.fixture
def task() -> Task:
    """Accuracy and joules of the GPU."""
    made = cluster_task("tests.cluster_problems:sees_a_card", GRID).model_dump(mode="json")
    made["objectives"]["samples_per_j"]["domains"] = ["gpu"]
    return Task.model_validate(made)


def choices(folder: Path):
    return {"replay": str(folder / "power.csv"), "force_hardware": True}


def outcomes(folder):
    """Objective values of each trial, joules included."""
    task, records = folder.task(), folder.trials()
    found = [trial_outcomes(task, record, idle_windows(records, task.protocol)) for record in records]
    return [{name: pytest.approx(o.value.mean) for name, o in each.items()} for each in found]


def stopping_after(results):
    """An observer that interrupts the run, and what it was told."""
    said = []

    def observe(event):
        said.append((event.kind, event.text))
        if sum(kind == "result" for kind, _ in said) == results:
            raise KeyboardInterrupt

    return observe, said


def test_trials_have_a_gpu_each_and_give_what_they_give_alone_also_after_a_resume(machine, task, tmp_path):
    observe, _ = stopping_after(3)
    with pytest.raises(KeyboardInterrupt):
        driver.run(
            task, gpus=3, hardware=["generic_cpu"], out=tmp_path / "runs", observer=observe, **choices(tmp_path)
        )
    assert not ray.is_initialized()
    (path,) = tmp_path.glob("runs/toy/*/*")
    assert began_on_gpus(path)
    with pytest.raises(InputError, match="began on several GPUs"):
        local.resume(path)
    with pytest.raises(InputError, match="on several GPUs of one machine; resume it there, without --ray"):
        driver.resume(path, address="auto")
    machine[:] = [Card(card.uuid, "Another", card.memory_bytes, card.power_limit_w) for card in machine]
    with pytest.raises(InputError, match=r"differ from those it began on in name \(Another, not Fake H100\)"):
        driver.resume(path, sources=[tmp_path])
    machine[:] = cards(1, 2, 5)
    observe, said = stopping_after(-1)
    (folder,) = driver.resume(path, sources=[tmp_path], observer=observe)
    moved = "GPU-00000000-2222-3333-4444-555555555555 → equal ones, GPU-00000005-2222-3333-4444-555555555555"
    assert ("note", f"changed since the run began: {moved}") in said

    records = RunFolder.open(path).trials()
    assert [r.trial for r in records] == list(range(8))
    for record in records:
        seen = (tmp_path / f"card-{record.params['width']}").read_text()
        assert record.node.split("@")[0] == "-".join(seen.split("-")[:2])
        assert all({reading.domain for reading in w.readings} == {"gpu:0"} for w in record.windows)
    assert len({r.node for r in records}) > 1
    assert {n.split("@")[0] for n in folder.manifest().cluster["nodes"]} == {c.node for c in cards(0, 1, 2)}
    assert not any("uuid" in line for line in folder.manifest().meters)
    sessions = [entry for entry in folder.ledger() if entry.event == "start"]
    assert [[window.phase for window in entry.windows] for entry in sessions] == [["start"], ["start"]]

    alone = local.run(task, out=tmp_path / "alone", hardware="generic_cpu", **choices(tmp_path))
    assert gist(records) == gist(alone.trials())
    assert outcomes(folder) == outcomes(alone)

    summary = Summary(Run.of(folder))
    (said,) = [finding for finding in findings(summary) if finding.code is Code.CLUSTER]
    assert "several GPUs" in said.title
    assert all(f"{node} (" in said.text for node in {r.node for r in records})
    assert "--gpus 3" in repeat_command(summary)
    assert any("3 equal GPUs of one machine, Fake H100" in line for line in needs(summary))


@pytest.mark.slow
def test_a_cluster_of_ones_own_is_closed_to_others():
    """In a process that has not imported Ray before, as the command's; another process has no token."""
    script = """
import os, subprocess, sys
from joulebench.cluster.connection import alive_nodes, exposure, private_cluster
with private_cluster(3, "generic_cpu", 2):
    import ray
    (node,) = alive_nodes()
    print(*(node.resources.get(name) for name in ("joulebench", "generic_cpu", "CPU", "GPU")))
    print(ray.get(ray.remote(lambda: os.getpid()).remote()) != os.getpid())
    others = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
    join = f"import ray; ray.init(address='{ray.get_runtime_context().gcs_address}')"
    print(subprocess.run([sys.executable, "-c", join], env=others, capture_output=True).returncode)
print(ray.is_initialized(), [name for name in os.environ if name.startswith("RAY_AUTH")])
"""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RAY")}
    told = subprocess.run(
        [sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=False
    )
    assert told.stdout.splitlines() == ["3.0 3.0 3.0 None", "True", "1", "False []"], told.stderr
