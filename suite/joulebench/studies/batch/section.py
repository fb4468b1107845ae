"""Report section on batch size: optimum, ties, latency and memory, memory limit, break-even. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, joules, number, octets, percent, seconds
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import along, estimates, reaching, value_axis
from joulebench.presentation.table import Cell, Table, condensed, least, of_all, prefixed_cell, value_cell
from joulebench.presentation.units import in_words, plain
from joulebench.presentation.wide import wide_flag
from joulebench.presentation.words import domains, listed, times
from joulebench.results.cost import BreakEven
from joulebench.results.run import Run
from joulebench.spec.parameters import Params
from joulebench.studies.base import Study
from joulebench.studies.batch.analysis import KNEE, BatchSweep, Size, batch_sweep
from joulebench.studies.batch.models import by_model
from joulebench.studies.break_even import break_even_units, net_text

GIB = 2**30
NO_BREAK_EVEN = "There is no break-even: the default or the best size has no value."


class BatchStudy(Study[BatchSweep]):
    """Energy efficiency against batch size: the optimum, its latency and memory, and the memory limit."""

    name = "batch"

    def analyse(self, run: Run) -> BatchSweep | None:
        return batch_sweep(run)

    def confirms(self, result: BatchSweep, run: Run) -> list[Params]:
        """The best size, its neighbours, and the sizes that it is compared with; of several models the best and the
        smallest size of each."""
        if result.models:
            return [s.params for sweep in result.models for s in (sweep.best, sweep.smallest) if s is not None]
        if result.best is None:
            return []
        at = result.sizes.index(result.best)
        compared = (*result.sizes[max(0, at - 1) : at + 2], result.smallest, result.default)
        return [s.params for s in compared if s is not None]

    def section(self, result: BatchSweep, run: Run) -> Section:
        rows = tuple(_row(sweep, s) for sweep in result.models or (result,) for s in sweep.sizes)
        if result.models:
            return by_model(result, rows)
        default, smallest = result.against_default, result.against_smallest
        sentences = (
            _shape(result),
            _ties(result),
            _constrained(result),
            _knee(result),
            _memory_limit(result),
            _paid(default, "the default, ") if default else NO_BREAK_EVEN,
            _paid(smallest, "") if smallest else None,
            net_text(default) if default else None,
            _repeats(result),
        )
        return Section(
            name="batch",
            title=f"Efficiency against {result.parameter}",
            answer=_answer(result),
            sentences=tuple(filter(None, sentences)),
            plots=_figures(result),
            tables=(_table(result),),
            rows=rows,
        )


def _answer(sweep: BatchSweep) -> str:
    best = sweep.best
    if best is None:
        if sweep.sizes:
            return f"Every {sweep.parameter} measured breaks a constraint."
        return f"No {sweep.parameter} has a value: the sweep has no usable trial."
    ties = f"; not significantly different from {_sizes(sweep.ties)}" if sweep.ties else ""
    text = (
        f"{sweep.label(best)} is the most efficient of {len(sweep.sizes)}"
        f"{'' if best is sweep.peak else ' within the constraints'}: "
        f"{in_words(best.efficiency, f'{plain(sweep.unit)}s/J', prefixed=False)} ({sweep.basis}, {sweep.kind}"
        f"{wide_flag(best.efficiency, sweep.run.task.protocol)}{ties})"
    )
    if sweep.gain is not None and sweep.smallest is not None:
        text += f", {times(sweep.gain, f' that of {sweep.label(sweep.smallest)}')}"
    limit_share = "" if best.memory_share is None else f" ({percent(best.memory_share)} of the limit)"
    memory = None if best.memory_bytes is None else f"{octets(best.memory_bytes)} of memory{limit_share}"
    latency = None if best.p95_s is None else f"a p95 of {seconds(best.p95_s.mean)}"
    text += f", at {' and '.join(filter(None, (memory, latency)))}" if memory or latency else ""
    paid = sweep.against_default
    if paid is not None and paid.units is not None and paid.default is not None:
        text += f"; the run pays for itself after {break_even_units(paid)} against {paid.default.label}"
    return f"{text}."


def _sizes(sizes: Sequence[Size], most: int = 5) -> str:
    return listed([number(s.size) for s in sizes], most, "others")


def _shape(sweep: BatchSweep) -> str | None:
    peak, sizes = sweep.peak, sweep.sizes
    if peak is None:
        return None
    first, last, best = sweep.label(sizes[0]), number(sizes[-1].size), sweep.label(peak)
    match sweep.shape:
        case "one size":
            return f"Only {first} has a value, so there is no optimum to report."
        case "interior":
            low, high = (percent(s.efficiency.mean / peak.efficiency.mean) for s in (sizes[0], sizes[-1]))
            return (
                f"The optimum lies inside the sweep: efficiency is {low} of {best}'s at {first}, {high} at {last}."
            )
        case "rising":
            if sweep.memory_limit is not None:
                why = f" ({number(sweep.memory_limit.smallest_oom)} ran out of memory)"
            elif peak.size >= sweep.highest:
                why = " and the largest the task allows"
            else:
                why = f" (the task allows {number(sweep.highest)})"
            return (
                f"Efficiency still rises at the end of the sweep: {best} is the largest size with a value{why}, "
                "so the optimum may lie beyond it."
            )
        case "falling":
            return f"Efficiency falls from the smallest size on: {first} is the best, at the start of the sweep."
        case "flat":
            return (
                f"Efficiency levels off: one end of the sweep ({first} to {last}) is not significantly different "
                f"from {best}, so the position of the optimum is uncertain."
            )


def _ties(sweep: BatchSweep) -> str | None:
    if sweep.best is None or len(sweep.sizes) < 2:
        return None
    name = sweep.label(sweep.best)
    if not sweep.ties:
        return f"Every other size is significantly different from {name}."
    repeats = ", or they differ by no more than repeated runs of one configuration" if sweep.rsd else ""
    return (
        f"Not significantly different from {name}: {_sizes(sweep.ties, len(sweep.ties))} (the 95 % interval of the "
        f"ratio includes 1{repeats}). Picking the best of several noisy means overestimates it (winner's curse)."
    )


def _constrained(sweep: BatchSweep) -> str | None:
    best, peak = sweep.best, sweep.peak
    if best is None or peak is None or best is peak:
        return None
    more = percent(peak.efficiency.mean / best.efficiency.mean - 1)
    return f"{sweep.label(peak)} is {more} more efficient and breaks a constraint of the task."


def _knee(sweep: BatchSweep) -> str | None:
    best, knee = sweep.best, sweep.knee
    if best is None or knee is None:
        return None
    if knee is best:
        return f"No smaller {sweep.parameter} is within {percent(KNEE)} of the best."
    parts = [f"{percent(knee.efficiency.mean / best.efficiency.mean)} of its efficiency"]
    if knee.p95_s and best.p95_s:
        parts.append(f"p95 {seconds(knee.p95_s.mean)} against {seconds(best.p95_s.mean)}")
    if knee.memory_bytes is not None and best.memory_bytes is not None:
        parts.append(f"memory {octets(knee.memory_bytes)} against {octets(best.memory_bytes)}")
    return f"{sweep.label(knee)} is the smallest within {percent(KNEE)} of the best: {', '.join(parts)}."


def _memory_limit(sweep: BatchSweep) -> str | None:
    limit = sweep.memory_limit
    if limit is None:
        return None
    size = "" if limit.limit_bytes is None else f" of {octets(limit.limit_bytes)}"
    need = "" if limit.required_bytes is None else f" and needs at least {octets(limit.required_bytes)}"
    text = f"{sweep.parameter} {number(limit.smallest_oom)} is the smallest that ran out of memory{size}{need}"
    if limit.largest_completed is None:
        return f"{text}; no size completed."
    text += f"; {number(limit.largest_completed)} is the largest that completed"
    larger = " (free memory differed between the trials)" if limit.largest_completed >= limit.smallest_oom else ""
    return f"{text}{larger}."


def _paid(paid: BreakEven, role: str) -> str | None:
    if paid.default is None:
        return None
    against = f"Against {role}{paid.default.label}"
    if paid.units is None:
        return f"{against}, there is no break-even: {paid.reason}."
    if not role:
        return f"{against}, it does so after {break_even_units(paid)}."
    return (
        f"{against}, the run ({joules(paid.search_j)} over {domains(paid.domains)}) pays for itself after "
        f"{break_even_units(paid)}, by E_search / (1/η_default − 1/η_best), gross; latency is not considered."
    )


def _repeats(sweep: BatchSweep) -> str:
    if sweep.rsd is None:
        return (
            "No configuration was run twice, so these intervals are of windows within one run; another run may "
            "differ by more."
        )
    return f"Runs of one configuration differed by {percent(sweep.rsd)} (relative standard deviation)."


def _table(sweep: BatchSweep) -> Table:
    """One row per size, then one for the smallest size that ran out of memory."""
    unit = plain(sweep.unit)
    energy = (f"{unit}s/J, {sweep.basis}", "Of the best", f"J per {unit}, gross", f"J per {unit}, net")
    titles = (sweep.parameter, *energy, "p95", "Peak memory", "Trials")
    shown = [sweep.sizes[i] for i in least([-s.efficiency.mean for s in sweep.sizes])]
    rows = [_cells(sweep, s) for s in shown]
    limit = sweep.memory_limit
    if limit is not None:
        memory = Cell(ABSENT if limit.required_bytes is None else f"> {octets(limit.required_bytes)}")
        absent = (Cell(ABSENT),) * 4
        rows.append((Cell(number(limit.smallest_oom)), Cell("out of memory"), *absent, memory, Cell(ABSENT)))
    some = of_all(len(shown), len(sweep.sizes), "most efficient")
    return condensed(
        Table.of(f"By {sweep.parameter} ({sweep.kind}, {domains(sweep.domains)}){some}", titles, rows, text=0)
    )


def _cells(sweep: BatchSweep, size: Size) -> tuple[Cell, ...]:
    best, cost, protocol = sweep.best, size.cost, sweep.run.task.protocol
    roles = (
        ("best", size is best),
        ("not significantly different from the best", size in sweep.ties),
        ("knee", size is sweep.knee and size is not best),
        ("default", size is sweep.default),
    )
    share = ABSENT if best is None else percent(size.efficiency.mean / best.efficiency.mean)
    limit = () if size.memory_share is None else (f"{percent(size.memory_share)} of limit",)
    flag = "" if size.feasible else "breaks a constraint"
    return (
        Cell(number(size.size), tuple(role for role, holds in roles if holds), flag),
        value_cell(size.efficiency, protocol, kind=size.kind or ""),
        Cell(share),
        prefixed_cell(cost.gross, "J", protocol),
        prefixed_cell(cost.net, "J", protocol),
        prefixed_cell(size.p95_s, "s", protocol),
        Cell(octets(size.memory_bytes), limit),
        Cell(", ".join(map(str, size.trials))),
    )


def _row(sweep: BatchSweep, size: Size) -> dict[str, object]:
    unit, cost = sweep.unit, size.cost
    return {
        "trials": size.trials,
        **sweep.model,
        sweep.parameter: Exact(size.size),
        **estimate_cells(f"{unit}s_per_j_{sweep.basis}", size.efficiency),
        "kind": size.kind,
        **estimate_cells(f"j_per_{unit}_gross", cost.gross),
        **estimate_cells(f"j_per_{unit}_net", cost.net),
        **estimate_cells("p95_s", size.p95_s),
        "peak_memory_bytes": size.memory_bytes,
        "memory_limit_bytes": size.memory_limit_bytes,
        "feasible": size.feasible,
        "best": size is sweep.best,
        "not_told_apart": size in sweep.ties,
    }


def _figures(sweep: BatchSweep) -> tuple[Plot, ...]:
    """Efficiency, latency and memory over the same sizes; none of a single size."""
    if len(sweep.sizes) < 2:
        return ()
    x, places = along([s.params for s in sweep.sizes], (sweep.parameter,))
    x = reaching(x, [*places, *([sweep.memory_limit.smallest_oom] if sweep.memory_limit else [])])
    plots = (_efficiency_plot(sweep, x, places), _latency_plot(sweep, x, places), *_memory_plot(sweep, x, places))
    return tuple(plot for plot in plots if plot.drawn)


def _efficiency_plot(sweep: BatchSweep, x: Axis, places: tuple[float, ...]) -> Plot:
    unit = f"{plain(sweep.unit)}s/J"
    detail = f"{sweep.basis}, {sweep.kind}, {domains(sweep.domains)}"
    values = [s.efficiency for s in sweep.sizes]
    means = [v.mean for v in values]
    y = value_axis(means, unit, lambda u: f"efficiency, {u}", prefixed=False, detail=detail)
    series = [estimates(f"{sweep.phase}, {unit}", places, values, y, joined=True)]
    best = sweep.best
    alt = f"Efficiency against {len(values)} sizes of {sweep.parameter}."
    if best is not None:
        series.append(estimates("best", (best.size,), [best.efficiency], y))
        alt += f" The best is {number(best.size)} with {number(best.efficiency.mean)} {unit}."
    if sweep.memory_limit is not None:
        at = sweep.memory_limit.smallest_oom
        name = f"out of memory at {number(at)}"
        series.append(Series(name, (at, at), (min(means), max(means)), dashed=True))
    return Plot("batch-efficiency", f"Efficiency by {sweep.parameter}", alt, x, y, tuple(series))


def _latency_plot(sweep: BatchSweep, x: Axis, places: tuple[float, ...]) -> Plot:
    values = [s.p95_s for s in sweep.sizes]
    known = [v.mean for v in values if v is not None]
    detail = "p95 of steps; lower is better"
    y = value_axis(known, "s", lambda u: f"{sweep.phase} latency, {u}", detail=detail)
    ends = f": {seconds(min(known))} to {seconds(max(known))}" if known else ""
    alt = f"95 % quantile of the time of a step{ends}."
    line = estimates("p95", places, values, y, joined=True)
    return Plot("batch-latency", f"Latency by {sweep.parameter}", alt, x, y, (line,))


def _memory_plot(sweep: BatchSweep, x: Axis, places: tuple[float, ...]) -> Iterator[Plot]:
    known = [(at, s.memory_bytes) for at, s in zip(places, sweep.sizes, strict=True) if s.memory_bytes is not None]
    if not known:
        return
    series = [Series("peak memory", tuple(a for a, _ in known), tuple(m / GIB for _, m in known), line=True)]
    limit_bytes = next((s.memory_limit_bytes for s in sweep.sizes if s.memory_limit_bytes is not None), None)
    limit = sweep.memory_limit
    if limit_bytes is not None:
        ends = (min(places), max([*places, *([limit.smallest_oom] if limit else [])]))
        series.append(Series(f"limit, {octets(limit_bytes)}", ends, (limit_bytes / GIB,) * 2, dashed=True))
    if limit is not None and limit.required_bytes is not None:
        name = "out of memory: needs at least this"
        series.append(Series(name, (limit.smallest_oom,), (limit.required_bytes / GIB,)))
    alt = f"Peak memory against {sweep.parameter}, {octets(max(m for _, m in known))} at most."
    y = Axis(None, "peak memory, GiB")
    yield Plot("batch-memory", f"Memory by {sweep.parameter}", alt, x, y, tuple(series))
