"""Trials of one run: queue, results and records. One process writes; any number measure."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from joulebench import search
from joulebench.errors import IncompleteError, described
from joulebench.host.files import make_folder, whole_file
from joulebench.measurement.control import is_controlled
from joulebench.measurement.harness import Request, lost_trial
from joulebench.measurement.racing import race
from joulebench.measurement.timeline import Timeline
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import LedgerEntry, Proposed, TrialRecord, Window, trial_seed
from joulebench.results import concurrent_windows
from joulebench.results.drift import MIN_TRIALS
from joulebench.results.frontier import frontier
from joulebench.results.outcome import configurations, idle_windows, trial_outcomes
from joulebench.runner import stopping
from joulebench.runner.events import Event, Observer
from joulebench.runner.plan import Plan
from joulebench.runner.proposals import Source
from joulebench.runner.resume_check import MAX_DEATHS, deaths
from joulebench.spec.parameters import Params
from joulebench.spec.task import CONFIRM, Task


@dataclass(frozen=True)
class Order:
    """A trial to run, with the data its epoch callback needs."""

    request: Request
    records: tuple[TrialRecord, ...] = ()  # finished trials; forecasts are calibrated on them
    left_j: float | None = None  # of the run's energy budget


class Trials:
    """Queue of a run's trials and writer of their records, which may arrive in any order.

    With `logged`, each proposal is in the ledger before its trial begins: trials that were under way when the
    process ended are then started again under the same numbers.

    Raises:
        IncompleteError: too many failures in a row, or the disk is full; recorded trials are kept.
    """

    def __init__(
        self,
        chosen: Plan,
        folder: RunFolder,
        session: int,
        timeline: Timeline,
        source: Source,
        observe: Observer,
        logged: bool = False,
    ) -> None:
        self.task, self.folder, self.session = chosen.task, folder, session
        self._seed, self._timeline, self._observe, self._logged = chosen.seed, timeline, observe, logged
        self._total = search.planned_trials(chosen.task)
        self._controlled = chosen.replay is None and is_controlled(chosen.task) and self._total >= MIN_TRIALS
        self._weighs = chosen.task.has_frontier or chosen.task.test_scores == "all"
        self._source = source
        self._ledger = folder.ledger()
        self._records = concurrent_windows.marked(folder.trials(), self._ledger)
        self._arrived = list(self._records)
        self.proposed = {e.trial: e.proposal for e in self._ledger if e.trial is not None and e.proposal}
        self.pending: dict[int, Request] = {}  # those under way
        recorded = {record.trial for record in self._records}
        lost = [n for n in sorted(self.proposed) if n not in recorded]
        self._waiting = deque(self._request(n, self.proposed[n], self._begun(n)) for n in lost)

    @property
    def finished(self) -> bool:
        """Whether no trial is under way and none will follow."""
        return not self.pending and not self._waiting and self.search_ended

    @property
    def search_ended(self) -> bool:
        """Whether the search is over: no further configuration will be proposed."""
        return self._source.finished

    @property
    def total(self) -> int:
        """Trials of the run, as far as they are known."""
        return self._source.total(self._total, self._records, self.proposed)

    def _begun(self, trial: int) -> int:
        return sum(e.event == "begin" and e.trial == trial for e in self._ledger)

    def next(self, may_propose: bool = True) -> Request | None:
        """Return the next trial to begin; None if there is none, or none before a pending one is recorded."""
        if not self._waiting and may_propose:
            self.fill_queue(1)
        return self._waiting.popleft() if self._waiting else None

    def fill_queue(self, count: int) -> None:
        """Propose until `count` trials are queued, or the search needs further results."""
        while len(self._waiting) < count:
            handed_out = sorted([*self.pending, *(request.trial for request in self._waiting)])
            number = max((*(r.trial for r in self._records[-1:]), *handed_out), default=-1) + 1
            pending = {n: self.proposed[n] for n in handed_out}
            proposal = self._source.propose(number, self._records, pending)
            if proposal is None:
                return
            rules = self.task.stopping
            kept = self._source.reserved(self._records, pending) if rules.max_energy_j is not None else 0
            reason = stopping.stop_reason(rules, self._records, self._ledger, proposal.expected, len(pending), kept)
            if reason is not None:
                self._source.stop()
                self.append_entry("stopped", reason)
                self.say("note", f"stopped: {reason}")
                continue
            self.proposed[number] = proposal
            if self._logged:
                self.append_entry("propose", trial=number, pending=tuple(handed_out), proposal=proposal)
            self._waiting.append(self._request(number, proposal))

    def _request(self, number: int, proposal: Proposed, attempt: int = 0) -> Request:
        return Request(
            trial=number,
            session=self.session,
            stage=proposal.stage,
            origin=proposal.origin,
            fallback=proposal.fallback,
            params=proposal.params,
            seed=trial_seed(self._seed, number),
            expected=proposal.expected,
            attempt=attempt,
        )

    def given_up(self, request: Request) -> bool:
        """Record a trial as failed if its process died `MAX_DEATHS` times; returns whether it did."""
        times = deaths(self._ledger, request.trial)
        if times < MAX_DEATHS:
            return False
        self.pending[request.trial] = request
        error = f"the process died {times} times in this trial; killed, perhaps for the memory it took"
        self.keep(lost_trial(self.task, request, error, self._timeline.take()))
        return True

    def overdue(self, request: Request) -> None:
        """Record a trial that does not end, and the session's end; the process ends after it.

        Called while the trial hangs: no meter is read, so the joules of its last window are not known.
        """
        text = self.task.protocol.overdue
        append(self.folder.trials_path, lost_trial(self.task, request, text, self._timeline.take()))
        self.append_entry("end", f"trial {request.trial} {text}", ending="failed")
        self.say("note", f"trial {request.trial} {text}; the process ends; `resume` goes on after it")

    def begin(self, request: Request, node: str | None = None) -> Order:
        """Record that a trial begins (on a node of a cluster) and return its order."""
        on_node = [r for r in self._records if r.node == node]
        ages, every = [n for n, r in enumerate(reversed(on_node), 1) if _has_idle(r)], self.task.protocol.idle_every
        due = not ages or ages[0] >= every
        if request.trial == self.total - 1:  # before and after: drift shows; a block not much older is after, too
            due = due or len(ages) == 1 or 2 * ages[0] >= every
        request = replace(
            request,
            idle=due,
            idle_windows=tuple(idle_windows(on_node, self.task.protocol)),
            control=due and self._controlled,
            race=race(self.task, request.stage, request.params, self._records),
        )
        text = f"{request.stage}: {words(self.task, request.params)}"
        self.say("trial", text, done=len(self._records), total=self.total)
        self.append_entry("begin", trial=request.trial, attempt=request.attempt, node=node, windows=())
        order = self._order(request)
        self.pending[request.trial] = request
        return order

    def _order(self, request: Request) -> Order:
        rules = self.task.stopping
        if not rules.extrapolate:
            return Order(request)
        left_j = None
        if rules.max_energy_j is not None:
            promised = len(self.pending) * (stopping.next_trial_j(self._records) or 0.0)
            left_j = rules.max_energy_j - (stopping.spent_j(self._records, self._ledger) or 0.0) - promised
        return Order(request, tuple(self._records), left_j)

    def lost(self, request: Request, node: str | None, why: str) -> None:
        """Queue a trial again whose worker was lost."""
        self.pending.pop(request.trial)
        self.append_entry("died", why, trial=request.trial, attempt=request.attempt, node=node)
        self._waiting.appendleft(replace(request, attempt=request.attempt + 1))

    def keep(self, record: TrialRecord, state: Callable[[], Any] = lambda: None) -> bool:
        """Write a trial's weights, then its record: a recorded trial has its weights on disk.

        Args:
            state: returns the weights; called only for trials that may be scored on the test split: on the
                frontier, those that confirm it, or all where the task's `test_scores` say so.

        Returns:
            Whether the record was kept; a second result of a trial is dropped.
        """
        request = self.pending.get(record.trial)
        if request is None or request.attempt != record.attempt:
            self.say("note", f"a second result of trial {record.trial} (attempt {record.attempt}) is dropped")
            return False
        del self.pending[record.trial]
        self._insert(record)
        every = configurations(self.task, self._records) if self._weighs else []
        best = frontier(self.task, every) if self.task.has_frontier else every
        members = {t.trial for c in best for t in c.trials}
        confirming = record.stage == CONFIRM and self.task.has_frontier  # which are members shows when all are done
        if (record.trial in members or confirming) and (weights := state()) is not None:
            if (why := save_weights(self.folder, record.trial, weights)) is not None:
                self.say("note", f"trial {record.trial}: its weights cannot be kept, nor scored later: {why}")
            del weights  # the next trial wants the memory
        append(self.folder.trials_path, record)
        if not confirming:
            self.folder.keep_weights(members)
        text = _result(self.task, record, self._records)
        self.say("result", text, done=len(self._records), total=self.total, folder=self.folder)
        self._timeline.cut("record")  # with what observers do with the result, such as a tracker's
        failures = _failures_in_a_row(self._arrived)
        invalid, most = failures.count("invalid"), self.task.max_consecutive_failures
        if len(failures) - invalid >= most or len(failures) >= max(most, LEAST_INVALID):
            raise IncompleteError(
                f"stopped after {len(failures)} failing trials in a row; the last: {record.error}"
            )
        return True

    def _insert(self, record: TrialRecord) -> None:
        self._arrived.append(record)
        self._records = sorted([*self._records, record], key=lambda r: r.trial)
        if record.node is not None:
            self._records = concurrent_windows.marked(self._records, self._ledger)

    def append_entry(
        self, event: Any, note: str = "", windows: Sequence[Window] | None = None, **more: Any
    ) -> LedgerEntry:
        """Append a ledger entry; its windows are the timeline's by default."""
        windows = self._timeline.take() if windows is None else tuple(windows)
        entry = LedgerEntry(session=self.session, event=event, windows=windows, note=note, **more)
        append(self.folder.ledger_path, entry)
        self._ledger.append(entry)
        return entry

    def say(self, kind: str, text: str, **more: Any) -> None:
        self._observe(Event(kind, text, **more))


def _has_idle(record: TrialRecord) -> bool:
    return any(window.phase == "idle" for window in record.windows)


#: Trials whose windows did not count, as where others were at work, end a run only after so many in a row.
LEAST_INVALID = 5


def _failures_in_a_row(records: Sequence[TrialRecord]) -> list[str]:
    """Statuses of the last trials that failed.

    Out of memory or infeasible is a result: neither counts nor interrupts.
    """
    last = itertools.takewhile(lambda record: record.status != "ok", reversed(records))
    return [record.status for record in last if record.status not in ("oom", "infeasible")]


def save_weights(folder: RunFolder, trial: int, state: Any) -> str | None:
    """Write a trial's weights atomically; returns why they cannot be written at all, or None.

    Raises:
        IncompleteError: the disk is full or the file cannot be written.
    """
    file = folder.weights_file(trial)
    try:
        import torch

        make_folder(folder.weights_path)
        with whole_file(file) as opened:  # to the disk: the record that relies on them follows
            torch.save(state, opened)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise IncompleteError(f"{file}: cannot be written: {error!s:.200}; recorded trials are safe") from None
    except Exception as error:  # a state that cannot be serialised
        return described(error)
    return None


def words(task: Task, params: Params) -> str:
    """Describe a configuration by its free parameters, without those that do not matter in it."""
    shown = (name for name in task.free if task.in_effect(name, params))
    return ", ".join(f"{name} {params[name]}" for name in shown) or "the one configuration"


def _result(task: Task, record: TrialRecord, records: Sequence[TrialRecord]) -> str:
    """Describe a finished trial in one line: origin, configuration, and objectives or failure."""
    what = f"{record.proposed_by}: {words(task, record.params)}"
    outcomes = trial_outcomes(task, record, idle_windows(records, task.protocol))
    if not outcomes:
        return f"{what} → {record.status}: {record.error}"
    values = []
    for name, outcome in outcomes.items():
        half = outcome.value.rel_half_width
        values.append(f"{name} {outcome.value.mean:.4g}" + (f" ± {100 * half:.1f} %" if half is not None else ""))
    return f"{what} → {', '.join(values)}"
