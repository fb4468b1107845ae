"""`joulebench.compare`: functions side by side, in rounds of windows in random order."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from numbers import Real

from joulebench.errors import InputError
from joulebench.inline.blocks import check_function, check_text, protocol_of, step_of
from joulebench.inline.record import DOMAINS, Machine
from joulebench.inline.result import PHASE, Compared, Comparison, Measured
from joulebench.inline.running import measuring
from joulebench.measurement.protocol import measure_side_by_side
from joulebench.records.model import Window
from joulebench.results.energy import common_domains, joules
from joulebench.results.validity import judged, valid_windows
from joulebench.stats.estimate import Estimate
from joulebench.stats.paired_ratio import ratio_of_rounds
from joulebench.workloads.base import Phase

#: Amount of a window, such as its joules; None where it is not known.
Amount = Callable[[Window], float | None]


def compare(
    functions: Mapping[str, Callable[[], object]], *, units: int | Mapping[str, int] = 1, unit: str = "call",
    rounds: int = 12, window_s: float | None = None,
    quality: Mapping[str, float] | Callable[[str], float] | None = None, seed: int = 0,
    hardware: str | None = None, replay: str | None = None, allow_busy: bool = False,
) -> Comparison:  # fmt: skip
    """Compare the joules of functions that do the same work.

        print(joulebench.compare({"fp32": run_fp32, "bf16": run_bf16}, units=64, unit="image"))

    Each is warmed up; then come rounds, with one window of each in random order. Ratios are to the first function,
    of windows of the same round, so that what changes slowly on the machine cancels; their 95 % intervals are those
    of a randomisation test (`joulebench.stats.paired_ratio`), each by itself.

    Args:
        units: units of work that one call does; of each function by name where they differ.
        rounds: valid ones; 6 at least for an interval. Twice as many are tried.
        window_s: least seconds of a window; by default 0.1, with a GPU 1.
        quality: of each function, shown beside: numbers by name, or a function of the name.
        seed: of the order.

    Raises:
        InputError: fewer than two functions, another block is being measured, a function that returns before its
            work is done, or the meters do not start.
    """
    if not isinstance(functions, Mapping) or len(functions) < 2:
        got = len(functions) if isinstance(functions, Mapping) else type(functions).__name__
        raise InputError(f"compare: needs two functions or more by their names, {{'a': f, 'b': g}} (got {got})")
    for name, function in functions.items():
        check_text("compare: a name", name)
        check_function(f"compare: {name}", function)
    check_text("unit", unit)
    by_name = dict(units) if isinstance(units, Mapping) else dict.fromkeys(functions, units)
    for name in functions:
        if type(by_name.get(name)) is not int or by_name[name] < 1:
            raise InputError(f"units: '{name}' needs a whole number of at least 1 (got {by_name.get(name)!r})")
    if quality is not None and not callable(quality):
        _check_quality(quality, functions)
    with measuring("compare", hardware, replay) as instrument:
        protocol = protocol_of(instrument, "rounds", rounds, window_s, allow_busy)
        phases = [Phase(step_of(function), by_name[name], unit) for name, function in functions.items()]
        shuffle = random.Random(seed).shuffle
        windows = measure_side_by_side(instrument.timeline, PHASE, phases, protocol, shuffle)
        instrument.timeline.take()
    machine = Machine.of(instrument, replay)
    each = [
        Measured(name, unit, tuple(own), protocol, machine) for name, own in zip(functions, windows, strict=True)
    ]
    quality_of = quality if callable(quality) else (quality or {}).get
    return Comparison(tuple(_compared(one, each[0], quality_of(one.name)) for one in each))


def _check_quality(quality: object, names: Collection[str]) -> None:
    """Refuse qualities that nobody has, before anything is measured.

    Raises:
        InputError: they are not numbers by the functions' names.
    """
    if not isinstance(quality, Mapping):
        raise InputError(f"quality: must be numbers by name, or a function of the name (got {quality!r})")
    for name, value in quality.items():
        if name not in names:
            raise InputError(f"quality: no function is called '{name}' (there are: {', '.join(names)})")
        if value is not None and (isinstance(value, bool) or not isinstance(value, Real)):
            raise InputError(f"quality: '{name}' must be a number (got {value!r})")


def _compared(one: Measured, first: Measured, quality: float | None) -> Compared:
    if one is first:
        return Compared(one, None, None, None, quality)
    # of windows that count, as the joules of each are: one that lacks a reading is no reason to leave a domain out
    every = [w for m in (one, first) for w in valid_windows(m.windows, PHASE, m.protocol)]
    domains = common_domains(every, DOMAINS)
    return Compared(
        one,
        _ratio(one, first, lambda w: joules(w, domains) if domains else None),
        _ratio(one, first, _processor_s),
        _ratio(one, first, lambda w: w.duration_s),
        quality,
    )


def _processor_s(window: Window) -> float | None:
    cpus = window.conditions.get("own_load_cpus")
    return None if cpus is None else cpus * window.duration_s


def _ratio(one: Measured, first: Measured, amount: Amount) -> Estimate | None:
    """Typical ratio of the rounds in which both windows are valid; None where it is known of none."""
    return ratio_of_rounds(zip(_amounts(one, amount), _amounts(first, amount), strict=True))


def _amounts(measured: Measured, amount: Amount) -> Sequence[float | None]:
    """Amount per unit of each window; None of one that does not count."""
    each = []
    for window, fault in judged(measured.windows, PHASE, measured.protocol):
        value = amount(window) if fault is None else None
        each.append(None if value is None else value / window.units)
    return each
