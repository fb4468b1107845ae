"""The report's section on extrapolating trainings: each rule's error by the number of epochs seen. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import ABSENT, percent
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates
from joulebench.presentation.table import Cell, Table, condensed, worded_cell
from joulebench.presentation.words import about, domains, kind, plural
from joulebench.results.forecast import MIN_FINISHED, RULES, Amount
from joulebench.results.run import Run
from joulebench.studies.base import Study
from joulebench.studies.extrapolation.analysis import AMOUNTS, Accuracy, Extrapolation, extrapolation

WORDS: Mapping[Amount, str] = {"energy_j": "energy", "seconds": "time"}


class ExtrapolationStudy(Study[Extrapolation]):
    """Extrapolation of a training's energy and time from its first epochs, each rule compared with the truth."""

    name = "extrapolation"

    def analyse(self, run: Run) -> Extrapolation | None:
        return extrapolation(run)

    def section(self, result: Extrapolation, run: Run) -> Section:
        return Section(
            name="extrapolation",
            title="The whole training from its first epochs",
            answer=_answer(result),
            sentences=tuple(_sentences(result)),
            plots=tuple(p for p in (_plot(result, amount) for amount in AMOUNTS) if p.drawn),
            tables=tuple(t for t in (_table(result, amount) for amount in AMOUNTS) if t.rows),
            rows=tuple(_row(a) for a in result.accuracies),
        )


def _answer(result: Extrapolation) -> str:
    """State each rule's median error of energy (of time, where no energy is known) after the first epoch."""
    amount: Amount = "energy_j" if any(a.amount == "energy_j" for a in result.accuracies) else "seconds"
    first = [a for r in RULES if (a := result.of(amount, r, 1)) is not None]
    if not first:
        return f"None of {plural(len(result.cases), 'training')} can be predicted from its first epoch."
    rules = ", ".join(f"{a.rule} {percent(a.median_error.mean)}" for a in first)
    most = max(first, key=lambda a: a.n)
    label = f" ({result.kind})" if amount == "energy_j" and result.kind else ""
    trainings = f"{plural(most.n, 'training')} of {plural(most.models, 'configuration')}"
    return (
        f"After one epoch, {percent(most.share)} of the work, the median error of the whole training's "
        f"{WORDS[amount]}{label} is: {rules}; {trainings}."
    )


def _sentences(result: Extrapolation) -> Iterator[str]:
    joules = f"joules are gross over {domains(result.domains)}" if result.domains else "no joules are known"
    if result.kind == "estimated":
        joules += f", {kind(result.kind)} (where a load model follows time, energy is as easy to predict as time)"
    yield (
        "A training includes building the model, its epochs and the validation after each epoch; an error is "
        f"|predicted / true − 1|, intervals are bootstraps over configurations; {joules}."
    )
    if (startup := result.startup_share) is not None:
        text = f"Start-up took {percent(startup)} of a training's energy"
        if result.first_excess is not None:
            text += f", and the first epoch {about(result.first_excess)} per unit of work than the later ones"
        yield f"{text} (medians over trainings); the rules differ in how they treat these."
    held = []
    for rule in RULES:
        energy = [a for a in result.accuracies if (a.rule, a.amount) == (rule, "energy_j") and a.with_interval]
        if n := sum(a.with_interval for a in energy):
            share = sum((a.covered or 0.0) * a.with_interval for a in energy) / n
            held.append(f"{percent(share)} of {plural(n, 'prediction')} by the {rule} rule")
    if held:
        yield f"95 % intervals contained the true energy in {' and '.join(held)}."
    if any(a.rule == "calibrated" for a in result.accuracies):
        yield (
            "The calibrated rule is fitted on finished trainings of other configurations in this run, never on "
            "this configuration's own, nor on the first training of a process, which includes one-time loading."
        )
    else:
        yield f"The calibrated rule needs {MIN_FINISHED} trainings of other configurations, and there are fewer."
    if result.lost:
        has, is_ = ("has", "is") if result.lost == 1 else ("have", "are")
        yield f"{plural(result.lost, 'trial')} {has} no training of two epochs or more and {is_} left out."


def _table(result: Extrapolation, amount: Amount) -> Table:
    shown = [r for r in RULES if any(a.rule == r and a.amount == amount for a in result.accuracies)]
    rows = []
    for seen in result.points:
        accuracies = [result.of(amount, rule, seen) for rule in shown]
        most = max((a for a in accuracies if a is not None), key=lambda a: a.n, default=None)
        if most is not None:
            rows.append((Cell(str(seen)), Cell(percent(most.share)), Cell(str(most.n)), *map(_cell, accuracies)))
    titles = ("Epochs seen", "Share of the work", "Trainings", *shown)
    return condensed(Table.of(f"Error of the whole training's {WORDS[amount]}, median", titles, rows, text=0))


def _cell(accuracy: Accuracy | None) -> Cell:
    if accuracy is None:
        return Cell(ABSENT)
    median, p95 = accuracy.median_error, accuracy.p95_error
    details = [f"95 % within {percent(p95.mean)}"]
    if accuracy.half_width is not None and accuracy.covered is not None:
        details.append(
            f"interval ± {percent(accuracy.half_width)}, contains the truth in {percent(accuracy.covered)}"
        )
    return worded_cell(percent, median.mean, median.low, median.high, tuple(details))


def _plot(result: Extrapolation, amount: Amount) -> Plot:
    alt = f"Median error of the whole training's {WORDS[amount]} against the epochs seen, one line per rule."
    detail = result.kind or "" if amount == "energy_j" else ""
    y = Axis(None, f"median error of {WORDS[amount]}, %", 0.01, detail=detail)
    series = []
    for rule in RULES:
        seen = [a for p in result.points if (a := result.of(amount, rule, p)) is not None]
        if seen:
            places = [float(a.seen) for a in seen]
            series.append(estimates(rule, places, [a.median_error for a in seen], y, joined=True))
    x = Axis(None, "epochs seen", ticks=tuple(float(p) for p in result.points))
    caption = f"Error of {WORDS[amount]} by epochs seen"
    return Plot(f"extrapolation-{WORDS[amount]}", caption, alt, x, y, tuple(series))


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
