"""Pool of a cluster run's workers: start them, give them trials, replace lost ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from joulebench.cluster.connection import SLOT, Node, alive_nodes, pinned, ray_module
from joulebench.cluster.runs import HardwareRun, WorkerState
from joulebench.cluster.worker import Beside, Checked, Done, NodeFacts, Ready, Refused, Scored, Worker
from joulebench.errors import IncompleteError, InputError
from joulebench.records.model import LedgerEntry, TrialRecord
from joulebench.runner import meter_check
from joulebench.runner.resume_check import mismatch
from joulebench.runner.scheduling import Place
from joulebench.runner.trials import Order, Trials

TICK_S = 1.0  # between checks for new or restarted nodes
START_S = 180.0  # for a worker's process to start
PATIENCE_S = 60.0  # without any node, before a run is left incomplete
MAX_LOSSES = 3  # workers lost on a node before their first trial; then it gets no more
#: States in which nothing else may run on the worker's node.
_MEASURING = ("trial", "precheck", "score")


class Pool:
    """Executor of the trials of all runs; see `joulebench.runner.scheduling.Executor`."""

    def __init__(
        self,
        hw_runs: Sequence[HardwareRun],
        driver: Node | None,
        data: Path | None,
        say: Callable[[str], None],
    ) -> None:
        """`driver`: the node that this process is on; `data`: a path that may exist on the nodes."""
        self._ray = ray_module()
        self._runs, self._driver, self._say = list(hw_runs), driver, say
        self._data = None if data is None else str(data)
        self._arrays: Any = None
        self._refs: dict[Any, WorkerState] = {}
        self._checked_s = 0.0
        self._last = ""
        for hw_run in self._runs:
            for node in hw_run.nodes:
                self._start_worker(hw_run, node)

    def _start_worker(self, hw_run: HardwareRun, node: Node) -> None:
        """Start a worker that takes all of the node's resources, so that Ray places nothing else there.

        One of several GPUs on a machine has its share of it as its resources.
        """
        taken = {name: node.resources[name] for name in (SLOT, hw_run.hardware)}
        actor = (
            self._ray.remote(Worker)
            .options(
                num_cpus=node.resources.get("CPU", 0),
                num_gpus=node.resources.get("GPU", 0),
                resources=taken,
                max_restarts=0,
                scheduling_strategy=pinned(node),
            )
            .remote(hw_run.run, node.name, Beside(node.card, os.getpid()) if node.card else None)
        )
        worker = WorkerState(node, hw_run, actor)
        hw_run.workers.append(worker)
        hw_run.alone_s = None
        self._refs[actor.node_facts.remote(self._data)] = worker

    def wait_until_up(self) -> dict[str, list[NodeFacts]]:
        """Wait until every worker is up; returns the facts of their nodes, by hardware.

        Raises:
            InputError: one does not start, or has another version of joulebench.
        """
        self._wait_until("met")
        return {
            hw_run.hardware: [worker.node_facts for worker in hw_run.workers if worker.node_facts]
            for hw_run in self._runs
        }

    def make_ready(self, arrays: Any) -> None:
        """Wait until every worker is ready to measure; the runs have their plans.

        Args:
            arrays: Ray's reference to the data, where nodes do not read their own.

        Raises:
            InputError: one refuses, or two of one hardware differ.
        """
        self._arrays = arrays
        for hw_run in self._runs:
            for worker in hw_run.workers:
                self._prepare(worker)
        self._wait_until("idle")

    def _wait_until(self, state: str) -> None:
        while any(worker.state != state for hw_run in self._runs for worker in hw_run.workers):
            self._pass_time()
        for hw_run in self._runs:
            if not hw_run.workers:
                raise InputError(f"no node of hardware {hw_run.hardware} could be made ready: {self._last}")

    def _prepare(self, worker: WorkerState) -> None:
        began_s = worker.hw_run.began_s.get(worker.mark, 0.0)
        self._send(worker, "prepare", worker.actor.prepare.remote(worker.hw_run.plan, began_s, self._arrays))

    def open(self) -> None:
        """Write the windows of the setup into the ledgers, and start meter checks; the runs have their trials."""
        for hw_run in self._runs:
            for name, ready in hw_run.readied:
                self._readied(hw_run, name, ready)
            hw_run.readied.clear()
            for worker in hw_run.workers:
                self._check_or_idle(worker)

    def _readied(self, hw_run: HardwareRun, name: str, ready: Ready) -> None:
        if hw_run.trials is None:
            hw_run.readied.append((name, ready))
            return
        hw_run.trials.append_entry("span", f"worker on node {name}", windows=ready.windows, node=ready.node)

    def _check_or_idle(self, worker: WorkerState) -> None:
        """Start a worker's meter check where it is due; else the worker is idle."""
        if worker.hw_run.check and worker.hw_run.trials is not None and not worker.hw_run.trials.finished:
            self._send(worker, "precheck", worker.actor.precheck.remote(worker.hw_run.plan.seed))
        else:
            worker.state = "idle"

    def _send(self, worker: WorkerState, state: str, ref: Any) -> None:
        worker.state, worker.since_s = state, time.monotonic()
        self._refs[ref] = worker

    # Executor

    @property
    def may_propose(self) -> bool:
        return not any(w.state in _MEASURING for w in self._on_own_node())

    def _on_own_node(self) -> list[WorkerState]:
        own = self._driver.name if self._driver else None
        return [worker for hw_run in self._runs for worker in hw_run.workers if worker.node.name == own]

    def ahead(self, trials: Trials) -> int:
        return len(self._of(trials).workers) if self._on_own_node() else 0

    def place(self, trials: Trials) -> Place | None:
        worker = self._idle(self._of(trials))
        return Place(worker.mark) if worker else None

    def _idle(self, hw_run: HardwareRun, mark: str | None = None) -> WorkerState | None:
        return next((w for w in hw_run.workers if w.state == "idle" and mark in (None, w.mark)), None)

    def _of(self, trials: Trials) -> HardwareRun:
        return next(hw_run for hw_run in self._runs if hw_run.trials is trials)

    def begin(self, place: Place, trials: Trials, order: Order) -> None:
        worker = self._idle(self._of(trials), place.node)
        assert worker is not None, "a place is an idle worker's"
        worker.order = order
        self._send(worker, "trial", worker.actor.trial.remote(order))

    @property
    def working(self) -> bool:
        return any(worker.state == "trial" for hw_run in self._runs for worker in hw_run.workers)

    def without_room(self, trials: Trials) -> bool:
        alone_s = self._of(trials).alone_s
        return alone_s is not None and time.monotonic() - alone_s > PATIENCE_S

    def wait(self) -> None:
        self._pass_time()
        if time.monotonic() - self._checked_s > TICK_S:
            self._replace_lost()

    # Replies of workers

    def _pass_time(self) -> None:
        if not self._refs:
            time.sleep(TICK_S / 10)
            return
        for ref in self._arrived():
            self._collect(ref, self._refs.pop(ref))
        for worker in [w for w in self._refs.values() if w.state == "start"]:
            if time.monotonic() - worker.since_s > START_S:
                self._lose(worker, f"no worker started in {START_S:g} s; other work may hold the node's CPUs")

    def _arrived(self) -> list[Any]:
        """Wait for a reply, for at most a tick; returns all that have arrived."""
        ready, _ = self._ray.wait(list(self._refs), num_returns=1, timeout=TICK_S)
        if ready:
            ready, _ = self._ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        return list(ready)

    def _collect(self, ref: Any, worker: WorkerState) -> None:
        errors = self._ray.exceptions
        try:
            result = self._ray.get(ref)
        except errors.RayTaskError:
            raise  # a fault of the program, as it would be on one machine
        except errors.RayError as error:
            self._lose(worker, _first_line(error))
            return
        match result:
            case NodeFacts():
                self._met(worker, result)
            case Refused():
                self._refused(worker, result)
            case Ready():
                self._ready(worker, result)
            case Checked():
                worker.state = "idle"
                self._checked(worker, result)
            case Done():
                self.deliver(worker, result)

    def _met(self, worker: WorkerState, node_facts: NodeFacts) -> None:
        worker.node_facts, worker.mark, worker.state = node_facts, node_facts.node, "met"
        if node_facts.joulebench != (here := metadata.version("joulebench")):
            self._reject(worker, f"has joulebench {node_facts.joulebench}, the driver {here}")
        elif worker.hw_run.trials is not None:
            self._prepare(worker)

    def _ready(self, worker: WorkerState, ready: Ready) -> None:
        hw_run = worker.hw_run
        if hw_run.facts is None:
            hw_run.facts = ready.facts
        elif (unlike := mismatch(hw_run.facts, ready.facts)) is not None:
            name, theirs, its = unlike
            self._reject(worker, f"differs from the others of {hw_run.hardware}: {name} {its}, theirs {theirs}")
            return
        if ready.unmetered is not None:
            self._say(f"node {worker.node.name}: {ready.unmetered}")
        self._readied(hw_run, worker.node.name, ready)
        self._check_or_idle(worker)

    def _checked(self, worker: WorkerState, checked: Checked) -> None:
        trials = worker.hw_run.trials
        assert trials is not None, "the folder exists before a meter check"
        trials.append_entry("precheck", windows=checked.windows, node=worker.mark)
        entry = LedgerEntry(session=trials.session, event="precheck", windows=checked.windows)
        meter_check.judge(worker.hw_run.plan, entry, checked.error, trials.say, f"node {worker.node.name}: ")

    def deliver(self, worker: WorkerState, done: Done) -> None:
        """Keep a trial's result; one of another run is dropped."""
        trials, order = worker.hw_run.trials, worker.order
        if trials is None or done.run != worker.hw_run.run:
            self._say(f"a result of another run ({done.run}) is dropped")
            return
        if order is not None and order.request.trial == done.record.trial:
            worker.state, worker.order = "idle", None
        for kind, text in done.notes:
            trials.say(kind, text)
        trials.keep(done.record, lambda: self._weights(worker))
        if done.lost is not None:
            self._lose(worker, f"its device is lost to its process: {done.lost}")

    def _weights(self, worker: WorkerState) -> Any:
        try:
            return self._ray.get(worker.actor.weights.remote())
        except self._ray.exceptions.RayError as error:
            self._say(f"node {worker.node.name}: the weights of its last trial are lost ({_first_line(error)})")
            return None

    def _refused(self, worker: WorkerState, refused: Refused) -> None:
        where = f"node {worker.node.name}: {refused.text}"
        if worker.state == "trial" and refused.meter:  # only this node's joules cannot be trusted any more
            self._lose(worker, refused.text)
            worker.hw_run.failures[worker.node.place] = MAX_LOSSES
        elif worker.state == "prepare" and worker.hw_run.trials is not None:
            self._reject(worker, refused.text)
        else:
            began = worker.hw_run.trials is not None
            raise IncompleteError(where) if refused.meter and began else InputError(where)

    def _reject(self, worker: WorkerState, why: str) -> None:
        if worker.hw_run.trials is None:
            raise InputError(f"node {worker.node.name} {why}")
        worker.hw_run.failures[worker.node.place] = MAX_LOSSES
        self._lose(worker, why)

    def _lose(self, worker: WorkerState, why: str) -> None:
        """Remove a lost worker: its trial is queued again, and its node gets another worker if it is alive."""
        hw_run = worker.hw_run
        self._ray.kill(worker.actor, no_restart=True)
        self._refs = {ref: other for ref, other in self._refs.items() if other is not worker}
        hw_run.workers.remove(worker)
        if worker.state in ("start", "prepare", "precheck"):
            hw_run.failures[worker.node.place] = hw_run.failures.get(worker.node.place, 0) + 1
        self._last = f"node {worker.node.name}: worker lost ({why})"
        self._say(self._last)
        if not hw_run.workers:
            hw_run.alone_s = time.monotonic()
        if worker.state == "trial" and worker.order is not None and hw_run.trials is not None:
            hw_run.trials.lost(worker.order.request, worker.mark, why)
        self._checked_s = 0.0

    def _replace_lost(self) -> None:
        """Start workers on nodes that have none: a worker was lost, or the node is new."""
        self._checked_s = time.monotonic()
        cards = [node for hw_run in self._runs for node in hw_run.nodes if node.card]
        nodes = cards or alive_nodes()
        taken = {worker.node.name for hw_run in self._runs for worker in hw_run.workers}
        for node in nodes:
            hw_run = next((hw_run for hw_run in self._runs if hw_run.hardware in node.resources), None)
            if (
                hw_run is None
                or hw_run.trials is None
                or hw_run.trials.finished
                or not node.has_slot
                or node.name in taken
            ):
                continue
            if hw_run.failures.get(node.place, 0) < MAX_LOSSES:
                taken.add(node.name)
                self._start_worker(hw_run, node)

    # After the trials

    def score(self, hw_run: HardwareRun, trial: TrialRecord, state: Any) -> dict[str, float]:
        """Compute metrics on the test split, on any idle worker.

        Raises:
            IncompleteError: none is left, or it refuses.
        """
        trials = hw_run.trials
        while trials is not None and (worker := self._idle(hw_run)) is not None:
            worker.state = "score"
            try:
                result = self._ray.get(worker.actor.score.remote(trial, state))
            except self._ray.exceptions.RayTaskError:
                raise
            except self._ray.exceptions.RayError as error:
                self._lose(worker, _first_line(error))
                continue
            worker.state = "idle"
            if isinstance(result, Refused):
                raise IncompleteError(f"node {worker.node.name}: {result.text}")
            assert isinstance(result, Scored)
            trials.append_entry("span", "scores", windows=result.windows, node=worker.mark)
            return result.metrics
        raise IncompleteError(f"no node of hardware {hw_run.hardware} is left to score on; resume later")

    def close(self) -> None:
        """Stop all workers; their last windows go into the ledgers."""
        for hw_run in self._runs:
            for worker in hw_run.workers:
                if worker.state == "idle" and hw_run.trials is not None:
                    self._stop_worker(hw_run.trials, worker)
                self._ray.kill(worker.actor, no_restart=True)
            hw_run.workers.clear()
        self._refs.clear()

    def _stop_worker(self, trials: Trials, worker: WorkerState) -> None:
        try:
            windows = self._ray.get(worker.actor.close.remote(), timeout=START_S)
        except self._ray.exceptions.RayError as error:
            self._say(f"node {worker.node.name}: its last windows are lost ({_first_line(error)})")
            return
        trials.append_entry("span", f"worker on node {worker.node.name} ends", windows=windows, node=worker.mark)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
