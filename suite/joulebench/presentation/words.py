"""Phrases that recur in reports. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from joulebench.presentation.numbers import count, number, percent

if TYPE_CHECKING:
    from joulebench.records.model import Kind
    from joulebench.stats.estimate import Estimate

#: Remedy for variation between windows.
STEADIER = (
    "keep other load off the machine, warm up longer (protocol.warmup_s), measure longer windows "
    "(protocol.window_s), or take a larger batch"
)


def _three(value: float) -> str:
    return number(value, 3)


def ci(value: Estimate, words: Callable[[float], str] = _three) -> str:
    """` (95 % interval 0.76 to 0.90)`; nothing where there is no interval, or one without an end."""
    if value.low is None or value.high is None:
        return ""
    return f" (95 % interval {words(value.low)} to {words(value.high)})"


def with_ci(value: Estimate, words: Callable[[float], str] = _three) -> str:
    """`0.83 (95 % interval 0.76 to 0.90)`."""
    return f"{words(value.mean)}{ci(value, words)}"


def times(value: Estimate, than: str = "") -> str:
    """`3.2 times that of batch_size 1 (95 % interval 2.9 to 3.5)`; `than` goes before the interval."""
    return f"{_three(value.mean)} times{than}{ci(value)}"


def plus_minus(value: Estimate) -> str:
    """`1.43 ± 0.9 %`, from its 95 % interval; the number alone where there is none."""
    half = value.rel_half_width
    return number(value.mean) if half is None else f"{number(value.mean)} ± {number(100 * half, 2)} %"


def domains(names: Iterable[str]) -> str:
    """`cpu + ram`: what joules are counted over."""
    return " + ".join(names)


def kind(value: Kind | None) -> str:
    """Whether joules were measured, for a sentence: `measured` or `estimated, at least in part`."""
    return "measured" if value == "measured" else "estimated, at least in part"


def plural(number_: int, noun: str, several: str | None = None) -> str:
    """`1 trial`, `12 trials`."""
    return f"{count(number_)} {noun if number_ == 1 else several or f'{noun}s'}"


def listed(items: Sequence[str], most: int, rest: str = "more", joint: str = ", ") -> str:
    """`8, 16, 32 and 4 more`: the first few of them."""
    more = f" and {count(len(items) - most)} {rest}" if len(items) > most else ""
    return joint.join(items[:most]) + more


def left_out(lost: int, trials: int) -> str | None:
    """`3 of 24 trials have no value and are left out.`; None where all have one."""
    if not lost:
        return None
    has, is_ = ("has", "is") if lost == 1 else ("have", "are")
    return f"{count(lost)} of {plural(trials, 'trial')} {has} no value and {is_} left out."


def about(share: float) -> str:
    """`12 % more`, `12 % less`, of a relative difference."""
    return f"{percent(abs(share))} {'more' if share >= 0 else 'less'}"
