"""Forecast of a training's total energy and time from its first epochs. Pure.

Three rules need only the training itself; U units of work in all, u of them done:

    proportional   (E₀ + E) · U/u                      start-up included in the work, as most calculators do
    two-term       E₀ + E · U/u                        start-up E₀ as a separate constant
    steady         E₀ + E + r · (U − u)                r: joules per unit after the first epoch, which alone has
                                                       the cost of caches, allocation and kernel selection

The fourth, `calibrated`, also uses finished trainings of the same machine: the ratio of the remaining cost per unit
to that observed at the same point, by a regression on the power and the time per unit observed so far. It corrects
for the first epoch's extra cost and for the noise of a power sensor over a few seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Literal

from joulebench.records.model import TrialRecord, Window
from joulebench.results.energy import common_domains, joules
from joulebench.stats.estimate import estimate, t_quantile, t_quantile_of
from joulebench.stats.linear import BayesianPlane, bayesian

Rule = Literal["proportional", "two-term", "steady", "calibrated"]
RULES: tuple[Rule, ...] = ("proportional", "two-term", "steady", "calibrated")
Amount = Literal["energy_j", "seconds"]

#: Finished trainings from which their mean ratio is taken …
MIN_FINISHED = 2
#: … and from which it may depend on what was seen: fewer would fit their own noise.
MIN_REGRESSED = 8


@dataclass(frozen=True)
class Segment:
    """One epoch with the validation after it; `energy_j` is None where it was not measured."""

    units: int
    energy_j: float | None
    seconds: float


@dataclass(frozen=True)
class Training:
    """Observed part of a training: its start-up before the first epoch, and its epochs."""

    startup_j: float | None
    startup_s: float
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, windows: Iterable[Window], domains: Sequence[str]) -> Training:
        """Build from a trial's windows: `build` is start-up; each `train` and its `validate` make a segment.

        Joules are those of the domains that every one of these windows has; none if one of them is faulty.
        """
        parts = [w for w in windows if w.phase in ("build", "train", "validate")]
        names = () if any(w.fault for w in parts) else common_domains(parts, domains)
        startup = [w for w in parts if w.phase == "build"]
        groups: list[list[Window]] = []
        for window in parts:
            if window.phase == "train":
                groups.append([window])
            elif window.phase == "validate" and groups:
                groups[-1].append(window)
        segments = (Segment(g[0].units, _joules(g, names), sum(w.duration_s for w in g)) for g in groups)
        return cls(_joules(startup, names), sum(w.duration_s for w in startup), tuple(segments))

    @property
    def units(self) -> int:
        return sum(s.units for s in self.segments)

    def first(self, n: int) -> Training:
        """The training after its first `n` segments."""
        return replace(self, segments=self.segments[:n])

    def startup(self, amount: Amount) -> float | None:
        return self.startup_j if amount == "energy_j" else self.startup_s

    def total(self, amount: Amount) -> float | None:
        """Sum of start-up and all segments; None where one of them was not measured."""
        parts = [self.startup(amount), *(getattr(s, amount) for s in self.segments)]
        return None if any(part is None for part in parts) else math.fsum(parts)


def _joules(windows: Sequence[Window], names: Sequence[str]) -> float | None:
    parts = [joules(w, names) for w in windows] if names else [None]
    return None if None in parts else math.fsum(e for e in parts if e is not None)


@dataclass(frozen=True)
class Prediction:
    """Predicted total of a training, with a 95 % interval where it can be estimated."""

    total: float
    low: float | None
    high: float | None
    rule: Rule
    startup: float  # the part of it before the first epoch


@dataclass(frozen=True)
class _Pace:
    """Cost per unit of work in the steady segments: all but the first, if there are more."""

    seen: float  # start-up and all segments
    startup: float
    units: int
    per_unit: float
    each: tuple[float, ...]  # of these segments
    segment_units: float  # mean of these segments
    seconds_per_unit: float


def _pace(training: Training, amount: Amount) -> _Pace | None:
    """None where nothing was measured or done, or a segment's cost is not positive."""
    seen, startup = training.total(amount), training.startup(amount)
    counting = training.segments[1:] or training.segments
    units = sum(s.units for s in counting)
    if seen is None or startup is None or units <= 0 or any(s.units <= 0 for s in counting):
        return None
    values = [getattr(s, amount) for s in counting]
    seconds = sum(s.seconds for s in counting)
    if min(values) <= 0 or seconds <= 0:
        return None
    each = tuple(v / s.units for v, s in zip(values, counting, strict=True))
    segment_units = units / len(counting)
    return _Pace(seen, startup, training.units, sum(values) / units, each, segment_units, seconds / units)


def predict(training: Training, total_units: int, rule: Rule, amount: Amount = "energy_j") -> Prediction | None:
    """Predict a training's total by a rule that needs only the training itself; None where it cannot.

    Only `steady` has an interval, from its third segment on: Student's t over the m later segments' paces, for the
    mean of the R segments to come, s √(1/m + 1/R), with s and m as `joulebench.stats.estimate` corrects them for
    correlation.

    Raises:
        ValueError: the rule is `calibrated`, which needs other trainings: see `calibrate`.
    """
    if rule == "calibrated":
        raise ValueError("the calibrated rule needs finished trainings")
    pace = _pace(training, amount)
    if pace is None or total_units < pace.units:
        return None
    scale = total_units / pace.units
    if rule == "proportional":
        return Prediction(pace.seen * scale, None, None, rule, pace.startup)
    if rule == "two-term":
        total = pace.startup + (pace.seen - pace.startup) * scale
        return Prediction(total, None, None, rule, pace.startup)
    if len(training.segments) < 2:
        return None
    left = total_units - pace.units
    total = pace.seen + pace.per_unit * left
    half = _half_width(pace, left)
    low, high = (None, None) if half is None else (max(pace.seen, total - half), total + half)
    return Prediction(total, low, high, rule, pace.startup)


def _half_width(pace: _Pace, left: int) -> float | None:
    m = len(pace.each)
    if left == 0:
        return 0.0
    if m < 2:
        return None
    mean = estimate(pace.each)
    to_come = left / pace.segment_units
    sd = (mean.sem or 0.0) * math.sqrt(1 + m / to_come)
    return t_quantile_of(mean) * sd * left


@dataclass(frozen=True)
class Calibration:
    """Correction of the cost per unit, from finished trainings after `seen` segments: see `calibrate`."""

    seen: int
    amount: Amount
    ratios: tuple[float, ...]  # logarithms of (pace of the rest) / (pace seen)
    model: BayesianPlane | None  # a regression of them on what was seen; None: their mean

    def predict(self, training: Training, total_units: int) -> Prediction | None:
        """Predict a training's total; None where it cannot, or where its segments are not `seen` in number."""
        pace = _pace(training, self.amount)
        if pace is None or total_units < pace.units or len(training.segments) != self.seen:
            return None
        ratio, spread = self._log_ratio(_features(pace))
        rest = pace.per_unit * (total_units - pace.units)
        low, mean, high = (pace.seen + rest * math.exp(ratio + lean) for lean in (-spread, 0.0, spread))
        return Prediction(mean, low, high, "calibrated", pace.startup)

    def _log_ratio(self, features: tuple[float, float]) -> tuple[float, float]:
        """The expected logarithm for one more training, and the half-width of its 95 % interval."""
        n = len(self.ratios)
        if self.model is None:
            return fmean(self.ratios), t_quantile(n - 1) * stdev(self.ratios) * math.sqrt(1 + 1 / n)
        mean, sd = self.model.at(features)
        return mean, t_quantile(n - len(features) - 1) * sd


def calibrate(finished: Sequence[Training], seen: int, amount: Amount = "energy_j") -> Calibration | None:
    """Calibration for trainings with `seen` segments, from finished ones; None with too few of them.

    The logarithm of (pace of the rest) / (pace seen) is expected at their mean, from `MIN_FINISHED` on; from
    `MIN_REGRESSED` on, where a Bayesian ridge regression on the logarithms of power and of seconds per unit as seen
    has it (MacKay 1992). The interval is Student's t times the standard deviation of a prediction.
    The trainings, and a new one, are taken as independent and alike.
    """
    known = [k for t in finished if (k := _remaining_ratio(t, seen, amount)) is not None]
    if len(known) < MIN_FINISHED:
        return None
    ratios = tuple(ratio for _, ratio in known)
    if len(known) < MIN_REGRESSED:
        return Calibration(seen, amount, ratios, None)
    return Calibration(seen, amount, ratios, bayesian([features for features, _ in known], ratios))


def calibrating(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials to calibrate by: finished, and not the first training of their process, which loads libraries."""
    trained = [t for t in trials if any(w.phase == "train" for w in t.windows)]
    first = {(t.session, t.node): t.trial for t in reversed(trained)}
    return [t for t in trained if t.status == "ok" and t.trial != first[t.session, t.node]]


def _features(pace: _Pace) -> tuple[float, float]:
    return math.log(pace.per_unit / pace.seconds_per_unit), math.log(pace.seconds_per_unit)


def _remaining_ratio(training: Training, seen: int, amount: Amount) -> tuple[tuple[float, float], float] | None:
    """Features after `seen` segments, and log(cost per unit of the rest / cost per unit so far)."""
    begun = training.first(seen)
    pace, total, left = _pace(begun, amount), training.total(amount), training.units - begun.units
    if pace is None or total is None or left <= 0 or total <= pace.seen:
        return None
    return _features(pace), math.log((total - pace.seen) / left / pace.per_unit)


@dataclass(frozen=True)
class Forecast:
    """Forecast of a running training: joules (None where they are not measured) and seconds."""

    energy: Prediction | None
    time: Prediction
    spent_j: float | None
    at_least_j: float | None  # if no epoch to come costs less than the cheapest so far; None after one epoch

    def over_budget(self, left_j: float) -> str | None:
        """Message if the training is certain to exceed what is left of an energy budget; None if it is not.

        The certain minimum is the lower end of the interval; without one, the cheapest epoch so far for every
        remaining one; after a single epoch, only the joules already spent.
        """
        low = self.energy.low if self.energy else None
        certain = (self.spent_j, self.at_least_j if low is None else low)
        least = max((c for c in certain if c is not None), default=0.0)
        if least <= left_j:
            return None
        return f"training would take at least {least:.4g} J, and the energy budget has {left_j:.4g} J left"

    @property
    def words(self) -> str:
        """`about 12.3 J (11.9 to 12.8), 95 s`."""
        parts = [(self.energy, "J"), (self.time, "s")]
        return "about " + ", ".join(_words(p, unit) for p, unit in parts if p is not None)


def _words(prediction: Prediction, unit: str) -> str:
    ends = (
        ""
        if prediction.low is None or prediction.high is None
        else f" ({prediction.low:.4g} to {prediction.high:.4g})"
    )
    return f"{prediction.total:.4g} {unit}{ends}"


def forecast(training: Training, epochs: int, finished: Sequence[Training] = ()) -> Forecast | None:
    """Forecast a training of `epochs` epochs from its first ones; None before the first has ended.

    Of `steady` and `calibrated` the one with the narrower interval; without an interval `steady` after two epochs,
    `two-term` after one.
    """
    if not training.segments or training.segments[0].units <= 0:
        return None
    total_units = max(training.units, epochs * training.segments[0].units)
    time = _best(training, total_units, finished, "seconds")
    if time is None:
        return None
    each = [s.energy_j / s.units for s in training.segments if s.energy_j is not None and s.units > 0]
    spent_j, at_least_j = training.total("energy_j"), None
    if spent_j is not None and len(each) >= 2:
        at_least_j = spent_j + min(each) * (total_units - training.units)
    return Forecast(_best(training, total_units, finished, "energy_j"), time, spent_j, at_least_j)


def _best(training: Training, units: int, finished: Sequence[Training], amount: Amount) -> Prediction | None:
    steady = predict(training, units, "steady", amount)
    calibration = calibrate(finished, len(training.segments), amount)
    calibrated = calibration.predict(training, units) if calibration else None
    with_ends = [p for p in (steady, calibrated) if p is not None and p.low is not None and p.high is not None]
    if with_ends:
        return min(with_ends, key=lambda p: (p.high or 0.0) - (p.low or 0.0))
    return steady or predict(training, units, "two-term", amount)
