"""Tables of text, and the cells that show values with intervals. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from joulebench.presentation.numbers import ABSENT, NOT_MEASURED, count, interval, number, prefix, sample_size
from joulebench.presentation.wide import WIDE, is_wide

if TYPE_CHECKING:
    from joulebench.spec.parameters import Params
    from joulebench.spec.task import Protocol
    from joulebench.stats.estimate import Estimate


#: Most rows that a section's table shows; its CSV file has all.
MAX_ROWS = 100


@dataclass(frozen=True)
class Cell:
    """A value as text, with its `interval`, `details` such as n and kind, and a `flag` that warns of it."""

    text: str
    details: tuple[str, ...] = ()
    flag: str = ""
    interval: str = ""

    @property
    def below(self) -> tuple[str, ...]:
        """What stands below the value: its interval, then the details."""
        return (self.interval, *self.details) if self.interval else self.details


@dataclass(frozen=True)
class Column:
    """A column's title; `details` hold for every cell below it."""

    title: str
    numeric: bool = False
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first cell of a row names it. `total` marks the last row as a sum."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: bool = False

    @classmethod
    def of(cls, caption: str, titles: Iterable[str], rows: Iterable[tuple[Cell, ...]], text: int = 1) -> Table:
        """A table of which the first `text` columns hold text and the others numbers."""
        columns = tuple(Column(title, numeric=i >= text) for i, title in enumerate(titles))
        return cls(caption, columns, tuple(rows))


def condensed(table: Table) -> Table:
    """Move details that all cells of a column share (n, kind) below its title."""
    if len(table.rows) < 2:
        return table
    shared = [_shared([row[i] for row in table.rows]) for i in range(len(table.columns))]
    columns = tuple(replace(c, details=s) for c, s in zip(table.columns, shared, strict=True))
    rows = tuple(
        tuple(
            replace(cell, details=tuple(d for d in cell.details if d not in s))
            for cell, s in zip(row, shared, strict=True)
        )
        for row in table.rows
    )
    return replace(table, columns=columns, rows=rows)


def _shared(cells: Sequence[Cell]) -> tuple[str, ...]:
    every = [cell.details for cell in cells if cell.below]
    if len(every) < 2:
        return ()
    return tuple(d for d in every[0] if all(d in details for details in every))


def value_cell(
    value: Estimate | None, protocol: Protocol, factor: float = 1.0, unit: str = "", kind: str = ""
) -> Cell:
    """Mean with unit; interval, n, what varied and kind below; flagged where the interval is wide."""
    if value is None:
        return Cell(NOT_MEASURED)
    sample = ", ".join(p for p in (sample_size(value), kind) if p)
    text = f"{number(value.mean / factor)} {unit}".rstrip()
    flag = WIDE if is_wide(value, protocol) else ""
    return Cell(text, (sample,) if sample else (), flag, interval(value, factor) or "")


def worded_cell(
    words: Callable[[float], str],
    value: float,
    low: float | None,
    high: float | None,
    details: tuple[str, ...] = (),
    flag: str = "",
) -> Cell:
    """A value with the ends of its interval, where both are known, each formatted by `words`."""
    ends = "" if low is None or high is None else f"[{words(low)}, {words(high)}]"
    return Cell(words(value), details, flag, ends)


def prefixed_cell(value: Estimate | None, unit: str, protocol: Protocol) -> Cell:
    """`value_cell` in the SI prefix that suits the value."""
    if value is None:
        return Cell(NOT_MEASURED)
    factor, letter = prefix(value.mean)
    return value_cell(value, protocol, factor, f"{letter}{unit}")


def flatten(tree: Mapping[str, Any], start: str = "") -> Iterable[tuple[str, str]]:
    """Leaves of nested tables, in order: dotted key and value in words."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", show(value)


def label(params: Params, names: Sequence[str]) -> str:
    """A configuration by the parameters that distinguish it: `batch_size 8, layers 4`."""
    return ", ".join(f"{name} {show(params.get(name))}" for name in names) or "the one configuration"


def least(values: Sequence[float], most: int = MAX_ROWS) -> list[int]:
    """Indices of the `most` least values, in ascending order of index."""
    ranked = sorted(range(len(values)), key=lambda i: values[i])
    return sorted(ranked[:most])


def of_all(shown: int, every: int, which: str) -> str:
    """`; the 100 most efficient of 2 000`; nothing where all are shown."""
    return "" if shown == every else f"; the {count(shown)} {which} of {count(every)}"


def first_column(configurations: Sequence[Params], names: Sequence[str]) -> tuple[str, list[str]]:
    """Title and cells of a table's first column: the parameter and its values where a single one differs."""
    if len(names) == 1:
        return names[0], [show(params.get(names[0])) for params in configurations]
    return "Configuration", [label(params, names) for params in configurations]


def show(value: Any) -> str:
    """A parameter or setting as a task file would have it."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(show(v) for v in value) or "none"
    return str(value)
