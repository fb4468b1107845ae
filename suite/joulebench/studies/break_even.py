"""After how much work a search has paid for itself, and what is left at a stated volume, in sentences. Pure."""

from __future__ import annotations

from joulebench.presentation.findings import WIDE
from joulebench.presentation.numbers import interval, joules, number, percent, prefix
from joulebench.presentation.units import plain
from joulebench.results.cost import BreakEven, Candidate
from joulebench.stats.estimate import Estimate


def break_even_text(found: BreakEven, target_rel_ci: float) -> tuple[str, ...]:
    """The break-even of the search in sentences, or why there is none."""
    net = tuple(part for part in (net_text(found),) if part)
    if found.units is None:
        why = f"There is no break-even for {found.objective}: {found.reason}."
        return why, *_compared(found, target_rel_ci), *net
    first = f"The search pays for itself after {break_even_units(found)}."
    return first, *_compared(found, target_rel_ci), *net, _formula(found)


def break_even_units(found: BreakEven) -> str:
    """`4 802 tokens (95 % interval 4 700 to 4 910)`; asked only of a break-even that exists."""
    if found.low is not None and found.high is not None:
        ends = f"95 % interval {number(found.low, 3)} to {number(found.high, 3)}"
    elif found.low is not None:
        ends = f"95 % interval from {number(found.low, 3)} without an upper end: the difference may be zero"
    else:
        ends = "no interval: one of the two is a single run"
    return f"{number(found.units, 4)} {plain(found.unit)}s ({ends})"


def net_text(found: BreakEven) -> str | None:
    """What is left of the saving at the stated volume once the search is paid; None where none is stated."""
    net, volume = found.net, found.volume
    if net is None or volume is None or found.search_j is None:
        return None
    work = f"At the stated volume of {number(volume)} {plain(found.unit)}s"
    if found.units is None or found.saving is None:
        return f"{work} the search then saves nothing: its {joules(found.search_j)} are its net cost."
    kept = "a net saving" if net.mean >= 0 else "a net loss"
    if net.low is None or net.high is None:
        ends = "no interval"
    else:
        ends = f"95 % interval of the net saving {joules(net.low)} to {joules(net.high)}"
        ends += ", so it may be either" if net.low < 0 < net.high else ""
    return (
        f"{work} the best saves {joules(volume * found.saving.mean)} and the search cost {joules(found.search_j)}: "
        f"{kept} of {joules(abs(net.mean))} ({ends})."
    )


def _formula(found: BreakEven) -> str:
    domains = " + ".join(found.domains)
    return (
        f"That is E_search / (j_default − j_best), gross, over {domains}, with E_search = "
        f"{joules(found.search_j)}. It holds where the default would have been used without the "
        "search, at the batch and load measured here."
    )


def _compared(found: BreakEven, target_rel_ci: float) -> tuple[str, ...]:
    if found.default is None or found.best is None or found.saving is None:
        return ()
    if found.default.label == found.best.label:
        return ()
    saved = found.saving.mean / found.default.energy.gross.mean
    less = f"{percent(abs(saved))} {'less' if saved >= 0 else 'more'} per {plain(found.unit)}"
    default, best = (_candidate(c, target_rel_ci) for c in (found.default, found.best))
    return (f"Default: {default}. Most efficient frontier member at least as good: {best}; {less}.",)


def _candidate(found: Candidate, target_rel_ci: float) -> str:
    quality = ", ".join(f"{n} {number(v)}" for n, v in found.quality.items())
    energy = found.energy
    value = _value(energy.gross, plain(energy.target.unit), target_rel_ci)
    return f"{found.label} ({', '.join(p for p in (quality, value, energy.kind) if p)})"


def _value(value: Estimate, unit: str, target_rel_ci: float) -> str:
    factor, letter = prefix(value.mean)
    ends = interval(value, factor)
    half = value.rel_half_width
    flag = f", {WIDE}" if ends and (half is None or half > target_rel_ci) else ""
    return f"{number(value.mean / factor)} {letter}J/{unit}{f' {ends}' if ends else ''}{flag}"
