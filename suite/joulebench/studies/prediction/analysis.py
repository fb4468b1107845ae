"""Prediction of a model's energy from static figures (MACs, parameters, …), cross-validated over models. Pure.

Everything is fitted on logarithms, so that a model is a power law, energy = a · x₁^b₁ · x₂^b₂ …, or, quadratic, one
whose exponents may change with size. Models with the same figures are held out together: tables of architectures
hold many that differ in wiring only, and a fit that has seen one of them knows the others.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from joulebench.records.model import Kind
from joulebench.results.run import Run
from joulebench.stats.bootstrap import folds, quantile
from joulebench.stats.estimate import Estimate
from joulebench.stats.linear import least_squares, quadratic, ridge
from joulebench.studies.proxies.analysis import STATIC, Proxies, proxies

#: Leave-one-out up to so many models; `FOLDS`-fold cross-validation of more.
ALONE, FOLDS = 50, 10
#: With fewer different models nothing is fitted.
MIN_MODELS = 8
MODELS = "models"
RATIO = ("macs", "parameters")
#: Strengths of the ridge penalty, chosen among by leave-one-out error on the training folds.
ALPHAS = tuple(10.0**power for power in range(-4, 4))

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """One model: its static figures, all positive, and the joules per unit to predict."""

    label: str
    figures: Mapping[str, float]
    energy_j: float
    family: str | None = None


@dataclass(frozen=True)
class Rule:
    """A regression of log(energy) on the logarithms of some figures; without figures, the geometric mean."""

    name: str
    figures: tuple[str, ...]
    quadratic: bool = False


@dataclass(frozen=True)
class Score:
    """Cross-validated errors of a rule: |predicted / true − 1|.

    `r2` is that of the logarithms (negative: worse than their mean; NaN: they do not vary).
    """

    rule: Rule
    median_error: Estimate
    p95_error: Estimate
    r2: float
    predicted: tuple[float, ...]  # in the samples' order


@dataclass(frozen=True, eq=False)
class EnergyPrediction:
    """Every rule, cross-validated on the same samples."""

    samples: tuple[Sample, ...]
    figures: tuple[str, ...]  # those that every sample has
    unit: str
    kind: Kind | None
    lost: int  # samples left out for lack of a figure that the others have

    @cached_property
    def _models(self) -> list[tuple[float, ...]]:
        return [tuple(s.figures[f] for f in self.figures) for s in self.samples]

    @property
    def models(self) -> int:
        """Number of models that differ in their figures."""
        return len(set(self._models))

    @cached_property
    def _folds(self) -> list[set[Hashable]]:
        return folds(self._models, self.models if self.models <= ALONE else FOLDS)

    @property
    def n_folds(self) -> int:
        """Number of folds."""
        return len(self._folds)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return rules_for([f for f in self.figures if len({s.figures[f] for s in self.samples}) > 1])

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        return tuple(_score(self.samples, self._models, self._folds, rule) for rule in self.rules)

    @cached_property
    def across_families(self) -> tuple[Score, ...]:
        """Scores with whole families held out; empty with fewer than three families."""
        families = [s.family for s in self.samples]
        if None in families or len(set(families)) < 3:
            return ()
        by_family = folds(families, self.models)
        return tuple(_score(self.samples, families, by_family, rule) for rule in self.rules)

    @property
    def best(self) -> Score:
        return min(self.scores, key=lambda s: s.median_error.mean)


def prediction(run: Run) -> EnergyPrediction | None:
    """Predict a run's gross joules per unit of the measured phase; None with too few models that have figures."""
    subjects = proxies(run)
    return None if subjects is None else evaluate(samples_of(subjects), f"J/{subjects.unit}", subjects.kind)


def samples_of(proxies: Proxies) -> list[Sample]:
    """Return each configuration as a sample; lists of several runs may be concatenated."""
    samples = []
    for s in proxies.subjects:
        known = (name for name in STATIC if name != "flops")  # a fit gains nothing from MACs twice
        figures: dict[str, float] = {name: s.figures[name] for name in known if s.figures.get(name, 0.0) > 0}
        label = ", ".join(f"{n} {s.params[n]}" for n in s.names)
        if figures and s.cost.gross.mean > 0:
            samples.append(Sample(label, figures, s.cost.gross.mean, s.family))
    return samples


def rules_for(figures: Sequence[str]) -> tuple[Rule, ...]:
    """List the mean, each figure alone, MACs per parameter, and all figures, linear and quadratic in logarithms."""
    alone = [Rule(name, (name,)) for name in figures]
    ratio = [Rule("macs per parameter", RATIO)] if set(RATIO) <= set(figures) else []
    together = [Rule("all", tuple(figures)), Rule("all, quadratic", tuple(figures), quadratic=True)]
    return (Rule("mean", ()), *alone, *ratio, *(together if len(figures) > 1 else together[1:]))


def evaluate(samples: Sequence[Sample], unit: str = "J", kind: Kind | None = None) -> EnergyPrediction | None:
    """Cross-validate every rule; None with fewer than `MIN_MODELS` models.

    Figures are those that more than half of the samples have; a sample that lacks one of them is left out.
    """
    counts = Counter(name for sample in samples for name in sample.figures)
    figures = tuple(name for name, n in counts.items() if n > len(samples) / 2)
    kept = tuple(s for s in samples if all(f in s.figures for f in figures))
    result = EnergyPrediction(kept, figures, unit, kind, len(samples) - len(kept))
    return result if figures and result.models >= MIN_MODELS else None


def _score(
    samples: Sequence[Sample], groups: Sequence[Hashable], held_out: Sequence[set[Hashable]], rule: Rule
) -> Score:
    x, y = _design(samples, rule), np.log([s.energy_j for s in samples])
    log_predicted = np.empty_like(y)
    for fold in held_out:
        out = np.array([g in fold for g in groups])
        log_predicted[out] = _predicted(rule, x[~out], y[~out], x[out])
    errors = [float(e) for e in np.abs(np.expm1(log_predicted - y))]
    return Score(
        rule=rule,
        median_error=quantile(errors, groups, 0.5, MODELS),
        p95_error=quantile(errors, groups, 0.95, MODELS),
        r2=float(1 - ((log_predicted - y) ** 2).sum() / ((y - y.mean()) ** 2).sum()) if np.ptp(y) > 0 else math.nan,
        predicted=tuple(float(v) for v in np.exp(log_predicted)),
    )


def _design(samples: Sequence[Sample], rule: Rule) -> _Array:
    if not rule.figures:
        return np.zeros((len(samples), 1))
    logs = np.log([[s.figures[f] for f in rule.figures] for s in samples])
    return logs[:, :1] - logs[:, 1:] if rule.name == "macs per parameter" else logs


def _predicted(rule: Rule, x: _Array, y: _Array, new: _Array) -> _Array:
    """What a rule fitted to `x` and `y` has for `new`."""
    if not rule.figures:
        return np.full(len(new), y.mean())
    if rule.quadratic:
        features = quadratic(x)
        return ridge(features(x), y, ALPHAS).at(features(new))
    return least_squares(x, y).at(new)
