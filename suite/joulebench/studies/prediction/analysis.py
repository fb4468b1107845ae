"""Can energy be told from figures that are known before a model runs? Fitted on some, judged on others. Pure.

Everything is fitted on logarithms, so that a model is a power law, energy = a · x₁^b₁ · x₂^b₂ …, or, quadratic, one
whose exponents may change with size. Models with the same figures are held out together: tables of architectures
hold many that differ in wiring only, and a fit that has seen one of them knows the others.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from joulebench.records.model import Kind
from joulebench.results.run import Run
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


@dataclass(frozen=True, eq=False)
class EnergyPrediction:
    """Every rule on the same samples, fitted on some models and judged on those held out."""

    samples: tuple[Sample, ...]
    figures: tuple[str, ...]  # that every sample has
    unit: str
    kind: Kind | None
    lost: int  # samples without a figure that the others have

    @cached_property
    def _models(self) -> list[tuple[float, ...]]:
        return [tuple(s.figures[f] for f in self.figures) for s in self.samples]

    @property
    def models(self) -> int:
        """How many have figures of their own."""
        return len(set(self._models))

    @cached_property
    def _parts(self) -> list[set[Hashable]]:
        return folds(self._models, self.models if self.models <= ALONE else FOLDS)

    @property
    def parts(self) -> int:
        """In how many parts they are held out."""
        return len(self._parts)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return rules_for([f for f in self.figures if len({s.figures[f] for s in self.samples}) > 1])

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        return tuple(_score(self.samples, self._models, self._parts, rule) for rule in self.rules)

    @cached_property
    def across(self) -> tuple[Score, ...]:
        """Held out by family, where there are three or more."""
        families = [s.family for s in self.samples]
        if None in families or len(set(families)) < 3:
            return ()
        parts = folds(families, self.models)
        return tuple(_score(self.samples, families, parts, rule) for rule in self.rules)

    @property
    def best(self) -> Score:
        return min(self.scores, key=lambda s: s.median_error.mean)


def prediction(run: Run) -> EnergyPrediction | None:
    """Gross energy per unit of a run's measured phase; None with too few models with figures."""
    known = proxies(run)
    return None if known is None else evaluate(samples_of(known), f"J/{known.unit}", known.kind)


def samples_of(proxies: Proxies) -> list[Sample]:
    """Every configuration with its figures; runs of several tasks are put together by adding their lists."""
    samples = []
    for s in proxies.subjects:
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
    kept = tuple(s for s in samples if all(f in s.figures for f in figures))
    judged = EnergyPrediction(kept, figures, unit, kind, len(samples) - len(kept))
    return judged if figures and judged.models >= MIN_MODELS else None


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
