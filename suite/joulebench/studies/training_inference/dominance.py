"""Dominance and hypervolume of a search's frontier compared with known models. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.results.frontier import hypervolume
from joulebench.results.reference_frontier import ReferenceFrontier
from joulebench.stats.estimate import Estimate
from joulebench.studies.training_inference.analysis import TrainingInference

_Pair = tuple[Estimate, Estimate]  # quality, joules per unit


@dataclass(frozen=True)
class FrontierComparison:
    """A search's frontier compared with known models; hypervolumes are quality above `floor` × units/J."""

    known: int
    dominated: int  # known models that a member of the frontier dominates
    clearly: int  # of them, those whose intervals of energy do not overlap
    beaten: int  # members of the frontier that a known model dominates
    floor: float
    known_volume: float
    frontier_volume: float
    both_volume: float

    @property
    def gain(self) -> float | None:
        """Relative increase of the known models' hypervolume by the frontier; None where theirs is 0."""
        return self.both_volume / self.known_volume - 1 if self.known_volume > 0 else None


def compare_frontier(known: Sequence[_Pair], members: Sequence[_Pair], floor: float) -> FrontierComparison:
    """Dominance by means, and hypervolume of each set and of both: quality from `floor`, units per joule from 0."""
    dominating = [[m for m in members if _dominates(m, k)] for k in known]
    return FrontierComparison(
        known=len(known),
        dominated=sum(map(bool, dominating)),
        clearly=sum(any(_below(m[1], k[1]) for m in by) for k, by in zip(known, dominating, strict=True)),
        beaten=sum(any(_dominates(k, m) for k in known) for m in members),
        floor=floor,
        known_volume=_volume(known, floor),
        frontier_volume=_volume(members, floor),
        both_volume=_volume([*known, *members], floor),
    )


def _dominates(a: _Pair, b: _Pair) -> bool:
    better, cheaper = a[0].mean - b[0].mean, b[1].mean - a[1].mean
    return better >= 0 and cheaper >= 0 and (better > 0 or cheaper > 0)


def _below(a: Estimate, b: Estimate) -> bool:
    return a.high is not None and b.low is not None and a.high < b.low


def _volume(pairs: Sequence[_Pair], floor: float) -> float:
    points = [[quality.mean, 1 / energy.mean] for quality, energy in pairs if energy.mean > 0]
    return hypervolume(points, [floor, 0.0], ["maximize", "maximize"]) if points else 0.0


def dominance(costs: TrainingInference, overlay: ReferenceFrontier) -> FrontierComparison | None:
    """The overlay's frontier compared with the architectures; None without qualities or points, or where the
    two experiments are unlike."""
    known = [(a.quality, a.inference.gross) for a in costs.architectures if a.quality is not None]
    if not known or not overlay.points or overlay.unlike:
        return None
    return compare_frontier(known, [(p.quality, p.j_per_unit) for p in overlay.points], costs.floor)
