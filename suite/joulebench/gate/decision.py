"""Decision of the gate: a verdict for each benchmark, and which of them fail it. Pure.

Processes of two commits that were measured in turn are judged in pairs, at the looks that were taken while they
came; everything else is judged by session. What is found to be dearer or cheaper is measured again, and stands if
the rerun alone says so too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from joulebench.gate.by_pairs import by_pairs
from joulebench.gate.by_sessions import by_sessions, session_values
from joulebench.gate.comparability import benchmark_difference, check
from joulebench.gate.model import Replicate, Settings
from joulebench.gate.values import Unmeasured, beside, choose_metric, typical
from joulebench.gate.verdict import Case, Outcome, Verdict
from joulebench.stats.paired_ratio import pseudo_median


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
    unit, accelerated = now[0].unit, _accelerated(current)
    metric = choose_metric(
        before or now, now, settings.metric, require_energy=settings.require_energy, accelerated=accelerated
    )
    if before and (why := benchmark_difference(before, now)):
        return Verdict(name, Outcome.INCOMPARABLE, why, unit)
    if isinstance(metric, Unmeasured):
        return Verdict(name, Outcome.UNMEASURED, metric.reason, unit)
    if not before:
        values = session_values(current, name, metric, typical)
        here = math.exp(pseudo_median(values)) if values else None
        reason = "the baseline has no such benchmark"
        return Verdict(name, Outcome.NEW, reason, unit, metric, "sessions", current=here)
    case = Case(name, metric, settings, benchmarks)
    if any(r.pair is not None for r in current) and any(r.pair is not None for r in baseline):
        return by_pairs(case, unit, baseline, current, beside(metric, before, now))
    return by_sessions(case, unit, baseline, current, beside(metric, before, now))


def _accelerated(replicates: Sequence[Replicate]) -> bool:
    """Whether the work is done by a device whose time is not processor time."""
    return any(not str(r.environment.get("device", "cpu")).startswith("cpu") for r in replicates)


def suspects(verdicts: Sequence[Verdict]) -> list[str]:
    """Names of the benchmarks that need a rerun."""
    return [v.name for v in verdicts if v.pending is not None]


def undecided(verdicts: Sequence[Verdict]) -> list[str]:
    """Names of the benchmarks that more pairs could decide."""
    return [v.name for v in verdicts if v.open]


#: Outcomes that fail the gate: always, with --require-energy, and with --strict.
FAILS = frozenset({Outcome.REGRESSED})
FAILS_WITHOUT_ENERGY = FAILS | {Outcome.UNMEASURED, Outcome.INCOMPARABLE, Outcome.MISSING}
FAILS_STRICT = FAILS_WITHOUT_ENERGY | {Outcome.UNDECIDED}


def fails(verdicts: Sequence[Verdict], settings: Settings) -> bool:
    """Whether the gate fails; also where something had to be compared and nothing was."""
    demanding = settings.strict or settings.require_energy
    return bool(failures(verdicts, settings)) or (demanding and not any(map(compared, verdicts)))


def compared(verdict: Verdict) -> bool:
    """Whether both sides have the benchmark."""
    return verdict.outcome is not Outcome.NEW


def failures(verdicts: Sequence[Verdict], settings: Settings) -> list[Verdict]:
    """List the verdicts that fail the gate."""
    failing = FAILS_STRICT if settings.strict else FAILS_WITHOUT_ENERGY if settings.require_energy else FAILS
    return [v for v in verdicts if v.outcome in failing]
