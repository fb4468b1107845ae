"""Workloads whose trials are looked up or computed, not run: what their noise is, and what they would give without.

Options they share: `noise = {metric = sd}` adds a Gaussian draw per trial and metric, by the trial's seed;
`standard_errors = {metric = value}` is what the search is told of a metric's spread. Each value is a number, or the
name of a number that comes with the trial: a column of the table, a key of the function's result.
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

#: A number of the trial by its name; None where the trial has none.
Lookup = Callable[[str], float | None]


class Simulated(Workload):
    """A workload that knows its trials' true values, so that a search over it can be judged."""

    needs_data = False
    replayable = True

    @abstractmethod
    def noise_free(self) -> dict[str, float]:
        """What `outcomes` would give, after `build`, without the noise between runs."""


@dataclass(frozen=True)
class Spread:
    """Standard deviations or standard errors by metric: numbers, or names of numbers that trials bring along."""

    where: str  # the option, for messages
    sizes: Mapping[str, float | str]

    @classmethod
    def of(cls, options: Mapping[str, Any], name: str) -> Spread:
        """The spread that an option states; empty without it.

        Raises:
            InputError: not a table of metrics with numbers of at least 0, or names.
        """
        where, given = f"options.{name}", options.get(name, {})
        if not isinstance(given, Mapping):
            raise InputError(f"{where}: must be a table, metric = number or name (got {given!r})")
        for metric, size in given.items():
            number = isinstance(size, int | float) and not isinstance(size, bool)
            if not (isinstance(size, str) or (number and math.isfinite(size) and size >= 0)):
                raise InputError(f"{where}.{metric}: must be a number of at least 0, or a name (got {size!r})")
        return cls(where, dict(given))

    @property
    def names(self) -> tuple[str, ...]:
        """The numbers that trials must bring along."""
        return tuple(size for size in self.sizes.values() if isinstance(size, str))

    def check(self, metrics: Iterable[str]) -> None:
        """Every metric it speaks of is one of `metrics`.

        Raises:
            InputError: one is not.
        """
        known = list(metrics)
        for metric in self.sizes:
            if metric not in known:
                hint, allowed = did_you_mean(metric, known), ", ".join(known)
                raise InputError(f"{self.where}: no metric '{metric}'{hint} (allowed: {allowed})")

    def values(self, lookup: Lookup) -> dict[str, float]:
        """The sizes in one trial; a metric is absent where the trial does not have the number.

        Raises:
            InputError: a size below 0.
        """
        found: dict[str, float] = {}
        for metric, size in self.sizes.items():
            value = lookup(size) if isinstance(size, str) else float(size)
            if value is not None and value < 0:
                raise InputError(f"{self.where}.{metric}: '{size}' must be at least 0 (got {value:g})")
            if value is not None:
                found[metric] = value
        return found

    def drawn(self, metrics: Mapping[str, float], lookup: Lookup, seed: int) -> dict[str, float]:
        """`metrics` with a Gaussian draw added to each; a draw depends on the seed and the metric's name only."""
        sizes = self.values(lookup)
        return {
            name: value + sizes[name] * random.Random(f"{seed}/{name}").gauss(0.0, 1.0) if name in sizes else value
            for name, value in metrics.items()
        }
