"""Pairwise comparison of machines: ratios with intervals, rank correlation, transfer of frontiers. Pure.

Ratios are of the configurations that two machines share. The interval of one configuration's ratio follows from
those of both sides (`joulebench.stats.intervals.ratio`), which hold the spread between runs where configurations
were run more than once; `Estimate.varied` states whether they do. Over configurations the mean is geometric, and
its interval is Student's t over the configurations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from joulebench.comparison.join import Joined, Machine
from joulebench.results.frontier import frontier, objective_values, task_hypervolume
from joulebench.spec.objectives import Objective
from joulebench.stats.correlation import Correlation, correlation
from joulebench.stats.estimate import NORMAL_975, Estimate, Spread, estimate, freedom_of
from joulebench.stats.intervals import difference, ratio

RUNS, WINDOWS, CONFIGURATIONS = "whole runs", "windows within a run", "configurations"

#: With more machines than this, each is compared with the first only.
MAX_PAIRED = 3


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


Verdict = Literal["consistent", "not consistent", "undecided"]


@dataclass(frozen=True)
class Consistency:
    """Whether configurations keep their relative energy from machine to machine, in one energy objective.

    Pairs are of configurations that all machines share. `clear` ones differ significantly on every machine,
    `reversed` ones significantly in opposite directions on two; both at 5 % over all pairs and machines together
    (one-sided t tests of the logarithms at 0.05 / (pairs · machines), Bonferroni).
    """

    objective: str
    relative: Mapping[str, tuple[float, ...]]  # value over the machine's geometric mean, machine by machine, by key
    deviation: Estimate  # see `consistency`
    pairs: int
    kept: int  # in the same order on every machine
    clear: int
    reversed: tuple[tuple[str, str], ...]  # keys

    @property
    def spread(self) -> Mapping[str, float]:
        """Each configuration's largest relative value over its smallest, by key."""
        return {key: max(values) / min(values) for key, values in self.relative.items()}

    @property
    def within(self) -> float:
        """Factor that a configuration's relative values on two machines differ by in 95 % of cases, at most.

        The reproducibility limit 1.96 · √2 · sd (ISO 5725-6), of the upper end of the deviation's interval.
        """
        assert self.deviation.high is not None
        return math.exp(NORMAL_975 * math.sqrt(2) * math.log(self.deviation.high))

    @property
    def verdict(self) -> Verdict:
        """`not consistent` with a reversed pair, `undecided` without a clear one, else `consistent`."""
        return "not consistent" if self.reversed else "consistent" if self.clear else "undecided"


@dataclass(frozen=True)
class Comparison:
    """Results of comparing runs of one task."""

    joined: Joined
    pairs: tuple[MachinePair, ...]  # objective by objective, each pair of machines
    transfers: tuple[FrontierTransfer, ...]
    consistency: tuple[Consistency, ...] = ()  # of each energy objective with at least two shared configurations

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
    verdicts = (consistency(joined, n) for n, o in joined.task.objectives.items() if o.is_energy)
    return Comparison(joined, tuple(pairs), tuple(transfers), tuple(v for v in verdicts if v is not None))


def is_ratio(objective: Objective, values: Sequence[float]) -> bool:
    """Return whether values compare as ratios, as energy and time do; other metrics may be 0 or negative."""
    return objective.is_relative and all(v > 0 for v in values)


def _pair(joined: Joined, name: str, objective: Objective, base: Machine, machine: Machine) -> MachinePair:
    keys = joined.common(base, machine)
    ours, theirs = ([m.configurations[k].outcomes[name].value for k in keys] for m in (base, machine))
    as_ratio = is_ratio(objective, [v.mean for v in (*ours, *theirs)])
    if as_ratio:
        varied = RUNS if _repeated(base) and _repeated(machine) else WINDOWS
        ratios = (ratio(b, a, varied) for a, b in zip(ours, theirs, strict=True))
        each = {key: value for key, value in zip(keys, ratios, strict=True) if value is not None}
    else:
        each = {key: difference(b, a, "two machines") for key, a, b in zip(keys, ours, theirs, strict=True)}
    ranks = correlation([v.mean for v in ours], [v.mean for v in theirs], "spearman")
    overall = mean_of([e.mean for e in each.values()], as_ratio)
    return MachinePair(name, base.label, machine.label, as_ratio, each, overall, ranks)


def consistency(joined: Joined, name: str) -> Consistency | None:
    """Compare relative energy over all machines; None with fewer than two shared configurations.

    Logarithms of the values are laid out by machine and configuration without replication: machine + configuration
    + residual (Scheffé, The Analysis of Variance, 1959, section 4.1). A machine's constant factor drops out. The
    standard deviation of the residuals has (machines − 1)(configurations − 1) degrees of freedom, its 95 % interval
    is by χ²; `deviation` is its exponential: the factor by which a relative value typically differs from that of
    the configuration over all machines. It holds the measurements' own scatter too.
    """
    keys = joined.shared
    values = [[m.configurations[k].outcomes[name].value for k in keys] for m in joined.machines]
    if len(keys) < 2 or any(v.mean <= 0 for row in values for v in row):
        return None
    logs = np.log([[v.mean for v in row] for row in values])
    relative = logs - logs.mean(axis=1, keepdims=True)
    residuals = relative - relative.mean(axis=0)
    freedom = (len(logs) - 1) * (len(keys) - 1)
    spread = Spread(math.sqrt(float((residuals**2).sum()) / freedom), freedom)
    low, high = (math.exp(end) for end in spread.interval)
    deviation = Estimate(math.exp(spread.sd), len(keys), None, low, high, CONFIGURATIONS, freedom)
    first, second = np.triu_indices(len(keys), 1)
    steps = logs[:, second] - logs[:, first]
    kept = int((np.sign(steps) == np.sign(steps[0])).all(axis=0).sum())
    level = 0.05 / steps.size
    sure = np.stack(
        [_significant(row, step, first, second, level) for row, step in zip(values, steps, strict=True)]
    )
    turned = np.flatnonzero((sure > 0).any(axis=0) & (sure < 0).any(axis=0))
    clear = int((np.abs(sure.sum(axis=0)) == len(logs)).sum())
    return Consistency(
        objective=name,
        relative={key: tuple(np.exp(relative[:, i]).tolist()) for i, key in enumerate(keys)},
        deviation=deviation,
        pairs=len(first),
        kept=kept,
        clear=clear,
        reversed=tuple((keys[first[i]], keys[second[i]]) for i in turned),
    )


def _significant(
    values: Sequence[Estimate],
    steps: NDArray[np.float64],
    first: NDArray[np.intp],
    second: NDArray[np.intp],
    level: float,
) -> NDArray[np.float64]:
    """The sign of each pair's step in the logarithm where it is significant, else 0: Student's t, one-sided."""
    variances = np.array([math.nan if v.sem is None else (v.sem / v.mean) ** 2 for v in values])
    freedoms = np.array([freedom_of(v) for v in values])
    # the fewer of the two: the spread between runs is pooled, so its error is the same on both sides
    quantile = special.stdtrit(np.minimum(freedoms[first], freedoms[second]), 1 - level)
    sure = np.abs(steps) > quantile * np.sqrt(variances[first] + variances[second])  # never where one is not known
    return np.where(sure, np.sign(steps), 0.0)


def _repeated(machine: Machine) -> bool:
    """Whether a configuration was run more than once there, so that intervals hold the spread between runs."""
    return any(len(runs) >= 2 for runs in machine.replicates.values())


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
    volume, best = (task_hypervolume(machine.task, objective_values(machine.task, c)) for c in (there, theirs))
    share = volume / best if volume is not None and best else None
    return FrontierTransfer(base.label, machine.label, len(there), sum(c in theirs for c in there), share)
