"""The workers of a cluster run as its driver sees them: started, given trials, replaced when they are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from joulebench.cluster.connection import SLOT, Node, alive_nodes, pinned, ray_module
from joulebench.cluster.runs import HardwareRun, WorkerState, difference
from joulebench.cluster.worker import Checked, Done, NodeFacts, Ready, Refused, Scored, Worker
from joulebench.errors import IncompleteError, InputError
from joulebench.records.model import LedgerEntry, TrialRecord
from joulebench.runner import meter_check
from joulebench.runner.scheduling import Place
from joulebench.runner.trials import Order, Trials

TICK_S = 1.0  # between looks for nodes that have come, or come back
START_S = 180.0  # for a worker's process to stand
PATIENCE_S = 60.0  # without any node, before a run is given up for now
MAX_FALLS = 3  # of workers on a node before their first trial: the node is left alone
#: What a worker is at while nothing else may happen on its node.
_MEASURING = ("trial", "precheck", "score")


class Pool:
    """Executes the trials of all hw_runs; see `joulebench.runner.scheduling.Executor`."""

    def __init__(
        self,
        hw_runs: Sequence[HardwareRun],
        driver: Node | None,
        data: Path | None,
        say: Callable[[str], None],
    ) -> None:
        """`driver`: the node that this process is on; `data`: a path that nodes may have or not."""
        self._ray = ray_module()
        self._runs, self._driver, self._say = list(hw_runs), driver, say
        self._data = None if data is None else str(data)
        self._arrays: Any = None
        self._refs: dict[Any, WorkerState] = {}
        self._looked_s = 0.0
        self._last = ""
        for hw_run in self._runs:
            for node in hw_run.nodes:
                self._start_worker(hw_run, node)

    def _start_worker(self, hw_run: HardwareRun, node: Node) -> None:
        """A worker that takes the node whole: nothing else that asks Ray for room comes beside it."""
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
            .remote(hw_run.run, node.name)
        )
        worker = WorkerState(node, hw_run, actor)
        hw_run.workers.append(worker)
        hw_run.alone_s = None
        self._refs[actor.node_facts.remote(self._data)] = worker

    def meet(self) -> dict[str, list[NodeFacts]]:
        """Wait until every worker that was started is up; what each says of its node, by hardware.

        Raises:
            InputError: one does not come, or has another joulebench.
        """
        self._until("met")
        return {
            hw_run.hardware: [worker.node_facts for worker in hw_run.workers if worker.node_facts]
            for hw_run in self._runs
        }

    def gather(self, arrays: Any) -> None:
        """The hw_runs have their plans: wait until every worker is ready to measure.

        Args:
            arrays: Ray's reference to the data, where nodes do not read their own.

        Raises:
            InputError: one refuses, or two of one hardware are not alike.
        """
        self._arrays = arrays
        for hw_run in self._runs:
            for worker in hw_run.workers:
                self._prepare(worker)
        self._until("idle")

    def _until(self, at: str) -> None:
        while any(worker.at != at for hw_run in self._runs for worker in hw_run.workers):
            self._pass_time()
        for hw_run in self._runs:
            if not hw_run.workers:
                raise InputError(f"no node of hardware {hw_run.hardware} could be made ready: {self._last}")

    def _prepare(self, worker: WorkerState) -> None:
        began_s = worker.hw_run.began_s.get(worker.mark, 0.0)
        self._send(worker, "prepare", worker.actor.prepare.remote(worker.hw_run.plan, began_s, self._arrays))

    def open(self) -> None:
        """The hw_runs have their trials: what was spent on getting ready goes into their ledgers."""
        for hw_run in self._runs:
            for name, ready in hw_run.readied:
                self._readied(hw_run, name, ready)
            hw_run.readied.clear()
            for worker in hw_run.workers:
                self._first(worker)

    def _readied(self, hw_run: HardwareRun, name: str, ready: Ready) -> None:
        if hw_run.trials is None:
            hw_run.readied.append((name, ready))
            return
        hw_run.trials.enter("span", f"worker on node {name}", windows=ready.windows, node=ready.node)

    def _first(self, worker: WorkerState) -> None:
        """What a worker does before its first trial."""
        if worker.hw_run.check and worker.hw_run.trials is not None and not worker.hw_run.trials.finished:
            self._send(worker, "precheck", worker.actor.precheck.remote(worker.hw_run.plan.seed))
        else:
            worker.at = "idle"

    def _send(self, worker: WorkerState, at: str, ref: Any) -> None:
        worker.at, worker.since_s = at, time.monotonic()
        self._refs[ref] = worker

    # What `schedule` asks for

    @property
    def may_propose(self) -> bool:
        return not any(h.at in _MEASURING for h in self._on_own_node())

    def _on_own_node(self) -> list[WorkerState]:
        own = self._driver.name if self._driver else None
        return [worker for hw_run in self._runs for worker in hw_run.workers if worker.node.name == own]

    def ahead(self, trials: Trials) -> int:
        return len(self._of(trials).workers) if self._on_own_node() else 0

    def place(self, trials: Trials) -> Place | None:
        worker = self._idle(self._of(trials))
        return Place(worker.mark) if worker else None

    def _idle(self, hw_run: HardwareRun, mark: str | None = None) -> WorkerState | None:
        return next((h for h in hw_run.workers if h.at == "idle" and mark in (None, h.mark)), None)

    def _of(self, trials: Trials) -> HardwareRun:
        return next(hw_run for hw_run in self._runs if hw_run.trials is trials)

    def begin(self, place: Place, trials: Trials, order: Order) -> None:
        worker = self._idle(self._of(trials), place.node)
        assert worker is not None, "a place is an idle worker's"
        worker.order = order
        self._send(worker, "trial", worker.actor.trial.remote(order))

    @property
    def working(self) -> bool:
        return any(worker.at == "trial" for hw_run in self._runs for worker in hw_run.workers)

    def without_room(self, trials: Trials) -> bool:
        alone_s = self._of(trials).alone_s
        return alone_s is not None and time.monotonic() - alone_s > PATIENCE_S

    def wait(self) -> None:
        self._pass_time()
        if time.monotonic() - self._looked_s > TICK_S:
            self._replace_lost()

    # What happens meanwhile

    def _pass_time(self) -> None:
        if not self._refs:
            time.sleep(TICK_S / 10)
            return
        for ref in self._arrived():
            self._collect(ref, self._refs.pop(ref))
        for worker in [h for h in self._refs.values() if h.at == "start"]:
            if time.monotonic() - worker.since_s > START_S:
                self._gone(worker, f"no worker has come up in {START_S:g} s; other work may hold the node's CPUs")

    def _arrived(self) -> list[Any]:
        """Everything that has come, after the first has or a tick has passed."""
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
            self._gone(worker, _first_line(error))
            return
        match result:
            case NodeFacts():
                self._met(worker, result)
            case Refused():
                self._refused(worker, result)
            case Ready():
                self._ready(worker, result)
            case Checked():
                worker.at = "idle"
                self._checked(worker, result)
            case Done():
                self.deliver(worker, result)

    def _met(self, worker: WorkerState, node_facts: NodeFacts) -> None:
        worker.node_facts, worker.mark, worker.at = node_facts, node_facts.node, "met"
        if node_facts.joulebench != metadata.version("joulebench"):
            self._unfit(worker, f"has joulebench {node_facts.joulebench}, here is {metadata.version('joulebench')}")
        elif worker.hw_run.trials is not None:
            self._prepare(worker)

    def _ready(self, worker: WorkerState, ready: Ready) -> None:
        hw_run = worker.hw_run
        if hw_run.facts is None:
            hw_run.facts = ready.facts
        elif (unlike := difference(hw_run.facts, ready.facts)) is not None:
            self._unfit(worker, f"is not like the other nodes of {hw_run.hardware}: {unlike}")
            return
        self._readied(hw_run, worker.node.name, ready)
        self._first(worker)

    def _checked(self, worker: WorkerState, checked: Checked) -> None:
        trials = worker.hw_run.trials
        assert trials is not None, "a precheck follows the folder"
        trials.enter("precheck", windows=checked.windows, node=worker.mark)
        entry = LedgerEntry(session=trials.session, event="precheck", windows=checked.windows)
        meter_check.judge(worker.hw_run.plan, entry, checked.error, trials.say, f"node {worker.node.name}: ")

    def deliver(self, worker: WorkerState, done: Done) -> None:
        """A trial's result has come; one of another run, or one that came before, is dropped."""
        trials, order = worker.hw_run.trials, worker.order
        if trials is None or done.run != worker.hw_run.run:
            self._say(f"a result of another run ({done.run}) is dropped")
            return
        if order is not None and order.request.trial == done.record.trial:
            worker.at, worker.order = "idle", None
        for kind, text in done.notes:
            trials.say(kind, text)
        trials.keep(done.record, lambda: self._weights(worker))

    def _weights(self, worker: WorkerState) -> Any:
        try:
            return self._ray.get(worker.actor.weights.remote())
        except self._ray.exceptions.RayError as error:
            self._say(f"node {worker.node.name}: the weights of its last trial are lost ({_first_line(error)})")
            return None

    def _refused(self, worker: WorkerState, refused: Refused) -> None:
        where = f"node {worker.node.name}: {refused.text}"
        if worker.at == "trial" and refused.meter:  # its joules cannot be trusted from here on; the others' can
            self._gone(worker, refused.text)
            worker.hw_run.failures[worker.node.id] = MAX_FALLS
        elif worker.at == "prepare" and worker.hw_run.trials is not None:
            self._unfit(worker, refused.text)
        else:
            began = worker.hw_run.trials is not None
            raise IncompleteError(where) if refused.meter and began else InputError(where)

    def _unfit(self, worker: WorkerState, why: str) -> None:
        if worker.hw_run.trials is None:
            raise InputError(f"node {worker.node.name} {why}")
        worker.hw_run.failures[worker.node.id] = MAX_FALLS
        self._gone(worker, why)

    def _gone(self, worker: WorkerState, why: str) -> None:
        """The worker is lost: its trial is tried again, its node given another worker if it still stands."""
        hw_run = worker.hw_run
        self._ray.kill(worker.actor, no_restart=True)
        self._refs = {ref: other for ref, other in self._refs.items() if other is not worker}
        hw_run.workers.remove(worker)
        if worker.at in ("start", "prepare", "precheck"):
            hw_run.failures[worker.node.id] = hw_run.failures.get(worker.node.id, 0) + 1
        self._last = f"node {worker.node.name}: worker lost ({why})"
        self._say(self._last)
        if not hw_run.workers:
            hw_run.alone_s = time.monotonic()
        if worker.at == "trial" and worker.order is not None and hw_run.trials is not None:
            hw_run.trials.lost(worker.order.request, worker.mark, why)
        self._looked_s = 0.0

    def _replace_lost(self) -> None:
        """Workers for nodes that have none: a worker was lost, or the node is new."""
        self._looked_s = time.monotonic()
        nodes = alive_nodes()
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
            if hw_run.failures.get(node.id, 0) < MAX_FALLS:
                taken.add(node.name)
                self._start_worker(hw_run, node)

    # After the trials

    def score(self, hw_run: HardwareRun, trial: TrialRecord, state: Any) -> dict[str, float]:
        """Metrics on the test split, by any worker that is there.

        Raises:
            IncompleteError: none is left, or the one that is there refuses.
        """
        trials = hw_run.trials
        while trials is not None and (worker := self._idle(hw_run)) is not None:
            worker.at = "score"
            try:
                result = self._ray.get(worker.actor.score.remote(trial, state))
            except self._ray.exceptions.RayTaskError:
                raise
            except self._ray.exceptions.RayError as error:
                self._gone(worker, _first_line(error))
                continue
            worker.at = "idle"
            if isinstance(result, Refused):
                raise IncompleteError(f"node {worker.node.name}: {result.text}")
            assert isinstance(result, Scored)
            trials.enter("span", "scores", windows=result.windows, node=worker.mark)
            return result.metrics
        raise IncompleteError(f"no node of hardware {hw_run.hardware} is left to score on; resume later")

    def close(self) -> None:
        """Send everybody home; what was spent since the last record goes into the ledgers."""
        for hw_run in self._runs:
            for worker in hw_run.workers:
                if worker.at == "idle" and hw_run.trials is not None:
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
        trials.enter("span", f"worker on node {worker.node.name} ends", windows=windows, node=worker.mark)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
