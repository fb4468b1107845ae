"""What runs on a node: a bench with its meters and its data, for one run and nothing else at the same time."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from joulebench.errors import InputError, MeterError
from joulebench.measurement.harness import Bench, run_trial
from joulebench.records.model import TrialRecord, Window
from joulebench.runner import meter_check, scoring
from joulebench.runner.epoch_monitor import epoch_watch
from joulebench.runner.plan import Plan
from joulebench.runner.session import Facts, open_bench
from joulebench.runner.trials import Order
from joulebench.spec.hardware import Host, detect_host, mismatch

if TYPE_CHECKING:
    from joulebench.data.arrays import ImageArrays
    from joulebench.data.text import TextBytes

T = TypeVar("T")


@dataclass(frozen=True)
class Refused:
    """What would have been an `InputError` on one machine; `meter` if it was the meter that failed."""

    text: str
    meter: bool = False


@dataclass(frozen=True)
class NodeFacts:
    """The process stands: where, on what, with which joulebench."""

    node: str  # as it is written into every window
    host: Host
    joulebench: str
    has_data: bool  # whether the path of the data is there


@dataclass(frozen=True)
class Ready:
    """The bench stands."""

    node: str
    facts: Facts
    windows: tuple[Window, ...]


@dataclass(frozen=True)
class Checked:
    """The precheck's windows, and why there are not all of them."""

    windows: tuple[Window, ...]
    error: str | None


@dataclass(frozen=True)
class Done:
    """A trial's record. Its weights stay on the node until they are asked for, or the next trial begins."""

    run: str
    record: TrialRecord
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Scored:
    """Metrics on the test split."""

    metrics: dict[str, float]
    windows: tuple[Window, ...]


def node_mark(name: str) -> str:
    """A node and its boot: within one, monotonic times compare."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{name}@{boot.read_text()[:8]}" if boot.is_file() else name


class Worker:
    """A Ray actor. A refusal comes back as a value: Ray would wrap an exception in a page of its own."""

    def __init__(self, run: str, name: str) -> None:
        self._run, self._node = run, node_mark(name)
        self._state: Any = None
        self._bench: Bench

    def node_facts(self, data: str | None) -> NodeFacts:
        """Answers as soon as the process stands; imports nothing that measures."""
        there = data is None or Path(data).exists()
        return NodeFacts(self._node, detect_host(), metadata.version("joulebench"), there)

    def prepare(self, chosen: Plan, began_s: float, arrays: ImageArrays | TextBytes | None) -> Ready | Refused:
        """Start the meters, stage the data."""

        def work() -> Ready:
            own = replace(chosen, host=detect_host())
            if (differs := mismatch(own.profile, own.host)) is not None and own.hardware_override is None:
                raise InputError(f"{differs}; --force-hardware uses it all the same, and says so in the report")
            self._bench = open_bench(own, began_s=began_s, node=self._node, arrays=arrays)
            return Ready(self._node, Facts.of(own, self._bench), self._bench.timeline.take())

        return _answer(work)

    def precheck(self, seed: int) -> Checked | Refused:
        """Measure the default configuration ten times."""
        self._bench.timeline.cut("wait")
        return _answer(
            lambda: Checked(error=meter_check.measure(self._bench, seed), windows=self._bench.timeline.take())
        )

    def trial(self, order: Order) -> Done | Refused:
        """Run one trial."""
        notes: list[tuple[str, str]] = []

        def say(kind: str, text: str) -> None:
            if kind == "note":  # an epoch would be stale by the time it arrives
                notes.append((kind, text))

        def work() -> Done:
            self._state = None
            bench, request = self._bench, order.request
            bench.timeline.cut("wait")
            watch = epoch_watch(request, order.records, bench.task.stopping.extrapolate, order.left_j, say)
            finished = run_trial(bench, request, watch)
            self._state = finished.state
            return Done(self._run, finished.record, tuple(notes))

        return _answer(work)

    def weights(self) -> Any:
        """Of the last trial; None if it has none."""
        return self._state

    def score(self, trial: TrialRecord, state: Any) -> Scored | Refused:
        """Score a trial's model on the test split."""

        def work() -> Scored:
            self._state = None
            self._bench.timeline.cut("wait")
            metrics = scoring.test_metrics(self._bench, trial, state)
            self._bench.timeline.cut("score")
            return Scored(metrics, self._bench.timeline.take())

        return _answer(work)

    def close(self) -> tuple[Window, ...]:
        """Stop the meters; what was spent since the last record."""
        timeline = self._bench.timeline
        timeline.cut("wait")
        timeline.stop()
        gc.unfreeze()
        return timeline.take()


def _answer(work: Callable[[], T]) -> T | Refused:
    try:
        return work()
    except InputError as error:
        return Refused(str(error), isinstance(error, MeterError))
