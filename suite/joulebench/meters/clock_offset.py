"""Offset between the clock of a power log and that of a run, by cross-correlation of their powers. Pure.

The run's own power is known as the joules of its windows. For each offset τ the logged power at t + τ is compared
with the run's mean power over one sampling period around t, wherever windows cover it (gaps drop out). With
Gaussian residuals the likelihood of τ falls with ln(1 − r²), r the correlation, so the profile of r gives the
offset, its interval, and whether other offsets fit as well (Wilks; residuals correlated in time count for fewer).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Offsets searched, either way: beyond this a clock is wrong rather than adrift (20 ppm are 1.7 s a day).
MAX_OFFSET_S = 120.0
#: An offset is applied only where the run's power explains at least half of the log's variance.
MIN_CORRELATION = 0.7
#: Quantiles of χ² with one degree of freedom: of the stated interval, and of what counts as fitting equally well.
CHI2_95, CHI2_999 = 3.84, 10.83
MAX_COARSE_SAMPLES = 20_000
MIN_SAMPLES = 20
_EXACT = 1e-6  # variance left unexplained by a perfect fit: rounding, so that its logarithm exists

_Array = NDArray[np.float64]


class Span(NamedTuple):
    """Time of the run's clock (Unix seconds) and the joules spent in it."""

    start_s: float
    end_s: float
    energy_j: float


@dataclass(frozen=True)
class ClockOffset:
    """Seconds by which a log's clock is ahead of the run's, with the half-width of its 95 % interval.

    Attributes:
        estimated: from a clear peak; otherwise `offset_s` is assumed to be 0, within one sampling period.
        excludes_zero: there is no clear peak, but 0 fits significantly worse than the best offset.
        correlation: of the two powers at the best offset; 0 where one of them does not vary.
    """

    offset_s: float
    half_width_s: float
    correlation: float
    estimated: bool
    excludes_zero: bool = False

    @property
    def described(self) -> str:
        """For a sentence: size, uncertainty and what was done about it."""
        if not self.estimated:
            return (
                "the offset of the log's clock cannot be estimated, as the powers of log and software do not "
                f"clearly vary together (correlation {self.correlation:.2g}); it is assumed to be 0 within one "
                f"sampling period ({self.half_width_s:.2g} s)"
            )
        side = "ahead of" if self.offset_s >= 0 else "behind"
        return (
            f"the log's clock is {abs(self.offset_s):.3g} s {side} the run's, ± {self.half_width_s:.2g} s (95 % "
            f"interval, correlation of the powers {self.correlation:.2g}); this is corrected"
        )


def estimate_offset(times_s: Sequence[float], watts: Sequence[float], spans: Sequence[Span]) -> ClockOffset:
    """Offset of a log's clock from a run's windows, which are in order and do not overlap."""
    times, power = np.asarray(times_s), np.asarray(watts)
    period_s = float(np.median(np.diff(times))) if len(times) > 1 else MAX_OFFSET_S
    inside = (times > spans[0].start_s - MAX_OFFSET_S) & (times < spans[-1].end_s + MAX_OFFSET_S)
    profile = _Profile(times[inside], power[inside], spans, period_s)
    step_s = max(period_s / 2, 0.25)
    count = int(MAX_OFFSET_S / step_s)
    offsets: _Array = np.linspace(-count * step_s, count * step_s, 2 * count + 1)
    r = profile.correlations(offsets)
    best = int(r.argmax())
    assumed = ClockOffset(0.0, period_s, float(r[best]), estimated=False)
    if r[best] <= 0:
        return assumed
    losses = profile.losses(r, offsets[best])
    fits = offsets[losses <= CHI2_999]
    fine: _Array = np.linspace(offsets[best] - 2 * step_s, offsets[best] + 2 * step_s, 81)
    fine_r = profile.correlations(fine)
    top = float(fine[fine_r.argmax()])
    likely = fine[profile.losses(fine_r, top) <= CHI2_95]
    half_width_s = max(float(np.ptp(likely)) / 2, period_s / 2, float(np.ptp(offsets[losses <= CHI2_95])) / 2)
    reach_s = max(4 * period_s, 2.0)
    clear = (
        fine_r.max() >= MIN_CORRELATION
        and half_width_s <= reach_s / 2
        and bool(np.all(np.abs(fits - top) <= reach_s))
        and abs(top) < MAX_OFFSET_S - reach_s
    )
    if clear:
        return ClockOffset(top, half_width_s, float(fine_r.max()), estimated=True)
    return ClockOffset(0.0, period_s, float(r[best]), estimated=False, excludes_zero=bool(losses[count] > CHI2_999))


class _Profile:
    """Correlation of logged and own power as a function of the offset."""

    def __init__(self, times: _Array, watts: _Array, spans: Sequence[Span], period_s: float) -> None:
        self._times, self._watts, self._period_s = times, watts, period_s
        starts, ends, energies = (np.asarray(column) for column in zip(*spans, strict=True))
        self._knots = np.maximum.accumulate(np.column_stack((starts, ends)).ravel())
        self._energy_j = self._cumulative(energies)
        self._covered_s = self._cumulative(ends - starts)

    @staticmethod
    def _cumulative(values: _Array) -> _Array:
        """Sums up to each start and each end."""
        ends = np.cumsum(values)
        return np.column_stack((ends - values, ends)).ravel()

    def _own(self, offset_s: float, thin: int = 1) -> tuple[_Array, _Array]:
        """The run's mean power around each sample, and the logged one, where windows cover it."""
        low = self._times[::thin] - offset_s - self._period_s / 2
        high = low + self._period_s
        seconds = np.interp(high, self._knots, self._covered_s) - np.interp(low, self._knots, self._covered_s)
        energy_j = np.interp(high, self._knots, self._energy_j) - np.interp(low, self._knots, self._energy_j)
        mask = seconds >= 0.9 * self._period_s
        return energy_j[mask] / seconds[mask], self._watts[::thin][mask]

    def correlations(self, offsets: _Array) -> _Array:
        """At each offset; 0 where a power does not vary, or less than half of the samples can be compared."""
        thin = 1 + len(self._times) // MAX_COARSE_SAMPLES if len(offsets) > 100 else 1
        pairs = [self._own(float(o), thin) for o in offsets]
        least = max(MIN_SAMPLES / thin, max(len(own) for own, _ in pairs) / 2)
        return np.array([_correlation(own, watts) if len(own) >= least else 0.0 for own, watts in pairs])

    def losses(self, r: _Array, best: float) -> _Array:
        """Twice the difference in log-likelihood of each offset from the best."""
        own, watts = self._own(best)
        residuals = watts - np.polyval(np.polyfit(own, watts, 1), own)
        n = float(len(residuals))
        if (square := float(residuals @ residuals)) > 0:
            lag_1 = float(residuals[1:] @ residuals[:-1]) / square
            n *= (1 - max(lag_1, 0.0)) / (1 + max(lag_1, 0.0))
        unexplained = 1 - np.clip(r, 0.0, None) ** 2 + _EXACT
        return np.asarray(max(n, 3.0) * np.log(unexplained / unexplained.min()))


def _correlation(a: _Array, b: _Array) -> float:
    """Pearson's, 0 where one varies by less than a thousandth."""
    if min(np.std(a) / np.mean(a), np.std(b) / (np.mean(b) or 1.0)) < 1e-3:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
