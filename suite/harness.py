"""One trial, the same way everywhere: build → train → idle → count → warm up and measure → score → record."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from suite import device as torch_device
from suite.clock import Clock
from suite.errors import InputError, did_you_mean
from suite.flops import count
from suite.measure import ALL_DOMAINS, Timeline, cool_down, measure_idle, measure_phase
from suite.outcome import trial_outcomes
from suite.record import Costs, EpochRecord, Status, TrialRecord, Window
from suite.task import RESERVED_PHASES, Params, Task, energy_unit
from suite.workloads.base import Context, Epoch, Phase, Workload, workload_class

if TYPE_CHECKING:
    from suite.data import StagedData


class TrialFailedError(RuntimeError):
    """The configuration itself failed: training diverged, or the model gave no number."""


@dataclass(frozen=True)
class Bench:
    """What every trial of a run shares."""

    task: Task
    device: str
    clock: Clock
    timeline: Timeline
    data: StagedData | None = None

    def workload(self, seed: int, should_stop: Callable[[], bool] = lambda: False) -> Workload:
        return workload_class(self.task.workload)(
            Context(self.device, seed, self.clock, self.data, self.task.options, should_stop)
        )


@dataclass(frozen=True)
class Request:
    """Which trial to run."""

    trial: int
    session: int
    stage: str
    origin: str
    params: Params
    seed: int
    idle: bool  # measure the idle baseline in this trial
    idle_windows: tuple[Window, ...] = ()  # of the run so far, for objectives on a net basis


@dataclass
class _Progress:
    """What a trial has reached so far; kept when it fails."""

    metrics: dict[str, float] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)
    epochs: list[EpochRecord] = field(default_factory=list)
    unit: dict[str, str] = field(default_factory=dict)
    stopped_by: Literal["epochs", "patience", "time"] | None = None
    state: Any = None


@dataclass(frozen=True)
class Finished:
    """A trial's record, and the weights it ended with (None if it failed or has none)."""

    record: TrialRecord
    state: Any


def run_trial(bench: Bench, request: Request, on_epoch: Callable[[Epoch], None] = lambda _: None) -> Finished:
    """Run one trial. A failure of the configuration is a result, with its reason; only the user's and the
    meter's errors (`InputError`) and interrupts propagate."""
    progress = _Progress()
    status: Status = "ok"
    error: str | None = None
    torch_device.seed_everything(request.seed)
    torch_device.reset_peak_memory(bench.device)
    try:
        _stages(bench, request, progress, on_epoch)
    except InputError:
        raise
    except TrialFailedError as failure:
        status, error = "failed", str(failure)
    except Exception as failure:
        status = "oom" if torch_device.is_out_of_memory(failure) else "failed"
        error = _reason(failure)
        del failure  # its traceback holds the model
    if status != "ok":
        torch_device.release_memory(bench.device)
        bench.timeline.cut("failed")
    record = _record(bench, request, progress, status, error)
    return Finished(record, progress.state if record.status == "ok" else None)


def _stages(bench: Bench, request: Request, progress: _Progress, on_epoch: Callable[[Epoch], None]) -> None:
    timeline, protocol = bench.timeline, bench.task.protocol
    deadline = _Deadline(bench.clock, protocol.max_train_s)
    workload = bench.workload(request.seed, deadline.passed)
    try:
        workload.build(request.params)
        timeline.cut("build")
        deadline.start()
        _train(bench, workload, deadline, progress, on_epoch)
        _score(bench, workload, progress)
        cool_down(timeline, protocol)
        if request.idle:
            measure_idle(timeline, protocol)
        _count(bench, workload, progress)
        phases = workload.phases()
        _check_phases(bench.task, phases)
        for name, phase in phases.items():
            progress.unit[name] = phase.unit
            measure_phase(timeline, name, phase, protocol, _domains(bench.task, name))
        peak = torch_device.peak_memory_bytes(bench.device)
        progress.costs = progress.costs.model_copy(update={"peak_memory_bytes": peak})
        progress.state = torch_device.to_host(workload.state())
    finally:
        workload.close()
    torch_device.release_memory(bench.device)
    timeline.cut("release")


def _check_phases(task: Task, phases: Mapping[str, Phase]) -> None:
    """The task's energy objectives are about phases that the workload has, in the units it counts.

    Raises:
        InputError: they are not; no trial of the task could ever have them.
    """
    if taken := sorted(RESERVED_PHASES & phases.keys()):
        raise InputError(f"workload '{task.workload}': a phase may not be called '{taken[0]}', the harness's own")
    for name, objective in task.objectives.items():
        if objective.phase is None or objective.phase == "train":
            continue
        if objective.phase not in phases:
            hint = did_you_mean(objective.phase, phases)
            allowed = ", ".join(phases) or "none"
            raise InputError(
                f"objectives.{name}.phase: workload '{task.workload}' has no phase '{objective.phase}'{hint} "
                f"(allowed: {allowed})"
            )
        unit, counted = energy_unit(name)[0], phases[objective.phase].unit
        if unit != counted:
            raise InputError(f"objectives.{name}: phase '{objective.phase}' counts {counted}s, not {unit}s")


def _domains(task: Task, phase: str) -> tuple[str, ...]:
    """The domains that decide when a phase has been measured well enough: those its objectives name."""
    named = {d for o in task.objectives.values() if o.phase == phase for d in o.domains or ()}
    return tuple(sorted(named)) or ALL_DOMAINS


class _Deadline:
    """Training time that is left."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds, self._end_s = clock, seconds, math.inf

    def start(self) -> None:
        self._end_s = self._clock.now_s() + self._seconds

    def passed(self) -> bool:
        return self._clock.now_s() >= self._end_s


class _BestWeights:
    """Early stopping on the monitored metric, and the weights of its best epoch."""

    def __init__(self, task: Task, workload: Workload) -> None:
        self._rules, self._workload = task.training, workload
        self._best = self._last_gain = math.inf
        self._waited = 0
        self._state: Any = None
        self.metrics: dict[str, float] = {}

    def see(self, metrics: dict[str, float], epoch: int) -> bool:
        """Take an epoch's metrics; True when training should stop.

        Raises:
            InputError: early stopping is asked for on a metric that the workload does not give.
            TrialFailedError: the monitored metric is not finite.
        """
        value = metrics.get(self._rules.monitor)
        if value is None:
            if self._rules.patience is not None:
                hint, given = did_you_mean(self._rules.monitor, metrics), ", ".join(metrics) or "none"
                raise InputError(f"training.monitor: no metric '{self._rules.monitor}'{hint} (there are: {given})")
            self.metrics = metrics
            return False
        if not math.isfinite(value):
            raise TrialFailedError(f"diverged: {self._rules.monitor} is {value} after epoch {epoch + 1}")
        if value < self._best:
            self._best, self._state, self.metrics = value, self._workload.state(), metrics
        if value < self._last_gain - self._rules.min_delta:
            self._last_gain, self._waited = value, 0
        else:
            self._waited += 1
        return self._rules.patience is not None and self._waited >= self._rules.patience

    def restore(self) -> None:
        if self._state is not None:
            self._workload.load_state(self._state)


def _train(
    bench: Bench,
    workload: Workload,
    deadline: _Deadline,
    progress: _Progress,
    on_epoch: Callable[[Epoch], None],
) -> None:
    best = _BestWeights(bench.task, workload)
    for epoch in workload.train():
        bench.timeline.cut("train", units=epoch.units, steps=1)
        metrics = dict(epoch.metrics)
        metrics |= {f"val_{name}": value for name, value in workload.evaluate("validation").items()}
        progress.epochs.append(
            EpochRecord(index=epoch.index, units=epoch.units, complete=epoch.complete, metrics=metrics)
        )
        stop = best.see(metrics, epoch.index)
        on_epoch(epoch)
        bench.timeline.cut("validate")  # with the copy of the best weights: none of it is training
        progress.stopped_by = "patience" if stop else "epochs"
        if stop:
            break
    if progress.stopped_by == "epochs" and deadline.passed():
        progress.stopped_by = "time"
    best.restore()
    progress.metrics |= best.metrics


def _score(bench: Bench, workload: Workload, progress: _Progress) -> None:
    """Metrics that training did not give; the test split only where the task says that it searches on it."""
    if not progress.epochs:
        scores = workload.evaluate("validation")
        progress.metrics |= {f"val_{name}": value for name, value in scores.items()}
    dataset = bench.task.dataset
    if dataset is not None and dataset.search_split == "test":
        progress.metrics |= {f"test_{name}": value for name, value in workload.evaluate("test").items()}
    progress.metrics |= workload.outcomes()
    bench.timeline.cut("score")
    for name, objective in bench.task.objectives.items():
        if objective.is_energy:
            continue
        if name not in progress.metrics:
            hint, given = did_you_mean(name, progress.metrics), ", ".join(progress.metrics) or "none"
            raise InputError(f"objectives.{name}: the workload gives no such metric{hint} (it gives: {given})")
        if not math.isfinite(progress.metrics[name]):
            raise TrialFailedError(f"no finite value for objective {name} (got {progress.metrics[name]})")


def _count(bench: Bench, workload: Workload, progress: _Progress) -> None:
    example = workload.example_input()
    if workload.model is not None and example is not None:
        try:
            progress.costs = count(workload.model, example)
        except Exception as failure:  # the counter cannot trace every model; energy needs no count
            progress.costs = Costs(uncounted=_reason(failure))
        bench.timeline.cut("count")


def _record(bench: Bench, request: Request, progress: _Progress, status: Status, error: str | None) -> TrialRecord:
    record = TrialRecord(
        trial=request.trial,
        session=request.session,
        stage=request.stage,
        origin=request.origin,
        params=request.params,
        seed=request.seed,
        status=status,
        error=error,
        metrics={name: value for name, value in progress.metrics.items() if math.isfinite(value)},
        costs=progress.costs,
        epochs=tuple(progress.epochs),
        unit=progress.unit,
        stopped_by=progress.stopped_by,
        windows=bench.timeline.take(),
    )
    idle = (*request.idle_windows, *(w for w in record.windows if w.phase == "idle"))
    if status == "ok" and not trial_outcomes(bench.task, record, idle):
        why = "no valid energy window for an objective; see the windows' durations, readings and faults"
        return record.model_copy(update={"status": "invalid", "error": why})
    return record


def _reason(failure: BaseException) -> str:
    """`Type: message (file:line)` of where it was raised."""
    frames = traceback.extract_tb(failure.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    message = " ".join(str(failure).split())
    return f"{type(failure).__name__}: {message[:500]}{where}"
