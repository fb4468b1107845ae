"""Encoding of configurations as points of the unit cube, the input space of the model. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from joulebench.search.values import Free, level, position, unit_at
from joulebench.spec.parameters import ChoiceParameter, FloatParameter, Params, Value
from joulebench.spec.task import Task

Array = NDArray[np.float64]

#: Two unordered choices are √2 corners apart in one-hot columns; by this height they are at distance 1, as are
#: the ends of a range.
HOT = 1 / math.sqrt(2)


@dataclass(frozen=True)
class Encoding:
    """Encoding of every free parameter of a task; a stage may leave some at their default, others vary them.

    Numbers take one column, as reals; ordered choices too, on the linear or logarithmic scale on which they are
    the more evenly spaced; two choices are 0 and 1; more are one-hot.
    """

    task: Task

    @cached_property
    def parameters(self) -> dict[str, Free]:
        return {n: p for n, p in self.task.free.items() if p.scope == "task"}

    @cached_property
    def groups(self) -> tuple[int, ...]:
        """Index of its parameter for every column."""
        widths = [_width(p) for p in self.parameters.values()]
        return tuple(number for number, width in enumerate(widths) for _ in range(width))

    @cached_property
    def floats(self) -> dict[int, str]:
        """Columns of continuous parameters, and the parameters' names."""
        columns = {name: self.groups.index(i) for i, name in enumerate(self.parameters)}
        return {columns[n]: n for n, p in self.parameters.items() if isinstance(p, FloatParameter)}

    @cached_property
    def _tables(self) -> dict[str, dict[tuple[type, Value], list[float]]]:
        """Columns of each value of each choice, by parameter."""
        choices = {n: p for n, p in self.parameters.items() if isinstance(p, ChoiceParameter)}
        return {n: {(type(v), v): _columns(p, v) for v in p.values} for n, p in choices.items()}

    def encode(self, configurations: Sequence[Params]) -> Array:
        """Rows of the unit cube: configurations × columns."""
        rows = [[x for n, p in self.parameters.items() for x in self._encoded(n, p, c[n])] for c in configurations]
        return np.asarray(rows, dtype=float).reshape(len(configurations), len(self.groups))

    def _encoded(self, name: str, parameter: Free, value: Value) -> list[float]:
        if isinstance(parameter, ChoiceParameter):
            return self._tables[name][type(value), value]
        return [unit_at(parameter, float(value))]

    def float_at(self, column: int, share: float) -> float:
        """The value that a column of `floats` stands for."""
        parameter = self.parameters[self.floats[column]]
        assert isinstance(parameter, FloatParameter)
        return level(parameter, min(1.0, max(0.0, share)))


def _width(parameter: Free) -> int:
    one_hot = isinstance(parameter, ChoiceParameter) and not parameter.ordered and len(parameter.values) > 2
    return len(parameter.values) if one_hot and isinstance(parameter, ChoiceParameter) else 1


def _columns(parameter: ChoiceParameter, value: Value) -> list[float]:
    if parameter.ordered:
        numbers = sorted(float(v) for v in parameter.values)
        scale = math.log if _is_geometric(numbers) else float
        low, high = scale(numbers[0]), scale(numbers[-1])
        return [(scale(float(value)) - low) / (high - low)]
    index = position(parameter.values, value)
    if len(parameter.values) == 2:
        return [float(index)]
    return [HOT if i == index else 0.0 for i in range(len(parameter.values))]


def _is_geometric(numbers: Sequence[float]) -> bool:
    """Whether sorted numbers are spaced more evenly by ratio than by difference."""
    if numbers[0] <= 0:
        return False
    steps = [b - a for a, b in pairwise(numbers)]
    ratios = [math.log(b / a) for a, b in pairwise(numbers)]
    return max(ratios) / min(ratios) < max(steps) / min(steps)
