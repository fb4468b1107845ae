"""Workload `table`: rows of a CSV file as trials, to repeat a search over published results in seconds.

Options:

    csv = "power.csv"                   # here, beside the task file, or a table that ships (joulebench/data/tables)
    sha256 = "…"                        # optional: refuse any other file; then a record says which table it was
    metrics = ["time_s", "energy_j"]    # the columns that are metrics, or {metric = column}
    parameters = { lr = "Learning rate" }   # columns of parameters that are not called like them
    noise = { energy_j = 12.0 }         # sd of runs, a number or a column; drawn by the trial's seed
    standard_errors = { energy_j = "se" }   # given to the search
    cost_j = "energy_j"                 # joules of the real trial: metric `trial_cost_j`

Every parameter of the task has a column; a fixed one picks out its rows. Rows with values outside the task's
parameters are no part of its space. A configuration without a row, or whose row lacks one of `metrics`, is
infeasible. Several rows of one configuration are replicates: the trial's seed draws one that has all metrics.
Nothing is metered, so energy in a table is a plain metric, and its name may not be one that metered energy has
(`…s_per_j`, `j_per_…`, `…s_per_wh`, …).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import Context, InfeasibleError, Phase
from joulebench.workloads.rows import Rows, find_table
from joulebench.workloads.simulated import MetricSpread, Simulated

COST = "trial_cost_j"


class Table(Simulated):
    """Workload `table`: look up the trial's row in `build` and report its metrics."""

    OPTIONS = ("csv", "sha256", "metrics", "parameters", "noise", "standard_errors", "cost_j")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        options = context.options
        if not isinstance(options.get("csv"), str):
            raise InputError("options.csv: the table workload needs the name of a CSV file")
        self._rows = Rows.read(find_table(options["csv"]))
        self._check_digest(options.get("sha256"))
        self._metrics = self._columns("metrics")
        self._columns_of = self._columns("parameters")
        if not self._metrics:
            raise InputError('options.metrics: must name columns, as metrics = ["column", …]')
        self._noise = MetricSpread.of(options, "noise")
        self._errors = MetricSpread.of(options, "standard_errors")
        self._check_numbers()
        self._row: int | None = None
        self._replicates: list[int] = []

    @classmethod
    def check_task(cls, task: Task) -> None:
        """Check the options against the table, and that it has a column for every parameter."""
        super().check_task(task)
        try:
            find_table(str(task.options.get("csv")))
        except InputError:
            return  # where it is looked for depends on where the run begins
        made = cls(Context("cpu", 0, RealClock(), options=task.options))
        for name in task.parameters:
            made._rows.check_column(made._columns_of.get(name, name), f"parameters.{name}")

    def _check_digest(self, wanted: object) -> None:
        if wanted is not None and wanted != self._rows.sha256:
            raise InputError(
                f"options.csv: {self._rows.path} is not the task's table "
                f"(SHA-256 {self._rows.sha256}, options.sha256 = {wanted!r})"
            )

    def _columns(self, option: str) -> dict[str, str]:
        columns = self.context.options.get(option, {})
        if isinstance(columns, list | tuple):
            columns = {name: name for name in columns}
        if not isinstance(columns, Mapping) or not all(isinstance(c, str) for c in columns.values()):
            raise InputError(f'options.{option}: must be {{ name = "column" }} or ["column"] (got {columns!r})')
        for column in columns.values():
            self._rows.check_column(column, f"options.{option}")
        return dict(columns)

    def _check_numbers(self) -> None:
        """Check every column that is read as numbers, in all rows: a search may not come to all of them."""
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
        rows = self._rows.matching(wanted)
        self._replicates = [row for row in rows if self._empty_column(row) is None]
        if not self._replicates:
            why = f"line {self._rows.line(rows[0])}: no '{self._empty_column(rows[0])}'" if rows else "no such row"
            raise InfeasibleError(f"{self._rows.path.name}: {why}")
        self._row = random.Random(self.context.seed).choice(self._replicates)

    def _empty_column(self, row: int) -> str | None:
        """The first column of `metrics` that is empty in a row."""
        return next((c for c in self._metrics.values() if self._rows.number(row, c) is None), None)

    def _number(self, column: str) -> float | None:
        assert self._row is not None, "build comes first"
        return self._rows.number(self._row, column)

    def outcomes(self) -> dict[str, float]:
        assert self._row is not None, "build comes first"
        metrics = self._noise.add_noise(self._values(self._row), self._number, self.context.seed)
        cost = self.context.options.get("cost_j")
        cost_j = self._number(cost) if isinstance(cost, str) else cost
        return metrics if cost_j is None else {**metrics, COST: float(cost_j)}

    def noise_free(self) -> dict[str, float]:
        """Means over the configuration's rows."""
        rows = [self._values(row) for row in self._replicates]
        return {name: fmean(values[name] for values in rows) for name in self._metrics}

    def _values(self, row: int) -> dict[str, float]:
        numbers = {name: self._rows.number(row, column) for name, column in self._metrics.items()}
        return {name: value for name, value in numbers.items() if value is not None}

    def standard_errors(self) -> dict[str, float]:
        return self._errors.values(self._number)

    def phases(self) -> dict[str, Phase]:
        return {}
