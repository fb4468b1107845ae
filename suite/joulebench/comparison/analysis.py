"""Machines against one another: ratios with intervals, ranks, frontiers carried over, scaling. Pure.

Ratios are of the configurations that two machines share. The interval of one configuration's ratio is that of the
logarithm: the variances of both sides add, each the spread between whole runs (pooled over the configurations that
were run more than once) over the number of runs, and Student's t has Welch and Satterthwaite's degrees of freedom.
Where a side has no replicates, only the spread of its windows is known, and the ratio says so. Over configurations
the mean is geometric, and its interval is Student's t over the configurations.
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

#: Of more machines than this, each is compared with the first only.
MAX_PAIRED = 3


@dataclass(frozen=True)
class Spread:
    """Variance of the logarithm of an objective between runs of one configuration, pooled; and its freedom."""

    variance: float
    freedom: int


@dataclass(frozen=True)
class Against:
    """One objective on a machine against another, over what they share.

    `each` holds one value a configuration: ratios where `is_ratio`, else differences (machine − base). `overall` is
    their geometric (arithmetic) mean, None without a shared configuration.
    """

    objective: str
    base: str
    machine: str
    is_ratio: bool
    each: Mapping[str, Estimate]
    overall: Estimate | None
    ranks: Correlation | None


@dataclass(frozen=True)
class Carried:
    """What the frontier found on one machine is worth on another, over the configurations they share.

    `hypervolume_share` is the volume that the base's frontier covers as the machine measures it, over that of the
    machine's own frontier.
    """

    base: str
    machine: str
    members: int  # of the base's frontier over the shared configurations
    kept: int  # of them, on the machine's frontier too
    hypervolume_share: float | None


@dataclass(frozen=True)
class Comparison:
    """Everything the report of several runs states."""

    joined: Joined
    against: tuple[Against, ...]  # objective by objective, each pair of machines
    carried: tuple[Carried, ...]

    def of(self, objective: str) -> list[Against]:
        """Each pair of machines in one objective."""
        return [a for a in self.against if a.objective == objective]


def compare(joined: Joined) -> Comparison:
    """Every pair of machines, or of many each with the first; the first of a pair is the base."""
    machines = joined.machines
    bases = machines if len(machines) <= MAX_PAIRED else machines[:1]
    pairs = [(a, b) for i, a in enumerate(bases) for b in machines[i + 1 :]]
    against = [_against(joined, n, o, a, b) for n, o in joined.task.objectives.items() for a, b in pairs]
    carried = [c for a, b in pairs for c in (_carried(joined, a, b), _carried(joined, b, a)) if c is not None]
    return Comparison(joined, tuple(against), tuple(carried))


def is_ratio(objective: Objective, values: Sequence[float]) -> bool:
    """Energy and time compare as ratios; other metrics, which may be 0 or negative, by their difference."""
    return (objective.is_energy or objective.is_latency) and all(v > 0 for v in values)


def _against(joined: Joined, name: str, objective: Objective, base: Machine, machine: Machine) -> Against:
    keys = joined.common(base, machine)
    ours, theirs = ([m.configurations[k].outcomes[name].value for k in keys] for m in (base, machine))
    as_ratio = is_ratio(objective, [v.mean for v in (*ours, *theirs)])
    if as_ratio:
        sides = (_known(m, name, keys) for m in (base, machine))
        each = {key: _ratio(a, b) for key, a, b in zip(keys, *sides, strict=True)}
    else:
        each = {key: difference(b, a, "two machines") for key, a, b in zip(keys, ours, theirs, strict=True)}
    ranks = correlation([v.mean for v in ours], [v.mean for v in theirs], "spearman")
    overall = mean_of([e.mean for e in each.values()], as_ratio)
    return Against(name, base.label, machine.label, as_ratio, each, overall, ranks)


@dataclass(frozen=True)
class Known:
    """One side of a ratio: its value, and how well its logarithm is known (None: not at all)."""

    value: Estimate
    variance: float | None
    freedom: float
    over_runs: bool  # the variance is that between whole runs


def _known(machine: Machine, name: str, keys: Sequence[str]) -> Iterator[Known]:
    """One objective of each of these configurations."""
    spread = run_spread(machine, name)
    for key in keys:
        value, runs = machine.configurations[key].outcomes[name].value, len(machine.replicates[key])
        own = 0.0 if value.sem is None else (value.sem / value.mean) ** 2
        freedom = max(1.0, (value.n_effective or value.n) - 1)
        if spread is None:
            yield Known(value, own or None, freedom, False)
        elif runs == 1 and own > spread.variance:  # its windows lie further apart than whole runs do elsewhere
            yield Known(value, own, freedom, True)
        else:
            yield Known(value, spread.variance / runs, float(spread.freedom), True)


def run_spread(machine: Machine, name: str) -> Spread | None:
    """Spread of log(objective) between runs of one configuration; None where none was run more than once."""
    squares, freedom = 0.0, 0
    for runs in machine.replicates.values():
        if len(runs) >= 2:
            logs = [math.log(o[name].value.mean) for o in runs]
            squares += variance(logs) * (len(logs) - 1)
            freedom += len(logs) - 1
    return Spread(squares / freedom, freedom) if freedom else None


def _ratio(base: Known, machine: Known) -> Estimate:
    """machine / base of two positive values, with the interval that the module describes."""
    mean = machine.value.mean / base.value.mean
    n = min(base.value.n, machine.value.n)
    varied = RUNS if base.over_runs and machine.over_runs else WINDOWS
    if base.variance is None or machine.variance is None or (total := base.variance + machine.variance) <= 0:
        return Estimate(mean, n, None, None, None, varied)
    freedom = total**2 / sum(k.variance**2 / k.freedom for k in (base, machine) if k.variance)
    half = t_quantile(freedom) * math.sqrt(total)
    return Estimate(mean, n, mean * math.sqrt(total), mean * math.exp(-half), mean * math.exp(half), varied)


def mean_of(values: Sequence[float], geometric: bool) -> Estimate | None:
    """Mean over configurations; the geometric one's interval is that of the logarithms."""
    if not values:
        return None
    if not geometric:
        return estimate(values, CONFIGURATIONS, independent=True)
    logs = estimate([math.log(v) for v in values], CONFIGURATIONS, independent=True)
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Estimate(math.exp(logs.mean), logs.n, None, low, high, CONFIGURATIONS)


def _carried(joined: Joined, base: Machine, machine: Machine) -> Carried | None:
    """None where they share nothing, or no frontier is asked for."""
    keys = joined.common(base, machine)
    if len(joined.task.objectives) < 2 or not keys:
        return None
    ours, theirs = (frontier(m.task, [m.configurations[k] for k in keys]) for m in (base, machine))
    if not ours or not theirs:
        return None
    there = [machine.configurations[c.key] for c in ours]
    carried, own = _volume(machine, there), _volume(machine, theirs)
    share = carried / own if carried is not None and own else None
    return Carried(base.label, machine.label, len(there), sum(c in theirs for c in there), share)


def _volume(machine: Machine, configurations: Sequence[Configuration]) -> float | None:
    """Hypervolume of some configurations as the machine measures them; None where an objective has no reference."""
    objectives = machine.task.objectives
    reference = [o.reference for o in objectives.values()]
    if any(r is None for r in reference):
        return None
    better = [c for c in configurations if beats_reference(machine.task, c)]
    points = np.asarray([[c.outcomes[n].value.mean for n in objectives] for c in better], dtype=float)
    goals = [o.goal for o in objectives.values()]
    return hypervolume(points.reshape(-1, len(objectives)), np.asarray(reference, dtype=float), goals)
