"""Tables of requests, prefill and decode, one row per configuration. Pure."""

from __future__ import annotations

from collections.abc import Callable

from joulebench.presentation.numbers import ABSENT, octets, percent, ratio_percent
from joulebench.presentation.table import (
    Cell,
    Table,
    condensed,
    first_column,
    least,
    of_all,
    prefixed_cell,
    value_cell,
    worded_cell,
)
from joulebench.presentation.units import plain
from joulebench.presentation.words import domains
from joulebench.results.phase_runs import PhaseRuns
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate
from joulebench.studies.generation.analysis import (
    DECODE,
    MAX_RESTORE_SHARE,
    PREFILL,
    REQUEST,
    Generation,
    Generator,
)

#: Mean, median and 95 % quantile of a step's latency in seconds.
STEPS: tuple[Callable[[PhaseRuns], Estimate | None], ...] = (
    lambda part: part.step_mean, lambda part: part.step_quantile(0.5), lambda part: part.step_quantile(0.95),
)  # fmt: skip
TITLES = {REQUEST: "Whole requests", PREFILL: "Prefill", DECODE: "Decode"}


def tables(generation: Generation) -> tuple[Table, ...]:
    """Write one table for each phase that a configuration has."""
    return tuple(filter(None, (_table(generation, phase) for phase in TITLES)))


def _table(generation: Generation, phase: str) -> Table | None:
    every = [(p, p.parts[phase]) for p in generation.points if phase in p.parts]
    if not every:
        return None
    protocol = generation.run.task.protocol
    measured = [every[i] for i in least([part.gross.mean for _, part in every])]
    rows = [{**_energy(part, protocol), **_by_phase(point, part, phase, protocol)} for point, part in measured]
    first, names = first_column([point.params for point, _ in measured], generation.names)
    body = tuple((Cell(name), *cells.values()) for name, cells in zip(names, rows, strict=True))
    some = of_all(len(measured), len(every), "most efficient")
    caption = f"{TITLES[phase]} ({generation.kind}, {domains(generation.domains)}){some}"
    return condensed(Table.of(caption, (first, *rows[0]), body))


def _energy(part: PhaseRuns, protocol: Protocol) -> dict[str, Cell]:
    unit = plain(part.unit)
    return {
        f"{unit}s/J, gross": value_cell(part.units_per_j, protocol, kind=part.kind),
        f"J per {unit}, gross": prefixed_cell(part.gross, "J", protocol),
        f"J per {unit}, net": prefixed_cell(part.net, "J", protocol),
    }


def _by_phase(point: Generator, part: PhaseRuns, phase: str, protocol: Protocol) -> dict[str, Cell]:
    """Columns specific to the phase, and FLOP/J."""
    flops = {"FLOP/J": prefixed_cell(part.flops_per_j, "FLOP/J", protocol)}
    if phase == REQUEST:
        memory = () if point.memory_share is None else (f"{percent(point.memory_share)} of the limit",)
        return {
            f"{plain(part.unit)}s/s": value_cell(part.units_per_s, protocol),
            "Requests/s": value_cell(point.requests_per_s, protocol),
            "Latency p50": prefixed_cell(part.step_quantile(0.5), "s", protocol),
            "p95": prefixed_cell(part.step_quantile(0.95), "s", protocol),
            "Peak memory": Cell(octets(point.memory_bytes), memory),
            "Prefill + decode": _closure(point),
            **flops,
        }
    part_of = point.share(phase)
    share = {
        "Share of request": Cell(ABSENT)
        if part_of is None
        else worded_cell(percent, part_of.mean, part_of.low, part_of.high)
    }
    if phase == PREFILL:
        first = tuple(read(part) for read in STEPS)
        return {**_times("Time to first token, mean", first, protocol), **share, **flops}
    each = tuple(point.per_token_s(read) for read in STEPS)
    return {
        **_times("Time per output token, mean", each, protocol),
        **share,
        "Cache restored": _restored(point),
        **flops,
    }


def _times(title: str, values: tuple[Estimate | None, ...], protocol: Protocol) -> dict[str, Cell]:
    return {name: prefixed_cell(v, "s", protocol) for name, v in zip((title, "p50", "p95"), values, strict=True)}


def _closure(point: Generator) -> Cell:
    value = point.closure
    if value is None:
        return Cell(ABSENT)
    flag = "does not add up" if point.closes is False else ""
    return worded_cell(ratio_percent, value.mean, value.low, value.high, flag=flag)


def _restored(point: Generator) -> Cell:
    share = point.restore_share
    if share is None:
        return Cell(ABSENT)
    return Cell(percent(share), flag="inflates decode" if share >= MAX_RESTORE_SHARE else "")
