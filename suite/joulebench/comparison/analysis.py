"""Pairwise comparison of machines: ratios with intervals, rank correlation, transfer of frontiers. Pure.

Ratios are of the configurations that two machines share. The interval of one configuration's ratio is Welch's t of
the logarithms: the variances of both sides add, each the variance between whole runs (pooled over the
configurations that were run more than once) over the number of runs, with Welch and Satterthwaite's degrees of
freedom. Where a side has no replicates, only the variance of its windows is known; `Estimate.varied` states which.
Over configurations the mean is geometric, and its interval is Student's t over the configurations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import variance

import numpy as np

from joulebench.comparison.join import Joined, Machine
from joulebench.results.frontier import beats_reference, frontier, hypervolume
from joulebench.results.outcome import Configuration
from joulebench.spec.objectives import Objective
from joulebench.stats.correlation import Correlation, correlation
from joulebench.stats.estimate import Estimate, estimate, t_quantile
from joulebench.stats.intervals import difference

RUNS, WINDOWS, CONFIGURATIONS = "whole runs", "windows within a run", "configurations"

#: With more machines than this, each is compared with the first only.
MAX_PAIRED = 3


@dataclass(frozen=True)
class Spread:
    """Pooled variance of an objective's logarithm between runs of one configuration, and its degrees of freedom."""

    variance: float
    freedom: int


@dataclass(frozen=True)
class MachinePair:
    """One objective on two machines, over the configurations they share.

    `each` holds each configuration's ratio machine / base where `is_ratio`, else machine − base, by key. `overall`
    is their geometric (arithmetic) mean, None without a shared configuration.
    """

    objective: str
    base: str
    machine: str
    is_ratio: bool
    each: Mapping[str, Estimate]
    overall: Estimate | None
    ranks: Correlation | None


@dataclass(frozen=True)
class FrontierTransfer:
    """The base's frontier measured on another machine, over the configurations they share.

    `hypervolume_share` is its hypervolume there over that of the machine's own frontier.
    """

    base: str
    machine: str
    members: int  # of the base's frontier over the shared configurations
    kept: int  # of them, also on the machine's frontier
    hypervolume_share: float | None


@dataclass(frozen=True)
class Comparison:
    """Results of comparing runs of one task."""

    joined: Joined
    pairs: tuple[MachinePair, ...]  # objective by objective, each pair of machines
    transfers: tuple[FrontierTransfer, ...]

    def of(self, objective: str) -> list[MachinePair]:
        """Return the pairs of machines in one objective."""
        return [p for p in self.pairs if p.objective == objective]


def compare(joined: Joined) -> Comparison:
    """Compare every pair of machines, or, with more than `MAX_PAIRED`, each with the first; bases come first."""
    machines = joined.machines
    bases = machines if len(machines) <= MAX_PAIRED else machines[:1]
    sides = [(a, b) for i, a in enumerate(bases) for b in machines[i + 1 :]]
    pairs = (_pair(joined, n, o, a, b) for n, o in joined.task.objectives.items() for a, b in sides)
    transfers = (t for a, b in sides for t in (_transfer(joined, a, b), _transfer(joined, b, a)) if t is not None)
    return Comparison(joined, tuple(pairs), tuple(transfers))


def is_ratio(objective: Objective, values: Sequence[float]) -> bool:
    """Return whether values compare as ratios, as energy and time do; other metrics may be 0 or negative."""
    return (objective.is_energy or objective.is_latency) and all(v > 0 for v in values)


def _pair(joined: Joined, name: str, objective: Objective, base: Machine, machine: Machine) -> MachinePair:
    keys = joined.common(base, machine)
    ours, theirs = ([m.configurations[k].outcomes[name].value for k in keys] for m in (base, machine))
    as_ratio = is_ratio(objective, [v.mean for v in (*ours, *theirs)])
    if as_ratio:
        sides = (_ratio_sides(m, name, keys) for m in (base, machine))
        each = {key: _ratio(a, b) for key, a, b in zip(keys, *sides, strict=True)}
    else:
        each = {key: difference(b, a, "two machines") for key, a, b in zip(keys, ours, theirs, strict=True)}
    ranks = correlation([v.mean for v in ours], [v.mean for v in theirs], "spearman")
    overall = mean_of([e.mean for e in each.values()], as_ratio)
    return MachinePair(name, base.label, machine.label, as_ratio, each, overall, ranks)


@dataclass(frozen=True)
class RatioSide:
    """One side of a ratio: its value, and its logarithm's variance (None: not known) with degrees of freedom."""

    value: Estimate
    variance: float | None
    freedom: float
    over_runs: bool  # whether the variance is between whole runs


def _ratio_sides(machine: Machine, name: str, keys: Sequence[str]) -> Iterator[RatioSide]:
    """Yield one objective of each of these configurations."""
    spread = run_spread(machine, name)
    for key in keys:
        value, runs = machine.configurations[key].outcomes[name].value, len(machine.replicates[key])
        within = 0.0 if value.sem is None else (value.sem / value.mean) ** 2
        freedom = max(1.0, (value.n_effective or value.n) - 1)
        if spread is None:
            yield RatioSide(value, within or None, freedom, False)
        elif runs == 1 and within > spread.variance:  # its windows vary more than whole runs of others do
            yield RatioSide(value, within, freedom, True)
        else:
            yield RatioSide(value, spread.variance / runs, float(spread.freedom), True)


def run_spread(machine: Machine, name: str) -> Spread | None:
    """Return the spread between runs of one configuration; None where none was run more than once."""
    squares, freedom = 0.0, 0
    for runs in machine.replicates.values():
        if len(runs) >= 2:
            logs = [math.log(o[name].value.mean) for o in runs]
            squares += variance(logs) * (len(logs) - 1)
            freedom += len(logs) - 1
    return Spread(squares / freedom, freedom) if freedom else None


def _ratio(base: RatioSide, machine: RatioSide) -> Estimate:
    """Return machine / base of two positive values, with the interval that the module describes."""
    mean = machine.value.mean / base.value.mean
    n = min(base.value.n, machine.value.n)
    varied = RUNS if base.over_runs and machine.over_runs else WINDOWS
    if base.variance is None or machine.variance is None or (total := base.variance + machine.variance) <= 0:
        return Estimate(mean, n, None, None, None, varied)
    freedom = total**2 / sum(k.variance**2 / k.freedom for k in (base, machine) if k.variance)
    half = t_quantile(freedom) * math.sqrt(total)
    return Estimate(mean, n, mean * math.sqrt(total), mean * math.exp(-half), mean * math.exp(half), varied)


def mean_of(values: Sequence[float], geometric: bool) -> Estimate | None:
    """Return the mean over configurations; the geometric one's interval is that of the logarithms."""
    if not values:
        return None
    if not geometric:
        return estimate(values, CONFIGURATIONS, independent=True)
    logs = estimate([math.log(v) for v in values], CONFIGURATIONS, independent=True)
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Estimate(math.exp(logs.mean), logs.n, None, low, high, CONFIGURATIONS)


def _transfer(joined: Joined, base: Machine, machine: Machine) -> FrontierTransfer | None:
    """Measure the base's frontier on the machine; None with one objective or nothing shared."""
    keys = joined.common(base, machine)
    if len(joined.task.objectives) < 2 or not keys:
        return None
    ours, theirs = (frontier(m.task, [m.configurations[k] for k in keys]) for m in (base, machine))
    if not ours or not theirs:
        return None
    there = [machine.configurations[c.key] for c in ours]
    volume, best = _volume(machine, there), _volume(machine, theirs)
    share = volume / best if volume is not None and best else None
    return FrontierTransfer(base.label, machine.label, len(there), sum(c in theirs for c in there), share)


def _volume(machine: Machine, configurations: Sequence[Configuration]) -> float | None:
    """Return configurations' hypervolume on the machine; None where an objective has no reference."""
    objectives = machine.task.objectives
    reference = [o.reference for o in objectives.values()]
    if any(r is None for r in reference):
        return None
    better = [c for c in configurations if beats_reference(machine.task, c)]
    points = np.asarray([[c.outcomes[n].value.mean for n in objectives] for c in better], dtype=float)
    goals = [o.goal for o in objectives.values()]
    return hypervolume(points.reshape(-1, len(objectives)), np.asarray(reference, dtype=float), goals)
