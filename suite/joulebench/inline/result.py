"""What a measured block or function took: joules by domain, time, power, and what was wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.inline.record import DOMAINS, Machine, Taken, write_record
from joulebench.presentation.numbers import ABSENT, NOT_MEASURED, interval, number, prefix, seconds, watts
from joulebench.presentation.plain_table import html_table, terminal_width, text_table
from joulebench.presentation.table import Cell, Column, Table
from joulebench.presentation.units import plain
from joulebench.records.model import Kind, Window
from joulebench.results.energy import Energy, phase_energy, seconds_per_unit
from joulebench.results.validity import judged, valid_windows
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import Answer

PHASE = "block"


class Shown(ABC):
    """What shows itself as a table: printed, in an interpreter, in a notebook."""

    @property
    @abstractmethod
    def table(self) -> Table: ...

    def __str__(self) -> str:
        return "\n".join(text_table(self.table, terminal_width()))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html_table(self.table)


@dataclass(frozen=True, repr=False)
class Measured(Shown):
    """Windows of one block or function, and what follows from the valid ones.

    Attributes:
        name: what it is called in tables.
        unit: of its work; all joules and seconds are per unit.
        windows: as they were measured, invalid ones included.
        protocol: what makes a window valid.
        machine: where it was measured; None before it was.
    """

    name: str
    unit: str
    windows: tuple[Window, ...]
    protocol: Protocol
    machine: Machine | None

    @cached_property
    def energy(self) -> Energy | None:
        """Gross joules per unit over all domains that were read; None without a valid window."""
        return phase_energy(self.windows, PHASE, DOMAINS, self.protocol, unit=self.unit)

    @cached_property
    def by_domain(self) -> dict[str, Energy]:
        """Gross joules per unit of each domain: `gpu:0`, `cpu`, `ram`."""
        names = () if self.energy is None else self.energy.domains
        found = {n: phase_energy(self.windows, PHASE, (n,), self.protocol, unit=self.unit) for n in names}
        return {name: energy for name, energy in found.items() if energy is not None}

    @property
    def joules(self) -> float | None:
        """Gross joules per unit; None where they are not known."""
        return None if self.energy is None else self.energy.mean

    @property
    def kind(self) -> Kind | None:
        """Measured only if every part of the joules is."""
        return None if self.energy is None else self.energy.kind

    @cached_property
    def seconds(self) -> Estimate | None:
        """Seconds per unit over the valid windows."""
        valid = valid_windows(self.windows, PHASE, self.protocol)
        return seconds_per_unit(valid) if valid else None

    @property
    def power_w(self) -> float | None:
        """Mean power in watts."""
        if self.energy is None or self.seconds is None:
            return None
        return self.energy.mean / self.seconds.mean

    @property
    def hardware(self) -> str:
        """Profile of the machine."""
        return "" if self.machine is None else self.machine.profile.name

    def record(self, out: str | Path = "runs") -> Path:
        """Write a run folder below `out` with every window, for `joulebench.load` and the command line.

        Raises:
            InputError: nothing was measured yet, or the folder cannot be written.
        """
        return _recorded(out, [self])

    @property
    def faults(self) -> tuple[str, ...]:
        """Why windows do not count."""
        every = judged(self.windows, PHASE, self.protocol)
        return tuple(dict.fromkeys(fault.text for _, fault in every if fault is not None))

    def row(self) -> dict[str, Any]:
        """The numbers as one row of data, for a DataFrame; None where they are not known."""
        energy, time = self.energy, self.seconds
        return {
            "name": self.name,
            "unit": self.unit,
            "j_per_unit": self.joules,
            "low": None if energy is None else energy.low,
            "high": None if energy is None else energy.high,
            "n": 0 if energy is None else energy.n,
            "kind": self.kind,
            "s_per_unit": None if time is None else time.mean,
            "power_w": self.power_w,
            **{f"{domain}_j_per_unit": value.mean for domain, value in self.by_domain.items()},
            "faults": "; ".join(self.faults) or None,
        }

    @property
    def table(self) -> Table:
        """One row a domain, and all of them."""
        whole = self.energy
        if whole is None:
            why = f": {self.faults[0]}" if self.faults else "" if self.windows else ": nothing came to its end"
            return Table(self.name, (Column("Energy"),), ((Cell(f"{NOT_MEASURED}{why}"),),))
        factor, letter = prefix(whole.mean)
        parts = [(name, value) for name, value in self.by_domain.items()]
        rows = [_row(name, value, factor) for name, value in parts]
        if len(parts) > 1:
            rows.append(_row("all", whole, factor))
        columns = (
            Column("Domain"), Column(f"{letter}J/{plain(self.unit)}", True), Column("95 % interval", True),
            Column("Kind"),
        )  # fmt: skip
        took = "" if self.seconds is None else f"{seconds(self.seconds.mean)} per {plain(self.unit)}, "
        caption = f"{self.name}: {took}{watts(self.power_w)}, {self._counted}, on {self.hardware}"
        return Table(caption, columns, tuple(rows), total=len(parts) > 1)

    @property
    def _counted(self) -> str:
        """How many windows count, and why others do not."""
        valid = len(valid_windows(self.windows, PHASE, self.protocol))
        if not (left_out := len(self.windows) - valid):
            return f"n = {valid} windows"
        return f"n = {valid} windows ({left_out} more do not count: {self.faults[0]})"


def _row(name: str, value: Energy, factor: float) -> tuple[Cell, ...]:
    return (
        Cell(name),
        Cell(number(value.mean / factor)),
        Cell(interval(value, factor) or ABSENT),
        Cell(value.kind),
    )


@dataclass(frozen=True)
class Compared:
    """One of several that were measured side by side; ratios are to the first, None for the first itself."""

    measured: Measured
    energy_ratio: Estimate | None
    processor_ratio: Estimate | None
    time_ratio: Estimate | None
    quality: float | None = None

    @property
    def answer(self) -> Answer:
        """What the 95 % interval of the ratio of joules says."""
        return Answer.of(self.energy_ratio)


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Functions side by side, in the order in which they were given."""

    each: tuple[Compared, ...]

    def __getitem__(self, name: str) -> Compared:
        """The function of this name.

        Raises:
            KeyError: there is none.
        """
        for one in self.each:
            if one.measured.name == name:
                return one
        raise KeyError(name)

    def record(self, out: str | Path = "runs") -> Path:
        """Write a run folder below `out`, with all windows of all functions.

        Raises:
            InputError: the folder cannot be written.
        """
        qualities = {one.measured.name: one.quality for one in self.each}
        return _recorded(out, [one.measured for one in self.each], qualities)

    def rows(self) -> list[dict[str, Any]]:
        """The numbers as rows of data, for a DataFrame."""
        return [
            {
                **one.measured.row(),
                **_ends("energy_ratio", one.energy_ratio),
                **_ends("processor_ratio", one.processor_ratio),
                **_ends("time_ratio", one.time_ratio),
                "answer": None if one is self.each[0] else str(one.answer),
                "quality": one.quality,
            }
            for one in self.each
        ]

    @property
    def table(self) -> Table:
        first = self.each[0].measured
        factor, letter = prefix(first.joules or 1.0)
        unit = plain(first.unit)
        with_quality = any(one.quality is not None for one in self.each)
        columns = (
            Column("Name"), Column(f"{letter}J/{unit}", True), Column("95 % interval", True),
            Column("Ratio of joules", True), Column("Answer"), Column("Ratio of processor time", True),
            Column("Ratio of time", True), *((Column("Quality", True),) if with_quality else ()),
        )  # fmt: skip
        rows = tuple(self._cells(one, factor, with_quality) for one in self.each)
        kinds = sorted({one.measured.kind for one in self.each if one.measured.kind})
        label = f"{' and '.join(kinds)} joules" if kinds else "no joules"
        return Table(f"Side by side on {first.hardware}: {label}, ratios to {first.name}", columns, rows)

    def _cells(self, one: Compared, factor: float, with_quality: bool) -> tuple[Cell, ...]:
        energy, is_first = one.measured.energy, one is self.each[0]
        cells = [
            Cell(one.measured.name),
            Cell(NOT_MEASURED if energy is None else number(energy.mean / factor)),
            Cell(ABSENT if energy is None else interval(energy, factor) or ABSENT),
            _ratio_cell(one.energy_ratio),
            Cell(ABSENT if is_first else str(one.answer)),
            _ratio_cell(one.processor_ratio),
            _ratio_cell(one.time_ratio),
        ]
        quality = Cell(ABSENT if one.quality is None else number(one.quality))
        return (*cells, quality) if with_quality else tuple(cells)


def _recorded(
    out: str | Path, each: Sequence[Measured], qualities: Mapping[str, float | None] | None = None
) -> Path:
    first = each[0]
    if first.machine is None:
        raise InputError("record: nothing was measured yet")
    taken = [
        Taken(m.name, (window,), fault, {} if (q := (qualities or {}).get(m.name)) is None else {"quality": q})
        for m in each
        for window, fault in judged(m.windows, PHASE, m.protocol)
    ]
    title = " and ".join(m.name for m in each) if len(each) < 4 else f"{len(each)} functions"
    return write_record(out, title, PHASE, plain(first.unit), taken, first.protocol, first.machine)


def _ratio_cell(value: Estimate | None) -> Cell:
    if value is None:
        return Cell(ABSENT)
    return Cell(f"{number(value.mean)} {interval(value) or ''}".rstrip())


def _ends(name: str, value: Estimate | None) -> dict[str, float | None]:
    mean, low, high = (None, None, None) if value is None else (value.mean, value.low, value.high)
    return {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_n": 0 if value is None else value.n}
