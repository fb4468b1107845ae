"""What traces of searches say: hypervolume by trial, paired differences, promises; and calibration. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.search.study.tables import Table, volumes
from tests.search.study.traces import BUDGET, INITIAL, OURS, Trace

Array = NDArray[np.float64]
AT = (20, 40, 60)  # trials


@dataclass(frozen=True)
class Curve:
    """Share of a table's hypervolume after each trial of one search."""

    trace: Trace
    shares: Array

    @property
    def area(self) -> float:
        """Mean share over the trials after the common start."""
        return float(self.shares[INITIAL:BUDGET].mean())

    def at(self, trials: int) -> float:
        return float(self.shares[trials - 1])


@dataclass(frozen=True)
class Difference:
    """Ours less a rival's, paired by seed: mean, 95 % interval by Student's t, and the seeds on which ours was
    better (half for a tie)."""

    mean: float
    low: float
    high: float
    wins: float
    n: int

    @classmethod
    def of(cls, ours: Sequence[float], theirs: Sequence[float]) -> Difference:
        """Of two values or more a side; equal ones have an interval of no width."""
        gaps = np.subtract(ours, theirs)
        mean, sem = float(gaps.mean()), float(gaps.std(ddof=1)) / math.sqrt(len(gaps))
        half = float(stats.t.ppf(0.975, len(gaps) - 1)) * sem
        wins = float((gaps > 0).sum() + 0.5 * (gaps == 0).sum())
        return cls(mean, mean - half, mean + half, wins, len(gaps))


@dataclass(frozen=True)
class Contest:
    """All curves on one table, with or without noise, on one scale of hypervolume."""

    table: str
    noisy: bool
    log: bool
    curves: tuple[Curve, ...]

    @cached_property
    def methods(self) -> dict[str, dict[int, Curve]]:
        """Curves by method and seed."""
        found: dict[str, dict[int, Curve]] = {}
        for curve in self.curves:
            found.setdefault(curve.trace.method, {})[curve.trace.seed] = curve
        return found

    def median(self, method: str, trials: int) -> float:
        return float(np.median([c.at(trials) for c in self.methods[method].values()]))

    def against(self, rival: str, trials: int | None = None) -> Difference | None:
        """Ours less a rival's: of the area, or of the share after some trials; None with fewer than two pairs."""
        ours, theirs = self.methods.get(OURS, {}), self.methods.get(rival, {})
        seeds = sorted(ours.keys() & theirs.keys())
        if len(seeds) < 2:
            return None

        def values(curves: dict[int, Curve]) -> list[float]:
            return [curves[s].area if trials is None else curves[s].at(trials) for s in seeds]

        return Difference.of(values(ours), values(theirs))


def contest(table: Table, noisy: bool, log: bool, traces: Sequence[Trace]) -> Contest:
    """Judge every trace on this table by true values."""
    own = [t for t in traces if t.table == table.name and t.noisy == noisy]
    return Contest(table.name, noisy, log, tuple(Curve(t, volumes(table, t.tried, log)) for t in own))


def promised_and_realised(table: Table, trace: Trace) -> tuple[float, float]:
    """Sums over the proposals after the twentieth trial that promised a gain: of these, and of their true gains.

    Both in the table's own units. What other trials found in between, made because promises were broken, kept none.
    """
    made = [(n, p) for n, p in enumerate(trace.promised) if n >= AT[0] and p is not None]
    gains = (table.volume(trace.tried[: n + 1]) - table.volume(trace.tried[:n]) for n, _ in made)
    return math.fsum(p for _, p in made), math.fsum(gains)


@dataclass(frozen=True)
class Calibration:
    """How well a model predicts rows of a table that it has not seen.

    Attributes:
        covered: share of them within the predicted 95 % interval.
        spearman: rank correlation of predicted and true values.
        error: root of the mean squared error over the standard deviation of what was to be predicted.
    """

    table: str
    noisy: bool
    quantity: str
    rows: int
    covered: float
    spearman: float
    error: float


def calibrated(
    table: str, noisy: bool, quantity: str, rows: int, mean: Array, low: Array, high: Array, seen: Array
) -> Calibration:
    """Compare predictions with what was seen of the same rows."""
    covered = float(((low <= seen) & (seen <= high)).mean())
    varies = np.ptp(mean) > 0 and np.ptp(seen) > 0
    spearman = float(stats.spearmanr(mean, seen).statistic) if varies else 0.0
    error = float(np.sqrt(np.mean((mean - seen) ** 2)) / seen.std())
    return Calibration(table, noisy, quantity, rows, covered, spearman, error)
