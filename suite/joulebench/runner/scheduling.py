"""Where trials run: here, one after the other, or wherever an executor finds room for several at once."""

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

    def ahead(self, lane: Trials) -> int:
        """How many trials to have waiting, where proposing will not be possible at any time."""
        ...

    def place(self, lane: Trials) -> Place | None:
        """Room for a trial of this run; None while there is none."""
        ...

    def begin(self, place: Place, lane: Trials, order: Order) -> None:
        """Run a trial there."""
        ...

    @property
    def working(self) -> bool:
        """Whether `wait` would have something to wait for."""
        ...

    def wait(self) -> None:
        """Let time pass until something has happened, and tell the runs whose trials are done or lost."""
        ...

    def stranded(self, lane: Trials) -> bool:
        """There is no room for this run, and none to be expected."""
        ...


def conduct(lanes: Sequence[Trials], executor: Executor) -> None:
    """Run all trials of all runs, each to its end; a run whose last machine is gone is left as it stands.

    Raises:
        InputError: as `Trials.keep`, or of what runs the trials.
    """
    while True:
        for lane in lanes:  # all of them first: a trial that begins may forbid to propose for the next run
            if executor.may_propose and (ahead := executor.ahead(lane)):
                lane.stock(ahead)
        for lane in lanes:
            _hand_out(lane, executor)
        if all(lane.finished or executor.stranded(lane) for lane in lanes) and not executor.working:
            return
        executor.wait()


def _hand_out(lane: Trials, executor: Executor) -> None:
    while (place := executor.place(lane)) is not None:
        request = lane.next(executor.may_propose)
        if request is None:
            return
        if not lane.given_up(request):
            executor.begin(place, lane, lane.begin(request, place.node))


class Here:
    """This process, one trial at a time."""

    may_propose = True

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._next: tuple[Trials, Order] | None = None

    def ahead(self, lane: Trials) -> int:
        return 0

    def place(self, lane: Trials) -> Place | None:
        return Place() if self._next is None else None

    def begin(self, place: Place, lane: Trials, order: Order) -> None:
        self._next = lane, order

    @property
    def working(self) -> bool:
        return self._next is not None

    def wait(self) -> None:
        if self._next is None:
            return
        (lane, order), self._next = self._next, None
        finished = run_order(self._bench, order, lane)
        lane.keep(finished.record, lambda: finished.state)

    def stranded(self, lane: Trials) -> bool:
        return False


def run_order(bench: Bench, order: Order, lane: Trials) -> Finished:
    """Run a trial, saying what it reaches as it goes."""
    rules = lane.task.stopping
    watch = epoch_watch(order.request, order.records, rules.extrapolate, order.left_j, lane.say)
    return run_trial(bench, order.request, watch)
