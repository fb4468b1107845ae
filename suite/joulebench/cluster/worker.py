"""The Ray actor on a node: a bench with meters and data that runs one trial at a time, and its replies."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from joulebench.errors import InputError, MeterError
from joulebench.host.device import physical_gpus
from joulebench.host.process import end_left
from joulebench.measurement.bench import Bench
from joulebench.meters.select import unmetered
from joulebench.records.model import TrialRecord, Window
from joulebench.runner import meter_check, scoring
from joulebench.runner.execution import run_order
from joulebench.runner.plan import Plan
from joulebench.runner.session import Facts, open_bench
from joulebench.runner.trials import Order
from joulebench.spec.hardware import Host, detect_host, mismatch

if TYPE_CHECKING:
    from joulebench.data.text import Decoded

T = TypeVar("T")
SEEN = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Refused:
    """An `InputError` as a reply; `meter`: whether a meter failed."""

    text: str
    meter: bool = False


@dataclass(frozen=True)
class NodeFacts:
    """Reply of a worker that is up: its node, host and version of joulebench."""

    node: str  # as written into every window
    host: Host
    joulebench: str
    has_data: bool  # whether the path of the data exists there


@dataclass(frozen=True)
class Ready:
    """Reply of a worker that is ready to measure; `unmetered`: what is said of accelerators that no meter reads."""

    node: str
    facts: Facts
    windows: tuple[Window, ...]
    unmetered: str | None = None


@dataclass(frozen=True)
class Checked:
    """Reply with the windows of the meter check, and the error that cut it short."""

    windows: tuple[Window, ...]
    error: str | None


@dataclass(frozen=True)
class Done:
    """Reply with a trial's record. Its weights stay on the node until the next trial begins.

    `lost`: why the worker's process can use its device no more, if it cannot.
    """

    run: str
    record: TrialRecord
    notes: tuple[tuple[str, str], ...] = ()
    lost: str | None = None


@dataclass(frozen=True)
class Scored:
    """Reply with metrics on the test split."""

    metrics: dict[str, float]
    windows: tuple[Window, ...]


def node_mark(name: str) -> str:
    """Name a node and its boot, within which monotonic times compare."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return f"{name}@{boot.read_text()[:8]}" if boot.is_file() else name


@dataclass(frozen=True)
class Beside:
    """What a worker on one of several GPUs of a machine is told: the GPU's UUID, and what process drives all."""

    card: str
    pid: int


class Worker:
    """A Ray actor. An `InputError` is returned as `Refused`: Ray would wrap an exception in a long text."""

    def __init__(self, run: str, name: str, beside: Beside | None = None) -> None:
        """`beside`: where other workers measure on the same machine; this one then sees its own GPU alone."""
        self._run, self._node, self._beside = run, node_mark(name), beside
        if beside is not None:
            os.environ[SEEN] = beside.card
        self._state: Any = None
        self._bench: Bench

    def node_facts(self, data: str | None) -> NodeFacts:
        """Describe the node; imports nothing that measures."""
        there = data is None or Path(data).exists()
        return NodeFacts(self._node, detect_host(), metadata.version("joulebench"), there)

    def prepare(self, chosen: Plan, began_s: float, arrays: Decoded | None) -> Ready | Refused:
        """Start the meters and stage the data."""

        def work() -> Ready:
            own = replace(chosen, host=detect_host())
            if (differs := mismatch(own.profile, own.host)) is not None and own.hardware_override is None:
                raise InputError(f"{differs}; --force-hardware uses it all the same, and the report says so")
            run_pid = None if self._beside is None else self._beside.pid
            self._bench = open_bench(own, began_s=began_s, node=self._node, arrays=arrays, run_pid=run_pid)
            try:
                facts = self._facts(own)
            except InputError:
                self._bench.timeline.stop()
                raise
            unread = None if own.replay is not None else unmetered(own.host, facts.meters)
            return Ready(self._node, facts, self._bench.timeline.take(), unread)

        return _answer(work)

    def _facts(self, own: Plan) -> Facts:
        """Facts for the manifest; those of one of several GPUs without what tells it from the others.

        Raises:
            InputError: this process computes on another GPU than it was given.
        """
        facts, device = Facts.of(own, self._bench), self._bench.device
        if self._beside is None:
            return facts
        if device.startswith("cuda") and (found := physical_gpus(device)[0]) != (self._beside.card,):
            raise InputError(f"{device} is {', '.join(found)}, and not {self._beside.card} as it was told to be")
        meters = [{k: v for k, v in line.items() if k != "uuid"} for line in facts.meters]
        variables = {k: v for k, v in facts.environment["variables"].items() if k != SEEN}
        return replace(facts, meters=meters, environment={**facts.environment, "variables": variables})

    def precheck(self, seed: int) -> Checked | Refused:
        """Measure the default configuration for the meter check."""
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
            self._bench.timeline.cut("wait")
            finished = run_order(self._bench, order, say)
            self._state = finished.state
            return Done(self._run, finished.record, tuple(notes), finished.lost)

        return _answer(work)

    def weights(self) -> Any:
        """Return the weights of the last trial; None if it has none."""
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
        """Stop the meters; returns the windows since the last record."""
        timeline = self._bench.timeline
        end_left()
        timeline.cut("wait")
        timeline.stop()
        gc.unfreeze()
        return timeline.take()


def _answer(work: Callable[[], T]) -> T | Refused:
    try:
        return work()
    except InputError as error:
        return Refused(str(error), isinstance(error, MeterError))
