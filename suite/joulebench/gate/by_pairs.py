"""Verdict on one benchmark from pairs of processes that were measured in turn. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from joulebench.gate import statistics
from joulebench.gate.model import Measurement, Replicate
from joulebench.gate.paired import Decision, Pairs, alone, confirms, decide
from joulebench.gate.values import Metric, means, ratio, typical
from joulebench.gate.verdict import Case, Outcome, Verdict, after_rerun, part, pending
from joulebench.stats.paired_ratio import LEVEL, Shift, paired, pseudo_median, total


@dataclass(frozen=True)
class _Pair:
    """One pair of processes."""

    look: int
    ratio: float
    baseline: Measurement
    current: Measurement


def _pairs(name: str, metric: Metric, baseline: Sequence[Replicate], current: Sequence[Replicate]) -> list[_Pair]:
    """Pairs that have a ratio, in the order of their looks."""
    before = {(r.session, r.pair): m for r in baseline if (m := r.measurement(name))}
    found = []
    for replicate in current:
        then, now = before.get((replicate.session, replicate.pair)), replicate.measurement(name)
        if replicate.pair is None or then is None or now is None:
            continue
        if (log_ratio := ratio(then, now, metric)) is not None:
            found.append(_Pair(replicate.look, log_ratio, then, now))
    return sorted(found, key=lambda pair: pair.look)  # as they are, unless files were put together


def _numbers(pairs: Sequence[_Pair], metric: Metric) -> Pairs:
    before, now = zip(*(means(p.baseline, p.current, metric) for p in pairs), strict=True)
    return Pairs([p.ratio for p in pairs], before, now)


def _measurements(pairs: Sequence[_Pair]) -> tuple[list[Measurement], list[Measurement]]:
    return [p.baseline for p in pairs], [p.current for p in pairs]


def _centre(measurements: Sequence[Measurement], metric: Metric) -> float:
    return math.exp(pseudo_median([v for m in measurements if (v := typical(m, metric)) is not None]))


def by_pairs(
    case: Case, unit: str, baseline: Sequence[Replicate], current: Sequence[Replicate], others: Sequence[Metric]
) -> Verdict:
    first, again = ((part(baseline, rerun), part(current, rerun)) for rerun in (False, True))
    pairs = _pairs(case.name, case.metric, *first)
    if not pairs:
        reason = f"no pair has valid {case.metric.label} on both sides"
        return Verdict(case.name, Outcome.UNMEASURED, reason, unit, case.metric)
    numbers = _numbers(pairs, case.metric)
    decision, n, share = _looked(pairs, numbers, case)
    shift, total = _shifts(numbers, n, LEVEL * share)
    centres = [_centre(side, case.metric) for side in _measurements(pairs[:n])]
    verdict = Verdict(
        case.name, decision.outcome, decision.reason, unit, case.metric, "paired", shift, total,
        beside=_beside(case.name, others, first, n, share), baseline=centres[0], current=centres[1],
    )  # fmt: skip
    if (few := case.few_windows(*first)) is not None:
        outcome = Outcome.UNMEASURED if case.settings.require_energy else Outcome.UNDECIDED
        return replace(verdict, outcome=outcome, reason=few, open=True)  # more pairs have more windows
    if decision.outcome is Outcome.UNDECIDED:
        return _undecided_pairs(verdict, numbers, decision.reason, case)
    return _confirmed_pairs(verdict, decision, _pairs(case.name, case.metric, *again), case)


def _looked(pairs: Sequence[_Pair], numbers: Pairs, case: Case) -> tuple[Decision, int, float]:
    """Decide at each look that was taken, until one decides; with its number of pairs and share of the error."""
    last, share, n = 0, 1.0, len(pairs)
    decision = Decision(Outcome.UNDECIDED)
    for look in sorted({p.look for p in pairs}):
        share = statistics.look_share(look, last) if look else 1.0
        n, last = sum(p.look <= look for p in pairs), look
        so_far = Pairs(numbers.ratios[:n], numbers.baseline[:n], numbers.current[:n])
        decision = decide(so_far, share, case.benchmarks, case.settings)
        if decision.outcome is not Outcome.UNDECIDED:
            break
    return decision, n, share


def _shifts(numbers: Pairs, n: int, level: float) -> tuple[Shift, Shift]:
    typical_shift = paired(numbers.ratios[:n], level)
    return typical_shift, total(numbers.baseline[:n], numbers.current[:n], level)


def _beside(
    name: str, others: Sequence[Metric], sides: tuple[list[Replicate], list[Replicate]], n: int, share: float
) -> tuple[tuple[Metric, Shift], ...]:
    pairs = ((metric, _pairs(name, metric, *sides)[:n]) for metric in others)
    return tuple((metric, paired([p.ratio for p in those], LEVEL * share)) for metric, those in pairs if those)


def _undecided_pairs(verdict: Verdict, numbers: Pairs, why: str, case: Case) -> Verdict:
    """Say what could have been seen, and how many pairs would decide."""
    shift, total = verdict.shift, verdict.total
    assert shift is not None
    assert total is not None
    visible = case.limit + shift.estimate - shift.low
    by_each = [statistics.pairs_needed(s, case.limit) for s in (shift, total)]
    least = statistics.pairs_without(case.settings.rare)
    needed = (
        None if None in by_each else max(len(numbers.ratios) + 1, least, *(n for n in by_each if n is not None))
    )
    return replace(
        verdict, outcome=Outcome.UNDECIDED, reason=why, needed=needed, open=True,
        visible=visible if math.isfinite(visible) else None,
    )  # fmt: skip


def _confirmed_pairs(verdict: Verdict, found: Decision, rerun: Sequence[_Pair], case: Case) -> Verdict:
    """What a rerun leaves of a regression or an improvement: its estimate has to lie on the same side."""
    if found.outcome is Outcome.PASSED:
        return verdict
    if not rerun:
        return pending(verdict, found.outcome)
    again = _numbers(rerun, case.metric)
    said = confirms(again, found, case.settings)
    return after_rerun(verdict, found.outcome, alone(again, found), said)
