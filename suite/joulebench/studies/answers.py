"""What an analysis found, in one sentence: the headline of a run that looks for no frontier. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import number, percent, si
from joulebench.stats.dispersion import Rsd
from joulebench.studies.consistency.analysis import Consistency
from joulebench.studies.repeatability.analysis import Repeatability, Spread


def rsd_words(rsd: Rsd) -> str:
    """`0.42 % (95 % interval 0.29 % to 0.77 %)`."""
    return f"{percent(rsd.value)} (95 % interval {percent(rsd.low)} to {percent(rsd.high)})"


def consistency_answer(found: Consistency) -> str:
    """`PASS: joules per sample over 10 windows of inference differ by …`; without a gate, no verdict."""
    verdict = {True: "PASS: ", False: "FAIL: ", None: ""}[found.passed]
    gate = "" if found.max_rsd is None else f"the gate of {percent(found.max_rsd)}"
    if found.rsd is None:
        reasons = [*found.errors, *(w.reason for w in found.windows if w.reason)]
        why = reasons[0] if reasons else "no windows were measured"
        cannot = f", so {gate} cannot be judged" if gate else ""
        return f"{verdict}{len(found.valid)} valid windows of {len(found.windows)}{cannot}: {why}."
    against = {True: f", below {gate}", False: f", not below {gate}", None: ""}[found.passed]
    meaning = ""
    if found.kind == "estimated" and found.steady_power:
        meaning = " The power is a model's and did not move, so this is the spread of time, not of a meter."
    return (
        f"{verdict}joules per {found.unit} over {found.rsd.n} windows of {found.phase} have a relative standard "
        f"deviation of {rsd_words(found.rsd)}{against}; {found.kind}.{meaning}"
    )


def repeatability_answer(found: Repeatability) -> str:
    """Spread between identical runs, the best batch size, and energy per epoch, as far as they are known."""
    parts = [p for p in (_repeats(found), _batch(found), _epochs(found)) if p]
    if not parts:
        return f"No usable repeat or sweep among {found.trials} trials."
    label = f" ({found.kind})" if found.kind else ""
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}{label}."


def _repeats(found: Repeatability) -> str | None:
    spreads: list[Spread] = [s for s in found.spreads if s.kind is not None and s.runs.rsd is not None]
    if not spreads:
        return None
    values = " and ".join(f"{percent(s.runs.rsd.value)} in {s.name}" for s in spreads if s.runs.rsd)
    return f"{found.repeats} identical runs differ by {values} (relative standard deviation)"


def _batch(found: Repeatability) -> str | None:
    best = found.best_batch
    known = [b.phase_j.mean for b in found.batches if b.phase_j is not None]
    if best is None or best.phase_j is None or len(known) < 2:
        return None
    times = number(max(known) / best.phase_j.mean, 3)
    return (
        f"batch {number(best.batch_size)} takes the least energy per {found.unit} of {found.phase}, {times} times "
        "less than the worst"
    )


def _epochs(found: Repeatability) -> str | None:
    line = found.energy_fit
    if line is None or line.r2 is None:
        return None
    slope = line.slope
    low, high = slope.low, slope.high
    ends = "" if low is None or high is None else f" (95 % interval {si(low, 'J')} to {si(high, 'J')})"
    return f"training takes {si(slope.mean, 'J')} per epoch{ends}, R² {number(line.r2, 4)}"
