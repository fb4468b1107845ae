"""The report's section on batch size: the optimum, its price in latency and memory, and its worth. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.presentation.numbers import interval, joules, number, octets, percent, seconds
from joulebench.presentation.section import Section
from joulebench.presentation.units import plain
from joulebench.presentation.wide import wide_flag
from joulebench.results.cost import BreakEven, Candidate, break_even, stated_volume
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import Study
from joulebench.studies.batch.analysis import KNEE, Batch, Size, batch
from joulebench.studies.batch.figures import figures
from joulebench.studies.batch.tables import batch_table, row_of
from joulebench.studies.break_even import break_even_units, net_text


@dataclass(frozen=True)
class Worth:
    """After how much work the run has paid for itself, against the default and against the smallest size."""

    against_default: BreakEven | None
    against_smallest: BreakEven | None


class BatchStudy(Study[Batch]):
    """Energy efficiency against batch size: the optimum, its price in latency and memory, and where memory ends."""

    name = "batch"

    def analyse(self, run: Run) -> Batch | None:
        return batch(run)

    def section(self, result: Batch, run: Run) -> Section:
        return batch_section(result)


def batch_section(batch: Batch) -> Section:
    """Everything the report says of it."""
    paid = worth(batch)
    return Section(
        name="batch",
        title=f"Efficiency against {batch.parameter}",
        answer=answer(batch, paid),
        verdict=None,
        sentences=sentences(batch, paid),
        plots=figures(batch),
        tables=(batch_table(batch),),
        rows=tuple(row_of(batch, s) for s in batch.sizes),
    )


def worth(batch: Batch) -> Worth:
    """Break-even against the default, and against the smallest size where that is another one."""
    default, smallest = batch.default, batch.smallest
    return Worth(_break_even(batch, default), _break_even(batch, smallest if smallest is not default else None))


def _break_even(batch: Batch, base: Size | None) -> BreakEven | None:
    if base is None or batch.best is None:
        return None
    old, new = (Candidate(_name(batch, s), {}, s.cost.gross) for s in (base, batch.best))
    run, families = batch.run, batch.goal.domains or ()
    spent = [e for name, e in run.ledger.by_family.items() if name in families]
    volume = stated_volume(run.task, batch.objective)
    total = sum(spent) if spent else None
    return break_even(batch.objective, batch.unit, old.energy.domains, total, old, [new], {}, volume)


def _name(batch: Batch, size: Size) -> str:
    return f"{batch.parameter} {number(size.size)}"


def answer(batch: Batch, paid: Worth) -> str:
    """The optimum with what it gains and takes, and what the search was worth."""
    best = batch.best
    if best is None:
        if batch.sizes:
            return f"Every {batch.parameter} measured breaks a constraint."
        return f"No {batch.parameter} has a value: the sweep has no usable trial."
    unit = f"{plain(batch.unit)}s/J"
    ends = interval(best.efficiency)
    like = f"; {_some(batch.ties)} not told apart from it" if batch.ties else ""
    text = (
        f"{_name(batch, best)} is the most efficient of {len(batch.sizes)}"
        f"{'' if best is batch.peak else ' within the constraints'}: "
        f"{number(best.efficiency.mean)} {unit}{f' {ends}' if ends else ''} ({batch.basis}, {batch.kind}"
        f"{wide_flag(best.efficiency, batch.run.task.protocol)}{like})"
    )
    if batch.gain is not None and batch.smallest is not None:
        text += f", {_times(batch.gain, _name(batch, batch.smallest))}"
    price = [p for p in (_memory_words(best), _latency_words(best)) if p]
    text += f", at {' and '.join(price)}" if price else ""
    known = paid.against_default
    if known is not None and known.units is not None and known.default is not None:
        text += f"; the run pays for itself after {break_even_units(known)} against {known.default.label}"
    return f"{text}."


def _some(sizes: Sequence[Size], most: int = 5) -> str:
    more = f" and {len(sizes) - most} others" if len(sizes) > most else ""
    return ", ".join(number(s.size) for s in sizes[:most]) + more


def _times(gain: Estimate, what: str) -> str:
    ends = ""
    if gain.low is not None and gain.high is not None:
        ends = f" (95 % interval {number(gain.low, 3)} to {number(gain.high, 3)})"
    return f"{number(gain.mean, 3)} times that of {what}{ends}"


def _memory_words(size: Size) -> str | None:
    if size.memory_bytes is None:
        return None
    share = "" if size.memory_share is None else f" ({percent(size.memory_share)} of the limit)"
    return f"{octets(size.memory_bytes)} of memory{share}"


def _latency_words(size: Size) -> str | None:
    return None if size.p95_s is None else f"a p95 of {seconds(size.p95_s.mean)}"


def sentences(batch: Batch, paid: Worth) -> tuple[str, ...]:
    """Where the optimum lies, what cannot be told apart from it, the knee, the wall, and what the run is worth."""
    parts = (
        _place(batch),
        _ties(batch),
        _constrained(batch),
        _knee(batch),
        _wall(batch),
        _worth_default(paid),
        _worth_smallest(paid),
        net_text(paid.against_default) if paid.against_default else None,
        _caution(batch),
    )
    return tuple(part for part in parts if part)


def _place(batch: Batch) -> str | None:
    peak, sizes = batch.peak, batch.sizes
    if peak is None:
        return None
    first, last = _name(batch, sizes[0]), number(sizes[-1].size)
    match batch.shape:
        case "one size":
            return f"Only {first} has a value, so nothing can be said of an optimum."
        case "interior":
            low, high = (percent(s.efficiency.mean / peak.efficiency.mean) for s in (sizes[0], sizes[-1]))
            return (
                f"The optimum lies inside the sweep: efficiency is {low} of {_name(batch, peak)}'s at {first} and "
                f"{high} at {last}."
            )
        case "rising":
            return (
                f"Efficiency still rises at the edge: {_name(batch, peak)} is the largest that has a value"
                f"{_why_the_edge(batch)}, so this is not known to be the optimum."
            )
        case "falling":
            return f"Efficiency falls from the smallest size on: {first} is the best, and the sweep begins there."
        case "flat":
            return (
                f"Efficiency levels off: an end of the sweep ({first} to {last}) cannot be told apart from "
                f"{_name(batch, peak)}, so where on the level stretch the optimum lies is not known."
            )


def _why_the_edge(batch: Batch) -> str:
    if batch.wall is not None:
        return f" ({number(batch.wall.smallest_oom)} ran out of memory)"
    if batch.peak is not None and batch.peak.size >= batch.highest:
        return " and the largest the task allows"
    return f" (the task allows {number(batch.highest)})"


def _ties(batch: Batch) -> str | None:
    if batch.best is None or len(batch.sizes) < 2:
        return None
    name = _name(batch, batch.best)
    if not batch.ties:
        return f"Every other size is told apart from {name}."
    return (
        f"Not told apart from {name}: {_some(batch.ties, len(batch.ties))}. (The 95 % interval of the ratio holds 1"
        f"{', or the two differ by no more than runs of one configuration do' if batch.rsd else ''}.) The best of "
        "several means is on its lucky side."
    )


def _constrained(batch: Batch) -> str | None:
    best, peak = batch.best, batch.peak
    if best is None or peak is None or best is peak:
        return None
    more = percent(peak.efficiency.mean / best.efficiency.mean - 1)
    return f"{_name(batch, peak)} is {more} more efficient and breaks a constraint of the task."


def _knee(batch: Batch) -> str | None:
    best, knee = batch.best, batch.knee
    if best is None or knee is None:
        return None
    within = percent(KNEE)
    if knee is best:
        return f"No smaller {batch.parameter} comes within {within} of the best."
    costs = [f"p95 {seconds(a.mean)} against {seconds(b.mean)}" for a, b in [(knee.p95_s, best.p95_s)] if a and b]
    if knee.memory_bytes is not None and best.memory_bytes is not None:
        costs.append(f"memory {octets(knee.memory_bytes)} against {octets(best.memory_bytes)}")
    text = f"{_name(batch, knee)} is the smallest within {within} of the best"
    share = percent(knee.efficiency.mean / best.efficiency.mean)
    return f"{text}: {', '.join([f'{share} of its efficiency', *costs])}."


def _wall(batch: Batch) -> str | None:
    wall = batch.wall
    if wall is None:
        return None
    limit = "" if wall.limit_bytes is None else f" of {octets(wall.limit_bytes)}"
    need = "" if wall.need_bytes is None else f", which needs at least {octets(wall.need_bytes)}"
    if wall.largest_ok is None:
        return f"The smallest tried, {batch.parameter} {number(wall.smallest_oom)}, ran out of memory{limit}{need}."
    order = (
        "" if wall.largest_ok < wall.smallest_oom else " (a larger one fitted: memory was not in the same state)"
    )
    return (
        f"Memory{limit} ends between {batch.parameter} {number(wall.largest_ok)}, the largest that completed, and "
        f"{number(wall.smallest_oom)}, the smallest that ran out{need}{order}."
    )


def _worth_default(paid: Worth) -> str | None:
    if paid.against_default is None:
        return "What the run is worth is not known: the default has no value, or no energy."
    return _paid(paid.against_default, "the default, ")


def _worth_smallest(paid: Worth) -> str | None:
    return None if paid.against_smallest is None else _paid(paid.against_smallest, "")


def _paid(break_even: BreakEven, what: str) -> str | None:
    if break_even.default is None:
        return None
    against = f"Against {what}{break_even.default.label}"
    if break_even.units is None:
        return f"{against}, there is no break-even: {break_even.reason}."
    domains = " + ".join(break_even.domains)
    return (
        f"{against}, the run ({joules(break_even.search_j)} over {domains}) pays for itself after "
        f"{break_even_units(break_even)}, by E_search / (1/η_default − 1/η_best), gross, whatever it does to "
        "latency."
        if what
        else f"{against}, it does so after {break_even_units(break_even)}."
    )


def _caution(batch: Batch) -> str | None:
    if batch.rsd is None:
        return (
            "No configuration was run twice, so these intervals are of windows within one run; another run may "
            "differ by more."
        )
    return f"Runs of one configuration differed by {percent(batch.rsd)} (relative standard deviation)."
