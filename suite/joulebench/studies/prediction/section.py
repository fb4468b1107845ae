"""The report's section on telling energy from a model's figures: each rule's error on models held out. Pure."""

from __future__ import annotations

import math

from joulebench.presentation.numbers import ABSENT, number, percent
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import value_axis
from joulebench.presentation.table import Cell, Column, Table, condensed, worded_cell
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import Study
from joulebench.studies.prediction.analysis import EnergyPrediction, Rule, Score, prediction

WORDS = {"macs": "MACs", "bytes_moved": "bytes moved", "macs per parameter": "MACs per parameter"}
HOW = {
    "mean": "none: the geometric mean of the others",
    "all": "all figures, power law",
    "all, quadratic": "all figures, quadratic in their logarithms (ridge)",
}


class PredictionStudy(Study[EnergyPrediction]):
    """Prediction of energy from a model's figures, judged on models held out."""

    name = "prediction"

    def analyse(self, run: Run) -> EnergyPrediction | None:
        return prediction(run)

    def section(self, result: EnergyPrediction, run: Run) -> Section:
        return prediction_section(result)


def prediction_section(fits: EnergyPrediction) -> Section:
    """Everything the report says of it."""
    return Section(
        name="prediction",
        title="Energy told from static figures",
        answer=answer(fits),
        verdict=None,
        sentences=sentences(fits),
        plots=tuple(p for p in (_plot(fits),) if p.drawn),
        tables=tuple(t for t in (_table(fits.scores, "models"), _table(fits.across, "families")) if t.rows),
        rows=tuple(
            {"held_out": what, **_row(s)}
            for what, scores in (("model", fits.scores), ("family", fits.across))
            for s in scores
        ),
    )


def answer(fits: EnergyPrediction) -> str:
    """The best rule's error on models it has not seen, beside the mean's."""
    best, mean = fits.best, fits.scores[0]
    label = f" ({fits.kind})" if fits.kind else ""
    if best is mean:
        return (
            f"No figure tells the energy of a model that was not fitted{label}: the mean of the others is off by "
            f"{_in_words(mean.median_error)}, and no rule by less."
        )
    text = (
        f"The energy of a model that was not fitted is told from {_words(best.rule)} with a median error of "
        f"{_in_words(best.median_error)}{label}; the mean of the others is off by {percent(mean.median_error.mean)}"
    )
    return f"{text}." if below(best, mean) else f"{text}, which chance may explain: the intervals overlap."


def below(a: Score, b: Score) -> bool:
    """Whether a rule's median error lies below another's by more than both intervals."""
    high, low = a.median_error.high, b.median_error.low
    return high is not None and low is not None and high < low


def _words(rule: Rule) -> str:
    if rule.name == "mean":
        return "nothing but the other models' mean"
    return "all figures" if rule.name.startswith("all") else WORDS.get(rule.name, rule.name)


def _in_words(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return percent(value.mean)
    return f"{percent(value.mean)} (95 % interval {percent(value.low)} to {percent(value.high)})"


def sentences(fits: EnergyPrediction) -> tuple[str, ...]:
    """How it was judged, what single figures are worth, other families, and what is missing."""
    parts = (_how(fits), _single(fits), _across(fits), _kind(fits), _lost(fits))
    return tuple(part for part in parts if part)


def _how(fits: EnergyPrediction) -> str:
    held = "one at a time" if fits.parts == fits.models else f"in {fits.parts} parts"
    twins = "" if fits.models == len(fits.samples) else f" ({fits.models} of them different in their figures)"
    return (
        f"{len(fits.samples)} models{twins} were held out {held}, those with equal figures together; each rule is "
        "fitted on logarithms of the others' figures and energy. Errors are predicted over true less 1, in size; "
        "intervals are bootstraps over models."
    )


def _single(fits: EnergyPrediction) -> str | None:
    alone = {s.rule.name: s for s in fits.scores if len(s.rule.figures) == 1}
    parameters, macs = alone.get("parameters"), alone.get("macs")
    if parameters is None or macs is None:
        return None
    better, worse = sorted((parameters, macs), key=lambda s: s.median_error.mean)
    first, second = (f"{_words(s.rule)} alone by {_in_words(s.median_error)}" for s in (better, worse))
    text = f"The median model is missed from {first}, from {second}"
    return f"{text}." if below(better, worse) else f"{text}: the intervals overlap."


def _across(fits: EnergyPrediction) -> str | None:
    if not fits.across:
        return None
    best = min(fits.across, key=lambda s: s.median_error.mean)
    return (
        f"Of a family that was not fitted at all the best rule, {_words(best.rule)}, is off by "
        f"{_in_words(best.median_error)} in the median: that is what a new kind of model meets."
    )


def _kind(fits: EnergyPrediction) -> str | None:
    if fits.kind != "estimated":
        return None
    return (
        "The joules are estimated, at least in part: where a model gives constant power they follow time, and this "
        "is how well time is told."
    )


def _lost(fits: EnergyPrediction) -> str | None:
    return f"{fits.lost} models lack a figure that the others have and are left out." if fits.lost else None


def _table(scores: tuple[Score, ...], held_out: str) -> Table:
    titles = ("Told from", "Median error", "95 % within", "R² of logarithms")
    columns = tuple(Column(t, numeric=i > 0) for i, t in enumerate(titles))
    rows = tuple(
        (
            Cell(HOW.get(s.rule.name, _words(s.rule))),
            _cell(s.median_error),
            _cell(s.p95_error),
            Cell(ABSENT if math.isnan(s.r2) else number(s.r2, 3)),
        )
        for s in scores
    )
    return condensed(Table(f"Error on {held_out} held out", columns, rows))


def _cell(value: Estimate) -> Cell:
    return worded_cell(percent, value.mean, value.low, value.high, (f"n = {value.n} {value.varied}",))


def _plot(fits: EnergyPrediction) -> Plot:
    true = [s.energy_j for s in fits.samples]
    label = f"gross, {fits.kind}" if fits.kind else "gross"
    x = value_axis(true, fits.unit, lambda unit: f"energy as it was, {unit}", detail=label)
    y = value_axis(true, fits.unit, lambda unit: f"energy as told, {unit}")
    shown = [s for s in fits.scores if s in (fits.best, *(s for s in fits.scores if s.rule.name == "parameters"))]
    series = [
        Series(
            HOW.get(s.rule.name, _words(s.rule)),
            tuple(v / x.factor for v in true),
            tuple(v / y.factor for v in s.predicted),
        )
        for s in shown
    ]
    ends = (min(true) / x.factor, max(true) / x.factor)
    line = Series("as it was", ends, ends, dashed=True)
    alt = f"Energy told from figures against energy as it was, for {len(true)} models held out, with the diagonal."
    return Plot("prediction-models", "Energy of models held out", alt, x, y, (*series, line))


def _row(score: Score) -> dict[str, object]:
    return {
        "rule": score.rule.name,
        "figures": score.rule.figures,
        **estimate_cells("median_error", score.median_error),
        **estimate_cells("p95_error", score.p95_error),
        "r2_log": score.r2,
    }
