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

import numpy as np

from joulebench.comparison.join import Joined, Machine
from joulebench.results.frontier import beats_reference, frontier, hypervolume
from joulebench.results.outcome import Configuration
from joulebench.spec.objectives import Objective
from joulebench.stats.correlation import Correlation, correlation
from joulebench.stats.estimate import Estimate, estimate
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
        varied = RUNS if _repeated(base) and _repeated(machine) else WINDOWS
        ratios = (ratio(b, a, varied) for a, b in zip(ours, theirs, strict=True))
        each = {key: value for key, value in zip(keys, ratios, strict=True) if value is not None}
    else:
        each = {key: difference(b, a, "two machines") for key, a, b in zip(keys, ours, theirs, strict=True)}
    ranks = correlation([v.mean for v in ours], [v.mean for v in theirs], "spearman")
    overall = mean_of([e.mean for e in each.values()], as_ratio)
    return MachinePair(name, base.label, machine.label, as_ratio, each, overall, ranks)


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
