"""The report's section on repeats, batch size and epochs: distribution, energy by batch, linearity. Pure."""

from __future__ import annotations

from joulebench.presentation.axis import Axis, log_ticks
from joulebench.presentation.numbers import ABSENT, interval, number, percent, prefix, sample_size, si
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates
from joulebench.presentation.table import Cell, Table, worded_cell
from joulebench.presentation.words import about, ci, domains, kind, left_out, plural, with_ci
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate
from joulebench.stats.regression import Line
from joulebench.studies.base import Study
from joulebench.studies.repeatability.analysis import BATCH, EPOCHS, BatchPoint, Point, Repeatability, Spread


class RepeatabilityStudy(Study[Repeatability]):
    """Repeatability: distribution of joules over repeats, by batch size and by number of epochs."""

    name = "repeatability"

    def analyse(self, run: Run) -> Repeatability | None:
        return Repeatability(run)

    def section(self, result: Repeatability, run: Run) -> Section:
        parts = (_energy_or_time, _first_run, _drifts, _proportional)
        plots = (_repeats_plot(result), _batch_plot(result), *_epoch_plots(result))
        excess = result.first_epoch_excess
        first_epoch = (
            "" if excess is None else f"A run's first epoch took {about(excess)} energy than its later ones"
        )
        sentences = (
            f"All joules are gross and {kind(result.kind)} ({domains(result.domains)})." if result.kind else None,
            *(part(result) for part in parts),
            first_epoch and f"{first_epoch} (median over all runs of two epochs or more).",
            left_out(result.lost, len(run.trials)),
        )
        return Section(
            name="repeatability",
            title="Repeatability of the meter",
            answer=_answer(result),
            sentences=tuple(text for text in sentences if text),
            plots=tuple(p for p in plots if p.drawn),
            tables=(_spread_table(result), _batch_table(result), _fit_table(result)),
            rows=tuple(_row(result, point) for point in result.runs),
            columns=tuple(_row(result, None)),  # of a study without runs too
        )


def _energy_or_time(repeated: Repeatability) -> str | None:
    """How much energy, time and power varied over the repeats."""
    energy, time = repeated.spread(f"{repeated.phase} energy"), repeated.spread(f"{repeated.phase} time")
    if energy is None or time is None or energy.runs.rsd is None or time.runs.rsd is None:
        return None
    watts = [e / s for e, s in zip(energy.runs.values, time.runs.values, strict=True)]
    power_range = max(watts) / min(watts) - 1
    text = (
        f"Over the repeats energy per {repeated.unit} varied by {percent(energy.runs.rsd.value)}, time by "
        f"{percent(time.runs.rsd.value)} (relative standard deviations) and power by {percent(power_range)} from "
        "lowest to highest"
    )
    if energy.kind == "estimated" and power_range < 0.01:
        text += ": the estimate follows time, so this is the repeatability of the computation, not of a meter"
    return f"{text}."


def _drifts(repeated: Repeatability) -> str | None:
    parts = [f"{s.name} by {percent(s.drift.relative)}" for s in repeated.spreads if s.drift and s.drift.shows]
    if not parts:
        return None
    return f"Drift from the first repeat to the last: {', '.join(parts)}. It is part of the spread."


def _first_run(repeated: Repeatability) -> str | None:
    """Quantities whose first run is an outlier: one-time costs of a process, not noise of the meter."""
    parts = [
        f"{s.name} by {percent(s.first_excess)} (relative standard deviation of the others "
        f"{percent(s.rsd_of_others.value if s.rsd_of_others else None)})"
        for s in repeated.spreads
        if s.first_is_outlier
    ]
    if not parts:
        return None
    return (
        f"The first run is an outlier: it differs from the median of the others in {', '.join(parts)}. A process "
        "loads and allocates once."
    )


def _proportional(repeated: Repeatability) -> str | None:
    """Whether training energy has an offset besides its slope in epochs."""
    line = repeated.energy_fit
    if line is None or line.intercept.low is None or line.intercept.high is None:
        return None
    offset = with_ci(line.intercept, _joules)
    if line.intercept.low <= 0 <= line.intercept.high:
        return f"Training energy is proportional to epochs: the fit's offset of {offset} is not significant."
    return f"Training energy is linear in epochs with a significant offset of {offset}."


def _joules(value: float) -> str:
    return si(value, "J")


def _spread_table(repeated: Repeatability) -> Table:
    titles = (
        *("Identical runs", "n", "Mean", "Relative standard deviation"),
        *("Least", "5 %", "Median", "95 %", "Most", "Drift"),
    )
    return Table.of("Distribution over identical runs", titles, (_spread_row(s) for s in repeated.spreads))


def _spread_row(spread: Spread) -> tuple[Cell, ...]:
    runs = spread.runs
    factor, letter = prefix(runs.mean)
    quantiles = [runs.quantiles[share] for share in (0.05, 0.5, 0.95)]
    values = [runs.minimum, *quantiles, runs.maximum]
    rsd = Cell(ABSENT)
    if runs.rsd is not None:
        rsd = worded_cell(percent, runs.rsd.value, runs.rsd.low, runs.rsd.high)
    drift = Cell(ABSENT)
    if (change := spread.drift) is not None:
        flag = "drifts" if change.shows else ""
        drift = worded_cell(percent, change.relative, change.low, change.high, flag=flag)
    return (
        Cell(spread.name, (spread.kind,) if spread.kind else ()),
        Cell(str(len(runs.values))),
        Cell(f"{number(runs.mean / factor)} {letter}{spread.unit}"),
        rsd,
        *(Cell(number(v / factor)) for v in values),
        drift,
    )


def _batch_table(repeated: Repeatability) -> Table:
    titles = ("Batch", "Runs", f"Energy per {repeated.unit}", f"Time per {repeated.unit}", "Training per sample",
              "Training per epoch", "Time per epoch")  # fmt: skip
    basis = f"gross; {repeated.kind}" if repeated.kind else "gross"
    rows = tuple(_batch_row(b) for b in repeated.batches)
    return Table.of(f"By batch size ({basis})", titles, rows, text=0)


def _batch_row(batch: BatchPoint) -> tuple[Cell, ...]:
    return (
        Cell(number(batch.batch_size)),
        Cell(str(len(batch.trials))),
        _value(batch.phase_j, "J"),
        _value(batch.phase_s, "s"),
        _value(batch.train_j_per_sample, "J"),
        _value(batch.train_j_per_epoch, "J"),
        _value(batch.train_s_per_epoch, "s"),
    )


def _value(value: Estimate | None, unit: str) -> Cell:
    if value is None:
        return Cell(ABSENT)
    factor, letter = prefix(value.mean)
    text = f"{number(value.mean / factor)} {letter}{unit}"
    return Cell(text, (sample_size(value),), interval=interval(value, factor) or "")


def _fit_table(repeated: Repeatability) -> Table:
    rows = []
    for name, line, unit in (("energy", repeated.energy_fit, "J"), ("time", repeated.time_fit, "s")):
        if line is not None:
            label = _label(repeated) if unit == "J" else ""
            rows.append(
                (
                    Cell(f"Training {name}{label}"),
                    _value(line.intercept, unit),
                    _value(line.slope, f"{unit}/epoch"),
                    Cell(ABSENT if line.r2 is None else number(line.r2, 5)),
                    Cell(ABSENT if line.residual_sd is None else si(line.residual_sd, unit)),
                    Cell(str(line.n)),
                )
            )
    titles = ("y = a + b · epochs", "a (offset)", "b (per epoch)", "R²", "Residual standard deviation", "Runs")
    return Table.of("Linearity of training in epochs (least squares, 95 % intervals)", titles, rows)


def _repeats_plot(repeated: Repeatability) -> Plot:
    series = tuple(
        Series(
            s.name + (f" ({s.kind})" if s.kind else ""),
            tuple(float(i) for i in range(1, len(s.runs.values) + 1)),
            tuple(100 * (v / s.runs.mean - 1) for v in s.runs.values),
            line=True,
        )
        for s in repeated.spreads
    )
    alt = (
        f"Deviation of {len(series)} quantities from their means over {repeated.repeats} identical runs, in order."
    )
    y = Axis(None, "deviation from the mean, %")
    return Plot("repeatability-runs", "Identical runs in order", alt, Axis(None, "run"), y, series)


def _batch_plot(repeated: Repeatability) -> Plot:
    label = _label(repeated)
    means = [e.mean for b in repeated.batches for e in (b.phase_j, b.train_j_per_sample) if e is not None]
    factor, letter = prefix(min(means, default=1.0))
    ticks = log_ticks(min(means) / factor, max(means) / factor) if means else ()
    y = Axis(None, f"energy, {letter}J/{repeated.unit}", factor, log=True, ticks=ticks, detail=_gross(repeated))
    sizes = tuple(b.batch_size for b in repeated.batches)
    best = repeated.best_batch
    alt = f"Energy per {repeated.unit} against {len(sizes)} batch sizes" + (
        f"; least at batch {number(best.batch_size)}." if best else "."
    )
    x = Axis(None, "batch size", log=True, ticks=sizes)
    series = (
        estimates(f"{repeated.phase}{label}", sizes, [b.phase_j for b in repeated.batches], y, joined=True),
        estimates(f"training{label}", sizes, [b.train_j_per_sample for b in repeated.batches], y, joined=True),
    )
    return Plot("repeatability-batch", f"Energy per {repeated.unit} by batch size", alt, x, y, series)


def _epoch_plots(repeated: Repeatability) -> tuple[Plot, Plot]:
    trained = repeated.trainings
    epochs = [float(t.epochs[0]) for t in trained]
    joules, seconds = [t.gross.mean for t in trained], [t.seconds.mean for t in trained]
    energy, time = Axis(None, "training energy, J", detail=_gross(repeated)), Axis(None, "training time, s")
    return (
        _line_plot("energy", energy, epochs, joules, repeated.energy_fit),
        _line_plot("time", time, epochs, seconds, repeated.time_fit),
    )


def _gross(repeated: Repeatability) -> str:
    return f"gross, {repeated.kind}" if repeated.kind else "gross"


def _line_plot(name: str, y: Axis, epochs: list[float], values: list[float], line: Line | None) -> Plot:
    series = [Series("runs", tuple(epochs), tuple(values))]
    if line is not None:
        ends = (0.0, max(epochs))
        r2 = "" if line.r2 is None else f", R² {number(line.r2, 4)}"
        series.append(Series(f"least squares{r2}", ends, tuple(line.at(x) for x in ends), dashed=True))
    alt = f"Training {name} against epochs over {len(epochs)} runs, with the least-squares line."
    caption = f"Training {name} against epochs"
    return Plot(f"repeatability-{name}", caption, alt, Axis(None, "epochs"), y, tuple(series))


def _row(repeated: Repeatability, point: Point | None) -> dict[str, object]:
    """One run as data; its columns without one."""
    trial, p, t = (point.trials[0], point.phase, point.train) if point else (None, None, None)
    return {
        "trial": trial and trial.trial, "stage": trial and trial.stage,
        "batch_size": Exact(trial and trial.params.get(BATCH)), "epochs": Exact(trial and trial.params.get(EPOCHS)),
        "kind": p and p.kind, "measured_batch": p and p.step_units,
        **estimate_cells(f"j_per_{repeated.unit}", p.gross if p else None),
        f"s_per_{repeated.unit}": p and p.unit_s.mean,
        "train_epochs": t and t.epochs[0], "train_samples": t and t.units[0], "train_j": t and t.gross.mean,
        "train_s": t and t.seconds.mean, "train_first_epoch_j": point and point.first_j,
        "train_kind": t and t.gross.kind,
    }  # fmt: skip


def _answer(repeated: Repeatability) -> str:
    """Spread between identical runs, the best batch size, and energy per epoch, as far as they are known."""
    parts = [p for p in (_repeats(repeated), _batch(repeated), _epochs(repeated)) if p]
    if not parts:
        return f"No usable repeat or sweep among {plural(len(repeated.run.trials), 'trial')}."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}{_label(repeated)}."


def _label(repeated: Repeatability) -> str:
    return f" ({repeated.kind})" if repeated.kind else ""


def _repeats(repeated: Repeatability) -> str | None:
    values = [f"{percent(s.runs.rsd.value)} in {s.name}" for s in repeated.spreads if s.kind and s.runs.rsd]
    if not values:
        return None
    return f"{repeated.repeats} identical runs differ by {' and '.join(values)} (relative standard deviation)"


def _batch(repeated: Repeatability) -> str | None:
    best = repeated.best_batch
    joules = [b.phase_j.mean for b in repeated.batches if b.phase_j is not None]
    if best is None or best.phase_j is None or len(joules) < 2:
        return None
    return (
        f"batch {number(best.batch_size)} takes the least energy per {repeated.unit} of {repeated.phase}; the "
        f"worst takes {number(max(joules) / best.phase_j.mean, 3)} times as much"
    )


def _epochs(repeated: Repeatability) -> str | None:
    line = repeated.energy_fit
    if line is None or line.r2 is None:
        return None
    return f"training takes {si(line.slope.mean, 'J')} per epoch{ci(line.slope, _joules)}, R² {number(line.r2, 4)}"
