"""Verdict on one benchmark from a stored baseline: sessions on one side, a session of now on the other. Pure.

It is suspected if its estimated ratio lies above the threshold and its 95 % interval above 1; it has regressed if
the interval of all measurements, corrected for the number of benchmarks, lies above the threshold, and the rerun
alone is suspected too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from joulebench.gate import statistics
from joulebench.gate.model import Measurement, Replicate
from joulebench.gate.values import Metric, mean, typical
from joulebench.gate.verdict import Case, Outcome, Verdict, after_rerun, few_processes, part, pending
from joulebench.stats.paired_ratio import LEVEL, Shift, pseudo_median


@dataclass(frozen=True)
class _Sessions:
    """Logarithms of one benchmark's values on both sides, per session."""

    baseline: tuple[float, ...]
    current: tuple[float, ...]

    def shift(self, level: float) -> Shift | None:
        return statistics.between_sessions(self.baseline, self.current, level) if len(self.baseline) > 1 else None


Value = Callable[[Measurement, Metric], float | None]


def session_values(side: Sequence[Replicate], name: str, metric: Metric, value: Value) -> tuple[float, ...]:
    sessions: dict[str, list[float]] = {}
    for replicate in side:
        measurement = replicate.measurement(name)
        if measurement is not None and (found := value(measurement, metric)) is not None:
            sessions.setdefault(replicate.session, []).append(found)
    if value is mean:
        return tuple(math.log(fmean(values)) for values in sessions.values())
    return tuple(pseudo_median(values) for values in sessions.values())


def _sessions(
    baseline: Sequence[Replicate], current: Sequence[Replicate], name: str, metric: Metric, value: Value = typical
) -> _Sessions | None:
    then, here = (session_values(side, name, metric, value) for side in (baseline, current))
    return _Sessions(then, here) if then and here else None


def by_sessions(
    case: Case, unit: str, baseline: Sequence[Replicate], current: Sequence[Replicate], others: Sequence[Metric]
) -> Verdict:
    now, again = part(current, rerun=False), part(current, rerun=True)
    sides = _sessions(baseline, now, case.name, case.metric)
    totals = _sessions(baseline, now, case.name, case.metric, mean)
    if sides is None or totals is None:
        return Verdict(
            case.name, Outcome.UNMEASURED, f"no valid {case.metric.label} on one side", unit, case.metric
        )
    shift, total = sides.shift(LEVEL), totals.shift(LEVEL)
    shown = ((m, _sessions(baseline, now, case.name, m)) for m in others)
    centres = [math.exp(pseudo_median(v)) for v in (sides.baseline, sides.current)]
    verdict = Verdict(
        case.name, Outcome.PASSED, "", unit, case.metric, "sessions", shift, total,
        beside=tuple((m, s) for m, those in shown if those and (s := those.shift(LEVEL))),
        baseline=centres[0], current=centres[1], sessions=sides.baseline,
    )  # fmt: skip
    held, least = len(sides.baseline), case.settings.sessions
    few = f"the baseline has {held} sessions; {least} needed" if held < least else case.few_windows(baseline, now)
    if few is not None:
        outcome = Outcome.UNMEASURED if case.settings.require_energy else Outcome.UNDECIDED
        return replace(verdict, outcome=outcome, reason=few, needed=least if held < least else None)
    assert shift is not None
    if _suspect(shift, case.limit):
        repeated = _sessions(baseline, again, case.name, case.metric) if again else None
        return (
            pending(verdict, Outcome.REGRESSED) if repeated is None else _confirmed(verdict, sides, repeated, case)
        )
    for which, wide in (("typical ratio", sides), ("ratio of means", totals)):
        interval = wide.shift(LEVEL)
        if interval is not None and interval.high > case.limit:
            return _undecided_sessions(verdict, wide, f"the interval of the {which} includes the threshold", case)
    seen, enough = _processes(now, case), statistics.pairs_without(case.settings.rare)
    if seen < enough:
        why = few_processes(seen, "processes", enough, case.settings.rare)
        return replace(verdict, outcome=Outcome.UNDECIDED, reason=why)
    surely = sides.shift(case.sure)
    if surely is None or surely.high >= 0:
        return verdict
    repeated = _sessions(baseline, again, case.name, case.metric) if again else None
    alone = repeated.shift(LEVEL) if repeated is not None else None
    if alone is None:
        return pending(verdict, Outcome.IMPROVED)
    return after_rerun(verdict, Outcome.IMPROVED, alone, alone.estimate < 0)


def _processes(now: Sequence[Replicate], case: Case) -> int:
    """Processes of now that have a value of this benchmark."""
    every = (replicate.measurement(case.name) for replicate in now)
    return sum(m is not None and typical(m, case.metric) is not None for m in every)


def _suspect(shift: Shift, limit: float) -> bool:
    return shift.estimate > limit and shift.low > 0


def _confirmed(verdict: Verdict, first: _Sessions, again: _Sessions, case: Case) -> Verdict:
    """Verdict on a suspected benchmark after its rerun: by all measurements, and by the rerun alone."""
    alone = again.shift(LEVEL)
    today = (fmean([*first.current, *again.current]),)  # both are of one day
    every = _Sessions(first.baseline, today)
    surely = every.shift(case.sure)
    if alone is None or surely is None or not _suspect(alone, case.limit):
        return after_rerun(verdict, Outcome.REGRESSED, alone, said=False)
    verdict = replace(verdict, shift=surely, rerun=alone, current=math.exp(today[0]))
    if surely.low > case.limit:
        return after_rerun(verdict, Outcome.REGRESSED, alone, said=True)
    return _undecided_sessions(verdict, every, "suspected twice, but the interval includes the threshold", case)


def _undecided_sessions(verdict: Verdict, sides: _Sessions, why: str, case: Case) -> Verdict:
    shift = sides.shift(LEVEL)
    assert shift is not None
    needed = statistics.sessions_needed(sides.baseline, sides.current, shift, case.limit)
    visible = case.limit + shift.estimate - shift.low
    return replace(verdict, outcome=Outcome.UNDECIDED, reason=why, needed=needed, visible=visible)
