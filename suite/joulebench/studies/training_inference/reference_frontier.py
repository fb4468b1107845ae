"""Whether a search improves on known models when quality and energy count together, in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.presentation.numbers import number, percent
from joulebench.presentation.units import plain
from joulebench.results.frontier import hypervolume
from joulebench.results.reference_frontier import ReferenceFrontier
from joulebench.stats.estimate import Estimate
from joulebench.studies.training_inference.analysis import TrainingInference

_Pair = tuple[Estimate, Estimate]  # quality, joules per unit


@dataclass(frozen=True)
class Comparison:
    """A search's frontier against models that were known before; volumes are quality above `floor` × units/J."""

    known: int
    dominated: int  # known models that a member of the frontier beats in both, or equals in one
    clearly: int  # of them, those whose intervals of energy lie apart
    beaten: int  # members of the frontier that a known model dominates
    floor: float
    known_volume: float
    frontier_volume: float
    both_volume: float

    @property
    def gain(self) -> float | None:
        """What the search adds to the known models' volume; None where they have none."""
        return self.both_volume / self.known_volume - 1 if self.known_volume > 0 else None


def compare(known: Sequence[_Pair], members: Sequence[_Pair], floor: float) -> Comparison:
    """Dominance by means, and hypervolume of each set and of both: quality from `floor`, units per joule from 0."""
    lost = [[m for m in members if _dominates(m, k)] for k in known]
    return Comparison(
        known=len(known),
        dominated=sum(map(bool, lost)),
        clearly=sum(any(_apart(m[1], k[1]) for m in by) for k, by in zip(known, lost, strict=True)),
        beaten=sum(any(_dominates(k, m) for k in known) for m in members),
        floor=floor,
        known_volume=_volume(known, floor),
        frontier_volume=_volume(members, floor),
        both_volume=_volume([*known, *members], floor),
    )


def _dominates(a: _Pair, b: _Pair) -> bool:
    better, cheaper = a[0].mean - b[0].mean, b[1].mean - a[1].mean
    return better >= 0 and cheaper >= 0 and (better > 0 or cheaper > 0)


def _apart(a: Estimate, b: Estimate) -> bool:
    return a.high is not None and b.low is not None and a.high < b.low


def _volume(pairs: Sequence[_Pair], floor: float) -> float:
    points = [[quality.mean, 1 / energy.mean] for quality, energy in pairs if energy.mean > 0]
    return hypervolume(points, [floor, 0.0], ["maximize", "maximize"]) if points else 0.0


def against_known(costs: TrainingInference, overlay: ReferenceFrontier) -> str | None:
    """The answer in one sentence; None where no architecture was judged."""
    judged = [(a.quality, a.inference.gross) for a in costs.architectures if a.quality is not None]
    if not judged or not overlay.points:
        return None
    result = compare(judged, [(p.quality, p.j_per_unit) for p in overlay.points], costs.floor)
    verdict = "improves" if result.both_volume > result.known_volume else "does not improve"
    gain = "" if result.gain is None else f", {percent(result.gain)} more than the known models alone"
    unit = f"{plain(costs.unit)}s/J"
    return (
        f"The search {verdict} on these models when {costs.quality} and energy count together: its frontier "
        f"dominates {result.dominated} of {result.known} known models ({result.clearly} with intervals of energy "
        f"that do not overlap; quality by its mean), and of its members known models dominate {result.beaten} of "
        f"{len(overlay.points)}. Hypervolume ({costs.quality} above {number(result.floor)} × {unit}, "
        f"gross): known models {number(result.known_volume)}, frontier {number(result.frontier_volume)}, both "
        f"{number(result.both_volume)}{gain}."
    )
