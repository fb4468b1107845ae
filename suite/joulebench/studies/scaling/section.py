"""Report section on model size: scaling of joules per unit of work with parameters and FLOPs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from joulebench.presentation.numbers import ABSENT, count, number, percent, si
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, power_law, value_axis
from joulebench.presentation.table import (
    MAX_ROWS,
    Cell,
    Table,
    condensed,
    first_column,
    of_all,
    prefixed_cell,
    worded_cell,
)
from joulebench.presentation.units import plain
from joulebench.presentation.words import domains, kind, plural, times, with_ci
from joulebench.results.run import Run
from joulebench.studies.base import Study
from joulebench.studies.scaling.analysis import MEASURES, MIN_SIZES, Fit, Measure, Model, Scaling, scaling

#: Axes of power laws are logarithmic from this span on.
LOG_FROM = 4.0
WORDS: dict[Measure, str] = {"parameters": "parameters", "flops": "FLOPs per unit of work"}
SHORT: dict[Measure, str] = {"parameters": "parameters", "flops": "FLOPs"}


class ScalingStudy(Study[Scaling]):
    """Scaling of joules per unit of work with the size of the model: exponents with intervals."""

    name = "scaling"

    def analyse(self, run: Run) -> Scaling | None:
        return scaling(run)

    def section(self, result: Scaling, run: Run) -> Section:
        sentences = (
            f"Energy is gross over {domains(result.domains)} and {kind(result.kind)}. Lines are least squares "
            "through log10(J/unit) = a + b · log10(x), each configuration counting once; intervals by Student's t.",
            _proportion(result),
            _tenfold(result),
            *_other_phases(result),
            _explained(result),
            _left_out(result),
            _without_line(result),
        )
        return Section(
            name="scaling",
            title="Energy against model size",
            answer=_answer(result),
            sentences=tuple(filter(None, sentences)),
            plots=tuple(p for p in (_plot(result, m) for m in MEASURES) if p.drawn),
            tables=(_fits_table(result), _models_table(result)),
            rows=tuple(_row(result, m) for m in result.models),
        )


def _answer(scaling: Scaling) -> str:
    if scaling.main is not None:
        return f"{_law(scaling.main)}, over {scaling.main.models} configurations ({scaling.kind})."
    sizes = plural(max((f.sizes for f in scaling.fits), default=0), "different model size")
    return f"No line can be fitted: {sizes} where at least {MIN_SIZES} are needed."


def _law(fit: Fit) -> str:
    """`Energy per token of request grows as parameters to the power 0.83 (95 % interval 0.76 to 0.90), R² 0.99`."""
    assert fit.line is not None
    slope = fit.line.slope
    verb = "grows" if slope.mean >= 0 else "falls"
    if slope.low is not None and slope.high is not None and slope.low <= 0 <= slope.high:
        verb = "shows no significant trend: it goes"
    r2 = "" if fit.line.r2 is None else f", R² {number(fit.line.r2, 3)}"
    work = f"{plain(fit.unit)} of {fit.phase}"
    return f"Energy per {work} {verb} as {WORDS[fit.measure]} to the power {with_ci(slope)}{r2}"


def _proportion(scaling: Scaling) -> str | None:
    fit = scaling.main
    if fit is None or fit.line is None or fit.line.slope.low is None or fit.line.slope.high is None:
        return None
    if fit.line.slope.low <= 1 <= fit.line.slope.high:
        return f"The interval includes 1: energy in proportion to {WORDS[fit.measure]} is consistent with the data."
    than = "less" if fit.line.slope.high < 1 else "more"
    each = "parameter" if fit.measure == "parameters" else "FLOP"
    return f"That is {than} than proportional (1): over these sizes a larger model takes {than} energy per {each}."


def _tenfold(scaling: Scaling) -> str | None:
    fit = scaling.main
    if fit is None or fit.line is None:
        return None
    slope = fit.line.slope
    low, high = (None if end is None else 10**end for end in (slope.low, slope.high))
    factor = times(replace(slope, mean=10**slope.mean, low=low, high=high), f" the energy per {plain(fit.unit)}")
    scatter = (
        "" if fit.scatter is None else f"; the residual standard deviation is a factor of {number(fit.scatter, 3)}"
    )
    span = f"{si(fit.low, '')} to {si(fit.high, '')}"
    return f"Ten times the {WORDS[fit.measure]} take {factor}{scatter}. The fit covers {span} {WORDS[fit.measure]}."


def _other_phases(scaling: Scaling) -> list[str]:
    main = scaling.main
    if main is None:
        return []
    fits = [scaling.overall(main.measure, p) for p in scaling.phases if p != main.phase]
    return [f"{_law(f)}." for f in fits if f is not None and f.line is not None]


def _explained(scaling: Scaling) -> str | None:
    fits = [scaling.overall(m, scaling.main_phase) for m in MEASURES]
    known = [(f, f.line.r2) for f in fits if f is not None and f.line is not None and f.line.r2 is not None]
    if len(known) < 2:
        return None
    parts = ", ".join(f"{percent(r2)} by {WORDS[f.measure]}" for f, r2 in known)
    fit, _ = known[0]
    return f"Explained variance of log energy per {plain(fit.unit)} of {fit.phase}: {parts}."


def _left_out(scaling: Scaling) -> str | None:
    if not scaling.left_out:
        return None
    stages = "stage does" if len(scaling.left_out) == 1 else "stages do"
    return (
        f"The fits over all sweeps leave out {', '.join(scaling.left_out)}: the {stages} not change the number of "
        "parameters."
    )


def _without_line(scaling: Scaling) -> str | None:
    missing = [f for f in scaling.fits if f.line is None]
    if not missing:
        return None
    parts = dict.fromkeys(
        f"{WORDS[f.measure]}, {_sweep(f)} ({plural(f.sizes, 'different value')})" for f in missing
    )
    return f"No line with fewer than {MIN_SIZES} different sizes: {'; '.join(parts)}."


def _sweep(fit: Fit) -> str:
    if fit.stage is None:
        return "all sweeps of size"
    return f"stage {fit.stage}" if fit.varies == (fit.stage,) else f"stage {fit.stage} ({', '.join(fit.varies)})"


def _fits_table(scaling: Scaling) -> Table:
    """One row per sweep and phase, with the fits in both measures side by side."""
    pairs: dict[tuple[str, str], dict[Measure, Fit]] = {}
    for fit in scaling.fits:
        pairs.setdefault((_sweep(fit), fit.phase), {})[fit.measure] = fit
    lines = [title for measure in MEASURES for title in (f"b, {SHORT[measure]}", "R²", "Scatter")]
    titles = ("Sweep", "Phase", *lines, "Parameters from", "to", "Configurations")
    rows = tuple(_fit_row(sweep, phase, fits) for (sweep, phase), fits in pairs.items())
    return Table.of(f"J per unit ∝ x^b, gross ({scaling.kind}); scatter is a factor", titles, rows, text=2)


def _fit_row(sweep: str, phase: str, fits: Mapping[Measure, Fit]) -> tuple[Cell, ...]:
    any_fit, sized = next(iter(fits.values())), fits.get("parameters")
    ends = (si(sized.low, ""), si(sized.high, "")) if sized else (ABSENT, ABSENT)
    lines = [cell for measure in MEASURES for cell in _line_cells(fits.get(measure))]
    head = Cell(sweep), Cell(phase, (f"J per {plain(any_fit.unit)}",))
    return (*head, *lines, Cell(ends[0]), Cell(ends[1]), Cell(str(any_fit.models)))


def _line_cells(fit: Fit | None) -> tuple[Cell, Cell, Cell]:
    if fit is None or fit.line is None:
        why = ABSENT if fit is None else f"no line: {fit.sizes} of {MIN_SIZES} sizes"
        return Cell(why), Cell(ABSENT), Cell(ABSENT)
    slope = fit.line.slope
    exponent = worded_cell(lambda v: number(v, 3), slope.mean, slope.low, slope.high)
    r2 = ABSENT if fit.line.r2 is None else number(fit.line.r2, 4)
    scatter = ABSENT if fit.scatter is None else number(fit.scatter, 3)
    return exponent, Cell(r2), Cell(scatter)


def _models_table(scaling: Scaling) -> Table:
    every, protocol = scaling.models, scaling.run.task.protocol
    step = -(-len(every) // MAX_ROWS)  # evenly over the sizes where there are many
    models = every[::step]
    first, names = first_column([m.params for m in models], scaling.names)
    titles = [first, "Parameters"]
    for phase, unit in scaling.phases.items():
        titles += [f"J per {plain(unit)} of {phase}", f"FLOPs per {plain(unit)}"]
    rows = []
    for name, model in zip(names, models, strict=True):
        row = [Cell(name), Cell(count(model.parameters))]
        for phase in scaling.phases:
            cost = model.costs.get(phase)
            row += [
                prefixed_cell(cost.gross if cost else None, "J", protocol),
                Cell(si(model.flops.get(phase), "")),
            ]
        rows.append(tuple(row))
    some = of_all(len(models), len(every), "evenly chosen")
    return condensed(Table.of(f"Configurations by size, gross ({scaling.kind}){some}", titles, rows))


def _plot(scaling: Scaling, measure: Measure) -> Plot:
    models = scaling.sized
    xs = [x for m in models for p in scaling.phases if (x := m.x(measure, p)) is not None]
    ys = [c.gross.mean for m in models for c in m.costs.values()]
    x_axis = value_axis(xs, "", lambda u: f"{WORDS[measure]}{f', {u}' if u else ''}", log_from=LOG_FROM)
    detail = f"{scaling.kind}, {domains(scaling.domains)}"
    y_axis = value_axis(ys, "J", lambda u: f"{u} per unit, gross", log_from=LOG_FROM, detail=detail)
    points, curves, laws = [], [], []
    for phase, unit in scaling.phases.items():
        pairs = [(x, m.costs[phase].gross) for m in models if phase in m.costs and (x := m.x(measure, phase))]
        name = f"{phase}, per {plain(unit)}"
        fit = scaling.overall(measure, phase)
        if fit is not None and fit.line is not None:
            name += f": b = {number(fit.line.slope.mean, 3)}"
            curves.append(power_law(f"line of {phase}", fit.line, fit.low, fit.high, x_axis, y_axis))
            laws.append(f" {_law(fit)}.")
        places = [x / x_axis.factor for x, _ in pairs]
        points.append(estimates(name, places, [v for _, v in pairs], y_axis))
    alt = f"Joules per unit against {WORDS[measure]} for {len(models)} configurations.{''.join(laws)}"
    caption = f"Energy per unit against {WORDS[measure]}"
    return Plot(f"scaling-{measure}", caption, alt, x_axis, y_axis, (*points, *curves))


def _row(scaling: Scaling, model: Model) -> dict[str, object]:
    row: dict[str, object] = {"trials": model.trials}
    row |= {f"param_{n}": Exact(v) for n, v in model.params.items()} | {"parameters": model.parameters}
    for phase, unit in scaling.phases.items():
        cost = model.costs.get(phase)
        row |= estimate_cells(f"{phase}_j_per_{unit}_gross", cost.gross if cost else None)
        row[f"{phase}_kind"] = cost.kind if cost else None
        row[f"{phase}_flops_per_{unit}"] = model.flops.get(phase)
    return row
