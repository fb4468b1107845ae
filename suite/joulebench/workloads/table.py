"""A trial that is a row of a CSV file: a published run or table, searched again in seconds.

Options:

    csv = "power.csv"                   # here, beside the task file, or a table that ships (joulebench/data/tables)
    sha256 = "…"                        # optional: refuse any other file; then a record says which table it was
    metrics = ["time_s", "energy_j"]    # the columns that are metrics, or {metric = column}
    parameters = { lr = "Learning rate" }   # columns of parameters that are not called like them
    noise = { energy_j = 12.0 }         # sd of runs, a number or a column; drawn by the trial's seed
    standard_errors = { energy_j = "se" }   # what the search is told
    cost_j = "energy_j"                 # what the trial would have taken: metric `trial_cost_j`

Every parameter of the task has a column; a fixed one picks out its rows. Rows with values outside the task's
parameters are no part of its space. A configuration without a row, or whose row lacks one of `metrics`, is
infeasible. Several rows of one configuration are replicates: the trial's seed draws one that has all metrics.
Nothing is metered, so energy in a table is a plain metric, and its name may not be one that metered energy has
(`…s_per_j`, `j_per_…`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.parameters import Params
from joulebench.workloads.base import Context, InfeasibleError, Phase
from joulebench.workloads.rows import Rows, find_table
from joulebench.workloads.simulated import Simulated, Spread

COST = "trial_cost_j"
_OPTIONS = ("csv", "sha256", "metrics", "parameters", "noise", "standard_errors", "cost_j")


class Table(Simulated):
    """Looks the trial up in `build`; everything else says what was found."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        options = context.options
        for name in options:
            if name not in _OPTIONS:
                raise InputError(
                    f"options: the table workload knows no '{name}'{did_you_mean(name, _OPTIONS)} "
                    f"(allowed: {', '.join(_OPTIONS)})"
                )
        if not isinstance(options.get("csv"), str):
            raise InputError("options.csv: the table workload needs the name of a CSV file")
        self._rows = Rows.read(find_table(options["csv"]))
        self._check_digest(options.get("sha256"))
        self._metrics = self._columns("metrics")
        self._columns_of = self._columns("parameters")
        if not self._metrics:
            raise InputError('options.metrics: which columns are metrics? metrics = ["column", …]')
        self._noise = Spread.of(options, "noise")
        self._errors = Spread.of(options, "standard_errors")
        self._check_numbers()
        self._row: int | None = None
        self._replicates: list[int] = []

    def _check_digest(self, wanted: object) -> None:
        if wanted is not None and wanted != self._rows.sha256:
            raise InputError(
                f"options.csv: {self._rows.path} is not the table that the task means "
                f"(SHA-256 {self._rows.sha256}, options.sha256 = {wanted!r})"
            )

    def _columns(self, option: str) -> dict[str, str]:
        given = self.context.options.get(option, {})
        if isinstance(given, list | tuple):
            given = {name: name for name in given}
        if not isinstance(given, Mapping) or not all(isinstance(c, str) for c in given.values()):
            raise InputError(f'options.{option}: must read {{ name = "column" }} or ["column"] (got {given!r})')
        for column in given.values():
            self._rows.check_column(column, f"options.{option}")
        return dict(given)

    def _check_numbers(self) -> None:
        """What is read as a number is one in every row, not only in those a search comes by."""
        used = [(f"options.metrics.{name}", column) for name, column in self._metrics.items()]
        for spread in (self._noise, self._errors):
            spread.check(self._metrics)
            used += [(spread.where, column) for column in spread.names]
        cost: Any = self.context.options.get("cost_j")
        if isinstance(cost, str):
            used.append(("options.cost_j", cost))
        elif cost is not None and not (type(cost) in (int, float) and cost >= 0):
            raise InputError(f"options.cost_j: must be a column, or joules of at least 0 (got {cost!r})")
        if cost is not None and COST in self._metrics:
            raise InputError(f"options.cost_j: gives the metric {COST}, which options.metrics already has")
        for where, column in used:
            self._rows.check_column(column, where)
            self._rows.check_numbers(column)

    def build(self, params: Params) -> None:
        wanted = {}
        for name, value in params.items():
            column = self._columns_of.get(name, name)
            self._rows.check_column(column, f"parameters.{name}")
            wanted[column] = value
        if len(wanted) < len(params):
            raise InputError("options.parameters: two parameters share a column")
        found = self._rows.matching(wanted)
        self._replicates = [row for row in found if self._lacking(row) is None]
        if not self._replicates:
            why = f"line {self._rows.line(found[0])}: no '{self._lacking(found[0])}'" if found else "no such row"
            raise InfeasibleError(f"{self._rows.path.name}: {why}")
        self._row = random.Random(self.context.seed).choice(self._replicates)

    def _lacking(self, row: int) -> str | None:
        """A column of `metrics` that is empty in a row."""
        return next((c for c in self._metrics.values() if self._rows.number(row, c) is None), None)

    def _number(self, column: str) -> float | None:
        assert self._row is not None, "build comes first"
        return self._rows.number(self._row, column)

    def outcomes(self) -> dict[str, float]:
        assert self._row is not None, "build comes first"
        found = self._noise.drawn(self._values(self._row), self._number, self.context.seed)
        cost = self.context.options.get("cost_j")
        cost_j = self._number(cost) if isinstance(cost, str) else cost
        return found if cost_j is None else {**found, COST: float(cost_j)}

    def noise_free(self) -> dict[str, float]:
        """The mean over the configuration's rows."""
        rows = [self._values(row) for row in self._replicates]
        return {name: fmean(values[name] for values in rows) for name in self._metrics}

    def _values(self, row: int) -> dict[str, float]:
        found = {name: self._rows.number(row, column) for name, column in self._metrics.items()}
        return {name: value for name, value in found.items() if value is not None}

    def standard_errors(self) -> dict[str, float]:
        return self._errors.values(self._number)

    def phases(self) -> dict[str, Phase]:
        return {}
