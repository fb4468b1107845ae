"""Sentences on the break-even of a search and its net saving at a stated volume. Pure."""

from __future__ import annotations

from joulebench.presentation.numbers import interval, joules, number
from joulebench.presentation.units import in_words, plain
from joulebench.presentation.wide import WIDE
from joulebench.presentation.words import about, domains
from joulebench.results.cost import BreakEven, Candidate


def break_even_text(break_even: BreakEven, target_rel_ci: float) -> tuple[str, ...]:
    """Write the break-even of the search, or why there is none; `target_rel_ci` is the width that is flagged."""
    net = tuple(part for part in (net_text(break_even),) if part)
    if break_even.units is None:
        why = f"There is no break-even for {break_even.objective}: {break_even.reason}."
        return why, *_compared(break_even, target_rel_ci), *net
    first = f"The search pays for itself after {break_even_units(break_even)}."
    formula = (
        f"That is E_search / (j_default − j_best), gross, over {domains(break_even.domains)}, with E_search = "
        f"{joules(break_even.search_j)}. It assumes that the default would be used without the search, at the "
        "batch size and load measured here."
    )
    return first, *_compared(break_even, target_rel_ci), *net, formula


def break_even_units(break_even: BreakEven) -> str:
    """`4 802 tokens (95 % interval 4 700 to 4 910)`; for a break-even that exists."""
    if break_even.low is not None and break_even.high is not None:
        ends = f"95 % interval {number(break_even.low, 3)} to {number(break_even.high, 3)}"
    elif break_even.low is not None:
        ends = f"95 % interval from {number(break_even.low, 3)} without an upper end: the difference may be zero"
    else:
        ends = "no interval: one of the two is a single run"
    return f"{number(break_even.units, 4)} {plain(break_even.unit)}s ({ends})"


def net_text(break_even: BreakEven) -> str | None:
    """Write the saving at the stated volume less the energy of the search; None if no volume is stated."""
    net, volume = break_even.net, break_even.volume
    if net is None or volume is None or break_even.search_j is None:
        return None
    work = f"At the stated volume of {number(volume)} {plain(break_even.unit)}s"
    if break_even.units is None or break_even.saving is None:
        return f"{work} the search saves nothing: its {joules(break_even.search_j)} are the net cost."
    kept = "a net saving" if net.mean >= 0 else "a net loss"
    if net.low is None or net.high is None:
        ends = "no interval"
    else:
        ends = f"95 % interval of the net saving {joules(net.low)} to {joules(net.high)}"
        ends += ", so the sign is uncertain" if net.low < 0 < net.high else ""
    return (
        f"{work} the best saves {joules(volume * break_even.saving.mean)} and the search cost "
        f"{joules(break_even.search_j)}: {kept} of {joules(abs(net.mean))} ({ends})."
    )


def _compared(break_even: BreakEven, target_rel_ci: float) -> tuple[str, ...]:
    if break_even.default is None or break_even.best is None or break_even.saving is None:
        return ()
    if break_even.default.label == break_even.best.label:
        return ()
    saved, unit = break_even.saving.mean / break_even.default.energy.mean, plain(break_even.unit)
    less = f"{about(-saved)} per {unit}"
    default, best = (_candidate(c, unit, target_rel_ci) for c in (break_even.default, break_even.best))
    return (f"Default: {default}. Most efficient frontier member at least as good: {best}; {less}.",)


def _candidate(candidate: Candidate, unit: str, target_rel_ci: float) -> str:
    quality = ", ".join(f"{n} {number(v)}" for n, v in candidate.quality.items())
    energy, half = candidate.energy, candidate.energy.rel_half_width
    wide = WIDE if interval(energy) and (half is None or half > target_rel_ci) else ""
    parts = (quality, in_words(energy, f"J/{unit}"), wide, energy.kind)
    return f"{candidate.label} ({', '.join(filter(None, parts))})"
