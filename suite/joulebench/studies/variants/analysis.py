"""Joules and time of each configuration, by domain, and their ratios to those of the default. Pure.

Where the runs of all configurations came in rounds, each once a round in random order, a ratio is that of pairs of
the same round (`joulebench.stats.paired_ratio`): what changes slowly on the machine cancels. Else it is that of the
means.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from joulebench.records.model import TrialRecord
from joulebench.results.energy import Energy, seconds_per_unit
from joulebench.results.outcome import Configuration
from joulebench.results.phase_runs import PhaseRuns
from joulebench.results.run import Run
from joulebench.results.validity import valid_windows
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import Answer, ratio
from joulebench.stats.paired_ratio import ratio_of_rounds
from joulebench.studies.configured import Configured


@dataclass(frozen=True, eq=False)
class Domain:
    """Joules of one domain per unit of work."""

    domain: str
    sources: tuple[str, ...]
    gross: Energy
    net: Energy | None


@dataclass(frozen=True, eq=False)
class Variant(Configured):
    """One configuration.

    Attributes:
        energy_ratio: of its joules to those of the default; None for the default itself, and where there is none.
    """

    phase: PhaseRuns
    domains: tuple[Domain, ...]
    failed: int
    energy_ratio: Estimate | None = None
    time_ratio: Estimate | None = None

    @property
    def answer(self) -> Answer:
        return Answer.of(self.energy_ratio)


@dataclass(frozen=True)
class Variants:
    """The configurations that have values, the default first; `in_rounds`: ratios are those of pairs."""

    each: tuple[Variant, ...]
    in_rounds: bool
    unmeasured: tuple[Configuration, ...] = ()

    @property
    def default(self) -> Variant:
        return self.each[0]


def variants(run: Run) -> Variants | None:
    """None where the default has no joules: there is nothing to compare with."""
    phase = _phase(run.task)
    every = sorted(run.configurations, key=lambda c: not c.default)  # the default first, the others as they came
    known = [(c, found) for c in every if (found := _variant(run, c, phase)) is not None]
    if not known or not known[0][0].default:
        return None
    rounds = _rounds(every)
    base = known[0][1]
    each = [base]
    for _, variant in known[1:]:
        energy = _ratio(variant, base, rounds, lambda v: v.phase.gross, _joules)
        time = _ratio(variant, base, rounds, lambda v: v.phase.unit_s, _seconds)
        each.append(replace(variant, energy_ratio=energy, time_ratio=time))
    unmeasured = tuple(c for c in every if all(c is not other for other, _ in known))
    return Variants(tuple(each), rounds is not None, unmeasured)


def _phase(task: Task) -> str:
    assert task.measured is not None, "the study needs an energy objective"
    assert task.measured.phase is not None
    return task.measured.phase


def _variant(run: Run, configuration: Configuration, phase: str) -> Variant | None:
    runs = run.phase(configuration.usable, phase)
    if runs is None:
        return None
    domains = tuple(
        Domain(name, _sources(runs, name), of_domain.gross, of_domain.net)
        for name in runs.domains
        if (of_domain := run.phase(configuration.usable, phase, (name,))) is not None
    )
    failed = sum(trial.status != "ok" for trial in configuration.trials)
    return Variant(run, configuration, runs, domains, failed)


def _sources(runs: PhaseRuns, domain: str) -> tuple[str, ...]:
    windows = (w for t in runs.measured for w in valid_windows(t.windows, runs.phase, runs.protocol))
    return tuple(
        dict.fromkeys(r.source for w in windows for r in w.readings if r.domain == domain and r.role == "primary")
    )


def _rounds(every: Sequence[Configuration]) -> list[tuple[TrialRecord, ...]] | None:
    """The trials of each complete round, in the order of `every`; None where they did not come in rounds.

    A run that was stopped ends within a round.
    """
    trials = [sorted(c.trials, key=lambda t: t.trial) for c in every]
    counts = [len(of_one) for of_one in trials]
    if len(every) < 2 or max(counts) - min(counts) > 1 or min(counts) < 2:
        return None
    rounds = list(zip(*trials, strict=False))
    last = max(t.trial for t in rounds[-1])
    if any(t.trial < last for of_one in trials for t in of_one[len(rounds) :]):
        return None
    spans = [(min(t.trial for t in r), max(t.trial for t in r)) for r in rounds]
    return rounds if all(a[1] < b[0] for a, b in itertools.pairwise(spans)) else None


def _ratio(
    variant: Variant,
    base: Variant,
    rounds: Sequence[tuple[TrialRecord, ...]] | None,
    mean: Callable[[Variant], Estimate],
    of_trial: Callable[[Variant, TrialRecord], float | None],
) -> Estimate | None:
    if rounds is None:
        return ratio(mean(variant), mean(base))
    own, its = ({t.trial for t in v.configuration.trials} for v in (variant, base))
    pairs = []
    for of_round in rounds:
        found = (
            next((of_trial(v, t) for t in of_round if t.trial in numbers), None)
            for v, numbers in ((variant, own), (base, its))
        )
        pairs.append((next(found), next(found)))
    return ratio_of_rounds(pairs)


def _joules(variant: Variant, trial: TrialRecord) -> float | None:
    """Joules of one run, per unit of work; None where they are not known, or not positive."""
    known = dict(zip((t.trial for t in variant.phase.measured), variant.phase.runs, strict=True))
    return value.mean if (value := known.get(trial.trial)) is not None and value.mean > 0 else None


def _seconds(variant: Variant, trial: TrialRecord) -> float | None:
    """Seconds of one run, per unit of work; None of one whose joules are not among those of `_joules`."""
    if all(trial.trial != t.trial for t in variant.phase.measured):
        return None
    return seconds_per_unit(valid_windows(trial.windows, variant.phase.phase, variant.phase.protocol)).mean
