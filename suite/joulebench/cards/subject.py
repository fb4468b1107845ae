"""Which configuration a card is about, and everything measured of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from joulebench.errors import InputError
from joulebench.records.model import Kind, TrialRecord, Window, combined
from joulebench.reporting.summary import Summary
from joulebench.results.energy import training_energy
from joulebench.results.ledger import family
from joulebench.results.members import Member, Target, member, scores_by_trial, targets
from joulebench.results.outcome import Configuration, configuration_key, configurations, idle_windows
from joulebench.results.phase_cost import EVERY_FAMILY, PhaseCost, over_runs, phase_cost
from joulebench.results.run import Run
from joulebench.spec.task import Task
from joulebench.stats.constants import JOULES_PER_KWH
from joulebench.stats.estimate import Estimate, point


@dataclass(frozen=True)
class Training:
    """Training steps of the configuration, without the validation after each epoch; one value a training."""

    energy_j: Estimate
    duration_s: Estimate
    units: int  # of the first training
    domains: tuple[str, ...]
    kind: Kind
    measured_share: float


@dataclass(frozen=True)
class Subject:
    """A configuration with all its usable trials; `why` says who chose it."""

    records: Run
    summary: Summary
    member: Member  # its energies: those of the report, then those of phases that no objective names
    trials: tuple[TrialRecord, ...]
    idle: tuple[Window, ...]
    why: str

    @property
    def phases(self) -> dict[str, str]:
        """Every measured phase and the unit of its work, in the workload's order."""
        return {phase: unit for trial in self.trials for phase, unit in trial.unit.items()}

    @property
    def main_phase(self) -> str | None:
        """The phase of the task's first energy objective; else the first one that was measured."""
        objective = self.records.task.measured
        named = objective.phase if objective is not None else None
        return named if named in self.phases else next(iter(self.phases), None)

    @property
    def is_replayed(self) -> bool:
        """Whether the joules come from a recorded trace, and not from this machine."""
        return bool(self.records.manifest.replay) or any(
            source.source == "replay" for source in self.summary.ledger.sources
        )

    @property
    def host(self) -> dict[str, Any]:
        """What the manifest tells of the machine; empty where it tells nothing."""
        host = self.records.manifest.environment.get("host")
        return host if isinstance(host, dict) else {}

    def cost(self, phase: str, families: Sequence[str] = EVERY_FAMILY) -> PhaseCost | None:
        """What a phase costs over every domain that was read."""
        return phase_cost(self.records.task.protocol, self.trials, phase, families, self.idle)

    def sources(self, phase: str, name: str) -> tuple[str, ...]:
        """The primary sources of a family of domains in a phase's windows."""
        windows = (w for t in self.trials for w in t.windows if w.phase == phase)
        read = (r for w in windows for r in w.readings if r.role == "primary" and family(r.domain) == name)
        return tuple(sorted({r.source for r in read}))

    def carbon_g(self, energy_j: float) -> float | None:
        """Joules × PUE (1 where none is given) × grid intensity; None where no intensity is given."""
        cost = self.summary.cost
        if cost.intensity_g_per_kwh is None:
            return None
        return energy_j / JOULES_PER_KWH * (cost.pue.value if cost.pue else 1.0) * cost.intensity_g_per_kwh.value


def choose(records: Run, summary: Summary, trial: int | None) -> Subject:
    """The configuration of the trial that was asked for, else of the frontier's best, else the default's.

    Raises:
        InputError: no such trial, or one without a result; without a choice: no configuration that has one.
    """
    found = configurations(records.task, records.trials)
    if trial is not None:
        chosen, why = _asked(records.trials, found, trial), f"trial {trial} was asked for"
    else:
        chosen, why = _best(records.task, summary, found)
    idle = tuple(idle_windows(records.trials))
    usable = tuple(t for t in chosen.trials if t.status == "ok")
    described = member(records.task, chosen, _targets(records.task, usable), idle, scores_by_trial(records.scores))
    return Subject(records, summary, described, usable, idle, why)


def _asked(trials: Sequence[TrialRecord], found: Sequence[Configuration], number: int) -> Configuration:
    asked = next((t for t in trials if t.trial == number), None)
    if asked is None:
        numbers = [t.trial for t in trials]
        have = f"it has {min(numbers)} … {max(numbers)}" if numbers else "it has none"
        raise InputError(f"--trial: the run has no trial {number} ({have})")
    if asked.status != "ok":
        raise InputError(f"--trial: trial {number} is '{asked.status}' and has no result; choose one that is 'ok'")
    return next(c for c in found if asked in c.trials)


def _best(task: Task, summary: Summary, found: Sequence[Configuration]) -> tuple[Configuration, str]:
    if task.has_frontier and summary.members:
        name = _quality(task)
        sign = -1.0 if task.objectives[name].goal == "maximize" else 1.0
        best = min(summary.members, key=lambda m: sign * m.outcomes[name].value.mean)
        return _holding(found, best), f"of the frontier's {len(summary.members)}, the best in {name}"
    default = configuration_key(task, task.defaults)
    usable = [c for c in found if any(t.status == "ok" for t in c.trials)]
    for configuration in usable:
        if configuration.key == default:
            return configuration, "the default configuration: the run has no frontier"
    if summary.members:
        best = summary.members[0]
        return _holding(found, best), f"the best in {next(iter(task.objectives))}: the run has no frontier"
    if len(usable) == 1:
        return usable[0], "the only configuration with a result"
    raise InputError(
        "the run has no frontier and no usable trial of the default configuration; choose one with --trial"
    )


def _quality(task: Task) -> str:
    """The first objective that is neither energy nor latency; without any, the first."""
    plain = (n for n, o in task.objectives.items() if not o.is_energy and not o.is_latency)
    return next(plain, next(iter(task.objectives)))


def _holding(found: Sequence[Configuration], wanted: Member) -> Configuration:
    return next(c for c in found if any(t.trial in wanted.trials for t in c.trials))


def _targets(task: Task, trials: Sequence[TrialRecord]) -> list[Target]:
    """The report's targets without training, which a card states apart; then phases that no objective names."""
    named = [t for t in targets(task, trials) if t.phase != "train"]
    covered = {t.phase for t in named}
    units = {phase: unit for trial in trials for phase, unit in trial.unit.items()}
    return [*named, *(Target(None, p, unit, EVERY_FAMILY) for p, unit in units.items() if p not in covered)]


def training(subject: Subject) -> Training | None:
    """Energy and time of the training steps, over the domains that every training read; None where nothing was
    trained, or nothing was read."""
    first = [e for t in subject.trials if (e := training_energy(t.windows, EVERY_FAMILY)) is not None]
    if not first:
        return None
    shared = set.intersection(*({family(d) for d in e.domains} for e in first))
    pairs = [(t, e) for t in subject.trials if (e := training_energy(t.windows, shared)) is not None]
    if not pairs:
        return None
    return Training(
        energy_j=over_runs([point(e.energy_j) for _, e in pairs]),
        duration_s=over_runs([point(_train_s(t)) for t, _ in pairs]),
        units=pairs[0][1].units,
        domains=pairs[0][1].domains,
        kind=combined(e.kind for _, e in pairs),
        measured_share=sum(e.measured_share for _, e in pairs) / len(pairs),
    )


def _train_s(trial: TrialRecord) -> float:
    return sum(w.duration_s for w in trial.windows if w.phase == "train")


def obtained(energy: Training | PhaseCost) -> dict[str, Any]:
    """How joules came about: where they were read, and whether they were measured."""
    return {"domains": list(energy.domains), "kind": energy.kind, "measured_share": energy.measured_share}


def source(subject: Subject) -> dict[str, Any]:
    """The run and the trials that a card is made from."""
    manifest, task = subject.records.manifest, subject.records.task
    return {
        "joulebench": manifest.joulebench,
        "task": f"{task.name} v{task.version}",
        "digest": manifest.digest,
        "trials": list(subject.member.trials),
        "measured_utc": manifest.created_utc,
    }


def hardware_used(subject: Subject) -> str | None:
    """The device that worked, as the host named it; None where the manifest does not tell."""
    host, device = subject.host, str(subject.records.manifest.environment.get("device") or "")
    torch = subject.records.manifest.environment.get("torch")
    named = torch.get("gpu") if isinstance(torch, dict) else None
    if device.startswith("cuda") and (gpu := named or next(iter(host.get("accelerators") or ()), None)):
        return f"1 × {gpu}"
    if not (cpu := host.get("cpu")):
        return None
    threads = host.get("logical_cpus")
    return f"{cpu}, {threads} logical CPUs" if threads else str(cpu)


def refuse_replay(subject: Subject, card: str) -> None:
    """A dry run measured nothing.

    Raises:
        InputError: the joules were replayed.
    """
    if subject.is_replayed:
        raise InputError(f"the {card} card states measurements, and this run's joules were replayed (--replay)")
