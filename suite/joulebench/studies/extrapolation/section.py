"""The report's section on short profiles: how far off each rule is, by how much it has seen. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, percent
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates
from joulebench.presentation.table import Cell, Column, Table, condensed, worded_cell
from joulebench.results.forecast import MIN_FINISHED, RULES, Amount
from joulebench.results.run import Run
from joulebench.studies.base import Study
from joulebench.studies.extrapolation.analysis import AMOUNTS, Accuracy, Extrapolation, extrapolation

WORDS: Mapping[Amount, str] = {"energy_j": "energy", "seconds": "time"}


class ExtrapolationStudy(Study[Extrapolation]):
    """Extrapolation of a training's energy and time from its first epochs, every rule against what came."""

    name = "extrapolation"

    def analyse(self, run: Run) -> Extrapolation | None:
        return extrapolation(run)

    def section(self, result: Extrapolation, run: Run) -> Section:
        return extrapolation_section(result)


def extrapolation_section(forecasts: Extrapolation) -> Section:
    """Everything the report says of it."""
    return Section(
        name="extrapolation",
        title="The whole training from its first epochs",
        answer=answer(forecasts),
        verdict=None,
        sentences=sentences(forecasts),
        plots=tuple(p for p in (_plot(forecasts, amount) for amount in AMOUNTS) if p.drawn),
        tables=tuple(t for t in (_table(forecasts, amount) for amount in AMOUNTS) if t.rows),
        rows=tuple(_row(a) for a in forecasts.accuracies),
    )


def answer(forecasts: Extrapolation) -> str:
    """Every rule's median error of energy (of time, where no energy is known) after the first epoch."""
    amount: Amount = "energy_j" if any(a.amount == "energy_j" for a in forecasts.accuracies) else "seconds"
    first = [a for r in RULES if (a := forecasts.of(amount, r, 1)) is not None]
    if not first:
        return f"None of {len(forecasts.cases)} trainings can be told from its first epoch."
    rules = ", ".join(f"{a.rule} {percent(a.median_error.mean)}" for a in first)
    one = max(first, key=lambda a: a.n)
    label = f" ({forecasts.kind})" if amount == "energy_j" and forecasts.kind else ""
    told = f"{one.n} trainings of {one.models} configurations"
    return (
        f"After one epoch, {percent(one.share)} of the work, the median error of the whole training's "
        f"{WORDS[amount]}{label} is: {rules}; {told}."
    )


def sentences(forecasts: Extrapolation) -> tuple[str, ...]:
    """What a training is here, what its start costs, how far to trust the intervals, and what is missing."""
    parts = (_what(forecasts), _start(forecasts), _intervals(forecasts), _calibrated(forecasts), _lost(forecasts))
    return tuple(part for part in parts if part)


def _what(forecasts: Extrapolation) -> str:
    domains = (
        f"joules are gross over {' + '.join(forecasts.domains)}" if forecasts.domains else "no joules are known"
    )
    if forecasts.kind == "estimated":
        domains += ", estimated at least in part (where a model follows time, energy is as easy to tell as time)"
    return (
        "A training is its build and its epochs, each with the validation after it; errors are predicted over true "
        f"less 1, in size, and intervals bootstraps over configurations; {domains}."
    )


def _start(forecasts: Extrapolation) -> str | None:
    if forecasts.startup_share is None:
        return None
    text = f"Start-up took {percent(forecasts.startup_share)} of a training's energy"
    if forecasts.first_excess is None:
        return f"{text} (median)."
    side = "more" if forecasts.first_excess >= 0 else "less"
    return (
        f"{text}, and the first epoch {percent(abs(forecasts.first_excess))} {side} per unit of work than the "
        "later ones (medians): that is what the rules differ in."
    )


def _intervals(forecasts: Extrapolation) -> str | None:
    parts = []
    for rule in RULES:
        known = [
            a for a in forecasts.accuracies if a.rule == rule and a.amount == "energy_j" and a.covered is not None
        ]
        n = sum(a.with_interval for a in known)
        if n:
            held = sum((a.covered or 0.0) * a.with_interval for a in known) / n
            parts.append(f"{percent(held)} of {n} for the {rule} rule")
    return f"95 % intervals held the true energy in {' and '.join(parts)}." if parts else None


def _calibrated(forecasts: Extrapolation) -> str | None:
    if any(a.rule == "calibrated" for a in forecasts.accuracies):
        return (
            "The calibrated rule knows how the trainings of other configurations in this run went on, never this "
            "configuration's own, nor the first training of a process, which pays for what is loaded once."
        )
    return f"The calibrated rule needs {MIN_FINISHED} trainings of other configurations, and there are not as many."


def _lost(forecasts: Extrapolation) -> str | None:
    if not forecasts.lost:
        return None
    return f"{forecasts.lost} trials have no training of two epochs or more and are left out."


def _table(forecasts: Extrapolation, amount: Amount) -> Table:
    shown = [r for r in RULES if any(a.rule == r and a.amount == amount for a in forecasts.accuracies)]
    rows = []
    for seen in forecasts.points:
        known = [a for r in shown if (a := forecasts.of(amount, r, seen)) is not None]
        if known:
            most = max(known, key=lambda a: a.n)
            cells = (_cell(forecasts.of(amount, rule, seen)) for rule in shown)
            rows.append((Cell(str(seen)), Cell(percent(most.share)), Cell(str(most.n)), *cells))
    titles = ("Epochs seen", "Share of the work", "Trainings", *shown)
    columns = tuple(Column(t, numeric=True) for t in titles)
    return condensed(Table(f"Error of the whole training's {WORDS[amount]}, median", columns, tuple(rows)))


def _cell(accuracy: Accuracy | None) -> Cell:
    if accuracy is None:
        return Cell(ABSENT)
    median, p95 = accuracy.median_error, accuracy.p95_error
    details = [f"95 % within {percent(p95.mean)}"]
    if accuracy.half_width is not None and accuracy.covered is not None:
        details.append(f"interval ± {percent(accuracy.half_width)}, held {percent(accuracy.covered)}")
    return worded_cell(percent, median.mean, median.low, median.high, tuple(details))


def _plot(forecasts: Extrapolation, amount: Amount) -> Plot:
    alt = f"Median error of the whole training's {WORDS[amount]} against the epochs seen, one line a rule."
    detail = forecasts.kind or "" if amount == "energy_j" else ""
    y = Axis(None, f"median error of {WORDS[amount]}, %", 0.01, detail=detail)
    series = []
    for rule in RULES:
        seen = [a for p in forecasts.points if (a := forecasts.of(amount, rule, p)) is not None]
        places = [float(a.seen) for a in seen]
        series.append(estimates(rule, places, [a.median_error for a in seen], y, joined=True))
    x = Axis(None, "epochs seen", ticks=tuple(float(p) for p in forecasts.points))
    return Plot(
        f"extrapolation-{WORDS[amount]}", f"Error of {WORDS[amount]} by epochs seen", alt, x, y,
        tuple(s for s in series if s.x),
    )  # fmt: skip


def _row(accuracy: Accuracy) -> dict[str, object]:
    return {
        "quantity": WORDS[accuracy.amount],
        "rule": accuracy.rule,
        "epochs_seen": accuracy.seen,
        "share_seen": accuracy.share,
        "trainings": accuracy.n,
        "configurations": accuracy.models,
        **estimate_cells("median_error", accuracy.median_error),
        **estimate_cells("p95_error", accuracy.p95_error),
        "bias": accuracy.bias,
        "with_interval": accuracy.with_interval,
        "interval_held": accuracy.covered,
        "interval_half_width": accuracy.half_width,
    }
