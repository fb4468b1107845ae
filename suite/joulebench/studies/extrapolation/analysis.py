"""How well would a training's end have been told from its first epochs? Every rule against what came. Pure."""

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
#: Parts that the models are held out in; one each where there are fewer.
FOLDS = 10
TRAININGS = "trainings"


@dataclass(frozen=True)
class Case:
    """A training that came to its end; `model` is what the calibrated rule may not know of it beforehand.

    The first training of a process does not calibrate: it pays for what is loaded once.
    """

    model: Hashable
    training: Training
    calibrates: bool = True


@dataclass(frozen=True)
class Accuracy:
    """Errors of one rule after `seen` segments, predicted over true less 1: median and 95 % quantile of their size.

    `covered` is the share of 95 % intervals that hold the truth, `half_width` their median half-width relative to
    the truth, both over the `with_interval` predictions that have one.
    """

    amount: Amount
    rule: Rule
    seen: int
    share: float  # of the work, median
    n: int
    models: int
    median_error: Estimate
    p95_error: Estimate
    bias: float  # median with its sign
    with_interval: int
    covered: float | None
    half_width: float | None


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """Each training told from its first 1, 2, 3 … segments by each rule, and compared with its end.

    The calibrated rule knows the trainings of all models but those held out with this one; only of `known_models`
    of them, drawn at random, where that is given: as it stands early in a search.
    """

    cases: Sequence[Case]
    domains: tuple[str, ...] = ()
    kind: Kind | None = None
    lost: int = 0  # trials whose training cannot be judged: failed, or of fewer than two epochs
    known_models: int | None = None

    @cached_property
    def accuracies(self) -> tuple[Accuracy, ...]:
        parts = _parts(self.cases, self.known_models)
        longest = max((len(c.training.segments) for c in self.cases), default=0)
        made = (
            _accuracy(self.cases, parts, amount, rule, seen)
            for amount in AMOUNTS
            for seen in range(1, longest)
            for rule in RULES
        )
        return tuple(a for a in made if a is not None)

    def of(self, amount: Amount, rule: Rule, seen: int) -> Accuracy | None:
        asked = (a for a in self.accuracies if (a.amount, a.rule, a.seen) == (amount, rule, seen))
        return next(asked, None)

    @property
    def points(self) -> tuple[int, ...]:
        """After how many segments there is a prediction."""
        return tuple(sorted({a.seen for a in self.accuracies}))

    @property
    def startup_share(self) -> float | None:
        """Of the joules; median over the trainings."""
        shares = [s for c in self.cases if (s := startup_share(c.training)) is not None]
        return median(shares) if shares else None

    @property
    def first_excess(self) -> float | None:
        """The first epoch's joules per unit over the later ones', less 1; median over the trainings."""
        excesses = [e for c in self.cases if (e := first_excess(c.training)) is not None]
        return median(excesses) if excesses else None


def extrapolation(run: Run) -> Extrapolation | None:
    """The trainings of a run; None where no trial trained for two epochs or more."""
    teachers = {t.trial for t in calibrating(run.trials)}
    cases, windows = [], []
    for trial in run.trials:
        training = Training.of(trial.windows, run.families)
        if trial.status == "ok" and len(training.segments) >= 2:
            cases.append(Case(configuration_key(run.task, trial.params), training, trial.trial in teachers))
            windows += [w for w in trial.windows if w.phase in ("build", "train", "validate")]
    if not cases:
        return None
    names = common_domains(windows, run.families)
    kinds = {r.kind for w in windows for r in w.readings if r.role == "primary" and r.domain in names}
    return Extrapolation(cases, names, combined(kinds) if kinds else None, len(run.trials) - len(cases))


@dataclass(frozen=True)
class _Part:
    """Cases that are judged together, and the trainings that the calibrated rule knows meanwhile."""

    judged: tuple[Case, ...]
    known: tuple[Training, ...]


def _parts(cases: Sequence[Case], known_models: int | None) -> list[_Part]:
    models = list(dict.fromkeys(c.model for c in cases))
    parts: list[_Part] = []
    for held_out in folds(models, FOLDS):
        others = [m for m in models if m not in held_out]
        if known_models is not None:
            order = np.random.default_rng(len(parts)).permutation(len(others))
            others = [others[i] for i in order[:known_models]]
        judged = tuple(c for c in cases if c.model in held_out)
        known = set(others)
        parts.append(_Part(judged, tuple(c.training for c in cases if c.model in known and c.calibrates)))
    return parts


def startup_share(training: Training) -> float | None:
    """Joules before the first segment, of all joules; None where they are not known."""
    total = training.total("energy_j")
    return training.startup_j / total if training.startup_j is not None and total else None


def first_excess(training: Training) -> float | None:
    """The first segment's joules per unit over the later ones', less 1; None where they are not known."""
    first, *later = training.segments
    later_j = [s.energy_j for s in later if s.energy_j is not None]
    units = sum(s.units for s in later)
    if first.energy_j is None or first.units <= 0 or not later_j or len(later_j) < len(later) or units <= 0:
        return None
    return (first.energy_j / first.units) / (sum(later_j) / units) - 1 if sum(later_j) > 0 else None


def _accuracy(
    cases: Sequence[Case], parts: Sequence[_Part], amount: Amount, rule: Rule, seen: int
) -> Accuracy | None:
    predictions = _calibrated(parts, amount, seen) if rule == "calibrated" else _alone(cases, amount, rule, seen)
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


def _calibrated(parts: Sequence[_Part], amount: Amount, seen: int) -> Iterator[tuple[Case, Prediction | None]]:
    for part in parts:
        calibration = calibrate(part.known, seen, amount)
        if calibration is not None:
            for case in _longer(part.judged, seen):
                yield case, calibration.predict(case.training.first(seen), case.training.units)


def _longer(cases: Sequence[Case], seen: int) -> list[Case]:
    return [c for c in cases if len(c.training.segments) > seen]
