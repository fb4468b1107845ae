"""Scheduling of trials: one after the other on this machine, or several at once where an executor has room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from joulebench.measurement.harness import Bench, Finished, run_trial
from joulebench.runner.epoch_monitor import epoch_watch
from joulebench.runner.trials import Order, Trials


@dataclass(frozen=True)
class Place:
    """Room for one trial; `node` is None where there is one machine."""

    node: str | None = None


class Executor(Protocol):
    """Runs trials of one or more runs."""

    @property
    def may_propose(self) -> bool:
        """Whether choosing a configuration now would disturb no measurement."""
        ...

    def ahead(self, trials: Trials) -> int:
        """How many trials to have waiting, where proposing will not be possible at any time."""
        ...

    def place(self, trials: Trials) -> Place | None:
        """Room for a trial of this run; None while there is none."""
        ...

    def begin(self, place: Place, trials: Trials, order: Order) -> None:
        """Run a trial there."""
        ...

    @property
    def working(self) -> bool:
        """Whether `wait` would have something to wait for."""
        ...

    def wait(self) -> None:
        """Let time pass until something has happened, and tell the runs whose trials are done or lost."""
        ...

    def without_room(self, trials: Trials) -> bool:
        """There is no room for this run, and none to be expected."""
        ...


def schedule(runs: Sequence[Trials], executor: Executor) -> None:
    """Run all trials of all runs, each to its end; a run whose last machine is gone is left as it stands.

    Raises:
        InputError: as `Trials.keep`, or of what runs the trials.
    """
    while True:
        for trials in runs:  # all of them first: a trial that begins may forbid to propose for the next run
            if executor.may_propose and (ahead := executor.ahead(trials)):
                trials.fill_queue(ahead)
        for trials in runs:
            _hand_out(trials, executor)
        if all(trials.finished or executor.without_room(trials) for trials in runs) and not executor.working:
            return
        executor.wait()


def _hand_out(trials: Trials, executor: Executor) -> None:
    while (place := executor.place(trials)) is not None:
        request = trials.next(executor.may_propose)
        if request is None:
            return
        if not trials.given_up(request):
            executor.begin(place, trials, trials.begin(request, place.node))


class LocalExecutor:
    """This process, one trial at a time."""

    may_propose = True

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._next: tuple[Trials, Order] | None = None

    def ahead(self, trials: Trials) -> int:
        return 0

    def place(self, trials: Trials) -> Place | None:
        return Place() if self._next is None else None

    def begin(self, place: Place, trials: Trials, order: Order) -> None:
        self._next = trials, order

    @property
    def working(self) -> bool:
        return self._next is not None

    def wait(self) -> None:
        if self._next is None:
            return
        (trials, order), self._next = self._next, None
        finished = run_order(self._bench, order, trials)
        trials.keep(finished.record, lambda: finished.state)

    def without_room(self, trials: Trials) -> bool:
        return False


def run_order(bench: Bench, order: Order, trials: Trials) -> Finished:
    """Run a trial, saying what it reaches as it goes."""
    rules = trials.task.stopping
    watch = epoch_watch(order.request, order.records, rules.extrapolate, order.left_j, trials.say)
    return run_trial(bench, order.request, watch)
