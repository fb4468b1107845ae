"""Rows of data, values by column name, and their two writers: CSV and JSON. Pure.

A value is None (not known), bool, int, float, str, a list or tuple of these, or `Exact` around one of them. Both
writers round decimals to six significant digits, unless they are exact.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joulebench.presentation.numbers import significant
from joulebench.stats.estimate import Estimate
from joulebench.text import visible

Row = Mapping[str, object]


@dataclass(frozen=True)
class Exact:
    """A value that was given or recorded, not computed (parameter, setting, environment), and is not rounded."""

    value: Any


def estimate_cells(name: str, value: Estimate | None) -> dict[str, float | None]:
    """A mean, the ends of its interval and its n as four columns; None where there is no value."""
    if value is None:
        return dict.fromkeys((name, f"{name}_low", f"{name}_high", f"{name}_n"))
    return {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high, f"{name}_n": value.n}


def is_row(row: object) -> bool:
    """Whether both writers can write `row`: values by name, of the module's types; lists are not nested."""
    return isinstance(row, Mapping) and all(isinstance(name, str) and _is_value(v) for name, v in row.items())


def csv_text(rows: Sequence[Row], columns: Iterable[str] = (), faithful: bool = False) -> str:
    """Lines of comma-separated values below their columns' names: an empty cell where there is no value, a list's
    values with a space between them.

    Text that a spreadsheet would run as a formula begins with an apostrophe; `faithful` leaves that and decimals
    as they are.

    Args:
        columns: those that come first, whether or not a row has them; the others follow as they appear.
    """
    names = list(dict.fromkeys((*columns, *(name for row in rows for name in row))))
    lines: list[Sequence[object]] = [names, *([row.get(name) for name in names] for row in rows)]
    return "".join(_line([_text(value, faithful) for value in line], faithful) for line in lines)


def json_text(tree: Any) -> str:
    """Rows, or any tree of mappings and lists of values, as JSON in ASCII: one value a line, of its own type."""
    return json.dumps(stated(tree), indent=1, allow_nan=False) + "\n"


def stated(value: Any, exact: bool = False) -> Any:
    """Convert to what JSON holds: decimals to six digits unless exact, keys without a value left out, null for NaN
    and infinities."""
    if isinstance(value, Exact):
        return stated(value.value, exact=True)
    if isinstance(value, float):
        return None if not math.isfinite(value) else value if exact else significant(value)
    if isinstance(value, Mapping):
        return {str(k): stated(v, exact) for k, v in value.items() if _bare(v) is not None}
    if isinstance(value, list | tuple):
        return [stated(v, exact) for v in value]
    return value


def _is_value(value: object) -> bool:
    bare = _bare(value)
    parts: list[object] = list(bare) if isinstance(bare, list | tuple) else [bare]
    return all(isinstance(_bare(part), int | float | str | None) for part in parts)


def _bare(value: object) -> object:
    return value.value if isinstance(value, Exact) else value


def _line(cells: Sequence[str], faithful: bool) -> str:
    text = io.StringIO()  # a writer that ends lines with \n would leave a \r within a cell without quotes
    csv.writer(text, lineterminator="\r\n").writerow(cells if faithful else map(_inert, cells))
    return text.getvalue().removesuffix("\r\n") + "\n"


def _text(value: object, exact: bool) -> str:
    if isinstance(value, Exact):
        return _text(value.value, exact=True)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value) if exact else significant(value))
    if isinstance(value, list | tuple):
        return " ".join(_text(v, exact) for v in value)
    return visible(str(value))


def _inert(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
