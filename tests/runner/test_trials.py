"""Trials handed out to several places at once: order, batches, losses, duplicates, and going on after a crash."""

from __future__ import annotations

import random

import pytest

from joulebench.errors import IncompleteError
from joulebench.measurement.harness import run_trial
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import LedgerEntry
from joulebench.runner import local
from joulebench.runner.confirming import Confirming
from joulebench.runner.plan import plan
from joulebench.runner.proposals import Following, Stages
from joulebench.runner.scheduling import LocalExecutor, Place, schedule
from joulebench.runner.session import Facts, manifest, open_bench
from joulebench.runner.stopping import stop_reason
from joulebench.runner.trials import Trials, words
from joulebench.search import propose
from joulebench.spec.task import CONFIRM, Stopping
from tests.cluster_tasks import cluster_task, gist
from tests.factories import make_task, make_trial


class Several:
    """As many places as asked for, run in this process; results come back in a random order."""

    def __init__(self, bench, places, seed=0, lose=(), twice=(), busy_head=False) -> None:
        self.bench, self.places, self.random = bench, places, random.Random(seed)
        self.under_way: dict = {}
        self.lose, self.twice, self.busy_head = list(lose), set(twice), busy_head
        self.most, self.proposals_disturbed = 0, 0

    @property
    def may_propose(self):
        return not (self.busy_head and "node 0" in self.under_way)

    def ahead(self, trials):
        return self.places if self.busy_head else 0

    def place(self, trials):
        free = [n for n in (f"node {i}" for i in range(self.places)) if n not in self.under_way]
        return Place(free[0]) if free else None

    def begin(self, place, trials, order):
        self.under_way[place.node] = trials, order
        self.most = max(self.most, len(self.under_way))

    @property
    def working(self):
        return bool(self.under_way)

    def without_room(self, trials):
        return False

    def wait(self):
        node = self.random.choice(sorted(self.under_way))
        trials, order = self.under_way.pop(node)
        if order.request.trial in self.lose:
            self.lose.remove(order.request.trial)
            trials.lost(order.request, node, "killed")
            return
        record = run_trial(self.bench, order.request).record
        windows = tuple(w.model_copy(update={"node": node}) for w in record.windows)
        record = record.model_copy(update={"windows": windows})
        trials.keep(record)
        if record.trial in self.twice:
            assert trials.keep(record) is False


@pytest.fixture
def started(tmp_path):
    """Makes a folder for a task and a function that works on it with some executor."""
    benches = []

    def start(task, name="run"):
        chosen = plan(task, replay="100")
        bench = open_bench(chosen)
        benches.append(bench)
        folder = RunFolder.claim(
            tmp_path / name, manifest(chosen, Facts.of(chosen, bench), {}, "2026-01-02T03:04:05Z")
        )

        def work(places, session=0, source=None, observer=lambda _: None, **executor):
            own = Confirming(Stages(task, 0), task, folder.manifest())
            trials = Trials(chosen, folder, session, bench.timeline, source or own, observer, logged=True)
            several = Several(bench, places, **executor)
            schedule([trials], several)
            return trials, several

        return folder, work

    yield start
    for bench in benches:
        bench.timeline.stop()


STAGES = {
    "default": {"method": "default", "repeats": 3},
    "init": {"method": "sobol", "trials": 6},
    "draws": {"method": "random", "trials": 4},
    "points": {"method": "points", "points": [{"width": 5}, {"width": 50}], "repeats": 2},
    "doubling": {"method": "doubling", "vary": ["width"]},
    "evolution": {"method": "nsga2", "trials": 9, "population": 4},
}
TASK = cluster_task("tests.cluster_problems:calm", STAGES, confirm={"repeats": 3, "members": 4})


@pytest.mark.parametrize(("places", "seed"), [(2, 0), (4, 1), (7, 2)])
@pytest.mark.parametrize("busy_head", [False, True])
def test_any_number_of_places_gives_the_trials_of_one(started, tmp_path, places, seed, busy_head):
    folder, work = started(TASK)
    _, several = work(places, seed=seed, busy_head=busy_head)
    assert several.most == places if places < 5 else several.most > 4
    assert gist(folder.trials()) == gist(local.run(TASK, out=tmp_path / "alone", replay="100").trials())


def test_a_batch_at_once_gives_what_it_gives_in_turn(started, tmp_path):
    stages = {"init": {"method": "sobol", "trials": 4}, "search": {"method": "qnehvi", "trials": 4, "batch": 2}}
    task = cluster_task("tests.cluster_problems:calm", stages)
    folder, work = started(task)
    _, several = work(4, seed=3)
    assert several.most == 4  # in the stage before
    assert gist(folder.trials()) == gist(local.run(task, out=tmp_path / "alone", replay="100").trials())


def test_what_is_lost_is_tried_again_and_what_comes_twice_counts_once(started):
    notes = []
    folder, work = started(TASK)
    work(3, lose=[2, 7, 7], twice={1, 7, 11}, observer=lambda event: notes.append(event.text))
    records = folder.trials()
    assert [r.trial for r in records] == list(range(len(records)))
    assert {r.trial: r.attempt for r in records if r.attempt} == {2: 1, 7: 2}
    assert sum("a second result of trial" in note for note in notes) == 3
    assert len(folder.trials_path.read_text().splitlines()) == len(records)


def test_a_late_result_of_an_attempt_given_up_for_lost_is_dropped(started):
    folder, work = started(TASK)
    trials, several = work(1)
    record = folder.trials()[0]
    assert trials.keep(record.model_copy(update={"attempt": 1})) is False
    assert trials.keep(record.model_copy(update={"trial": 999})) is False
    assert several.most == 1


def test_a_trial_that_loses_its_worker_three_times_is_given_up(started):
    folder, work = started(TASK)
    work(2, lose=[4] * 9)
    record = folder.trials()[4]
    assert record.status == "failed"
    assert "the process died 3 times in this trial" in record.error
    assert sum(e.event == "died" for e in folder.ledger()) == 3
    assert [r.trial for r in folder.trials()] == list(range(len(folder.trials())))


def test_a_driver_that_dies_leaves_nothing_behind_and_blames_no_trial(started, tmp_path):
    """Three drivers killed in a row: what was under way goes on under its number, and is not taken for a killer."""
    stages = {"init": {"method": "sobol", "trials": 4}, "search": {"method": "qnehvi", "trials": 5}}
    task = cluster_task("tests.cluster_problems:calm", stages)
    folder, work = started(task)
    for session, until in enumerate((3, 5, 6)):
        append(folder.ledger_path, LedgerEntry(session=session, event="start"))

        def die(event, until=until):
            if event.kind == "result" and len(folder.trials()) >= until:
                raise ZeroDivisionError("the driver is killed")

        with pytest.raises(ZeroDivisionError):
            work(3, session=session, seed=session, observer=die)
    under_way = {e.trial: e for e in folder.ledger() if e.event == "propose"}
    assert len(under_way) > len(folder.trials()) == 6
    work(3, session=3)
    records = folder.trials()
    assert [r.trial for r in records] == list(range(9))
    assert {r.status for r in records} == {"ok"}
    proposed = {e.trial: e.proposal.params for e in folder.ledger() if e.event == "propose"}
    assert {r.trial: r.params for r in records} == proposed
    # every proposal is a function of what the log says: the trials pending, the records of all others before it
    for entry in (e for e in folder.ledger() if e.event == "propose"):
        known = [r for r in records if r.trial < entry.trial and r.trial not in entry.pending]
        waiting = [records[n].params for n in entry.pending]
        again = propose(task, entry.proposal.stage, known, 0, waiting)
        assert (again.params, again.origin) == (entry.proposal.params, entry.proposal.origin)
    assert any(e.pending and e.proposal.origin == "qnehvi" for e in folder.ledger() if e.event == "propose")


def test_each_node_has_its_own_idle_baseline(started):
    task = cluster_task("tests.cluster_problems:calm", {"init": {"method": "sobol", "trials": 12}})
    folder, work = started(task)
    work(3)
    first = {}
    for record in folder.trials_path.read_text().splitlines():
        found = next(r for r in folder.trials() if f'"trial":{r.trial},' in record)
        first.setdefault(found.node, found)
    assert len(first) == 3
    assert all(any(w.phase == "idle" for w in r.windows) for r in first.values())


def test_one_run_follows_another(started):
    stages = {"init": {"method": "sobol", "trials": 5}}
    task = cluster_task("tests.cluster_problems:calm", stages, confirm={"repeats": 2})
    folder, work = started(task, "leader")
    leader, _ = work(2)
    other, follow = started(task, "follower")
    follower, _ = follow(2, source=Following(leader.proposed, lambda: leader.search_ended, lambda: leader.total))
    assert follower.finished
    assert follower.total == leader.total == len(folder.trials()) > 5
    assert {r.stage for r in folder.trials()} == {"init", CONFIRM}
    assert gist(other.trials()) == gist(folder.trials())


def test_failures_in_a_row_stop_it(started):
    task = cluster_task("tests.problems:always_fails", {"init": {"method": "sobol", "trials": 20}})
    folder, work = started(task)
    with pytest.raises(IncompleteError, match="stopped after 5 failing trials in a row"):
        work(3)
    assert len(folder.trials()) == 5


def test_an_energy_budget_counts_what_is_under_way():
    task = make_task(
        {"width": {"type": "int", "low": 1, "high": 9, "default": 3}}, {"d": {"method": "default", "repeats": 1}}
    )
    trials = [make_trial(task, {"width": n}, {"val_accuracy": 0.5}, trial=n) for n in (1, 2)]
    rules = Stopping(max_energy_j=sum(r.energy_j for w in trials[0].windows for r in w.readings) * 4.5)
    assert stop_reason(rules, trials, [], {}) is None
    assert stop_reason(rules, trials, [], {}, pending=1) is None
    assert "energy budget" in stop_reason(rules, trials, [], {}, pending=2)


def test_one_place_is_the_machine_itself(started):
    folder, work = started(TASK)
    trials, _ = work(1)
    assert trials.finished
    assert LocalExecutor.may_propose
    assert [e.pending for e in folder.ledger() if e.event == "propose"] == [()] * len(folder.trials())


def test_a_configuration_is_described_without_what_does_not_matter_in_it():
    parameters = {
        "model": {"type": "choice", "values": ["lenet5", "found"], "default": "lenet5"},
        "width": {"type": "int", "low": 1, "high": 9, "default": 4, "only_if": "model == 'found'"},
    }
    task = make_task(parameters, {"all": {"method": "default", "repeats": 1}})
    assert words(task, {"model": "lenet5", "width": 4}) == "model lenet5"
    assert words(task, {"model": "found", "width": 7}) == "model found, width 7"
