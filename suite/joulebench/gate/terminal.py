"""Table of joules at the end of a pytest session. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from joulebench.presentation.numbers import NOT_MEASURED, number, prefix
from joulebench.presentation.plain_table import text_table
from joulebench.presentation.table import Cell, Table
from joulebench.presentation.units import plain

HEADER = ("benchmark", "energy per unit, 95 % interval", "power", "joules are", "valid windows")


def energy_table(results: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """Lines of a table with one row per benchmark.

    Args:
        results: test ids with what `joulebench.gate.fixture.energy_facts` says of each.
    """
    rows = (tuple(map(Cell, _row(name, facts))) for name, facts in results)
    return text_table(Table.of("", HEADER, rows, text=len(HEADER)))


def _row(name: str, facts: Mapping[str, Any]) -> tuple[str, ...]:
    invalid = int(facts["invalid_windows"])
    if (mean := facts.get("j_per_unit")) is None:
        return name, f"{NOT_MEASURED}: {facts['reason']}", "", "", f"0 of {invalid}"
    factor, letter = prefix(mean)
    ends = [facts[end] for end in ("low", "high") if end in facts]
    interval = f" [{', '.join(number(end / factor) for end in ends)}]" if ends else ""
    power = facts.get("power_w")
    return (
        name,
        f"{number(mean / factor)}{interval} {letter}J/{plain(facts['unit'])}",
        "" if power is None else f"{number(power, 3)} W",
        facts["kind"],
        f"{facts['n']} of {facts['n'] + invalid}",
    )
