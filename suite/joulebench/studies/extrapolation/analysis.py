"""Extrapolation of a training's energy and time from its first epochs, compared with the true totals. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

import numpy as np

from joulebench.records.model import Kind, combined
from joulebench.results.energy import common_domains
from joulebench.results.forecast import RULES, Amount, Prediction, Rule, Training, calibrate, calibrating, predict
from joulebench.results.outcome import configuration_key
from joulebench.results.run import Run
from joulebench.stats.bootstrap import folds, quantile
from joulebench.stats.estimate import Estimate

AMOUNTS: tuple[Amount, ...] = ("energy_j", "seconds")
#: Of the cross-validation over models; leave-one-out where there are fewer.
FOLDS = 10
TRAININGS = "trainings"


@dataclass(frozen=True)
class Case:
    """A finished training of a `model`; trainings of the same model are held out together.

    The first training of a process does not calibrate: it includes one-time loading.
    """

    model: Hashable
    training: Training
    calibrates: bool = True


@dataclass(frozen=True)
class Accuracy:
    """Errors of one rule after `seen` epochs: median and 95 % quantile of |predicted / true − 1|.

    `covered` is the share of 95 % intervals that hold the true value, `half_width` their median half-width relative
    to it, both over the `with_interval` predictions that have one.
    """

    amount: Amount
    rule: Rule
    seen: int
    share: float  # of the work, median
    n: int
    models: int
    median_error: Estimate
    p95_error: Estimate
    bias: float  # median of predicted / true − 1
    with_interval: int
    covered: float | None
    half_width: float | None


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """Totals predicted from the first 1, 2, 3 … epochs by each rule, and their errors.

    The calibrated rule is fitted on the trainings of the models in other folds; with `known_models`, on only so
    many of them, drawn at random, as early in a search.
    """

    cases: Sequence[Case]
    domains: tuple[str, ...] = ()
    kind: Kind | None = None
    lost: int = 0  # trials left out: failed, or of fewer than two epochs
    known_models: int | None = None

    @cached_property
    def accuracies(self) -> tuple[Accuracy, ...]:
        by_fold = _by_fold(self.cases, self.known_models)
        longest = max((len(c.training.segments) for c in self.cases), default=0)
        return tuple(
            a
            for amount in AMOUNTS
            for seen in range(1, longest)
            for rule in RULES
            if (a := _accuracy(self.cases, by_fold, amount, rule, seen)) is not None
        )

    def of(self, amount: Amount, rule: Rule, seen: int) -> Accuracy | None:
        """Return the accuracy of a rule after `seen` epochs; None where it predicts nothing."""
        return next((a for a in self.accuracies if (a.amount, a.rule, a.seen) == (amount, rule, seen)), None)

    @property
    def points(self) -> tuple[int, ...]:
        """The numbers of epochs after which there is a prediction."""
        return tuple(sorted({a.seen for a in self.accuracies}))

    @property
    def startup_share(self) -> float | None:
        """Joules of start-up over all joules of a training; median over trainings."""
        shares = [s for c in self.cases if (s := startup_share(c.training)) is not None]
        return median(shares) if shares else None

    @property
    def first_excess(self) -> float | None:
        """Joules per unit of the first epoch over those of the later ones, less 1; median over trainings."""
        excesses = [e for c in self.cases if (e := first_excess(c.training)) is not None]
        return median(excesses) if excesses else None


def extrapolation(run: Run) -> Extrapolation | None:
    """Extrapolate the trainings of a run; None where no trial trained for two epochs or more."""
    calibrates = {t.trial for t in calibrating(run.trials)}
    cases, windows = [], []
    for trial in run.trials:
        training = Training.of(trial.windows, run.families)
        if trial.status == "ok" and len(training.segments) >= 2:
            cases.append(Case(configuration_key(run.task, trial.params), training, trial.trial in calibrates))
            windows += [w for w in trial.windows if w.phase in ("build", "train", "validate")]
    if not cases:
        return None
    names = common_domains(windows, run.families)
    kinds = {r.kind for w in windows for r in w.readings if r.role == "primary" and r.domain in names}
    return Extrapolation(cases, names, combined(kinds) if kinds else None, len(run.trials) - len(cases))


@dataclass(frozen=True)
class _Fold:
    """Cases that are held out together, and the trainings that the calibrated rule is fitted on."""

    held_out: tuple[Case, ...]
    fitted: tuple[Training, ...]


def _by_fold(cases: Sequence[Case], known_models: int | None) -> list[_Fold]:
    models = list(dict.fromkeys(c.model for c in cases))
    by_fold: list[_Fold] = []
    for held_out in folds(models, FOLDS):
        others = [m for m in models if m not in held_out]
        if known_models is not None:
            order = np.random.default_rng(len(by_fold)).permutation(len(others))
            others = [others[i] for i in order[:known_models]]
        judged = tuple(c for c in cases if c.model in held_out)
        known = set(others)
        by_fold.append(_Fold(judged, tuple(c.training for c in cases if c.model in known and c.calibrates)))
    return by_fold


def startup_share(training: Training) -> float | None:
    """Return the share of a training's joules spent before its first epoch; None where they are not known."""
    total = training.total("energy_j")
    return training.startup_j / total if training.startup_j is not None and total else None


def first_excess(training: Training) -> float | None:
    """Return the first epoch's joules per unit over the later ones', less 1; None where they are not known."""
    first, *later = training.segments
    later_j = [s.energy_j for s in later if s.energy_j is not None]
    units = sum(s.units for s in later)
    if first.energy_j is None or first.units <= 0 or not later_j or len(later_j) < len(later) or units <= 0:
        return None
    return (first.energy_j / first.units) / (sum(later_j) / units) - 1 if sum(later_j) > 0 else None


def _accuracy(
    cases: Sequence[Case], by_fold: Sequence[_Fold], amount: Amount, rule: Rule, seen: int
) -> Accuracy | None:
    predictions = _calibrated(by_fold, amount, seen) if rule == "calibrated" else _alone(cases, amount, rule, seen)
    judged = [(c, p, truth) for c, p in predictions if p is not None and (truth := c.training.total(amount))]
    if not judged:
        return None
    errors = [p.total / truth - 1 for _, p, truth in judged]
    models = [c.model for c, _, _ in judged]
    sizes = [abs(e) for e in errors]
    ends = [(p.low, p.high, truth) for _, p, truth in judged if p.low is not None and p.high is not None]
    return Accuracy(
        amount=amount,
        rule=rule,
        seen=seen,
        share=median(c.training.first(seen).units / c.training.units for c, _, _ in judged),
        n=len(judged),
        models=len(set(models)),
        median_error=quantile(sizes, models, 0.5, TRAININGS),
        p95_error=quantile(sizes, models, 0.95, TRAININGS),
        bias=median(errors),
        with_interval=len(ends),
        covered=fmean(low <= truth <= high for low, high, truth in ends) if ends else None,
        half_width=median((high - low) / 2 / truth for low, high, truth in ends) if ends else None,
    )


def _alone(
    cases: Sequence[Case], amount: Amount, rule: Rule, seen: int
) -> Iterator[tuple[Case, Prediction | None]]:
    for case in _longer(cases, seen):
        yield case, predict(case.training.first(seen), case.training.units, rule, amount)


def _calibrated(by_fold: Sequence[_Fold], amount: Amount, seen: int) -> Iterator[tuple[Case, Prediction | None]]:
    for fold in by_fold:
        calibration = calibrate(fold.fitted, seen, amount)
        if calibration is not None:
            for case in _longer(fold.held_out, seen):
                yield case, calibration.predict(case.training.first(seen), case.training.units)


def _longer(cases: Sequence[Case], seen: int) -> list[Case]:
    return [c for c in cases if len(c.training.segments) > seen]
