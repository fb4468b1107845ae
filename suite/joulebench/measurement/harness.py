"""Harness of one trial: build → train → score → idle → count → warm up and measure → control → record."""

from __future__ import annotations

import math
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from joulebench import extras
from joulebench.errors import InputError, described, did_you_mean
from joulebench.host import device as torch_device
from joulebench.host import global_state, memory, power_limit
from joulebench.host.process import left_running
from joulebench.host.user_code import user_code
from joulebench.measurement.bench import Bench
from joulebench.measurement.contract import checked_costs, checked_epoch, checked_phases, numbers
from joulebench.measurement.control import CONTROL_SEED, measure_default
from joulebench.measurement.protocol import (
    ALL_DOMAINS,
    Note,
    cool_down,
    measure_idle,
    measure_phase,
    no_note,
)
from joulebench.measurement.racing import Race, is_beaten
from joulebench.measurement.training import BestWeights, Deadline, TrialFailedError
from joulebench.records.model import Costs, EpochRecord, Status, TrialRecord, Window
from joulebench.results.drift import CONTROL, control_protocol
from joulebench.results.losses import NEAR_ZERO, near_zero
from joulebench.results.outcome import judged_idle, measured_phases, needed_windows, trial_outcomes
from joulebench.results.validity import judged
from joulebench.spec.objectives import COSTS, work_unit
from joulebench.spec.parameters import Params
from joulebench.spec.task import RESERVED_PHASES, Task
from joulebench.workloads.base import Epoch, InfeasibleError, Phase, Workload
from joulebench.workloads.flops import with_training

#: Called after each epoch with it and the trial's windows so far; returns why training should stop, or None.
EpochCallback = Callable[[Epoch, Sequence[Window]], str | None]


ISOLATE = "protocol.isolate = true ends it with its trial"


def _no_callback(_: Epoch, __: Sequence[Window]) -> None:
    return None


@dataclass(frozen=True)
class Request:
    """Trial to run."""

    trial: int
    session: int
    stage: str
    origin: str
    params: Params
    seed: int
    fallback: str | None = None  # why it was not the stage's own method
    idle: bool = False  # measure the idle baseline in this trial
    idle_windows: tuple[Window, ...] = ()  # of the run so far, for objectives on a net basis
    control: bool = False  # afterwards measure the default configuration, untrained: it shows the machine's drift
    race: Race | None = None  # what may end its measurement early
    expected: Mapping[str, float] = field(default_factory=dict)  # what the search expects of it
    attempt: int = 0  # how many were lost with their workers before


@dataclass
class _Progress:
    """Results of a trial so far; recorded also when it fails."""

    metrics: dict[str, float] = field(default_factory=dict)
    sems: dict[str, float] = field(default_factory=dict)
    costs: Costs = field(default_factory=Costs)
    epochs: list[EpochRecord] = field(default_factory=list)
    unit: dict[str, str] = field(default_factory=dict)
    stopped_by: Literal["epochs", "patience", "time"] | None = None
    raced: bool = False
    state: Any = None


@dataclass(frozen=True)
class Finished:
    """Finished trial: its record and final weights (None if it failed or has none).

    `lost`: why this process can use the device no more, if it cannot.
    """

    record: TrialRecord
    state: Any
    lost: str | None = None


def run_trial(
    bench: Bench, request: Request, on_epoch: EpochCallback = _no_callback, note: Note = no_note
) -> Finished:
    """Run one trial; a failure of the configuration is recorded with its reason, also when `on_epoch` stops it.

    Args:
        note: receives a line when it waits for other processes, and when it changed global settings.

    Raises:
        InputError: an error of the user or the meter.
    """
    progress = _Progress()
    status: Status = "ok"
    error: str | None = None
    writes = bench.writes_to_data()
    torch_device.seed_everything(request.seed)
    memory.reset_peak(bench.device)

    def changed(names: list[str]) -> None:
        note(f"it changed {', '.join(names)}; the next trial begins as this one did")

    with (
        global_state.restored(changed),
        left_running(lambda what: note(f"it left {what} running, beside the trials that follow; {ISOLATE}")),
        memory.limited(bench.device, bench.task.protocol.memory_limit_bytes) as limit,
    ):
        try:
            with (
                power_limit.for_trial(bench.limits(request.params), bench.gpus, bench.set_power_limit),
                user_code(),
            ):
                _stages(bench, request, progress, on_epoch, note)
        except power_limit.OutOfRangeError as failure:
            status, error = "infeasible", str(failure)
        except InputError:
            raise
        except TrialFailedError as failure:
            status, error = "failed", str(failure)
        except InfeasibleError as failure:
            status, error = "infeasible", str(failure)
        except KeyboardInterrupt:
            raise
        except BaseException as failure:  # a model that calls exit() fails, and the run goes on
            if (needed := extras.missing(failure)) is not None:  # no other configuration will find it
                raise needed from None
            unsupported = torch_device.is_unsupported(failure)
            status = "oom" if memory.is_out_of_memory(failure) else "infeasible" if unsupported else "failed"
            error = _reason(failure)
            if status == "oom":
                _keep_memory(bench, progress, memory.asked_bytes(failure))
            del failure  # its traceback holds the model
    progress.costs = progress.costs.model_copy(update={"memory_limit_bytes": limit})
    lost = torch_device.failure(bench.device) if status != "ok" else None
    if lost is not None:
        bench.timeline.give_up_device()
        status, error = "failed", f"{error}; {bench.device} is lost to this process: {lost}"
    if status != "ok":
        if lost is None:
            memory.release(bench.device)
        bench.timeline.cut("failed")
    if request.control and status != "failed":
        measure_default(bench, CONTROL_SEED, CONTROL, control_protocol(bench.task.protocol), note)
        lost = torch_device.failure(bench.device)
    if lost is None and bench.writes_to_data() != writes:
        status, error = (
            "failed",
            f"changed the data set in place, shared by all trials: {error or 'copy it first'}",
        )
        bench.restore_data()
        note("it changed the data set in place; it was read again")
    record = _record(bench.task, request, progress, status, error, bench.timeline.take())
    return Finished(record, progress.state if record.status == "ok" else None, lost)


def lost_trial(task: Task, request: Request, error: str, windows: tuple[Window, ...]) -> TrialRecord:
    """Record of a trial that ended its process, and which is not retried."""
    return _record(task, request, _Progress(), "failed", error, windows)


def _stages(bench: Bench, request: Request, progress: _Progress, on_epoch: EpochCallback, note: Note) -> None:
    timeline, protocol = bench.timeline, bench.task.protocol
    deadline = Deadline(bench.clock, protocol.max_train_s)

    def decided(_: Sequence[Window]) -> bool:
        progress.raced = progress.raced or _is_beaten(bench, request, progress)
        return progress.raced

    workload = bench.workload(request.seed, deadline.passed)
    try:
        workload.build(dict(request.params))
        timeline.cut("build")
        deadline.start()
        _train(bench, workload, deadline, progress, on_epoch)
        _score(bench, workload, progress)
        cool_down(timeline, protocol)
        if request.idle:
            measure_idle(timeline, protocol, note)
        _count(bench, workload, progress)
        phases = checked_phases(workload.phases())
        _check_phases(bench.task, phases)
        for name, phase in phases.items():
            progress.unit[name] = phase.unit
            domains = _domains(bench.task, name)
            measure_phase(timeline, name, phase, protocol, domains, enough=decided, note=note)
        _keep_memory(bench, progress)
        _check_costs(bench.task, progress)
        if not protocol.skip_train:  # else as with epochs = 0: no weights to keep, and no test scores
            progress.state = torch_device.to_host(workload.state())
    finally:
        workload.close()
    memory.release(bench.device)
    timeline.cut("release")


def _is_beaten(bench: Bench, request: Request, progress: _Progress) -> bool:
    if request.race is None:
        return False
    windows = bench.timeline.pending
    idle = (*request.idle_windows, *judged_idle(windows, bench.task.protocol))
    return is_beaten(bench.task, request.race, progress.metrics, progress.costs, windows, idle)


def _keep_memory(bench: Bench, progress: _Progress, asked: int = 0) -> None:
    """Record peak memory, plus the size of a failed allocation: a model that ran out needs at least that."""
    peak = memory.peak_bytes(bench.device)
    if peak is not None:
        progress.costs = progress.costs.model_copy(update={"peak_memory_bytes": peak + asked})


def _check_phases(task: Task, phases: Mapping[str, Phase]) -> None:
    """Check that the task's quantities name phases of the workload, in its units.

    Raises:
        InputError: a phase is reserved, missing, not timed, or counts another unit.
    """
    if taken := sorted(RESERVED_PHASES & phases.keys()):
        raise InputError(f"workload '{task.workload}': a phase may not be called '{taken[0]}', the harness's own")
    for where, name, quantity in task.quantities():
        if quantity.phase is None or quantity.phase == "train":
            continue
        if quantity.phase not in phases:
            hint, allowed = did_you_mean(quantity.phase, phases), ", ".join(phases) or "none"
            raise InputError(
                f"{where}.phase: workload '{task.workload}' has no phase '{quantity.phase}'{hint} "
                f"(allowed: {allowed})"
            )
        if quantity.is_latency and not phases[quantity.phase].timed:
            raise InputError(f"{where}: the steps of phase '{quantity.phase}' are not timed, so it has no latency")
        counted = phases[quantity.phase].unit
        if quantity.share is not None:
            if not work_unit(name).endswith(f"_{counted}"):
                raise InputError(
                    f"{where}: of the {counted}s only a share counts: name it …_{counted}, as correct_{counted}"
                )
        elif not quantity.is_latency and work_unit(name) != counted:
            raise InputError(f"{where}: phase '{quantity.phase}' counts {counted}s, not {work_unit(name)}s")


def _domains(task: Task, phase: str) -> tuple[str, ...]:
    """Domains whose interval decides when a phase is measured precisely enough: those that the task names."""
    named = {d for _, _, q in task.quantities() if q.phase == phase for d in q.domains or ()}
    return tuple(sorted(named)) or ALL_DOMAINS


def _train(
    bench: Bench, workload: Workload, deadline: Deadline, progress: _Progress, on_epoch: EpochCallback
) -> None:
    if bench.task.protocol.skip_train:
        return
    best = BestWeights(bench.task, workload)
    for epoch in map(checked_epoch, workload.train()):
        bench.timeline.cut("train", units=epoch.units, steps=1)
        metrics = dict(epoch.metrics)
        metrics |= _scores(workload, "validation", "val")
        progress.epochs.append(
            EpochRecord(index=epoch.index, units=epoch.units, complete=epoch.complete, metrics=metrics)
        )
        stop = best.see(metrics, epoch.index)
        bench.timeline.cut("validate")  # with the copy of the best weights: none of it is training
        reason = on_epoch(epoch, bench.timeline.pending)
        bench.timeline.cut("record")
        if reason is not None:
            raise TrialFailedError(reason)
        progress.stopped_by = "patience" if stop else "epochs"
        if stop:
            break
    if progress.stopped_by == "epochs" and deadline.passed():
        progress.stopped_by = "time"
    best.restore()
    progress.metrics |= best.metrics


def _score(bench: Bench, workload: Workload, progress: _Progress) -> None:
    """Evaluate metrics that training did not give; the test split only where the task searches on it."""
    if not progress.epochs:
        progress.metrics |= _scores(workload, "validation", "val")
    dataset = bench.task.dataset
    if dataset is not None and dataset.search_split == "test":
        progress.metrics |= _scores(workload, "test", "test")
    progress.metrics |= numbers(workload.outcomes(), "outcomes")
    progress.sems = numbers(workload.standard_errors(), "standard_errors")
    bench.timeline.cut("score")
    for where, name, quantity in bench.task.quantities():
        if quantity.share is not None:
            _check_share(
                f"{where}.share", quantity.share, _known(f"{where}.share", quantity.share, progress.metrics)
            )
        elif quantity.phase is None and name not in COSTS:
            _known(where, name, progress.metrics)


def _known(where: str, name: str, metrics: Mapping[str, float]) -> float:
    if name not in metrics:
        hint, given = did_you_mean(name, metrics), ", ".join(metrics) or "none"
        raise InputError(f"{where}: the workload gives no such metric{hint} (it gives: {given})")
    if not math.isfinite(metrics[name]):
        raise TrialFailedError(f"no finite value for {name} (got {metrics[name]})")
    return metrics[name]


def _check_share(where: str, name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{where}: {name} is no share, which is between 0 and 1 (got {value:g})")
    if value == 0:
        raise InfeasibleError(f"{name} is 0: nothing that the phase does counts")


def _scores(workload: Workload, split: str, prefix: str) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in numbers(workload.evaluate(split), "evaluate").items()}


def _count(bench: Bench, workload: Workload, progress: _Progress) -> None:
    try:
        progress.costs = checked_costs(workload.costs())
    except Exception as failure:  # the counter cannot trace every model; energy needs no count
        if memory.is_out_of_memory(failure):
            raise
        progress.costs = Costs(uncounted=_reason(failure))
    if progress.epochs and workload.model is not None:
        progress.costs = with_training(progress.costs, workload.model, workload.training_loss)
    bench.timeline.cut("count")


def _check_costs(task: Task, progress: _Progress) -> None:
    """Check that the static costs that the task names are known.

    Raises:
        InputError: a cost is not known, or only a part of it, so every trial would be without a value; with the
            reason.
    """
    for where, name, quantity in task.quantities():
        plain = quantity.phase is None and name in COSTS and name not in progress.metrics
        if plain and getattr(progress.costs, name) is None:
            why = progress.costs.uncounted or "not known on this device or for this workload"
            raise InputError(f"{where}: {why}")
        if plain and name in ("macs", "flops") and (unknown := progress.costs.unsupported_ops):
            raise InputError(f"{where}: only a part of it can be counted; no rule for {', '.join(unknown)}")


def _record(
    task: Task,
    request: Request,
    progress: _Progress,
    status: Status,
    error: str | None,
    windows: tuple[Window, ...],
) -> TrialRecord:
    record = TrialRecord(
        trial=request.trial,
        session=request.session,
        stage=request.stage,
        origin=request.origin,
        fallback=request.fallback,
        params=request.params,
        seed=request.seed,
        attempt=request.attempt,
        status=status,
        error=error,
        metrics={name: value for name, value in progress.metrics.items() if math.isfinite(value)},
        sems={name: value for name, value in progress.sems.items() if math.isfinite(value)},
        expected=dict(request.expected),
        costs=progress.costs,
        epochs=tuple(progress.epochs),
        unit=progress.unit,
        stopped_by=progress.stopped_by,
        raced=progress.raced,
        windows=windows,
    )
    idle = (*request.idle_windows, *judged_idle(record.windows, task.protocol))
    if status == "ok" and not trial_outcomes(task, record, idle):
        return record.model_copy(update={"status": "invalid", "error": _without_value(task, record, idle)})
    return record


def _without_value(task: Task, record: TrialRecord, idle: Sequence[Window]) -> str:
    """Why an objective has no value: a net one about 0, or the most frequent fault of its phase's windows."""
    if near_zero(task, record, idle):
        return NEAR_ZERO
    for phase in measured_phases(task):
        faults = [fault for _, fault in judged(record.windows, phase, task.protocol)]
        spoiled = [fault for fault in faults if fault is not None]
        if len(faults) - len(spoiled) < needed_windows(task, record) and spoiled:
            kind, n = Counter(fault.kind for fault in spoiled).most_common(1)[0]
            text = next(fault.text for fault in spoiled if fault.kind is kind)
            return f"too few valid windows of {phase}: {text} in {n} of {len(faults)} windows"
    return "no valid energy window for an objective; see the windows' durations, readings and faults"


def _reason(failure: BaseException) -> str:
    """`Type: message (file:line)` of where it was raised."""
    frames = traceback.extract_tb(failure.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{described(failure)}{where}"
