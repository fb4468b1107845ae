"""Checked reading of CSV files: every error names the file, the line and the column."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.parameters import Value
from joulebench.spec.reading import read_file

MAX_BYTES = 200_000_000
SHIPPED_TABLES = Path(__file__).parents[1] / "data" / "tables"

Key = tuple[Value, ...]
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text"}


def find_table(name: str) -> Path:
    """Find a CSV file: in the current folder, beside the task file, on PYTHONPATH or among the shipped tables.

    Raises:
        InputError: no such file.
    """
    folders = [Path.cwd(), *map(Path, sys.path), SHIPPED_TABLES]
    file = next((path for folder in folders if (path := folder / name).is_file()), None)
    if file is None:
        shipped = sorted(path.name for path in SHIPPED_TABLES.glob("*.csv"))
        raise InputError(
            f"options.csv: no file '{name}' here, beside the task file or among the shipped tables"
            f"{did_you_mean(name, shipped)} (shipped: {', '.join(shipped)})"
        )
    return file.resolve()


class Rows:
    """Rows of one CSV file: text cells, converted to numbers or booleans on access."""

    def __init__(self, path: Path, columns: Sequence[str], cells: Sequence[tuple[str, ...]],
                 lines: Sequence[int], sha256: str) -> None:  # fmt: skip
        self.path, self.columns, self.sha256 = path, tuple(columns), sha256
        self._cells, self._lines = cells, lines
        self._position = {name: i for i, name in enumerate(columns)}
        self._indices: dict[tuple[tuple[str, type], ...], dict[Key, list[int]]] = {}

    @classmethod
    def read(cls, path: Path) -> Rows:
        """Read a file, once per process as long as it does not change.

        Raises:
            InputError: it cannot be read, or is no CSV file with a header and rows of its length.
        """
        try:
            stat = path.stat()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        return _read(path, stat.st_mtime_ns, stat.st_size)

    def __len__(self) -> int:
        return len(self._cells)

    def check_column(self, name: str, field: str) -> None:
        """Check that a column exists; `field` of the task names it.

        Raises:
            InputError: there is no such column.
        """
        if name not in self.columns:
            hint, there = did_you_mean(name, self.columns), ", ".join(self.columns)
            raise InputError(f"{field}: {self.path.name} has no column '{name}'{hint} (there are: {there})")

    def line(self, row: int) -> int:
        """The line of a row in the file, from 1."""
        return self._lines[row]

    def number(self, row: int, column: str) -> float | None:
        """A cell as a number; None if it is empty.

        Raises:
            InputError: it is neither.
        """
        text = self._cells[row][self._position[column]]
        return None if not text else self._number(text, row, column, "is no finite number")

    def check_numbers(self, column: str) -> None:
        """Check that every cell of a column is empty or a finite number.

        Raises:
            InputError: one is neither.
        """
        for row in range(len(self)):
            self.number(row, column)

    def matching(self, wanted: Mapping[str, Value]) -> list[int]:
        """Indices of the rows that have the values wanted; numbers compare as numbers, `64` with `64.0`.

        Raises:
            InputError: a column holds another type than the value, or a text value is in no row.
        """
        kinds = tuple((column, float if type(v) is int else type(v)) for column, v in wanted.items())
        if kinds not in self._indices:
            self._indices[kinds] = self._index(kinds)
        key = tuple(float(v) if type(v) is int else v for v in wanted.values())
        rows = self._indices[kinds].get(key, [])
        for column, value in wanted.items() if not rows else ():
            self._check_text(column, value)
        return rows

    def _index(self, kinds: Sequence[tuple[str, type]]) -> dict[Key, list[int]]:
        index: dict[Key, list[int]] = {}
        for row in range(len(self)):
            index.setdefault(tuple(self._value(row, column, kind) for column, kind in kinds), []).append(row)
        return index

    def _value(self, row: int, column: str, kind: type) -> Value:
        text = self._cells[row][self._position[column]]
        problem = f"does not fit parameter, which is {_KINDS[kind]}"
        if not text:
            raise InputError(f"{self._place(row, column)}: a parameter's cell is empty")
        if kind is str:
            return text
        if kind is bool:
            if text.lower() not in ("true", "false"):
                raise InputError(f"{self._place(row, column)}: '{text}' {problem}")
            return text.lower() == "true"
        return self._number(text, row, column, problem)

    def _number(self, text: str, row: int, column: str, problem: str) -> float:
        try:
            value = math.nan if "_" in text else float(text)  # Python would read 1_000 as a thousand
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{self._place(row, column)}: '{text}' {problem}")
        return value

    def _check_text(self, column: str, value: Value) -> None:
        if not isinstance(value, str):
            return
        known = sorted({cells[self._position[column]] for cells in self._cells})
        if value not in known:
            some = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
            raise InputError(
                f"{self.path.name}: column '{column}' has '{value}' in no row{did_you_mean(value, known)} "
                f"(it has: {some})"
            )

    def _place(self, row: int, column: str) -> str:
        return f"{self.path.name}, line {self.line(row)}, column '{column}'"


@lru_cache(maxsize=8)
def _read(path: Path, mtime_ns: int, size: int) -> Rows:  # noqa: ARG001
    """Read a file; `mtime_ns` and `size` are part of the cache's key, so a file that changes is read again."""
    raw = read_file(path, MAX_BYTES, follow=True)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    cells: list[tuple[str, ...]] = []
    lines: list[int] = []
    try:
        for line in reader:
            if line:
                cells.append(tuple(cell.strip() for cell in line))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV: {error}") from None
    _check_shape(path, cells, lines)
    return Rows(path, cells[0], cells[1:], lines[1:], hashlib.sha256(raw).hexdigest())


def _check_shape(path: Path, cells: Sequence[tuple[str, ...]], lines: Sequence[int]) -> None:
    if len(cells) < 2:
        raise InputError(f"{path}: a table has a header and at least one row")
    header = cells[0]
    if odd := [name or "an empty one" for name in header if not name or header.count(name) > 1]:
        raise InputError(f"{path}: every column needs a name of its own (got {odd[0]})")
    for row, line in zip(cells[1:], lines[1:], strict=True):
        if len(row) != len(header):
            raise InputError(f"{path}, line {line}: {len(row)} cells under {len(header)} columns")
