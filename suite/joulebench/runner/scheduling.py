"""Scheduling of trials: one at a time on this machine, or several at once on an executor with more places."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from joulebench.runner.trials import Order, Trials


@dataclass(frozen=True)
class Place:
    """A place to run one trial; `node` is None on a single machine."""

    node: str | None = None


class Executor(Protocol):
    """Runs trials of one or more runs."""

    @property
    def may_propose(self) -> bool:
        """Whether choosing a configuration now would disturb no measurement."""
        ...

    def ahead(self, trials: Trials) -> int:
        """How many trials to propose in advance, where proposing would later disturb a measurement."""
        ...

    def place(self, trials: Trials) -> Place | None:
        """Find a free place for a trial of this run; None while there is none."""
        ...

    def begin(self, place: Place, trials: Trials, order: Order) -> None:
        """Start a trial there."""
        ...

    @property
    def working(self) -> bool:
        """Whether a trial is under way."""
        ...

    def wait(self) -> None:
        """Wait for the next event, and pass finished and lost trials to their runs."""
        ...

    def without_room(self, trials: Trials) -> bool:
        """Whether no node can run this run's trials and none is expected to join."""
        ...


def schedule(runs: Sequence[Trials], executor: Executor) -> None:
    """Run all trials of all runs; a run whose last machine is lost stays incomplete.

    Raises:
        InputError: as `Trials.keep`, or from the executor.
    """
    while True:
        for trials in runs:  # before any trial begins: it may forbid proposing for the next run
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
    """Runs trials on this machine, one at a time."""

    may_propose = True

    def __init__(self, run: Callable[[Order, Trials], None]) -> None:
        self._run = run
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
        self._run(order, trials)

    def without_room(self, trials: Trials) -> bool:
        return False
