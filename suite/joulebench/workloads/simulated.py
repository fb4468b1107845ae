"""Base of simulated workloads, whose trials are looked up or computed, and the noise added to their metrics.

Shared options: `noise = {metric = sd}` adds a Gaussian draw per trial and metric, seeded by the trial's seed;
`standard_errors = {metric = value}` are the standard errors given to the search. Each value is a number, or the
name of a number of the trial: a column of the table, a key of the function's result.
"""

from __future__ import annotations

import math
import random
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from joulebench.errors import InputError, did_you_mean
from joulebench.workloads.base import Workload

#: From a name to that number of the trial, or None.
Lookup = Callable[[str], float | None]


class Simulated(Workload):
    """A workload that knows its trials' noise-free metrics, so that a search over it can be evaluated."""

    needs_data = False
    replayable = True

    @abstractmethod
    def noise_free(self) -> dict[str, float]:
        """The metrics of `outcomes`, after `build`, without noise."""


@dataclass(frozen=True)
class MetricSpread:
    """Standard deviations or standard errors by metric: numbers, or names of numbers of the trial."""

    where: str  # the option, for messages
    sizes: Mapping[str, float | str]

    @classmethod
    def of(cls, options: Mapping[str, Any], name: str) -> MetricSpread:
        """Read an option; empty where it is absent.

        Raises:
            InputError: not a table of metrics with numbers of at least 0, or names.
        """
        where, sizes = f"options.{name}", options.get(name, {})
        if not isinstance(sizes, Mapping):
            raise InputError(f"{where}: must be a table, metric = number or name (got {sizes!r})")
        for metric, size in sizes.items():
            number = isinstance(size, int | float) and not isinstance(size, bool)
            if not (isinstance(size, str) or (number and math.isfinite(size) and size >= 0)):
                raise InputError(f"{where}.{metric}: must be a number of at least 0, or a name (got {size!r})")
        return cls(where, dict(sizes))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the numbers that every trial must have."""
        return tuple(size for size in self.sizes.values() if isinstance(size, str))

    def check(self, metrics: Iterable[str]) -> None:
        """Check that every metric it names is one of `metrics`.

        Raises:
            InputError: one is not.
        """
        known = list(metrics)
        for metric in self.sizes:
            if metric not in known:
                hint, allowed = did_you_mean(metric, known), ", ".join(known)
                raise InputError(f"{self.where}: no metric '{metric}'{hint} (allowed: {allowed})")

    def values(self, lookup: Lookup) -> dict[str, float]:
        """The sizes for one trial; a metric is absent where the trial does not have the number.

        Raises:
            InputError: a size below 0.
        """
        values: dict[str, float] = {}
        for metric, size in self.sizes.items():
            value = lookup(size) if isinstance(size, str) else float(size)
            if value is not None and value < 0:
                raise InputError(f"{self.where}.{metric}: '{size}' must be at least 0 (got {value:g})")
            if value is not None:
                values[metric] = value
        return values

    def add_noise(self, metrics: Mapping[str, float], lookup: Lookup, seed: int) -> dict[str, float]:
        """Add a Gaussian draw to each of `metrics`; a draw depends on the seed and the metric's name only."""
        sizes = self.values(lookup)
        return {
            name: value + sizes[name] * random.Random(f"{seed}/{name}").gauss(0.0, 1.0) if name in sizes else value
            for name, value in metrics.items()
        }
