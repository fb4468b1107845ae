"""Joules and time of each configuration beside the default's, by phase: ratios, and differences of quality. Pure.

Where the runs of all configurations came in rounds, each once a round in random order, a ratio is that of pairs of
the same round (`joulebench.stats.paired_ratio`): what changes slowly on the machine cancels. With too few rounds
for that, or none, it is the ratio of the means, and its interval holds what runs differ by: between runs of one
configuration, pooled over those that were repeated; where nothing was, between the control windows of the run,
which are the same work at its begin and end. Where neither is known the ratio has no interval.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from joulebench.records.model import TrialRecord
from joulebench.results.drift import drift_of
from joulebench.results.energy import Energy, seconds_per_unit
from joulebench.results.members import Target, targets
from joulebench.results.outcome import Configuration, plain_outcome
from joulebench.results.phase_runs import PhaseRuns
from joulebench.results.run import Run
from joulebench.results.training_flops import TRAIN
from joulebench.results.validity import valid_windows
from joulebench.spec.objectives import COSTS
from joulebench.stats.estimate import Estimate, Spread, mean_of_runs, point, pooled_spread
from joulebench.stats.intervals import Answer, difference, ratio_of_means
from joulebench.stats.paired_ratio import ratio_of_rounds
from joulebench.studies.configured import Configured

#: Quality where the task names none among its objectives and bounds; of trained models.
VALIDATION = "val_accuracy"
#: Likewise of a model that is run in several ways: how far its outputs are from those of the plain one.
BESIDE_PLAIN = "val_relative_error"

#: Degrees of freedom of a spread that an interval is made with; of one, 95 % is up to 13 standard errors wide.
MIN_FREEDOM = 2

Rounds = Sequence[tuple[TrialRecord, ...]]


class Between(StrEnum):
    """What is known of how much runs differ, by which ratios of means have intervals."""

    REPEATED = "runs of one configuration"
    CONTROLS = "control windows"
    UNKNOWN = "too little was repeated"


@dataclass(frozen=True, eq=False)
class Domain:
    """Joules of one domain per unit of work."""

    domain: str
    sources: tuple[str, ...]
    gross: Energy
    net: Energy | None


@dataclass(frozen=True, eq=False)
class Cost:
    """Joules and seconds of one configuration per unit of a phase's work, and their ratios to the default's.

    Attributes:
        runs: joules and seconds of each run, by trial.
        energy_ratio: None for the default itself, where there is nothing to compare with, and where runs count
            different domains.
    """

    gross: Energy
    net: Energy | None
    unit_s: Estimate
    power_w: float
    runs: Mapping[int, tuple[Estimate, Estimate]]
    energy_ratio: Estimate | None = None
    time_ratio: Estimate | None = None

    @property
    def answer(self) -> Answer:
        return Answer.of(self.energy_ratio)


@dataclass(frozen=True, eq=False)
class Quality:
    """A quality of one configuration, and its difference from the default's."""

    value: Estimate
    difference: Estimate | None = None


@dataclass(frozen=True, eq=False)
class Variant(Configured):
    """One configuration, with what it takes by phase."""

    costs: Mapping[Target, Cost]
    failed: int
    qualities: Mapping[str, Quality] = field(default_factory=dict)

    def domains(self, target: Target) -> tuple[Domain, ...]:
        """Joules of the target's phase by domain; none of training."""
        usable = self.configuration.usable
        if target.phase == TRAIN or (runs := self.run.phase(usable, target.phase, target.families)) is None:
            return ()
        return tuple(
            Domain(name, _sources(runs, name), of_domain.gross, of_domain.net)
            for name in runs.domains
            if (of_domain := self.run.phase(usable, target.phase, (name,))) is not None
        )


@dataclass(frozen=True)
class Variants:
    """The configurations that have joules, the default first, if it has any.

    Attributes:
        targets: phases that at least one configuration has joules of.
        between: of each of them.
        qualities: names.
    """

    run: Run
    each: tuple[Variant, ...]
    targets: tuple[Target, ...]
    between: Mapping[Target, Between]
    qualities: tuple[str, ...] = ()
    unmeasured: tuple[Configuration, ...] = ()

    @property
    def default(self) -> Variant | None:
        return next((v for v in self.each if v.configuration.default), None)


def variants(run: Run) -> Variants | None:
    """None where no configuration has joules."""
    every = sorted(run.configurations, key=lambda c: not c.default)  # the default first, the others as they came
    wanted = targets(run.task, run.trials)
    costs = [{t: cost for t in wanted if (cost := _cost(run, c, t)) is not None} for c in every]
    measured = tuple(t for t in wanted if any(t in own for own in costs))
    if not measured:
        return None
    rounds, between = _rounds(run, every), {}
    for target in measured:
        spreads, between[target] = _spreads(run, target)
        base = costs[0].get(target) if every[0].default else None
        for own in costs[1:] if base is not None else ():
            if target in own:
                assert base is not None
                own[target] = _compared(target, own[target], base, rounds, spreads)
    each = tuple(
        Variant(run, c, own, sum(trial.status != "ok" for trial in c.trials))
        for c, own in zip(every, costs, strict=True)
        if own
    )
    qualities = _qualities(run, each)
    each = tuple(replace(v, qualities=own) for v, own in zip(each, qualities, strict=True))
    names = tuple(dict.fromkeys(name for own in qualities for name in own))
    unmeasured = tuple(c for c, own in zip(every, costs, strict=True) if not own)
    return Variants(run, each, measured, between, names, unmeasured)


def _cost(run: Run, configuration: Configuration, target: Target) -> Cost | None:
    usable = configuration.usable
    if target.phase == TRAIN:
        trained = run.training(usable, target.families)
        if trained is None or (energy := trained.per(trained.units, target.unit)) is None:
            return None
        time = trained.seconds_per(trained.units)
        assert time is not None, "as the joules are known"
        each = zip(trained.trials, trained.runs, trained.each_s, trained.units, strict=True)
        runs = {t.trial: (point(e.mean / n), point(s.mean / n)) for t, e, s, n in each}
        return Cost(energy, None, time, trained.power_w, runs)
    phase = run.phase(usable, target.phase, target.families)
    if phase is None or phase.gross.mean <= 0:
        return None
    seconds = (seconds_per_unit(valid_windows(t.windows, phase.phase, phase.protocol)) for t in phase.measured)
    by_trial = dict(zip((t.trial for t in phase.measured), zip(phase.runs, seconds, strict=True), strict=True))
    return Cost(phase.gross, phase.net, phase.unit_s, phase.power_w, by_trial)


def _sources(runs: PhaseRuns, domain: str) -> tuple[str, ...]:
    windows = (w for t in runs.measured for w in valid_windows(t.windows, runs.phase, runs.protocol))
    return tuple(
        dict.fromkeys(r.source for w in windows for r in w.readings if r.domain == domain and r.role == "primary")
    )


def _rounds(run: Run, every: Sequence[Configuration]) -> Rounds | None:
    """The trials of each complete round, in the order of `every`; None where they did not come in rounds, in random
    order and on one machine.

    A run that was stopped ends within a round.
    """
    trials = [sorted(c.trials, key=lambda t: t.trial) for c in every]
    counts = [len(of_one) for of_one in trials]
    if len(every) < 2 or max(counts) - min(counts) > 1 or min(counts) < 2:
        return None
    stages = [run.task.stages.get(t.stage) for of_one in trials for t in of_one]
    if any(stage is None or stage.method != "points" or stage.order == "given" for stage in stages):
        return None
    if any(t.node is not None for of_one in trials for t in of_one):
        return None
    rounds = list(zip(*trials, strict=False))
    last = max(t.trial for t in rounds[-1])
    if any(t.trial < last for of_one in trials for t in of_one[len(rounds) :]):
        return None
    spans = [(min(t.trial for t in r), max(t.trial for t in r)) for r in rounds]
    return rounds if all(a[1] < b[0] for a, b in itertools.pairwise(spans)) else None


def _spreads(run: Run, target: Target) -> tuple[tuple[Spread | None, Spread | None], Between]:
    """How much runs of one configuration differ in joules and in seconds, and how that is known."""
    if target.phase == TRAIN:
        repeated, seconds = run.repeated_training(target.families), "seconds"
    else:
        repeated, seconds = run.repeated_phase(target.phase, target.families), "unit_s"
    energy = repeated.spread("gross")
    if energy is not None and energy.freedom >= MIN_FREEDOM:
        return (energy, repeated.spread(seconds)), Between.REPEATED
    measured = run.task.measured
    if measured is None or (measured.phase, measured.domains) != (target.phase, target.families):
        return (None, None), Between.UNKNOWN
    drift = drift_of(run.task, run.trials)
    if drift is None or drift.between is None or drift.between.n <= MIN_FREEDOM or drift.node is not None:
        return (None, None), Between.UNKNOWN
    return (Spread(drift.between.value, drift.between.n - 1), None), Between.CONTROLS


def _compared(
    target: Target, own: Cost, base: Cost, rounds: Rounds | None, spreads: Sequence[Spread | None]
) -> Cost:
    ratios = []
    for which, spread in enumerate(spreads):
        one, other = ({trial: both[which] for trial, both in cost.runs.items()} for cost in (own, base))
        found = None if rounds is None else ratio_of_rounds(_pairs(one, other, rounds))
        if found is None or found.low is None:
            sides = [[*side.values()] for side in (one, other)]
            # of a run with a single window, unless it is a whole training, not even its own noise is known
            blind = target.phase != TRAIN and any(len(runs) == 1 and runs[0].sem is None for runs in sides)
            found = ratio_of_means(sides[0], sides[1], None if blind else spread)
        ratios.append(found)
    alike = len(_counted(own) | _counted(base)) == 1  # one that lacks a domain would look better than it is
    return replace(own, energy_ratio=ratios[0] if alike else None, time_ratio=ratios[1])


def _counted(cost: Cost) -> set[tuple[str, ...]]:
    """The domains that joules are of, by run."""
    return {cost.gross.domains, *(e.domains for e, _ in cost.runs.values() if isinstance(e, Energy))}


def _pairs(
    own: Mapping[int, Estimate], base: Mapping[int, Estimate], rounds: Rounds
) -> Iterator[tuple[float | None, float | None]]:
    for trials in rounds:
        one, other = (next((v.mean for t in trials if (v := side.get(t.trial))), None) for side in (own, base))
        yield one, other


def _qualities(run: Run, each: Sequence[Variant]) -> list[dict[str, Quality]]:
    """Of each configuration its qualities by name, with their differences from the default's."""
    task = run.task
    names = [n for n, o in task.objectives.items() if not o.is_relative and n not in COSTS]
    names = names or [n for n, c in task.outcome_constraints.items() if not c.is_relative and n not in COSTS]
    if not names and any(t.epochs for t in run.trials):
        names = [VALIDATION]
    elif not names:
        compared = [t.metrics for t in run.trials if BESIDE_PLAIN in t.metrics]
        names = [name for name in (VALIDATION, BESIDE_PLAIN) if any(name in metrics for metrics in compared)]
    found: list[dict[str, Quality]] = [{} for _ in each]
    for name in names:
        outcomes = [[plain_outcome(t, name) for t in v.configuration.usable] for v in each]
        groups = [[o.value for o in own if o is not None] for own in outcomes]
        spread = pooled_spread([[v.mean for v in own] for own in groups])
        values = [mean_of_runs(own, spread, 1.0) if own else None for own in groups]
        base = values[0] if each[0].configuration.default else None
        for number, value in enumerate(values):
            if value is not None:
                less = None if number == 0 or base is None else difference(value, base)
                found[number][name] = Quality(value, less)
    return found
