"""Dispersion of values: relative standard deviation with its interval, quantiles, drift. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

import numpy as np
from scipy import special

from joulebench.stats.estimate import deviation
from joulebench.stats.regression import fit_line

QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)


@dataclass(frozen=True)
class Rsd:
    """Relative standard deviation of n values (0.02 is 2 %) and its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    def against(self, limit: float) -> Literal["below", "above", "undecided"]:
        """Whether the true value lies below a limit or above it; each is wrong in at most 5 % of cases (χ²).

        At 4 %, since the mean's own uncertainty is left out.
        """
        low, high = (math.sqrt((self.n - 1) / float(special.chdtri(self.n - 1, tail))) for tail in (0.04, 0.96))
        return "below" if self.value * high < limit else "above" if self.value * low > limit else "undecided"


@dataclass(frozen=True)
class Distribution:
    """Values in order of measurement, and their summary; `quantiles` maps shares to values."""

    values: tuple[float, ...]
    mean: float
    rsd: Rsd | None
    minimum: float
    maximum: float
    quantiles: dict[float, float]


@dataclass(frozen=True)
class Drift:
    """Change of a value from the first to the last of its series along a straight line, relative to its mean."""

    relative: float
    low: float
    high: float

    @property
    def shows(self) -> bool:
        """Whether the drift is significant: its 95 % interval excludes 0."""
        return self.low > 0 or self.high < 0


def relative_sd(values: Sequence[float]) -> Rsd | None:
    """s / |mean|; None for fewer than two values, or a mean that is 0 or no number.

    The interval is that of a normal sample's standard deviation, s √((n−1)/χ²) at the 97.5 % and 2.5 %
    quantiles of χ² with n − 1 degrees of freedom. The mean is taken as known: its own uncertainty changes the
    ends by less than 1 % of themselves where the RSD is under 10 % (McKay 1932).
    """
    n = len(values)
    if n < 2:
        return None
    mean = fmean(values)
    if mean == 0 or not math.isfinite(mean):
        return None
    value = deviation(values) / abs(mean)
    ends = (math.sqrt((n - 1) / float(special.chdtri(n - 1, tail))) for tail in (0.025, 0.975))
    low, high = (value * end for end in ends)
    return Rsd(value, low, high, n)


def distribution(values: Sequence[float]) -> Distribution | None:
    """Mean, spread, ends and quantiles (linear between order statistics); None without values."""
    if not values:
        return None
    quantiles = np.quantile(np.asarray(values, dtype=float), QUANTILES)
    return Distribution(
        values=tuple(values),
        mean=fmean(values),
        rsd=relative_sd(values),
        minimum=min(values),
        maximum=max(values),
        quantiles={share: float(value) for share, value in zip(QUANTILES, quantiles, strict=True)},
    )


def drift(at: Sequence[float], values: Sequence[float]) -> Drift | None:
    """Least-squares slope over `at` times its span, relative to the mean; None where the line has no interval.

    The interval is Student's t with n − 2 degrees of freedom.
    """
    line = fit_line(at, values)
    mean = fmean(values) if values else 0.0
    if line is None or mean == 0 or line.slope.low is None or line.slope.high is None:
        return None
    scale = (max(at) - min(at)) / abs(mean)
    return Drift(line.slope.mean * scale, line.slope.low * scale, line.slope.high * scale)
