"""What befalls a whole cluster: a head restarted under a run, a killed driver, a trial that kills workers."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import pytest

from joulebench.cluster import driver as cluster_study
from joulebench.records.folder import RunFolder
from joulebench.runner import local
from tests.cluster_problems import MARKS
from tests.cluster_tasks import cluster_task, gist
from tests.conftest import REPOSITORY
from tests.ray_clusters import local_cluster

pytestmark = pytest.mark.slow

TASK = """
name = "toy"
title = "Takes its time"
workload = "function"
options.function = "tests.cluster_problems:takes_its_time"
[parameters]
width = { type = "int", low = 1, high = 40, default = 10 }
[objectives.accuracy]
goal = "maximize"
reference = 0.0
[objectives.samples_per_j]
goal = "maximize"
reference = 0.0
phase = "inference"
domains = ["cpu"]
basis = "gross"
[stages.init]
method = "sobol"
trials = 10
"""


@pytest.fixture
def marks(tmp_path):
    folder = tmp_path / "marks"
    folder.mkdir()
    return folder


def joulebench(*arguments, **environment):
    given = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", **environment}
    command = [sys.executable, "-m", "joulebench", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def until(true, seconds=120.0):
    began = time.monotonic()
    while not (found := true()):
        assert time.monotonic() - began < seconds
        time.sleep(0.05)
    return found


def recorded(out):
    return [len(path.read_bytes().splitlines()) for path in out.glob("toy/*/*/trials.jsonl")]


@pytest.mark.parametrize("what", ["head", "driver"])
def test_a_head_or_a_driver_that_is_lost_loses_no_finished_trial(tmp_path, marks, monkeypatch, what):
    (tmp_path / "toy.toml").write_text(TASK)
    out, nodes = tmp_path / "runs", {"one": "generic_cpu", "two": "generic_cpu"}
    options = ("--hardware", "generic_cpu", "--force-hardware", "--replay", "100", "--out", out, "--quiet")
    with local_cluster(marks, nodes) as cluster:
        driver = joulebench("run", tmp_path / "toy.toml", "--ray", cluster.address, *options)
        until(lambda: recorded(out) and recorded(out)[0] >= 3)
        if what == "driver":
            driver.send_signal(signal.SIGKILL)
            driver.communicate()
    if what == "head":  # the cluster is gone; the driver must end by itself
        text, _ = driver.communicate(timeout=180)
        assert driver.returncode != 0, text
        print(driver.returncode, text)
    (path,) = out.glob("toy/generic_cpu/*")
    before = RunFolder.open(path).trials()
    assert 3 <= len(before) < 10
    with local_cluster(marks, nodes) as cluster:
        again = joulebench("resume", path, "--ray", cluster.address, "--quiet")
        text, _ = again.communicate(timeout=180)
        assert again.returncode == 0, text
    folder = RunFolder.open(path)
    records = folder.trials()
    assert [r.trial for r in records] == list(range(10))
    assert len(folder.trials_path.read_text().splitlines()) == 10
    assert [r for r in records if r.trial in {b.trial for b in before}] == before
    assert {r.status for r in records} == {"ok"}
    assert folder.ledger()[-1].ending == "done"
    monkeypatch.setenv(MARKS, str(marks))
    assert gist(local.run(folder.task(), out=tmp_path / "alone", replay="100").trials()) == gist(records)


def test_a_trial_that_kills_three_workers_is_given_up_and_the_rest_goes_on(tmp_path, marks):
    points = {"given": {"method": "points", "points": [{"width": w} for w in range(1, 6)], "order": "given"}}
    task = cluster_task("tests.cluster_problems:falls_always", points)
    with local_cluster(marks, {"one": "generic_cpu", "two": "generic_cpu"}) as cluster:
        (folder,) = cluster_study.run(
            task, address=cluster.address, hardware=["generic_cpu"], out=tmp_path / "runs", replay="100",
            force_hardware=True,
        )  # fmt: skip
    records = folder.trials()
    assert [r.status for r in records] == ["ok", "failed", "ok", "ok", "ok"]
    assert "the process died 3 times" in records[1].error
    assert [e.trial for e in folder.ledger() if e.event == "died"] == [1, 1, 1]


def test_a_head_that_measures_proposes_between_its_trials(tmp_path, marks):
    stages = {"init": {"method": "sobol", "trials": 8}, "search": {"method": "qnehvi", "trials": 6}}
    task = cluster_task("tests.cluster_problems:real_steps", stages, protocol={
        "warmup_s": 0.05, "max_warmup_s": 0.1, "window_s": 0.1, "repeats": 2, "max_repeats": 20, "idle_s": 0.2,
    })  # fmt: skip
    with local_cluster(marks, {"two": "generic_cpu"}, head="generic_cpu") as cluster:
        (folder,) = cluster_study.run(
            task, address=cluster.address, hardware=["generic_cpu"], out=tmp_path / "runs", force_hardware=True
        )
    records = folder.trials()
    assert {r.node.split("@")[0] for r in records} == {"head", "two"}
    measured = sorted((w.start_s, w.end_s) for r in records if r.node.startswith("head") for w in r.windows
                      if w.phase != "wait")  # fmt: skip
    proposed = [w for e in folder.ledger() for w in e.windows if w.phase == "propose"]
    assert len(proposed) >= 14
    assert {w.node.split("@")[0] for w in proposed} == {"head"}
    assert not [w for w, (a, b) in itertools.product(proposed, measured) if w.start_s < b and a < w.end_s]
    assert all(not w.readings for w in proposed), "the node's own worker counts these joules"
    assert not [w for r in records for w in r.windows if w.fault]
