"""Axes and series of figures, made from estimates of several configurations. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from joulebench.presentation.axis import DECADE, Axis, log_ticks
from joulebench.presentation.numbers import prefix
from joulebench.presentation.plots import Series
from joulebench.spec.parameters import Params, is_number
from joulebench.stats.estimate import Estimate
from joulebench.stats.regression import Line

MAX_OWN_TICKS, MIN_OWN_STEP = 10, 1.5
MARGIN = 0.05
LAW_POINTS = 33


def along(configurations: Sequence[Params], names: Sequence[str]) -> tuple[Axis, tuple[float, ...]]:
    """The axis that distinguishes configurations, and the place of each on it.

    It is the parameter where a single number differs (the axis has its name), else the configurations' order.
    """
    values = [c.get(names[0]) for c in configurations] if len(names) == 1 else []
    numbers = tuple(float(v) for v in values if is_number(v))
    if not numbers or len(numbers) < len(configurations):
        order = tuple(float(i) for i in range(1, len(configurations) + 1))
        return Axis(None, "configuration, in the tables' order", ticks=order), order
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= DECADE
    return Axis(names[0], names[0], log=log, ticks=_ticks(numbers) if log else ()), numbers


def _ticks(numbers: Sequence[float]) -> tuple[float, ...]:
    """The numbers themselves where they are few and far apart, as in a sweep by doubling; else decades."""
    own = sorted(set(numbers))
    if len(own) <= MAX_OWN_TICKS and all(b / a >= MIN_OWN_STEP for a, b in pairwise(own)):
        return tuple(own)
    return log_ticks(own[0], own[-1])


def reaching(axis: Axis, numbers: Sequence[float]) -> Axis:
    """The axis extended to all these numbers, with a margin at both ends."""
    low, high = min(numbers), max(numbers)
    if low == high:
        return axis
    if axis.log:
        room = (high / low) ** MARGIN
        return replace(axis, ends=(low / room, high * room))
    room = MARGIN * (high - low)
    return replace(axis, ends=(low - room, high + room))


def value_axis(
    values: Sequence[float],
    unit: str,
    title: Callable[[str], str],
    prefixed: bool = True,
    log_from: float = DECADE,
    detail: str = "",
) -> Axis:
    """An axis in the SI prefix that suits the middle of positive values, logarithmic from a span of `log_from`.

    `title` makes the axis's of the prefixed unit.
    """
    positive = [v for v in values if v > 0]
    if not positive:
        return Axis(None, title(unit), detail=detail)
    low, high = min(positive), max(positive)
    factor, letter = prefix(math.sqrt(low * high)) if prefixed else (1.0, "")
    log = high / low >= log_from and len(positive) == len(values)
    ticks = log_ticks(low / factor, high / factor) if log else ()
    return Axis(None, title(f"{letter}{unit}"), factor, log, ticks=ticks, detail=detail)


def estimates(
    name: str, x: Sequence[float], values: Sequence[Estimate | None], axis: Axis, joined: bool = False
) -> Series:
    """Series of values with their intervals in the axis's unit; unknown values are left out."""
    known = [(at, v) for at, v in zip(x, values, strict=True) if v is not None and not (axis.log and v.mean <= 0)]
    low, high = _ends([v for _, v in known], axis)
    places, means = tuple(at for at, _ in known), tuple(v.mean / axis.factor for _, v in known)
    return Series(name, places, means, low, high, line=joined)


def pairs(name: str, values: Sequence[tuple[Estimate, Estimate]], x: Axis, y: Axis) -> Series:
    """Series of points with an estimate on each axis; values must be positive where the axis is logarithmic."""
    (x_low, x_high), ends = _ends([a for a, _ in values], x), _ends([b for _, b in values], y)
    across, up = tuple(a.mean / x.factor for a, _ in values), tuple(b.mean / y.factor for _, b in values)
    return Series(name, across, up, *ends, x_low=x_low, x_high=x_high)


def power_law(name: str, line: Line, low: float, high: float, x: Axis, y: Axis) -> Series:
    """Dashed guide from `low` to `high` along a power law, given as a line through decimal logarithms."""
    at = [low * (high / low) ** (i / (LAW_POINTS - 1)) for i in range(LAW_POINTS)]
    values = tuple(10 ** line.at(math.log10(v)) / y.factor for v in at)
    return Series(name, tuple(v / x.factor for v in at), values, dashed=True, named=False)


def _ends(values: Sequence[Estimate], axis: Axis) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Ends of the values' intervals; None where there is none, or where a logarithmic axis cannot show it."""

    def end(value: float | None) -> float | None:
        return None if value is None or (axis.log and value <= 0) else value / axis.factor

    return tuple(end(v.low) for v in values), tuple(end(v.high) for v in values)
