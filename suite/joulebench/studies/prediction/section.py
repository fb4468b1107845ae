"""The report's section on predicting energy from static figures: each rule's cross-validated error. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from joulebench.presentation.numbers import ABSENT, number, percent
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import value_axis
from joulebench.presentation.table import Cell, Table, condensed, worded_cell
from joulebench.presentation.words import plural, with_ci
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import Study
from joulebench.studies.prediction.analysis import EnergyPrediction, Score, prediction

#: Rules as tables and figures name them.
TITLES = {
    "mean": "none: the geometric mean of the others",
    "macs": "MACs",
    "bytes_moved": "bytes moved",
    "macs per parameter": "MACs per parameter",
    "all": "all figures, power law",
    "all, quadratic": "all figures, quadratic in their logarithms (ridge)",
}


class PredictionStudy(Study[EnergyPrediction]):
    """Prediction of energy from a model's static figures, judged on held-out models."""

    name = "prediction"

    def analyse(self, run: Run) -> EnergyPrediction | None:
        return prediction(run)

    def section(self, result: EnergyPrediction, run: Run) -> Section:
        by_model, by_family = result.scores, result.across_families
        return Section(
            name="prediction",
            title="Energy predicted from static figures",
            answer=answer(result),
            sentences=tuple(_sentences(result)),
            plots=tuple(p for p in (_plot(result),) if p.drawn),
            tables=tuple(t for t in (_table(by_model, "models"), _table(by_family, "families")) if t.rows),
            rows=tuple(
                {"held_out": what, **_row(s)}
                for what, scores in (("model", by_model), ("family", by_family))
                for s in scores
            ),
        )


def answer(result: EnergyPrediction) -> str:
    """State the best rule's error on held-out models, beside that of the mean."""
    best, mean = result.best, result.scores[0]
    label = f" ({result.kind})" if result.kind else ""
    if best is mean:
        return (
            f"No figure predicts the energy of a held-out model{label} better than the mean of the other models, "
            f"whose median error is {with_ci(mean.median_error, percent)}."
        )
    text = (
        f"The energy of a held-out model is predicted from {_words(best)} with a median error of "
        f"{with_ci(best.median_error, percent)}{label}; the error of the other models' mean is "
        f"{percent(mean.median_error.mean)}"
    )
    return f"{text}." if below(best, mean) else f"{text}, and the intervals overlap."


def below(a: Score, b: Score) -> bool:
    """Return whether the interval of `a`'s median error lies wholly below that of `b`."""
    high, low = a.median_error.high, b.median_error.low
    return high is not None and low is not None and high < low


def _words(score: Score) -> str:
    if score.rule.name == "mean":
        return "nothing but the other models' mean"
    return "all figures" if score.rule.name.startswith("all") else _title(score)


def _title(score: Score) -> str:
    return TITLES.get(score.rule.name, score.rule.name)


def _sentences(result: EnergyPrediction) -> Iterator[str]:
    held_out = "one at a time" if result.n_folds == result.models else f"in {result.n_folds} folds"
    twins = "" if result.models == len(result.samples) else f" ({result.models} of them different in their figures)"
    yield (
        f"{len(result.samples)} models{twins} are held out {held_out}, those with equal figures together; each "
        "rule is fitted on the logarithms of the other models' figures and energy. An error is "
        "|predicted / true − 1|; intervals are bootstraps over models."
    )
    alone = {s.rule.name: s for s in result.scores if len(s.rule.figures) == 1}
    if {"parameters", "macs"} <= set(alone):
        better, worse = sorted((alone["parameters"], alone["macs"]), key=lambda s: s.median_error.mean)
        first, second = (f"{with_ci(s.median_error, percent)} from {_words(s)} alone" for s in (better, worse))
        overlap = "" if below(better, worse) else "; the intervals overlap"
        yield f"The median error is {first} and {second}{overlap}."
    if result.across_families:
        best = min(result.across_families, key=lambda s: s.median_error.mean)
        yield (
            f"With whole families of models held out, the best rule, {_words(best)}, has a median error of "
            f"{with_ci(best.median_error, percent)}: expect that of a new kind of model."
        )
    if result.kind == "estimated":
        yield (
            "The joules are estimated, at least in part: where a load model gives constant power, they are "
            "proportional to time, and the errors are those of predicting time."
        )
    if result.lost:
        has, is_ = ("lacks", "is") if result.lost == 1 else ("lack", "are")
        yield f"{plural(result.lost, 'model')} {has} a figure that the others have and {is_} left out."


def _table(scores: tuple[Score, ...], held_out: str) -> Table:
    titles = ("Predicted from", "Median error", "95 % within", "R² of logarithms")
    rows = tuple(
        (
            Cell(_title(s)),
            _cell(s.median_error),
            _cell(s.p95_error),
            Cell(ABSENT if math.isnan(s.r2) else number(s.r2, 3)),
        )
        for s in scores
    )
    return condensed(Table.of(f"Error on held-out {held_out}", titles, rows))


def _cell(value: Estimate) -> Cell:
    return worded_cell(percent, value.mean, value.low, value.high, (f"n = {value.n} {value.varied}",))


def _plot(result: EnergyPrediction) -> Plot:
    true = [s.energy_j for s in result.samples]
    label = f"gross, {result.kind}" if result.kind else "gross"
    x = value_axis(true, result.unit, lambda unit: f"true energy, {unit}", detail=label)
    y = value_axis(true, result.unit, lambda unit: f"predicted energy, {unit}")
    at = tuple(v / x.factor for v in true)
    series = [
        Series(_title(s), at, tuple(v / y.factor for v in s.predicted))
        for s in result.scores
        if s is result.best or s.rule.name == "parameters"
    ]
    diagonal = Series("predicted = true", (min(at), max(at)), (min(at), max(at)), dashed=True)
    alt = f"Predicted against true energy of {len(true)} held-out models, with the diagonal."
    return Plot("prediction-models", "Predicted energy of held-out models", alt, x, y, (*series, diagonal))


def _row(score: Score) -> dict[str, object]:
    return {
        "rule": score.rule.name,
        "figures": score.rule.figures,
        **estimate_cells("median_error", score.median_error),
        **estimate_cells("p95_error", score.p95_error),
        "r2_log": score.r2,
    }
