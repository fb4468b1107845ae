"""A worker without Ray: its replies; an error is a reply too."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest

from joulebench.cluster.code import shipped_code
from joulebench.cluster.connection import Node
from joulebench.cluster.pool import Pool
from joulebench.cluster.runs import HardwareRun, WorkerState
from joulebench.cluster.worker import Done, Ready, Refused, Scored, Worker
from joulebench.data import load_arrays
from joulebench.errors import IncompleteError, InputError
from joulebench.measurement.harness import Request
from joulebench.runner.plan import plan
from joulebench.runner.resume_check import mismatch
from joulebench.runner.trials import Order
from joulebench.spec.task import Task
from tests.cluster_tasks import DIGITS, cluster_task


@pytest.fixture
def chosen():
    return plan(Task.model_validate(DIGITS), hardware="generic_cpu", force_hardware=True, replay="50")


def order(task):
    return Order(Request(0, 0, "all", "grid", task.defaults, seed=3, idle=True))


def test_a_workers_windows_touch_from_its_start_to_its_end(chosen):
    worker = Worker("run", "one")
    here = worker.node_facts("/no/such/path")
    assert (here.node.split("@")[0], here.has_data) == ("one", False)
    arrays = load_arrays(chosen.task.dataset, None)
    ready = worker.prepare(chosen, 0.0, arrays)  # as they come where a node does not have the path
    assert isinstance(ready, Ready)
    assert ready.facts.data["fingerprint"] == arrays.fingerprint
    assert [w.phase for w in ready.windows] == ["start", "data"]
    done = worker.trial(order(chosen.task))
    assert isinstance(done, Done)
    assert (done.run, done.record.status, done.record.node) == ("run", "ok", here.node)
    assert done.record.windows[0].phase == "wait"
    scored = worker.score(done.record, worker.weights())
    assert isinstance(scored, Scored)
    assert 0 < scored.metrics["accuracy"] <= 1
    assert worker.weights() is None
    windows = [*ready.windows, *done.record.windows, *scored.windows, *worker.close()]
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(windows))
    assert {w.node for w in windows} == {here.node}


def test_what_one_machine_would_refuse_comes_back_as_an_answer(chosen):
    worker = Worker("run", "one")
    other = chosen.profile.model_copy(
        update={"match": chosen.profile.match.model_copy(update={"cpu": "Another CPU"})}
    )
    refused = worker.prepare(replace(chosen, profile=other, hardware_override=None), 0.0, None)
    assert isinstance(refused, Refused)
    assert "describes" in refused.text
    assert not refused.meter
    unread = worker.prepare(replace(chosen, replay="no.csv"), 0.0, None)
    assert isinstance(unread, Refused)
    assert "no.csv" in unread.text


def test_nodes_of_one_kind_are_alike(chosen):
    worker = Worker("run", "one")
    facts = worker.prepare(chosen, 0.0, None).facts
    worker.close()
    assert mismatch(facts, facts) is None
    assert mismatch(facts, replace(facts, data={"fingerprint": "0"}))[::2] == ("data", "0")
    host = {**facts.environment["host"], "cpu": "Another"}
    assert mismatch(facts, replace(facts, environment={"host": host}))[::2] == ("cpu", "Another")
    meter = {"domain": "ram", "source": "x", "kind": "estimated"}
    assert mismatch(facts, replace(facts, meters=[meter]))[::2] == ("meters", "ram by x (estimated)")
    check = {"domain": "cpu", "source": "x", "kind": "estimated", "role": "check"}
    assert mismatch(facts, replace(facts, meters=[*facts.meters, check])) is None


@pytest.mark.parametrize(
    ("at", "began", "meter", "code"),
    [("prepare", False, True, 2), ("precheck", True, False, 2), ("precheck", True, True, 3)],
)
def test_a_refusal_ends_a_run_as_on_one_machine(at, began, meter, code):
    """Before a run has begun it is bad input; a meter that fails later leaves the run incomplete."""
    node = Node("id", "one", "host", {})
    hw_run = HardwareRun("generic_cpu", "run", [node], trials=object() if began else None)
    with pytest.raises(InputError, match=r"one.*the meter died") as refused:
        Pool([], None, None, print)._refused(WorkerState(node, hw_run, None, at), Refused("the meter died", meter))
    assert refused.value.exit_code == code


def test_a_worker_that_lost_its_device_is_replaced_once_its_trial_is_kept(monkeypatch):
    kept, lost, killed = [], [], []
    trials = SimpleNamespace(keep=lambda record, _: kept.append(record.trial), lost=lost.append, say=print)
    node = Node("id", "one", "host", {})
    hw_run = HardwareRun("generic_cpu", "run", [node], trials=trials)
    worker = WorkerState(node, hw_run, "actor", "trial")
    worker.order = SimpleNamespace(request=SimpleNamespace(trial=4))
    hw_run.workers.append(worker)
    pool = Pool([], None, None, print)
    monkeypatch.setattr(pool._ray, "kill", lambda actor, no_restart: killed.append(actor))
    pool.deliver(worker, Done("run", SimpleNamespace(trial=4), lost="CUDA error: device-side assert triggered"))
    assert (kept, lost, killed, hw_run.workers) == ([4], [], ["actor"], [])


def test_a_run_that_has_lost_its_nodes_is_incomplete():
    pool, hw_run = Pool([], None, None, print), HardwareRun("generic_cpu", "run", [], trials=object())
    with pytest.raises(IncompleteError, match="generic_cpu"):
        pool.score(hw_run, None, None)


def test_ones_own_modules_and_tables_are_gathered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gathered_package").mkdir()
    (tmp_path / "gathered_package/__init__.py").write_text("")
    (tmp_path / "gathered_package/deep.py").write_text("import gathered_beside\ndef f(params, seed): return {}\n")
    (tmp_path / "gathered_beside.py").write_text("")
    (tmp_path / "unrelated.py").write_text("")
    task = cluster_task("gathered_package.deep:f", {"d": {"method": "default", "repeats": 1}})
    with shipped_code(task, (), ()) as folder:
        found = {str(p.relative_to(folder)) for p in folder.rglob("*.py")}
    assert found == {"gathered_package/__init__.py", "gathered_package/deep.py", "gathered_beside.py"}
    assert not folder.exists()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/t.csv").write_text("width\n1\n")
    table = task.model_copy(update={"workload": "table", "options": {"csv": "sub/t.csv", "metrics": ["width"]}})
    with shipped_code(table, (), ()) as folder:
        assert (folder / "sub/t.csv").read_text() == "width\n1\n"
    broken = task.model_copy(update={"options": {"function": "gathered_package.no:f"}})
    with pytest.raises(InputError, match="no module"), shipped_code(broken, (), ()):
        pass
