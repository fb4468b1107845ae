"""The configuration that a card describes, and its measurements. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from joulebench.errors import InputError
from joulebench.records.model import TrialRecord
from joulebench.reporting.summary import Summary
from joulebench.results.energy import Energy
from joulebench.results.ledger import family
from joulebench.results.members import Member, Target, member, targets
from joulebench.results.outcome import Configuration, configuration_key
from joulebench.results.phase_runs import EVERY_FAMILY, PhaseRuns, TrainingRuns
from joulebench.results.run import Run
from joulebench.spec.task import Task


@dataclass(frozen=True)
class Subject:
    """A configuration of a run with all its usable trials; `why` says who chose it."""

    summary: Summary
    configuration: Configuration
    why: str

    @property
    def run(self) -> Run:
        return self.summary.run

    @property
    def trials(self) -> tuple[TrialRecord, ...]:
        return self.configuration.usable

    @cached_property
    def member(self) -> Member:
        """Objectives, energies, costs and test scores of the configuration, as in the report."""
        return member(self.run, self.configuration)

    @property
    def phases(self) -> dict[str, str]:
        """Every measured phase and the unit of its work, in the workload's order."""
        return {phase: unit for trial in self.trials for phase, unit in trial.unit.items()}

    @property
    def main_phase(self) -> str | None:
        """The phase of the task's first energy objective; else the first one that was measured."""
        objective = self.run.task.measured
        named = objective.phase if objective is not None else None
        return named if named in self.phases else next(iter(self.phases), None)

    @property
    def targets(self) -> list[Target]:
        """Energies to state: the report's, except training, then phases without an objective."""
        named = [t for t in targets(self.run.task, self.trials) if t.phase != "train"]
        rest = self.phases.keys() - {t.phase for t in named}
        return [*named, *(Target(None, p, unit, EVERY_FAMILY) for p, unit in self.phases.items() if p in rest)]

    @property
    def is_replayed(self) -> bool:
        """Whether the joules come from a recorded trace, and not from this machine."""
        return bool(self.run.manifest.replay) or any(
            source.source == "replay" for source in self.summary.ledger.sources
        )

    @property
    def labels(self) -> dict[str, str]:
        """What a card must say of its numbers: a choice that no new runs confirmed, no training, a busy machine."""
        labels = {}
        if self.run.task.protocol.skip_train:
            labels["untrained"] = "training was skipped; quality is that of the initial weights"
        if not self.configuration.confirmed and not self.configuration.default:
            labels["provisional"] = "chosen by the numbers that are shown; not confirmed by new runs"
        if self.run.task.protocol.allow_busy:
            labels["busy machine"] = "windows count whatever else ran (--allow-busy)"
        elif self.summary.losses.lost_to_busy:
            labels["busy machine"] = "other work on the machine cost the run trials or idle baselines"
        return labels

    @property
    def host(self) -> dict[str, Any]:
        """Facts of the host from the manifest; empty if it has none."""
        host = self.run.manifest.environment.get("host")
        return host if isinstance(host, dict) else {}

    def phase(self, phase: str, families: Sequence[str] = EVERY_FAMILY) -> PhaseRuns | None:
        """A phase over every domain that was read, or those of some families."""
        return self.run.phase(self.trials, phase, families)

    @cached_property
    def training(self) -> TrainingRuns | None:
        """The training steps, without the validation after each epoch, over the domains that every training read.

        None where nothing was trained, or nothing was read.
        """
        trained = self.run.training(self.trials, EVERY_FAMILY)
        if trained is None:
            return None
        read = [{family(domain) for domain in energy.domains} for energy in trained.runs]
        return self.run.training(self.trials, [f for f in EVERY_FAMILY if all(f in own for own in read)])

    def sources(self, phase: str, name: str) -> tuple[str, ...]:
        """The primary sources of a family of domains in a phase's windows."""
        windows = (w for t in self.trials for w in t.windows if w.phase == phase)
        read = (r for w in windows for r in w.readings if r.role == "primary" and family(r.domain) == name)
        return tuple(sorted({r.source for r in read}))

    def carbon_g(self, energy_j: float) -> float | None:
        """Joules × PUE (1 where none is given) × grid intensity; None where no intensity is given."""
        return replace(self.summary.cost, energy_j=energy_j).carbon_g


def choose(summary: Summary, trial: int | None) -> Subject:
    """Choose a configuration: that of `trial`, else the frontier's best in quality, else the default.

    Raises:
        InputError: no such trial, or one without a result; without a choice: no configuration that has one.
    """
    if trial is None:
        return Subject(summary, *_best(summary.run))
    return Subject(summary, _asked(summary.run, trial), f"trial {trial} was asked for")


def _asked(run: Run, number: int) -> Configuration:
    asked = next((t for t in run.trials if t.trial == number), None)
    if asked is None:
        numbers = [t.trial for t in run.trials]
        have = f"it has {min(numbers)} … {max(numbers)}" if numbers else "it has none"
        raise InputError(f"--trial: the run has no trial {number} ({have})")
    if asked.status != "ok":
        raise InputError(f"--trial: trial {number} is '{asked.status}' and has no result; choose one that is 'ok'")
    key = configuration_key(run.task, asked.params)
    return next(c for c in run.configurations if c.key == key)


def _best(run: Run) -> tuple[Configuration, str]:
    task, frontier = run.task, run.frontier
    if task.has_frontier and frontier:
        name = _quality(task)
        sign = -1.0 if task.objectives[name].goal == "maximize" else 1.0
        best = min(frontier, key=lambda c: sign * c.outcomes[name].value.mean)
        return best, f"the best in {name} of {len(frontier)} on the frontier"
    usable = {c.key: c for c in run.configurations if c.usable}
    if (default := usable.get(configuration_key(task, task.defaults))) is not None:
        return default, "the default configuration: the run has no frontier"
    if frontier:
        return frontier[0], f"the best in {next(iter(task.objectives))}: the run has no frontier"
    if len(usable) == 1:
        return next(iter(usable.values())), "the only configuration with a result"
    raise InputError(
        "the run has no frontier and no usable trial of the default configuration; choose one with --trial"
    )


def _quality(task: Task) -> str:
    """The first objective that is neither energy nor time; without any, the first."""
    plain = (n for n, o in task.objectives.items() if not o.is_relative)
    return next(plain, next(iter(task.objectives)))


def obtained(energy: Energy) -> dict[str, Any]:
    """Provenance of joules: domains, kind and measured share."""
    return {"domains": list(energy.domains), "kind": energy.kind, "measured_share": energy.measured_share}


def training_computation(subject: Subject) -> dict[str, Any] | None:
    """FLOPs of a training of the configuration, and where they come from; None where they are not counted."""
    trained = subject.member.training
    if trained is None:
        return None
    missed = f"; at least: no counting rule for {', '.join(trained.missed)}" if trained.missed else ""
    return {"value": trained.mean, "unit": "FLOP", "source": f"counted from the model, not observed{missed}"}


def source(subject: Subject) -> dict[str, Any]:
    """The run and the trials that a card is made from."""
    manifest, task = subject.run.manifest, subject.run.task
    return {
        "joulebench": manifest.joulebench,
        "task": f"{task.name} v{task.version}",
        "digest": manifest.run_digest,
        "trials": list(subject.member.trials),
        "measured_utc": manifest.created_utc,
    }


def hardware_used(subject: Subject) -> str | None:
    """The device that worked, as the host named it; None where the manifest does not tell."""
    host, device = subject.host, str(subject.run.manifest.environment.get("device") or "")
    torch = subject.run.manifest.environment.get("torch")
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
