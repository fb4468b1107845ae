"""Can energy be told from figures that are known before a model runs? Fitted on some, judged on others. Pure.

Everything is fitted on logarithms, so that a model is a power law, energy = a · x₁^b₁ · x₂^b₂ …, or, quadratic, one
whose exponents may change with size. Models with the same figures are held out together: tables of architectures
hold many that differ in wiring only, and a fit that has seen one of them knows the others.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebench.records.model import Kind, TrialRecord
from joulebench.spec.task import Task
from joulebench.stats.bootstrap import folds, quantile
from joulebench.stats.estimate import Estimate
from joulebench.studies.proxies.analysis import STATIC, Proxies, proxies

#: Up to so many models each is held out alone; more are held out in `FOLDS` parts.
ALONE, FOLDS = 50, 10
#: Of fewer different models nothing is fitted.
MIN_MODELS = 8
MODELS = "models"
RATIO = ("macs", "parameters")
#: Strengths of the ridge penalty that leave-one-out error on the fitted part chooses among.
ALPHAS = tuple(10.0**power for power in range(-4, 4))

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One model: its figures, which are positive, and the joules to be told."""

    label: str
    figures: Mapping[str, float]
    energy_j: float
    family: str | None = None


@dataclass(frozen=True)
class Rule:
    """What energy is told from, and how; without figures it is their geometric mean."""

    name: str
    figures: tuple[str, ...]
    quadratic: bool = False


@dataclass(frozen=True)
class Score:
    """Errors of a rule on samples that it was not fitted on: predicted over true less 1, in size.

    `r2` is of the logarithms: the share of their variance that is told.
    """

    rule: Rule
    median_error: Estimate
    p95_error: Estimate
    r2: float
    predicted: tuple[float, ...]  # in the samples' order


@dataclass(frozen=True)
class EnergyPrediction:
    """All rules on the same samples; `models` are those with figures of their own, held out in `parts`."""

    samples: tuple[Sample, ...]
    models: int
    parts: int
    scores: tuple[Score, ...]
    across: tuple[Score, ...]  # held out by family, where there are three or more
    unit: str
    kind: Kind | None
    lost: int  # samples without a figure that the others have

    @property
    def best(self) -> Score:
        return min(self.scores, key=lambda s: s.median_error.mean)


def prediction(task: Task, trials: Sequence[TrialRecord]) -> EnergyPrediction | None:
    """Of a run's records: gross energy per unit of the measured phase. None with too few models with figures."""
    found = proxies(task, trials) if task.measured is not None else None
    if found is None:
        return None
    return evaluate(samples_of(found), f"J/{found.unit}", found.kind)


def samples_of(found: Proxies) -> list[Sample]:
    """Every configuration with its figures; runs of several tasks are put together by adding their lists."""
    samples = []
    for s in found.subjects:
        figures: dict[str, float] = {name: s.figures[name] for name in STATIC if s.figures.get(name, 0.0) > 0}
        label = ", ".join(f"{n} {s.params[n]}" for n in s.names)
        if figures and s.cost.gross.mean > 0:
            samples.append(Sample(label, figures, s.cost.gross.mean, s.family))
    return samples


def rules_for(figures: Sequence[str]) -> tuple[Rule, ...]:
    """The mean, each figure alone, MACs per parameter, and all together: linear and quadratic in the logarithms."""
    alone = [Rule(name, (name,)) for name in figures]
    ratio = [Rule("macs per parameter", RATIO)] if set(RATIO) <= set(figures) else []
    together = [Rule("all", tuple(figures)), Rule("all, quadratic", tuple(figures), quadratic=True)]
    return (Rule("mean", ()), *alone, *ratio, *(together if len(figures) > 1 else together[1:]))


def evaluate(samples: Sequence[Sample], unit: str = "J", kind: Kind | None = None) -> EnergyPrediction | None:
    """Every rule, fitted on some models and judged on those held out; None with fewer than `MIN_MODELS`.

    Figures are those that most samples share; a sample that lacks one of them is left out.
    """
    figures = _shared_figures(samples)
    kept = [s for s in samples if all(f in s.figures for f in figures)]
    models = [tuple(s.figures[f] for f in figures) for s in kept]
    distinct = len(set(models))
    if not figures or distinct < MIN_MODELS:
        return None
    varying = [f for f in figures if len({s.figures[f] for s in kept}) > 1]
    parts = folds(models, distinct if distinct <= ALONE else FOLDS)
    scores = [_score(kept, models, parts, rule) for rule in rules_for(varying)]
    families = [s.family for s in kept]
    by_family = None not in families and len(set(families)) >= 3
    across = [_score(kept, families, folds(families, distinct), r) for r in rules_for(varying)] if by_family else []
    return EnergyPrediction(
        samples=tuple(kept),
        models=distinct,
        parts=len(parts),
        scores=tuple(scores),
        across=tuple(across),
        unit=unit,
        kind=kind,
        lost=len(samples) - len(kept),
    )


def _shared_figures(samples: Sequence[Sample]) -> tuple[str, ...]:
    counts: dict[str, int] = {}
    for sample in samples:
        for name in sample.figures:
            counts[name] = counts.get(name, 0) + 1
    return tuple(name for name, n in counts.items() if n > len(samples) / 2)


def _score(
    samples: Sequence[Sample], groups: Sequence[Hashable], parts: Sequence[set[Hashable]], rule: Rule
) -> Score:
    x, y = _design(samples, rule), np.log([s.energy_j for s in samples])
    told = np.empty_like(y)
    for part in parts:
        out = np.array([g in part for g in groups])
        told[out] = _regression(rule).fit(x[~out], y[~out]).predict(x[out])
    errors = [float(e) for e in np.abs(np.expm1(told - y))]
    return Score(
        rule=rule,
        median_error=quantile(errors, groups, 0.5, MODELS),
        p95_error=quantile(errors, groups, 0.95, MODELS),
        r2=float(1 - ((told - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()) if np.ptp(y) > 0 else math.nan,
        predicted=tuple(float(v) for v in np.exp(told)),
    )


def _design(samples: Sequence[Sample], rule: Rule) -> _Array:
    if not rule.figures:
        return np.zeros((len(samples), 1))
    logs = np.log([[s.figures[f] for f in rule.figures] for s in samples])
    return logs[:, :1] - logs[:, 1:] if rule.name == "macs per parameter" else logs


def _regression(rule: Rule) -> Any:
    """scikit-learn's, imported here: it takes a second, that reports without this section need not wait for."""
    from sklearn.dummy import DummyRegressor
    from sklearn.linear_model import LinearRegression, RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    if not rule.figures:
        return DummyRegressor()
    if rule.quadratic:
        return make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), RidgeCV(ALPHAS))
    return LinearRegression()
