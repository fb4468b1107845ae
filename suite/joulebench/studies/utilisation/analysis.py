"""Conditions of the hardware by configuration and phase, quality by training energy, and power over a trial. Pure.

Conditions are means over the windows that count (`joulebench.results.conditions`). Utilisation-based efficiency is
utilisation / mean power, after Mavromatis, Katsaros and Khan, "Computing within limits" (arXiv 2406.14328, 2024).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from joulebench.records.model import Kind, TrialRecord, Window, combined
from joulebench.results.energy import common_domains
from joulebench.results.members import targets
from joulebench.results.phase_runs import PhaseRuns, TrainingRuns
from joulebench.results.reference_frontier import quality_of
from joulebench.results.run import Run
from joulebench.results.validity import is_read
from joulebench.stats.correlation import Correlation, correlation
from joulebench.studies.configured import Configured

TRAIN = "train"
#: Most trainings that are drawn by epoch.
MAX_CURVES = 6
#: Shorter than this share of a trial, windows are taken together with those after them.
MIN_SHARE = 1 / 250


@dataclass(frozen=True, eq=False)
class Subject(Configured):
    """Configuration with its phases and, under "train", its trainings."""

    phases: Mapping[str, PhaseRuns | TrainingRuns]


@dataclass(frozen=True)
class Curve:
    """One training: joules from its first epoch on, validation left out, and the metric after each epoch."""

    trial: TrialRecord
    energy_j: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Span:
    """Mean power between two times, in seconds from a trial's start; `phase` is the one of most of that time."""

    start_s: float
    end_s: float
    power_w: float
    phase: str


@dataclass(frozen=True, eq=False)
class Utilisation:
    """Configurations of a run with the conditions of their phases."""

    run: Run
    subjects: tuple[Subject, ...]

    @cached_property
    def shown(self) -> tuple[Subject, ...]:
        """The default and the frontier's members; every configuration where the task has no frontier."""
        members = {c.key for c in self.run.frontier} if self.run.task.has_frontier else set()
        kept = (s for s in self.subjects if s.configuration.default or s.configuration.key in members)
        return tuple(kept) if members else self.subjects

    @cached_property
    def phases(self) -> tuple[str, ...]:
        """Phases measured, in order of first appearance; training last."""
        return tuple(sorted(dict.fromkeys(p for s in self.subjects for p in s.phases), key=TRAIN.__eq__))

    @property
    def kind(self) -> Kind:
        return combined(p.gross.kind for s in self.subjects for p in s.phases.values())

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({d for s in self.subjects for p in s.phases.values() for d in p.gross.domains}))

    def of(self, phase: str) -> list[tuple[PhaseRuns | TrainingRuns, float]]:
        """The configurations' runs of a phase that recorded utilisation, with it."""
        runs = (s.phases[phase] for s in self.subjects if phase in s.phases)
        return [(r, share) for r in runs if (share := r.utilisation(self.run.device)) is not None]

    def with_energy(self, phase: str) -> Correlation | None:
        """Pearson correlation of utilisation with gross joules: of training in all, else per unit of work."""
        known = self.of(phase)
        return correlation([share for _, share in known], [r.gross.mean for r, _ in known], "pearson")

    @cached_property
    def metric(self) -> str | None:
        """What trainings are judged by after each epoch: quality, or else the metric that stops them."""
        names = (quality_of(self.run.task), "val_accuracy", self.run.task.training.monitor)
        known = {n for s in self.shown for t in s.configuration.usable for e in t.epochs for n in e.metrics}
        return next((n for n in names if n in known), None)

    @cached_property
    def curves(self) -> tuple[Curve, ...]:
        """The first training of each configuration shown whose epochs are known, `MAX_CURVES` at most."""
        firsts = (next(filter(None, map(self._curve, s.configuration.usable)), None) for s in self.shown)
        return tuple(c for c in firsts if c is not None)[:MAX_CURVES]

    def _curve(self, trial: TrialRecord) -> Curve | None:
        train = [w for w in trial.windows if w.phase == TRAIN]
        values = [e.metrics[self.metric] for e in trial.epochs if self.metric in e.metrics]
        names = common_domains(train, self.run.families)
        if not train or len(train) != len(values) or self.run.training([trial]) is None:
            return None
        return Curve(trial, tuple(accumulate(_joules(w, names) for w in train)), tuple(values))

    @cached_property
    def traced(self) -> TrialRecord | None:
        """The trial whose power is shown: the first of the default, or else of the first configuration."""
        ordered = sorted(self.shown, key=lambda s: not s.configuration.default)
        return next((t for s in ordered for t in s.configuration.usable), None)

    @cached_property
    def trace(self) -> tuple[Span, ...]:
        """Its power over time."""
        return () if self.traced is None else tuple(_spans(self.traced.windows, self.run.families))


def _spans(windows: Sequence[Window], families: Sequence[str]) -> Iterator[Span]:
    timed = [w for w in windows if w.duration_s > 0 and w.fault is None and all(map(is_read, w.readings))]
    names = common_domains(timed, families)
    if not names:
        return
    begin_s, least_s = timed[0].start_s, MIN_SHARE * (timed[-1].end_s - timed[0].start_s)
    group: list[Window] = []
    for number, window in enumerate(timed, 1):
        group.append(window)
        seconds = sum(w.duration_s for w in group)
        if seconds >= least_s or number == len(timed):
            energy_j = sum(_joules(w, names) for w in group)
            longest = max(group, key=lambda w: w.duration_s)
            yield Span(group[0].start_s - begin_s, window.end_s - begin_s, energy_j / seconds, longest.phase)
            group = []


def _joules(window: Window, names: Sequence[str]) -> float:
    return sum(r.energy_j for r in window.readings if r.role == "primary" and r.domain in names)


def utilisation(run: Run) -> Utilisation | None:
    """Conditions by configuration; None where no configuration has joules of a phase."""
    measured = dict.fromkeys(t.phase for t in targets(run.task, run.trials) if t.phase != TRAIN)
    subjects = []
    for configuration in run.configurations:
        usable = configuration.usable
        each = [(p, run.phase(usable, p)) for p in measured] + [(TRAIN, run.training(usable))]
        phases = {p: runs for p, runs in each if runs is not None}
        if phases:
            subjects.append(Subject(run, configuration, phases))
    return Utilisation(run, tuple(subjects)) if subjects else None
