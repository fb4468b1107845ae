"""The report's section on batch size: the optimum, its price in latency and memory, and its worth. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from joulebench.presentation.findings import wide_flag
from joulebench.presentation.numbers import interval, joules, number, octets, percent, seconds
from joulebench.presentation.section import Section
from joulebench.presentation.units import plain
from joulebench.results.cost import BreakEven, Candidate, break_even, stated_volume
from joulebench.results.ledger import Ledger, balance
from joulebench.results.members import Target, unit_energy_of
from joulebench.results.run import Run
from joulebench.spec.task import Protocol, Task
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
        return batch(run.task, run.trials)

    def section(self, result: Batch, run: Run) -> Section:
        return batch_section(result, run.task, balance(run.trials, run.entries))


def batch_section(found: Batch, task: Task, ledger: Ledger) -> Section:
    """Everything the report says of it."""
    paid = worth(found, task, ledger)
    return Section(
        name="batch",
        title=f"Efficiency against {found.parameter}",
        answer=answer(found, paid, task.protocol),
        verdict=None,
        sentences=sentences(found, paid),
        plots=figures(found),
        tables=(batch_table(found, task.protocol),),
        rows=tuple(row_of(found, s) for s in found.sizes),
    )


def worth(found: Batch, task: Task, ledger: Ledger) -> Worth:
    """Break-even against the default, and against the smallest size where that is another one."""
    default, smallest = found.default, found.smallest
    other = smallest if smallest is not default else None
    return Worth(_break_even(found, default, task, ledger), _break_even(found, other, task, ledger))


def _break_even(found: Batch, base: Size | None, task: Task, ledger: Ledger) -> BreakEven | None:
    objective = task.objectives[found.objective]
    families = objective.domains or ()
    target = Target(found.objective, found.phase, found.unit, families)
    old, new = (_candidate(found, s, target) for s in (base, found.best))
    if old is None or new is None:
        return None
    spent = [e for name, e in ledger.by_family.items() if name in families]
    volume = stated_volume(task, found.objective)
    total = sum(spent) if spent else None
    return break_even(found.objective, found.unit, old.energy.domains, total, old, [new], {}, volume)


def _candidate(found: Batch, size: Size | None, target: Target) -> Candidate | None:
    if size is None or size.cost is None:
        return None
    return Candidate(_name(found, size), {}, unit_energy_of(size.cost, target))


def _name(found: Batch, size: Size) -> str:
    return f"{found.parameter} {number(size.size)}"


def answer(found: Batch, paid: Worth, protocol: Protocol) -> str:
    """The optimum with what it gains and takes, and what the search was worth."""
    best = found.best
    if best is None:
        if found.sizes:
            return f"Every {found.parameter} measured breaks a constraint."
        return f"No {found.parameter} has a value: the sweep has no usable trial."
    unit = f"{plain(found.unit)}s/J"
    ends = interval(best.efficiency)
    like = f"; {_some(found.ties)} not told apart from it" if found.ties else ""
    text = (
        f"{_name(found, best)} is the most efficient of {len(found.sizes)}"
        f"{'' if best is found.peak else ' within the constraints'}: "
        f"{number(best.efficiency.mean)} {unit}{f' {ends}' if ends else ''} ({found.basis}, {found.kind}"
        f"{wide_flag(best.efficiency, protocol)}{like})"
    )
    if found.gain is not None and found.smallest is not None:
        text += f", {_times(found.gain, _name(found, found.smallest))}"
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


def sentences(found: Batch, paid: Worth) -> tuple[str, ...]:
    """Where the optimum lies, what cannot be told apart from it, the knee, the wall, and what the run is worth."""
    parts = (
        _place(found),
        _ties(found),
        _constrained(found),
        _knee(found),
        _wall(found),
        _worth_default(paid),
        _worth_smallest(paid),
        net_text(paid.against_default) if paid.against_default else None,
        _caution(found),
    )
    return tuple(part for part in parts if part)


def _place(found: Batch) -> str | None:
    peak, sizes = found.peak, found.sizes
    if peak is None:
        return None
    first, last = _name(found, sizes[0]), number(sizes[-1].size)
    match found.shape:
        case "one size":
            return f"Only {first} has a value, so nothing can be said of an optimum."
        case "interior":
            low, high = (percent(s.efficiency.mean / peak.efficiency.mean) for s in (sizes[0], sizes[-1]))
            return (
                f"The optimum lies inside the sweep: efficiency is {low} of {_name(found, peak)}'s at {first} and "
                f"{high} at {last}."
            )
        case "rising":
            return (
                f"Efficiency still rises at the edge: {_name(found, peak)} is the largest that has a value"
                f"{_why_the_edge(found)}, so this is not known to be the optimum."
            )
        case "falling":
            return f"Efficiency falls from the smallest size on: {first} is the best, and the sweep begins there."
        case "flat":
            return (
                f"Efficiency levels off: an end of the sweep ({first} to {last}) cannot be told apart from "
                f"{_name(found, peak)}, so where on the level stretch the optimum lies is not known."
            )


def _why_the_edge(found: Batch) -> str:
    if found.wall is not None:
        return f" ({number(found.wall.smallest_oom)} ran out of memory)"
    if found.peak is not None and found.peak.size >= found.highest:
        return " and the largest the task allows"
    return f" (the task allows {number(found.highest)})"


def _ties(found: Batch) -> str | None:
    if found.best is None or len(found.sizes) < 2:
        return None
    name = _name(found, found.best)
    if not found.ties:
        return f"Every other size is told apart from {name}."
    return (
        f"Not told apart from {name}: {_some(found.ties, len(found.ties))}. (The 95 % interval of the ratio holds 1"
        f"{', or the two differ by no more than runs of one configuration do' if found.rsd else ''}.) The best of "
        "several means is on its lucky side."
    )


def _constrained(found: Batch) -> str | None:
    best, peak = found.best, found.peak
    if best is None or peak is None or best is peak:
        return None
    more = percent(peak.efficiency.mean / best.efficiency.mean - 1)
    return f"{_name(found, peak)} is {more} more efficient and breaks a constraint of the task."


def _knee(found: Batch) -> str | None:
    best, knee = found.best, found.knee
    if best is None or knee is None:
        return None
    within = percent(KNEE)
    if knee is best:
        return f"No smaller {found.parameter} comes within {within} of the best."
    costs = [f"p95 {seconds(a.mean)} against {seconds(b.mean)}" for a, b in [(knee.p95_s, best.p95_s)] if a and b]
    if knee.memory_bytes is not None and best.memory_bytes is not None:
        costs.append(f"memory {octets(knee.memory_bytes)} against {octets(best.memory_bytes)}")
    text = f"{_name(found, knee)} is the smallest within {within} of the best"
    share = percent(knee.efficiency.mean / best.efficiency.mean)
    return f"{text}: {', '.join([f'{share} of its efficiency', *costs])}."


def _wall(found: Batch) -> str | None:
    wall = found.wall
    if wall is None:
        return None
    limit = "" if wall.limit_bytes is None else f" of {octets(wall.limit_bytes)}"
    need = "" if wall.need_bytes is None else f", which needs at least {octets(wall.need_bytes)}"
    if wall.largest_ok is None:
        return f"The smallest tried, {found.parameter} {number(wall.smallest_oom)}, ran out of memory{limit}{need}."
    order = (
        "" if wall.largest_ok < wall.smallest_oom else " (a larger one fitted: memory was not in the same state)"
    )
    return (
        f"Memory{limit} ends between {found.parameter} {number(wall.largest_ok)}, the largest that completed, and "
        f"{number(wall.smallest_oom)}, the smallest that ran out{need}{order}."
    )


def _worth_default(paid: Worth) -> str | None:
    found = paid.against_default
    if found is None or found.default is None:
        return "What the run is worth is not known: the default has no value, or no energy."
    return _paid(found, "the default, ")


def _worth_smallest(paid: Worth) -> str | None:
    return None if paid.against_smallest is None else _paid(paid.against_smallest, "")


def _paid(found: BreakEven, what: str) -> str | None:
    if found.default is None:
        return None
    against = f"Against {what}{found.default.label}"
    if found.units is None:
        return f"{against}, there is no break-even: {found.reason}."
    domains = " + ".join(found.domains)
    return (
        f"{against}, the run ({joules(found.search_j)} over {domains}) pays for itself after "
        f"{break_even_units(found)}, by E_search / (1/η_default − 1/η_best), gross, whatever it does to latency."
        if what
        else f"{against}, it does so after {break_even_units(found)}."
    )


def _caution(found: Batch) -> str | None:
    if found.rsd is None:
        return (
            "No configuration was run twice, so these intervals are of windows within one run; another run may "
            "differ by more."
        )
    return f"Runs of one configuration differed by {percent(found.rsd)} (relative standard deviation)."
