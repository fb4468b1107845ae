"""The part of a task's parameter space that a stage searches, and exact maps into it from the unit cube. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import prod

from suite.errors import InputError
from suite.outcome import configuration_key
from suite.task import ChoiceParameter, FloatParameter, IntParameter, Params, Stage, Task, Value

Free = IntParameter | FloatParameter | ChoiceParameter

#: Steps tried around a candidate, as a share of a range; each at least one grid step for whole numbers.
STEPS = (0.0, 0.005, 0.02, 0.1, 0.3)


@dataclass(frozen=True)
class Space:
    """The parameters a stage varies; every other parameter stays at its default."""

    task: Task
    names: tuple[str, ...]

    @classmethod
    def of(cls, task: Task, stage: Stage) -> Space:
        """The space of a stage that searches.

        Parameters of scope "device" keep their default: they are no part of a configuration, so two of
        their values would count as the same one.

        Raises:
            InputError: `vary` names such a parameter.
        """
        if stage.vary is None:
            return cls(task, tuple(n for n, p in task.free.items() if p.scope == "task"))
        names = tuple(n for n in task.free if n in stage.vary)
        for name in names:
            if task.parameters[name].scope == "device":
                raise InputError(
                    f"task '{task.name}': '{name}' has scope 'device', so method '{stage.method}' cannot vary it;"
                    " method 'grid' can"
                )
        return cls(task, names)

    @property
    def parameters(self) -> dict[str, Free]:
        return {name: self.task.free[name] for name in self.names}

    @property
    def size(self) -> int | None:
        """How many configurations there are; None where a parameter is continuous."""
        counts = [cardinality(p) for p in self.parameters.values()]
        return None if None in counts else prod(c for c in counts if c is not None)

    def complete(self, values: Sequence[Value]) -> Params:
        return self.task.resolve(dict(zip(self.names, values, strict=True)))

    def at(self, unit: Sequence[float]) -> Params:
        """The configuration at a point of the unit cube [0, 1)^d."""
        return self.complete([value_at(p, u) for p, u in zip(self.parameters.values(), unit, strict=True)])

    def nth(self, index: int) -> Params:
        """The configuration numbered `index` of a space without floats; the last parameter counts fastest."""
        values: list[Value] = []
        for parameter in reversed(self.parameters.values()):
            index, digit = divmod(index, cardinality(parameter) or 1)
            values.append(_nth_value(parameter, digit))
        return self.complete(values[::-1])

    def everything(self, start: int = 0) -> Iterator[Params]:
        """Every configuration of a space without floats, from number `start` on, wrapping round."""
        size = self.size or 0
        return (self.nth((start + i) % size) for i in range(size))

    def covers(self, params: Params) -> bool:
        """Whether a configuration lies in this space: what the stage does not vary is at its default."""
        return all(
            params.get(name) == default
            for name, default in self.task.defaults.items()
            if name not in self.names and self.task.parameters[name].scope == "task"
        )

    def exhausted(self, tried: Sequence[Params]) -> bool:
        """Whether every configuration has been tried."""
        size = self.size
        keys = {self.key(params) for params in tried if self.covers(params)}
        return size is not None and len(keys) >= size

    def key(self, params: Params) -> str:
        return configuration_key(self.task, params)

    def neighbours(self, params: Params) -> Iterator[Params]:
        """Configurations that differ from `params` in one parameter, by small and by large steps."""
        for name, parameter in self.parameters.items():
            for value in _near(parameter, params[name]):
                yield {**params, name: value}

    def first_untried(self, drawn: Iterator[Params], tried: set[str], limit: int) -> Params | None:
        """The first of at most `limit` configurations drawn that is not among the keys tried."""
        return next((p for p in islice(drawn, limit) if self.key(p) not in tried), None)


def cardinality(parameter: Free) -> int | None:
    """How many values a parameter has; None for a float."""
    match parameter:
        case ChoiceParameter():
            return len(parameter.values)
        case IntParameter():
            return parameter.high - parameter.low + 1
        case FloatParameter():
            return None


def position(values: Sequence[Value], value: Value) -> int:
    """Where a value stands; `1` and `true`, equal to Python, are told apart."""
    return next(i for i, v in enumerate(values) if type(v) is type(value) and v == value)


def value_at(parameter: Free, u: float) -> Value:
    """The value at `u` in [0, 1): equal shares for choices and whole numbers (on a log scale, of the log)."""
    match parameter:
        case ChoiceParameter(values=values):
            return values[min(len(values) - 1, math.floor(u * len(values)))]
        case IntParameter(low=low, high=high):
            above = high + 1  # the top value owns the share from high to high + 1
            raw = low * (above / low) ** u if parameter.scale == "log" else low + math.floor(u * (above - low))
            return min(high, max(low, math.floor(raw)))
        case FloatParameter(low=low_f, high=high_f):
            real = low_f * (high_f / low_f) ** u if parameter.scale == "log" else low_f + u * (high_f - low_f)
            return min(high_f, max(low_f, real))


def unit_at(parameter: IntParameter | FloatParameter, value: float) -> float:
    """Where a value lies in its range, 0 at low and 1 at high, on the parameter's scale."""
    scale: Callable[[float], float] = math.log if parameter.scale == "log" else float
    low, high = scale(parameter.low), scale(parameter.high)
    return (scale(value) - low) / (high - low)


def grid_values(name: str, parameter: Free, levels: int | None) -> Sequence[Value]:
    """The values of one parameter on a grid: all of them, or `levels` evenly (log-evenly) spaced ones.

    Whole numbers are rounded to the nearest, and what rounding made equal counts once.

    Raises:
        InputError: a float parameter without levels.
    """
    if isinstance(parameter, ChoiceParameter):
        return parameter.values
    if levels is None:
        if isinstance(parameter, FloatParameter):
            raise InputError(f"a grid over the float parameter '{name}' needs levels = …")
        return range(parameter.low, parameter.high + 1)
    reals = [_level(parameter, i / (levels - 1)) for i in range(levels)]
    if isinstance(parameter, FloatParameter):
        return reals
    return tuple(dict.fromkeys(min(parameter.high, max(parameter.low, math.floor(x + 0.5))) for x in reals))


def _level(parameter: IntParameter | FloatParameter, share: float) -> float:
    low, high = parameter.low, parameter.high
    if share in (0.0, 1.0):  # the ends are exact
        return low if share == 0.0 else high
    return low * (high / low) ** share if parameter.scale == "log" else low + share * (high - low)


def _nth_value(parameter: Free, index: int) -> Value:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[index]
    return int(parameter.low) + index


def _near(parameter: Free, value: Value) -> Iterator[Value]:
    """Other values of a parameter: choices beside it (all, if unordered), numbers at every step both ways."""
    if isinstance(parameter, ChoiceParameter):
        ranked = sorted(parameter.values, key=float) if parameter.ordered else parameter.values
        at = position(ranked, value)
        yield from (v for i, v in enumerate(ranked) if i != at and (abs(i - at) == 1 or not parameter.ordered))
        return
    here = unit_at(parameter, float(value))
    for step in STEPS:
        for sign in (-1, 1):
            moved = _level(parameter, min(1.0, max(0.0, here + sign * step)))
            if isinstance(parameter, IntParameter):
                whole = math.floor(moved + 0.5)
                moved = whole if whole != value else int(value) + sign
            if parameter.low <= moved <= parameter.high and moved != value:
                yield moved
