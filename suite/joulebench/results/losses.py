"""Losses of a run: windows that do not count, by reason, and the trials and idle baselines lost by them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from joulebench.records.model import Fault, FaultKind, TrialRecord, Window
from joulebench.results.findings import Code
from joulebench.results.outcome import (
    idle_windows,
    measured_phases,
    needed_windows,
    reaches_zero,
    trial_energy,
    trial_outcomes,
)
from joulebench.results.run import Run
from joulebench.results.validity import disturbance, idle_fault, judged, training_fault
from joulebench.spec.task import Protocol, Task

#: Reasons that are found and reported together; all others are `INVALID_WINDOWS`.
_GROUPS = {
    FaultKind.OTHER_LOAD: Code.BUSY_MACHINE,
    FaultKind.STOLEN_TIME: Code.BUSY_MACHINE,
    FaultKind.OTHER_GPU_PROCESS: Code.BUSY_MACHINE,
    FaultKind.GPU_IN_USE: Code.BUSY_MACHINE,
    FaultKind.THROTTLING_CHANGED: Code.THROTTLED,
    FaultKind.OVERLAP: Code.OVERLAPPING_WINDOWS,
}
NEAR_ZERO = "net not distinguishable from idle"


def group_of(kind: FaultKind) -> Code:
    """Code of the finding that a reason belongs to."""
    return _GROUPS.get(kind, Code.INVALID_WINDOWS)


@dataclass(frozen=True)
class WindowCount:
    """Windows of one phase over all trials; `first_reason` says why the first invalid one is."""

    measured: int
    valid: int
    first_reason: str | None


@dataclass
class Loss:
    """Windows left out for one group of reasons, and the trials lost by it.

    Attributes:
        measured, idle: windows by reason.
        first: the first window's fault.
        trials: numbers of those without a value because too few windows were left.
        baselines: numbers of the trials whose idle baseline has too few windows left.
    """

    measured: Counter[FaultKind] = field(default_factory=Counter)
    idle: Counter[FaultKind] = field(default_factory=Counter)
    first: Fault | None = None
    trials: list[int] = field(default_factory=list)
    baselines: list[int] = field(default_factory=list)

    @property
    def lost_results(self) -> bool:
        """Whether a trial or an idle baseline was lost by it."""
        return bool(self.trials or self.baselines)


@dataclass(frozen=True)
class Losses:
    """Windows of a run by phase, and what was lost by group of reasons.

    Attributes:
        phases: windows by phase that workloads measured, in order of first appearance.
        measured, idle: number of windows, counted or not.
        allowed: windows that count only because `protocol.allow_busy` lets them.
        without_value: `ok` trials without a value as their records are judged today, with the reason.
    """

    phases: Mapping[str, WindowCount]
    measured: int
    idle: int
    groups: Mapping[Code, Loss]
    allowed: int
    without_value: Mapping[int, str]

    @property
    def lost_to_busy(self) -> bool:
        """Whether other work on the machine cost a trial or an idle baseline."""
        return self.groups.get(Code.BUSY_MACHINE, Loss()).lost_results


def losses(run: Run) -> Losses:
    """Judge every measured and every idle window of a run."""
    return _Judge(run).losses


class _Judge:
    def __init__(self, run: Run) -> None:
        self.run, self.task, self.protocol = run, run.task, run.task.protocol
        self.groups: dict[Code, Loss] = {}
        self.phases: dict[str, list[Fault | None]] = {}

    @cached_property
    def losses(self) -> Losses:
        without: dict[int, str] = {}
        for trial in self.run.trials:
            self._idle(trial)
            faults = self._measured(trial)
            if trial.status not in ("ok", "invalid") or trial.trial in self._valued:
                continue
            lost = _lost_by(self.task, trial, faults)
            if lost is not None:
                self._group(lost).trials.append(trial.trial)
            if trial.status == "ok":
                without[trial.trial] = self._why(trial, lost, faults)
        strict = self.protocol.model_copy(update={"allow_busy": False})
        return Losses(
            {
                phase: WindowCount(len(all_), all_.count(None), next((f.text for f in all_ if f), None))
                for phase, all_ in self.phases.items()
            },
            sum(map(len, self.phases.values())),
            len(self.run.idle),
            self.groups,
            self._disturbed(strict) if self.protocol.allow_busy else 0,
            without,
        )

    def _group(self, code: Code) -> Loss:
        return self.groups.setdefault(code, Loss())

    @cached_property
    def _valued(self) -> set[int]:
        """Trials with a value for every objective; of a configuration run once that is its own."""
        once = [c for c in self.run.configurations if len(c.trials) == 1]
        several = (t for c in self.run.configurations if len(c.trials) > 1 for t in c.trials)
        valued = {t.trial for t in several if trial_outcomes(self.task, t, self.run.idle)}
        return valued | {c.trials[0].trial for c in once if c.complete}

    def _measured(self, trial: TrialRecord) -> dict[str, list[Fault | None]]:
        """Faults of the trial's windows by measured phase, and of its epochs."""
        faults: dict[str, list[Fault | None]] = {}
        for phase in dict.fromkeys(w.phase for w in trial.windows if w.phase in trial.unit):
            faults[phase] = [fault for _, fault in judged(trial.windows, phase, self.protocol)]
        if trained := [training_fault(w, self.protocol) for w in trial.windows if w.phase == "train"]:
            faults["train"] = trained
        for phase in faults:
            self.phases.setdefault(phase, []).extend(faults[phase])
            for fault in faults[phase]:
                if fault is not None:
                    loss = self._group(group_of(fault.kind))
                    loss.measured[fault.kind] += 1
                    loss.first = loss.first or fault
        return faults

    def _idle(self, trial: TrialRecord) -> None:
        idle = idle_windows([trial], self.protocol)
        faults = [w.fault for w in idle if w.fault is not None]
        for fault in faults:
            loss = self._group(group_of(fault.kind))
            loss.idle[fault.kind] += 1
            loss.first = loss.first or fault
        planned = any(len(block) >= 2 for block in idle.blocks)
        if faults and planned and not any(sum(w.fault is None for w in block) >= 2 for block in idle.blocks):
            self._group(group_of(_commonest(faults).kind)).baselines.append(trial.trial)

    def _why(self, trial: TrialRecord, lost: Code | None, faults: Mapping[str, Sequence[Fault | None]]) -> str:
        """Why a trial that was recorded as `ok` has no value."""
        if lost is not None:
            of_group = [f for all_ in faults.values() for f in all_ if f and group_of(f.kind) is lost]
            return f"too few windows count: {reason(_commonest(of_group).kind)}"
        if near_zero(self.task, trial, self.run.idle):
            return NEAR_ZERO
        net = any(o.basis == "net" and o.is_energy for o in self.task.objectives.values())
        return "no quiet idle baseline" if net and self.run.idle else "no value for every objective"

    def _disturbed(self, strict: Protocol) -> int:
        """Windows that another process shared."""
        measured = (w for t in self.run.trials for w in t.windows if w.phase in t.unit)
        own = sum(w.fault is None and disturbance(w, strict) is not None for w in measured)
        return own + sum(w.fault is None and idle_fault(w, strict) is not None for w in self.run.idle)


def _lost_by(task: Task, trial: TrialRecord, faults: Mapping[str, Sequence[Fault | None]]) -> Code | None:
    """Reasons without which a trial would have enough windows, else the commonest ones; None if it has enough."""
    needed = needed_windows(task, trial)
    for phase in measured_phases(task):
        found = [f for f in faults.get(phase, ()) if f is not None]
        valid = len(faults.get(phase, ())) - len(found)
        if not found or valid >= needed:
            continue
        groups = Counter(group_of(f.kind) for f in found)
        enough = [code for code in (Code.BUSY_MACHINE, Code.THROTTLED) if groups[code] + valid >= needed]
        return next(iter(enough), groups.most_common(1)[0][0])
    trained = [f for f in faults.get("train", ()) if f is not None]
    if trained and any(q.phase == "train" for _, _, q in task.quantities()):
        return group_of(_commonest(trained).kind)
    return None


def near_zero(task: Task, trial: TrialRecord, idle: Sequence[Window]) -> bool:
    """Whether a net objective of a trial is measured, and its interval reaches 0."""
    for objective in task.objectives.values():
        if objective.is_energy and objective.basis == "net" and objective.phase != "train":
            energy = trial_energy(task, trial, objective, idle)
            enough = energy is not None and energy.n >= needed_windows(task, trial)
            if energy is not None and enough and reaches_zero(energy):
                return True
    return False


def reason(kind: FaultKind) -> str:
    """A kind of fault in words: `other load`."""
    return kind.replace("_", " ")


def _commonest(faults: Iterable[Fault]) -> Fault:
    """A fault of the commonest kind, of ties the first."""
    each = list(faults)
    kind = Counter(f.kind for f in each).most_common(1)[0][0]
    return next(f for f in each if f.kind is kind)
