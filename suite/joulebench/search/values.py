"""Values of one parameter: cardinality, enumeration, and exact maps from and to the unit interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from joulebench.errors import InputError
from joulebench.spec.parameters import ChoiceParameter, FloatParameter, IntParameter, Value

Free = IntParameter | FloatParameter | ChoiceParameter

#: Steps tried around a value, as a share of its range; each at least one grid step for whole numbers.
STEPS = (0.0, 0.005, 0.02, 0.1, 0.3)


def cardinality(parameter: Free) -> int | None:
    """Number of values of a parameter; None for a float."""
    match parameter:
        case ChoiceParameter():
            return len(parameter.values)
        case IntParameter():
            return parameter.high - parameter.low + 1
        case FloatParameter():
            return None


def all_values(parameter: Free) -> Sequence[Value]:
    """Every value of a discrete parameter."""
    return [nth_value(parameter, i) for i in range(cardinality(parameter) or 0)]


def position(values: Sequence[Value], value: Value) -> int:
    """Index of a value; `1` and `true`, equal to Python, are different values."""
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
    """Position of a value in its range, 0 at low and 1 at high, on the parameter's scale."""
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
    reals = [level(parameter, i / (levels - 1)) for i in range(levels)]
    if isinstance(parameter, FloatParameter):
        return reals
    return tuple(dict.fromkeys(min(parameter.high, max(parameter.low, math.floor(x + 0.5))) for x in reals))


def level(parameter: IntParameter | FloatParameter, share: float) -> float:
    """The number at a share of a parameter's range, on its scale; the inverse of `unit_at`."""
    low, high = parameter.low, parameter.high
    if share in (0.0, 1.0):  # the ends are exact
        return low if share == 0.0 else high
    return low * (high / low) ** share if parameter.scale == "log" else low + share * (high - low)


def nth_value(parameter: Free, index: int) -> Value:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values[index]
    return int(parameter.low) + index


def near(parameter: Free, value: Value) -> Iterator[Value]:
    """Other values of a parameter: choices beside it (all, if unordered), numbers at every step both ways."""
    if isinstance(parameter, ChoiceParameter):
        ranked = sorted(parameter.values, key=float) if parameter.ordered else parameter.values
        at = position(ranked, value)
        yield from (v for i, v in enumerate(ranked) if i != at and (abs(i - at) == 1 or not parameter.ordered))
        return
    here = unit_at(parameter, float(value))
    for step in STEPS:
        for sign in (-1, 1):
            moved = level(parameter, min(1.0, max(0.0, here + sign * step)))
            if isinstance(parameter, IntParameter):
                whole = math.floor(moved + 0.5)
                moved = whole if whole != value else int(value) + sign
            if parameter.low <= moved <= parameter.high and moved != value:
                yield moved
