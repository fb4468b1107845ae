"""Decision of the gate: a verdict for each benchmark, and whether the gate is passed. Pure.

A benchmark is suspected if its estimated ratio exceeds the threshold and its whole 95 % interval exceeds 1; it is
then measured again. It is a regression only if the whole interval of all measurements (corrected for the number of
benchmarks) exceeds the threshold, and the rerun alone is suspected too. Pairs of one session are compared pairwise,
everything else by session.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import fmean
from typing import Literal

from joulebench.gate import statistics
from joulebench.gate.comparability import benchmark_difference, check
from joulebench.gate.model import Measurement, Replicate, Settings
from joulebench.gate.statistics import Shift
from joulebench.gate.values import TIME, Metric, Unmeasured, choose_metric, repeats, value


class Outcome(StrEnum):
    """Outcome of a benchmark."""

    REGRESSION = "regression"  # the whole interval is above the threshold, and a rerun confirms it
    SUSPECTED = "suspected"  # above the threshold, no rerun yet
    IMPROVEMENT = "improvement"  # the whole interval is below 1
    PASSED = "passed"  # the whole interval is below the threshold
    INCONCLUSIVE = "inconclusive"
    UNMEASURED = "unmeasured"  # no valid joules
    INCOMPARABLE = "incomparable"
    MISSING = "missing"  # in the baseline only
    NEW = "new"  # in the current measurement only


Design = Literal["paired", "sessions"]


@dataclass(frozen=True)
class Sides:
    """Logarithms of one benchmark's values on both sides, per pair or per session."""

    design: Design
    baseline: tuple[float, ...]
    current: tuple[float, ...]
    repeats: int  # valid windows of the side that has fewer


@dataclass(frozen=True)
class Verdict:
    """Verdict on one benchmark; `shift` is a difference of logarithms, exp(shift) the ratio."""

    name: str
    outcome: Outcome
    reason: str = ""
    unit: str = "call"
    metric: Metric | None = None
    design: Design = "paired"
    shift: Shift | None = None
    rerun: Shift | None = None
    time: Shift | None = None  # only if `metric` is energy
    baseline: float | None = None  # per unit, J or s
    current: float | None = None
    needed: int | None = None  # pairs, or sessions of the baseline, until it would be conclusive

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """Current over baseline, with the ends of its interval."""
        s = self.shift
        return None if s is None else (math.exp(s.estimate), _exp(s.low), _exp(s.high))


def _exp(value: float) -> float:
    return math.inf if value == math.inf else math.exp(value)


def judge(baseline: Sequence[Replicate], current: Sequence[Replicate], settings: Settings) -> list[Verdict]:
    """Judge every benchmark of either side, in the order of the current one; replicates marked as reruns confirm.

    Raises:
        InputError: the two sides do not compare, or one of them is empty.
    """
    check(baseline, current)
    names = list(dict.fromkeys(m.name for r in (*current, *baseline) for m in r.measurements))
    return [_one(name, baseline, current, settings, len(names)) for name in names]


def _one(
    name: str, baseline: Sequence[Replicate], current: Sequence[Replicate], settings: Settings, benchmarks: int
) -> Verdict:
    before, now = ([m for r in side if (m := r.measurement(name))] for side in (baseline, current))
    if not now:
        return Verdict(name, Outcome.MISSING, "not measured now", before[0].unit)
    if not before:
        return _new(name, current, now, settings)
    unit = now[0].unit
    if why := benchmark_difference(before, now):
        return Verdict(name, Outcome.INCOMPARABLE, why, unit)
    metric = choose_metric(before, now, settings.metric, settings.require_energy)
    if isinstance(metric, Unmeasured):
        return Verdict(name, Outcome.UNMEASURED, metric.reason, unit)
    first, again = (_part(baseline, rerun=False), _part(current, rerun=False)), _part(current, rerun=True)
    sides = _sides(name, *first, metric)
    if sides is None:
        return Verdict(name, Outcome.UNMEASURED, f"no valid {metric.name} on one side", unit, metric)
    verdict = _decide(Verdict(name, Outcome.PASSED, "", unit, metric, sides.design), sides, settings)
    if verdict.outcome is Outcome.SUSPECTED and again:
        repeated = _sides(name, _part(baseline, rerun=True) or first[0], again, metric)
        if repeated is not None:
            level = statistics.family_level(benchmarks, settings.false_alarms)
            verdict = _confirmed(verdict, sides, repeated, settings, level)
    if metric.name == "energy" and (clock := _sides(name, *first, TIME)) is not None:
        verdict = replace(verdict, time=_shift(clock, statistics.LEVEL))
    return verdict


def _part(side: Sequence[Replicate], rerun: bool) -> list[Replicate]:
    return [r for r in side if r.rerun is rerun]


def _new(name: str, current: Sequence[Replicate], now: Sequence[Measurement], settings: Settings) -> Verdict:
    """Verdict on a benchmark that the baseline does not have; it still needs valid joules."""
    metric = choose_metric(now, now, settings.metric, settings.require_energy)
    if isinstance(metric, Unmeasured):
        return Verdict(name, Outcome.UNMEASURED, metric.reason, now[0].unit)
    values = _by_session(current, name, metric)
    value_now = math.exp(statistics.pseudo_median(values)) if values else None
    reason = "the baseline has no such benchmark"
    return Verdict(name, Outcome.NEW, reason, now[0].unit, metric, "sessions", current=value_now)


def _sides(name: str, baseline: Sequence[Replicate], current: Sequence[Replicate], metric: Metric) -> Sides | None:
    before, now = (_by_pair(side, name, metric) for side in (baseline, current))
    windows = min(_windows(side, name, metric) for side in (baseline, current))
    if common := sorted(before.keys() & now.keys()):
        first, second = (tuple(side[key] for key in common) for side in (before, now))
        return Sides("paired", first, second, windows)
    if any(r.pair is not None for r in current) and any(r.pair is not None for r in baseline):
        return None
    then, here = (_by_session(side, name, metric) for side in (baseline, current))
    if not then or not here:
        return None
    return Sides("sessions", then, here, windows)


def _windows(side: Sequence[Replicate], name: str, metric: Metric) -> int:
    return sum(repeats(m, metric) for r in side if (m := r.measurement(name)))


def _by_pair(side: Sequence[Replicate], name: str, metric: Metric) -> dict[tuple[str, int], float]:
    return {
        (replicate.session, replicate.pair): log_value
        for replicate in side
        if replicate.pair is not None and (log_value := _value(replicate, name, metric)) is not None
    }


def _by_session(side: Sequence[Replicate], name: str, metric: Metric) -> tuple[float, ...]:
    sessions: dict[str, list[float]] = {}
    for replicate in side:
        if (log_value := _value(replicate, name, metric)) is not None:
            sessions.setdefault(replicate.session, []).append(log_value)
    return tuple(statistics.pseudo_median(values) for values in sessions.values())


def _value(replicate: Replicate, name: str, metric: Metric) -> float | None:
    measurement = replicate.measurement(name)
    return value(measurement, metric) if measurement is not None else None


def _shift(sides: Sides, level: float) -> Shift | None:
    if sides.design == "paired":
        return statistics.paired([b - a for a, b in zip(sides.baseline, sides.current, strict=True)], level)
    if len(sides.baseline) < 2:
        return None
    return statistics.between_sessions(sides.baseline, sides.current, level)


def _suspect(shift: Shift, limit: float) -> bool:
    return shift.estimate > limit and shift.low > 0


def _decide(verdict: Verdict, sides: Sides, settings: Settings) -> Verdict:
    limit = math.log1p(settings.threshold)
    shift = _shift(sides, statistics.LEVEL)
    centre, now = (math.exp(statistics.pseudo_median(v)) for v in (sides.baseline, sides.current))
    verdict = replace(verdict, shift=shift, baseline=centre, current=now)
    if (few := _too_few(sides, settings)) is not None:
        outcome = Outcome.UNMEASURED if settings.require_energy else Outcome.INCONCLUSIVE
        return replace(verdict, outcome=outcome, reason=few[0], needed=few[1])
    assert shift is not None
    if _suspect(shift, limit):
        return replace(verdict, outcome=Outcome.SUSPECTED, reason="no rerun has confirmed it")
    if shift.high <= limit:
        return replace(verdict, outcome=Outcome.IMPROVEMENT if shift.high < 0 else Outcome.PASSED)
    return _inconclusive(verdict, sides, shift, limit, "the interval includes the threshold")


def _inconclusive(verdict: Verdict, sides: Sides, shift: Shift, limit: float, why: str) -> Verdict:
    needed, what = _needed(sides, shift, limit)
    many = f"no feasible number of {what} would decide" if needed is None else f"about {needed} {what} needed"
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=f"{why}; {many}", needed=needed)


def _too_few(sides: Sides, settings: Settings) -> tuple[str, int] | None:
    """Return why there are too few measurements, and how many are needed; None if there are enough."""
    if sides.design == "sessions" and len(sides.baseline) < settings.sessions:
        return f"the baseline has {len(sides.baseline)} sessions; {settings.sessions} needed", settings.sessions
    if sides.repeats < settings.repeats:
        return f"{sides.repeats} valid windows; {settings.repeats} needed", settings.repeats
    return None


def _needed(sides: Sides, shift: Shift, limit: float) -> tuple[int | None, str]:
    if sides.design == "paired":
        return statistics.pairs_needed(shift, limit), "pairs"
    return statistics.sessions_needed(sides.baseline, sides.current, shift, limit), "baseline sessions"


def _confirmed(verdict: Verdict, first: Sides, again: Sides, settings: Settings, level: float) -> Verdict:
    """Verdict on a suspected benchmark after its rerun: by all measurements, and by the rerun alone."""
    limit = math.log1p(settings.threshold)
    alone, every = _shift(again, statistics.LEVEL), _both(first, again)
    shift = _shift(every, level)
    if alone is None or shift is None:
        return verdict
    now = math.exp(statistics.pseudo_median(every.current))
    verdict = replace(verdict, shift=shift, rerun=alone, current=now)
    if shift.high <= limit:
        return replace(
            verdict, outcome=Outcome.PASSED, reason="suspected at first, within the threshold with a rerun"
        )
    if not _suspect(alone, limit):
        return _inconclusive(verdict, every, shift, limit, "a rerun did not confirm it")
    if shift.low > limit:
        return replace(verdict, outcome=Outcome.REGRESSION, reason="confirmed by a rerun")
    return _inconclusive(verdict, every, shift, limit, "suspected twice, but the interval includes the threshold")


def _both(first: Sides, again: Sides) -> Sides:
    """Combine a measurement and its rerun; against a stored baseline, both are one session of the same day."""
    if first.design == "paired" and again.design == "paired":
        pairs = first.baseline + again.baseline, first.current + again.current
        return Sides("paired", *pairs, first.repeats + again.repeats)
    today = (fmean([*first.current, *again.current]),)
    return Sides("sessions", first.baseline, today, first.repeats + again.repeats)


def suspects(verdicts: Sequence[Verdict]) -> list[str]:
    """Names of the benchmarks that need a rerun."""
    return [v.name for v in verdicts if v.outcome is Outcome.SUSPECTED]


#: Outcomes that fail the gate: always, with --require-energy, and with --strict.
FAILS = frozenset({Outcome.REGRESSION})
FAILS_WITHOUT_ENERGY = frozenset({Outcome.UNMEASURED, Outcome.INCOMPARABLE, Outcome.MISSING})
FAILS_STRICT = FAILS_WITHOUT_ENERGY | {Outcome.INCONCLUSIVE, Outcome.SUSPECTED}


def failures(verdicts: Sequence[Verdict], settings: Settings) -> list[Verdict]:
    """List the verdicts that fail the gate."""
    fails = FAILS | (FAILS_WITHOUT_ENERGY if settings.require_energy else frozenset())
    fails |= FAILS_STRICT if settings.strict else frozenset()
    if settings.strict and all(v.outcome is Outcome.NEW for v in verdicts):
        return list(verdicts)  # nothing was compared
    return [v for v in verdicts if v.outcome in fails]
