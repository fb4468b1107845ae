"""Confirmation after a search: what is proposed, in which order, when it ends, and what is left after a crash."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench import run
from joulebench.errors import IncompleteError
from joulebench.records.folder import RunFolder
from joulebench.results.confirmation import to_confirm
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations
from joulebench.runner import meter_check
from joulebench.runner.confirming import Confirming
from joulebench.runner.local import resume
from joulebench.runner.plan import plan
from joulebench.runner.proposals import Stages
from joulebench.runner.stopping import spent_j
from joulebench.spec.task import CONFIRM, Task
from tests.cluster_tasks import DIGITS, cluster_task, gist
from tests.factories import make_task, make_trial
from tests.run_factory import RunBuilder
from tests.runner.test_local import timeless

STAGES = {"default": {"method": "default", "repeats": 2}, "init": {"method": "sobol", "trials": 6}}
WIDTH = {"type": "int", "low": 1, "high": 60, "default": 10}
POINTS = [{"width": w} for w in (2, 8, 20, 60)]  # each on the frontier
FOUR = {"all": {"method": "points", "points": POINTS}}


def toy(stages=FOUR, function="tests.cluster_problems:calm", repeats=2, **fields) -> Task:
    return cluster_task(function, stages, **{"confirm": {"repeats": repeats, "members": 4}, **fields})


def measure(task: Task, path, **choices) -> RunFolder:
    return run(task, out=path, replay="100", **choices)


def confirming(folder: RunFolder) -> list:
    return [r for r in folder.trials() if r.stage == CONFIRM]


def widths(records) -> list[int]:
    return [r.params["width"] for r in records]


# What is proposed


def test_members_are_run_again_in_rounds_with_new_seeds(tmp_path):
    folder = measure(toy(repeats=4, stopping={}), tmp_path)
    records, again = folder.trials(), confirming(folder)
    assert records[: -len(again)] == [r for r in records if r.stage == "all"]
    assert {(r.origin, r.status) for r in again} == {(CONFIRM, "ok")}
    assert len({r.seed for r in records}) == len(records)
    rounds = [widths(again[i : i + 4]) for i in range(0, len(again), 4)]
    assert len(rounds) >= 2
    assert all(sorted(each) == [2, 8, 20, 60] for each in rounds)
    assert rounds[0] != rounds[1]
    assert {c.key for c in configurations(folder.task(), records) if c.confirmed} == {
        c.key for c in configurations(folder.task(), records)
    }


def test_another_seed_confirms_in_another_order(tmp_path):
    orders = {tuple(widths(confirming(measure(toy(), tmp_path / str(s), seed=s)))) for s in range(3)}
    assert len(orders) == 3


@pytest.mark.parametrize(
    "fields", [{"confirm": {"repeats": 0}}, {"analyses": ["repeatability"]}, {"function": "tests.problems:always"}]
)
def test_nothing_is_confirmed_without_a_frontier_or_where_the_task_says_so(tmp_path, fields):
    if "function" in fields:  # a frontier without members: nothing is better than the reference
        fields = {"objectives": {"accuracy": {"goal": "maximize", "reference": 2.0}}}
    folder = measure(toy(**fields), tmp_path)
    assert [r.stage for r in folder.trials()] == ["all"] * 4
    assert folder.ledger()[-1].ending == "done"


def records_of(task: Task, noise: float) -> list:
    """The stage's trials, five on the frontier; accuracies and joules `noise` apart."""
    return [
        make_trial(
            task, {"width": w}, {"val_accuracy": 0.5 + noise * w}, 0.01 + noise * w, trial=w - 1, stage="all"
        )
        for w in range(1, 6)
    ]


def pure(repeats: int = 3, **fields) -> Task:
    return make_task(
        {"width": {"type": "int", "low": 1, "high": 50, "default": 50}},
        {"all": {"method": "points", "points": [{"width": w} for w in range(1, 6)], "order": "given"}},
        confirm={"repeats": repeats},
        **fields,
    )


def source_of(task: Task, seed: int) -> Confirming:
    return Confirming(Stages(task, seed), task, RunBuilder(task).manifest(seed=seed))


def carry_out(task: Task, seed: int, values, records, source=None, most: int = 1) -> list:
    """Proposals until there is none, up to `most` trials under way, each recorded with `values(number)`."""
    source, records, pending = source or source_of(task, seed), list(records), {}
    while True:
        number = len(records) + len(pending)
        proposal = source.propose(number, sorted(records, key=lambda r: r.trial), dict(sorted(pending.items())))
        if proposal is not None:
            pending[number] = proposal
        if not pending:
            break
        if proposal is None or len(pending) >= most:
            done = max(pending)  # the last comes first
            proposed, accuracy = pending.pop(done), values(done)
            status = "ok" if accuracy is not None else "oom"
            metrics = {"val_accuracy": accuracy or 0.0}
            record = make_trial(
                task, proposed.params, metrics, 0.01, trial=done, stage=proposed.stage, status=status
            )
            records.append(record)
    assert source.finished
    return sorted(records, key=lambda r: r.trial)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**31 - 1),
    st.lists(st.one_of(st.none(), st.floats(0.2, 0.9)), min_size=30, max_size=30),
    st.integers(5, 20),
    st.integers(1, 4),
)
def test_the_sequence_is_a_function_of_records_and_seed(seed, values, cut, most):
    """Interrupted anywhere, or with several trials at once, it is that of one uninterrupted session."""
    task = pure()
    first = records_of(task, 0.01)
    whole = carry_out(task, seed, lambda n: values[n], first)
    again = [r for r in whole if r.stage == CONFIRM]
    assert len(again) % 5 == 0
    assert 10 <= len(again) <= 15
    assert set(Counter(widths(again)).values()) == {len(again) // 5}
    assert carry_out(task, seed, lambda n: values[n], whole[:cut]) == whole
    assert carry_out(task, seed, lambda n: values[n], first, most=most) == whole


# When it ends


def test_it_ends_once_membership_is_settled(tmp_path):
    task = pure(repeats=6)
    first = records_of(task, 0.05)
    clear = {w: 0.5 + 0.05 * w for w in range(1, 6)}
    source = source_of(task, 0)

    def same(n):  # every run of a configuration gives what its first gave
        return clear[widths([proposed[n]])[0]]

    proposed = {}
    propose = source.propose

    def remember(number, records, pending):
        proposal = propose(number, records, pending)
        if proposal is not None:
            proposed[number] = proposal
        return proposal

    source.propose = remember
    settled = carry_out(task, 0, same, first, source)
    assert len(settled) == 5 + 2 * 5
    noisy = carry_out(task, 0, lambda n: 0.5 + 0.03 * (n * 7 % 10), first)
    assert len(noisy) > len(settled)


def test_out_of_memory_takes_its_place_and_is_not_repeated():
    task = pure(repeats=2)
    records = carry_out(task, 0, lambda n: None if n % 2 else 0.6, records_of(task, 0.01))
    again = [r for r in records if r.stage == CONFIRM]
    assert Counter(widths(again)) == dict.fromkeys(range(1, 6), 2)
    assert Counter(r.status for r in again) == {"ok": 5, "oom": 5}


def test_failures_in_a_row_stop_confirmation_too(tmp_path):
    task = toy(function="tests.cluster_problems:wears_out", max_consecutive_failures=3)
    with pytest.raises(IncompleteError, match="stopped after 3 failing trials in a row"):
        measure(task, tmp_path)
    (path,) = tmp_path.glob("toy/*/*")
    assert [r.status for r in RunFolder.open(path).trials()] == ["ok"] * 4 + ["failed"] * 3


def test_a_stop_that_does_not_pay_leaves_confirmation(tmp_path, monkeypatch):
    folder = measure(toy(STAGES), tmp_path / "whole")
    search_ends = 5

    def reason(rules, trials, ledger, expected, pending=0, kept=0):
        return "it does not pay" if len(trials) == search_ends else None

    monkeypatch.setattr("joulebench.runner.stopping.stop_reason", reason)
    stopped = measure(toy(STAGES), tmp_path / "stopped")
    assert [e.note for e in stopped.ledger() if e.event == "stopped"] == ["it does not pay", "it does not pay"]
    assert len(stopped.trials()) == search_ends  # the reason holds for the first confirming trial as well

    def once(rules, trials, ledger, expected, pending=0, kept=0):
        noted = any(e.event == "stopped" for e in ledger)
        return "it does not pay" if len(trials) == search_ends and not noted else None

    monkeypatch.setattr("joulebench.runner.stopping.stop_reason", once)
    stopped = measure(toy(STAGES), tmp_path / "once")
    assert len(stopped.trials()) > search_ends
    assert {r.stage for r in stopped.trials()[search_ends:]} == {CONFIRM}
    assert resume(stopped.path).trials() == stopped.trials()
    assert len(folder.trials()) > 8


@pytest.mark.parametrize("budget_j", [6_000.0, 10_000.0, 40_000.0, 80_000.0])
def test_an_energy_budget_is_kept_and_keeps_some_for_confirmation(tmp_path, budget_j):
    stages = {"all": {"method": "points", "points": [{"width": w} for w in range(2, 60)], "order": "given"}}
    folder = measure(toy(stages, stopping={"max_energy_j": budget_j}), tmp_path)
    again = confirming(folder)
    assert spent_j(folder.trials(), folder.ledger()) < 1.02 * budget_j
    if not again:  # a few trials in all: none is spent on a round that would stay in part
        assert budget_j <= 20_000.0
        return
    counts = Counter(widths(again)).values()
    assert max(counts) - min(counts) <= 1
    searched = folder.trials()[: -len(again)]
    chosen = to_confirm(folder.task(), configurations(folder.task(), searched))
    assert set(widths(again)) == {c.params["width"] for c in chosen}  # no round is left in part
    assert resume(folder.path).trials() == folder.trials()


# Sessions


@pytest.mark.parametrize("after", [7, 9, 12])
def test_interrupted_and_resumed_it_goes_on_as_it_would_have(tmp_path, after):
    task = toy(STAGES, repeats=3)
    expected = measure(task, tmp_path / "expected").trials()
    results = []

    def stop(event):
        results.extend([event] if event.kind == "result" else [])
        if len(results) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(task, tmp_path / "cut", observer=stop)
    (path,) = (tmp_path / "cut").glob("toy/*/*")
    assert len(RunFolder.open(path).trials()) == after
    assert timeless(resume(path).trials()) == timeless(expected)
    assert resume(path).trials() == RunFolder.open(path).trials()


def test_a_run_from_before_there_was_confirmation_is_not_confirmed(tmp_path):
    folder = measure(toy(repeats=0), tmp_path)
    expected = folder.trials()
    manifest = json.loads(folder.manifest_path.read_text())
    del manifest["task"]["confirm"], manifest["task"]["stages"]["all"]["order"]
    folder.manifest_path.write_text(json.dumps(manifest))
    assert folder.task().confirm.repeats == 0
    assert resume(folder.path).trials() == expected
    folder.trials_path.write_bytes(b"".join(folder.trials_path.read_bytes().splitlines(keepends=True)[:1]))
    assert widths(resume(folder.path).trials())[1:] == [8, 20, 60]  # in the order given


def test_trials_from_another_run_are_those_of_its_stages_and_confirmed_here(tmp_path):
    first = measure(toy(), tmp_path / "first")
    chosen = plan(toy(), trials_from=first.path, replay="100")
    (stage,) = chosen.task.stages.values()
    assert [p["width"] for p in stage.points] == widths(r for r in first.trials() if r.stage != CONFIRM)
    again = measure(toy(), tmp_path / "again", trials_from=first.path, seed=1)
    assert widths(again.trials())[:4] == widths(first.trials())[:4]
    assert Counter(widths(confirming(again))) == Counter(widths(confirming(first)))
    assert widths(confirming(again)) != widths(confirming(first))


def test_progress_reaches_its_total_and_the_last_trial_has_an_idle_baseline(tmp_path):
    events = []
    folder = measure(toy(STAGES, repeats=3), tmp_path, observer=events.append)
    records = folder.trials()
    done = [(e.done, e.total) for e in events if e.kind == "result"]
    assert done[-1] == (len(records), len(records))
    assert all(a <= b for a, b in done)
    assert done[0][1] >= len(records) - 4  # a bound from the start; a third round comes where it is needed
    idle = [r.trial for r in records if any(w.phase == "idle" for w in r.windows)]
    assert idle[0] == 0
    assert records[-1].trial in idle


def test_a_resume_checks_the_meter_where_confirmation_is_left(tmp_path):
    folder = measure(toy(STAGES), tmp_path)
    lines = folder.trials_path.read_bytes().splitlines(keepends=True)
    chosen = plan(toy(STAGES))  # with real meters
    left = {}
    for count in (1, 8, len(lines) - 1, len(lines)):
        folder.trials_path.write_bytes(b"".join(lines[:count]))
        left[count] = meter_check.is_left(chosen, folder, lambda *_: None)
    assert list(left.values()) == [True, True, True, False]


# Test scores


def test_each_confirming_run_of_a_member_is_scored_and_no_other(tmp_path):
    task = Task.model_validate({**DIGITS, "confirm": {"repeats": 2, "members": 3}})
    folder = run(task, out=tmp_path, hardware="generic_cpu", force_hardware=True)
    records = folder.trials()
    members = frontier(folder.task(), configurations(folder.task(), records))
    scored = sorted(s.trial for s in folder.scores())
    assert members
    assert set(scored) <= {t.trial for c in members for t in c.usable}  # the default may have lost earlier weights
    assert {int(file.stem) for file in folder.weights_path.iterdir()} == set(scored)
    assert {t.trial for c in members for t in c.confirmations} <= set(scored)
    assert all(c.confirmed for c in members)


def test_the_same_trials_on_two_places(tmp_path):
    """Resumed runs propose as whole ones do; so do runs of equal records, whatever their folders."""
    a, b = (measure(toy(STAGES), tmp_path / name) for name in "ab")
    assert gist(a.trials()) == gist(b.trials())


def test_what_a_study_rests_on_is_confirmed_in_all_rounds(tmp_path):
    """Without a frontier, or beside it: its optimum, neighbours and what they are compared with."""
    stages = {"sizes": {"method": "points", "points": [{"width": w} for w in (1, 5, 10, 20, 40, 60)]}}
    task = toy(stages, repeats=3, analyses=["batch"], parameters={"width": WIDTH})
    again = confirming(measure(task, tmp_path))
    assert Counter(widths(again)) == {1: 3, 5: 3, 10: 3}  # the most efficient is the smallest; 10 is the default
