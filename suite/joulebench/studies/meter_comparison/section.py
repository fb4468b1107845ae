"""The report's section on meters: joules by source over the same windows, and what metering cost. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, number, percent, seconds, watts
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Table
from joulebench.presentation.words import plural
from joulebench.results.power_curve import CURVE_MODEL, CURVE_SOURCE, LOAD_MODEL
from joulebench.results.run import Run
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import NEEDS_ENERGY, Study
from joulebench.studies.meter_comparison.analysis import (
    RAM_BY_SIZE,
    UTILISATION_MODEL,
    Load,
    MeterComparison,
    Source,
    meter_comparison,
)

#: What the models are that are computed from a window's conditions.
_MODELS = {
    LOAD_MODEL: "TDP × (0.1 + 0.9 × load³), CodeCarbon's, of the window's mean load",
    UTILISATION_MODEL: "TDP × load, what Mavromatis et al. (arXiv 2406.14328) take where RAPL cannot be read",
    CURVE_MODEL: f"a share of the TDP by load, interpolated ({CURVE_SOURCE})",
    RAM_BY_SIZE: "3 W per 8 GiB of installed memory, CodeCarbon's model before version 3",
}


class MeterComparisonStudy(Study[MeterComparison]):
    """Every source of joules over the same windows: how far apart they are, and what each meter costs."""

    name = "meter_comparison"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> MeterComparison | None:
        return meter_comparison(run)

    def section(self, result: MeterComparison, run: Run) -> Section:
        return Section(
            name="meter_comparison",
            title="Meters against one another",
            answer=_answer(result),
            sentences=tuple(_sentences(result)),
            plots=tuple(_plots(result)),
            tables=tuple(t for t in (_loads(result), _costs(result)) if t.rows),
            rows=tuple(row for load in (*result.loads, result.total) for row in _rows(load)),
        )


def _answer(result: MeterComparison) -> str:
    """By how much the sources differ on the same windows, and what the meters cost."""
    total = result.total
    parts = [_apart(result, source) for source in total.ratios]
    if result.without is not None:
        parts.append(
            f"with models in place of the counters the run's joules would be {number(result.without.mean, 3)} times"
            f"{_some(result, result.without)}"
        )
    took = ""
    if result.metering:
        read_s = sum(m.read_s for m in result.metering)
        each = ", ".join(f"{m.meter} {percent(m.share)}" for m in result.metering)
        took = f" Reading the meters took {seconds(read_s)}; with their samples in between, of the time: {each}."
    same = f"{plural(total.windows, 'window')} ({seconds(total.seconds)})"
    return f"Over the same {same}, {'; '.join(parts)}. {_footing(total)}{took}"


def _apart(result: MeterComparison, source: Source) -> str:
    """`teads_curve (estimated) gives 1.4 times the cpu joules of rapl_package (measured): 0.9 at … to 3.2 at …`."""
    ratios = sorted((load.ratios[source].mean, load.name) for load in result.loads if source in load.ratios)
    ends = " to ".join(f"{number(ratio, 3)} at {name}" for ratio, name in (*ratios[:1], *ratios[-1:]))
    apart = f": {ends}" if ratios and ratios[0][0] < ratios[-1][0] * 0.999 else ""
    times = f"{number(result.total.ratios[source].mean, 3)} times"
    of = _named(result.total.primary(source.domain))
    some = _some(result, result.total.ratios[source])
    return f"{_named(source)} gives {times} the {source.domain} joules of {of}{some}{apart}"


def _some(result: MeterComparison, ratio: Estimate) -> str:
    return "" if ratio.n == result.total.windows else f" in {ratio.n} of the windows"


def _named(source: Source) -> str:
    return f"{source.name} ({_kind(source)})"


def _kind(source: Source) -> str:
    return "replayed" if source.name == "replay" else source.kind


def _footing(total: Load) -> str:
    """What the comparison rests on: counters, recorded traces, or models alone."""
    primary = [s for s in total.power_w if s.origin == "primary"]
    if any(s.name == "replay" for s in primary):
        return "The counters' joules are replayed from a trace, not of this machine."
    if [s for s in primary if s.kind == "measured"]:
        return "Where a model stands beside a counter, the difference is the model's error."
    return "No counter was read: these are models against one another; how far from the truth, this run cannot say."


def _sentences(result: MeterComparison) -> Iterator[str]:
    if computed := [s.name for s in result.total.ratios if s.origin == "computed"]:
        tdp = f" with a TDP of {watts(result.tdp_w)}" if result.tdp_w is not None else ""
        yield f"Computed from recorded conditions{tdp}: {'; '.join(f'{n} is {_MODELS[n]}' for n in computed)}."
    yield (
        "The ratio at one load is the mean over its windows, with the 95 % interval of their spread; over all "
        "windows it is one of sums. No interval holds a model's error."
    )


def _loads(result: MeterComparison) -> Table:
    sources = list(result.total.power_w)
    titles = ("Load", "CPU load", *(f"{_named(s)}, {s.domain}, W" for s in sources))
    rows = (
        (
            Cell(load.name, (plural(load.windows, "window"),)),
            Cell(ABSENT if load.utilisation is None else percent(load.utilisation)),
            *(_power(load, s) for s in sources),
        )
        for load in (*result.loads, result.total)
    )
    return Table.of("Mean power by load and source; below it, times the primary source", titles, rows)


def _power(load: Load, source: Source) -> Cell:
    if source not in load.power_w:
        return Cell(ABSENT)
    ratio = load.ratios.get(source)
    if ratio is None:
        return Cell(number(load.power_w[source]))
    varies = ratio.low is not None and number(ratio.low, 3) != number(ratio.high, 3)  # not two constants
    ends = f" [{number(ratio.low, 3)}, {number(ratio.high, 3)}]" if varies else ""
    return Cell(number(load.power_w[source]), (f"× {number(ratio.mean, 3)}{ends}",))


def _costs(result: MeterComparison) -> Table:
    titles = ("Meter", "Reads", "Time of a read", "In reads", "CPU time of samples", "Of the windows' time")
    rows = (
        (
            Cell(m.meter),
            Cell(number(m.reads)),
            Cell(seconds(m.read_s / m.reads)),
            Cell(seconds(m.read_s)),
            Cell(ABSENT if m.sampling_s is None else seconds(m.sampling_s)),
            Cell(percent(m.share)),
        )
        for m in result.metering
    )
    return Table.of("What each meter cost, over the windows that recorded it", titles, rows)


def _plots(result: MeterComparison) -> Iterator[Plot]:
    """Power of the CPU against its load, by source."""
    known = [(100 * u, load) for load in result.loads if (u := load.utilisation) is not None]
    known.sort(key=lambda pair: pair[0])
    series = []
    for source in (s for s in result.total.power_w if s.domain == "cpu"):
        having = [(u, load.power_w[source]) for u, load in known if source in load.power_w]
        places, powers = tuple(u for u, _ in having), tuple(w for _, w in having)
        series.append(Series(_named(source), places, powers, line=True))
    if len(known) > 1 and series:
        alt = (
            f"Mean CPU power against CPU load at {plural(len(known), 'load')}, by {plural(len(series), 'source')}."
        )
        x, y = Axis(None, "CPU load, %"), Axis(None, "CPU power, W")
        yield Plot("meter_comparison-cpu", "Power of the CPU by source", alt, x, y, tuple(series))


def _rows(load: Load) -> Iterator[dict[str, object]]:
    for source, power_w in load.power_w.items():
        yield {
            "load": load.name, "windows": load.windows, "seconds": load.seconds,
            "cpu_utilisation": load.utilisation, "domain": source.domain, "source": source.name,
            "kind": source.kind, "role": source.origin, "power_w": power_w,
            **estimate_cells("ratio", load.ratios.get(source)),
        }  # fmt: skip
