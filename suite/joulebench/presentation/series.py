"""From estimates of several configurations to axes and series of a figure. Pure."""

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

MAX_OWN_TICKS, MIN_OWN_STEP = 10, 1.5
MARGIN = 0.05


def along(configurations: Sequence[Params], names: Sequence[str]) -> tuple[Axis, tuple[float, ...]]:
    """The axis that tells configurations apart and where each stands on it.

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
    """The numbers themselves where they are few and far enough apart to be read, as those of a doubling are."""
    own = sorted(set(numbers))
    if len(own) <= MAX_OWN_TICKS and all(b / a >= MIN_OWN_STEP for a, b in pairwise(own)):
        return tuple(own)
    return log_ticks(own[0], own[-1])


def reaching(axis: Axis, numbers: Sequence[float]) -> Axis:
    """The axis with room for all these numbers, and a little at both ends."""
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
) -> Axis:
    """An axis in the SI prefix that suits the middle of positive values, logarithmic from a span of `log_from`."""
    positive = [v for v in values if v > 0]
    if not positive:
        return Axis(None, title(unit))
    low, high = min(positive), max(positive)
    factor, letter = prefix(math.sqrt(low * high)) if prefixed else (1.0, "")
    log = high / low >= log_from and len(positive) == len(values)
    ticks = log_ticks(low / factor, high / factor) if log else ()
    return Axis(None, title(f"{letter}{unit}"), factor, log, ticks=ticks)


def estimates(
    name: str, x: Sequence[float], values: Sequence[Estimate | None], axis: Axis, joined: bool = False
) -> Series:
    """Values with their intervals in the axis's unit; what is not known is left out."""
    known = [(at, v) for at, v in zip(x, values, strict=True) if v is not None and not (axis.log and v.mean <= 0)]

    def end(value: float | None) -> float | None:
        return None if value is None or (axis.log and value <= 0) else value / axis.factor

    return Series(
        name,
        tuple(at for at, _ in known),
        tuple(v.mean / axis.factor for _, v in known),
        tuple(end(v.low) for _, v in known),
        tuple(end(v.high) for _, v in known),
        line=joined,
    )
