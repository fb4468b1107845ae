"""Certainty of a frontier: each configuration's probability of being on it, and the hypervolume's interval. Pure.

Values are drawn from the distributions that their intervals state (Student's t), of all configurations together;
each draw has a frontier of its own. A configuration without an interval in an objective keeps its value there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from joulebench.results.frontier import (
    Array,
    beats_reference,
    non_dominated,
    objective_goals,
    objective_values,
    task_hypervolume,
)
from joulebench.results.outcome import Configuration
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate, freedom_of

DRAWS = 2000
VOLUME_DRAWS = 500
#: A configuration is on the frontier for certain from this probability on, and off it below 1 minus it.
CERTAIN = 0.95


@dataclass(frozen=True)
class Membership:
    """Probability of each configuration, by key, and the hypervolume of the frontier with a 95 % interval.

    `unconfirmed`: how many configurations without a confirming run are on the frontier with 5 % or more.
    """

    probability: Mapping[str, float]
    hypervolume: Estimate | None
    unconfirmed: int

    @property
    def settled(self) -> bool:
        """Whether every confirmed configuration is on the frontier, or off it, for certain."""
        return all(p >= CERTAIN or p <= 1 - CERTAIN for p in self.probability.values())


def membership(task: Task, every: Sequence[Configuration], seed: int = 0) -> Membership | None:
    """Membership of the confirmed configurations, or of all where none is confirmed; None without a value.

    Those that are not confirmed take part in every draw: they may beat the confirmed ones.
    """
    known = [c for c in every if c.complete and c.feasible and beats_reference(task, c)]
    if not known:
        return None
    goals = objective_goals(task)
    draws = drawn([[c.outcomes[name].value for name in task.objectives] for c in known], seed)
    on = np.zeros(len(known))
    for values in draws:
        on += non_dominated(values, goals)
    share = on / len(draws)
    any_confirmed = any(c.confirmed for c in known)
    of = [i for i, c in enumerate(known) if c.confirmed or not any_confirmed]
    outside = [i for i, c in enumerate(known) if any_confirmed and not c.confirmed]
    return Membership(
        {known[i].key: float(share[i]) for i in of},
        _hypervolume(task, [known[i] for i in of], draws[:VOLUME_DRAWS, of]),
        sum(bool(share[i] > 1 - CERTAIN) for i in outside),
    )


def drawn(known: Sequence[Sequence[Estimate]], seed: int = 0) -> Array:
    """Draws × configurations × quantities, of the estimates by configuration and quantity.

    The spread between runs is one for all configurations, so the error of its estimate is too: a draw has one χ²
    quantile for each quantity.
    """
    from scipy import special

    rng = np.random.default_rng(seed)
    means = np.array([[v.mean for v in values] for values in known], dtype=float)
    scaled = rng.standard_normal((DRAWS, *means.shape))
    for column, values in enumerate(zip(*known, strict=True)):
        # to two digits: a χ² quantile is slow, and configurations differ little in their degrees of freedom
        freedom = np.array([float(f"{min(freedom_of(v), 1e6):.2g}") for v in values])
        distinct, which = np.unique(freedom, return_inverse=True)
        scale = np.sqrt(distinct / special.chdtri(distinct, rng.random((DRAWS, 1))))
        scaled[:, :, column] *= np.array([v.sem or 0.0 for v in values]) * scale[:, which]
    draws: Array = means + scaled
    return draws


def _hypervolume(task: Task, known: Sequence[Configuration], draws: Array) -> Estimate | None:
    """Of the frontier's mean values, with a 95 % interval; None where `task_hypervolume` is. Without an interval
    where a draw has none: its noise reaches values that a log scale does not.

    Noise only makes a frontier look better, in the draws once more than in the values: the interval is the basic
    bootstrap's, which takes that off (Davison and Hinkley 1997, 5.2).
    """
    volume = task_hypervolume(task, objective_values(task, known)) if known else None
    if volume is None:
        return None
    n, varied = min(len(c.usable) for c in known), "runs of the confirmed configurations"
    drawn = [v for values in draws if (v := task_hypervolume(task, values)) is not None]
    if len(drawn) < len(draws):
        return Estimate(volume, n, None, None, None, varied)
    low, high = (2 * volume - float(end) for end in np.quantile(drawn, (0.975, 0.025)))
    return Estimate(volume, n, None, low, high, varied)
