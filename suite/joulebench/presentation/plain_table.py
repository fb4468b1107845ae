"""Tables as lines of text for a terminal, and as HTML for a notebook."""

from __future__ import annotations

import shutil
import sys
from html import escape

from joulebench.presentation.table import Cell, Column, Table
from joulebench.text import one_line


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None where it is none, or closed."""
    try:
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    except (AttributeError, ValueError):
        return None


def text_table(table: Table, width: int | None = None) -> list[str]:
    """Lines: the caption, the titles, the rows; columns are aligned.

    Args:
        width: columns that there are; where a table is wider, each row becomes a list under its first cell.
    """
    rows = [[_title(c) for c in table.columns], *([_text(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [
        "  ".join(
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in rows
    ]
    caption = [one_line(table.caption)] if table.caption else []
    if width is not None and len(table.columns) > 1 and max(map(len, lines)) > width:
        lines = _lists(rows[0][1:], rows[1:])
    return [*caption, *lines]


def _lists(titles: list[str], rows: list[list[str]]) -> list[str]:
    most = max(map(len, titles))
    return [
        line
        for name, *cells in rows
        for line in (name, *(f"  {t.ljust(most)}  {c}".rstrip() for t, c in zip(titles, cells, strict=True)))
    ]


def html_table(table: Table) -> str:
    """An HTML table without a style of its own."""
    head = "".join(f"<th>{escape(_title(column))}</th>" for column in table.columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(_text(cell))}</td>' for cell in row)}</tr>" for row in table.rows)
    caption = f"<caption>{escape(one_line(table.caption))}</caption>"
    return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _title(column: Column) -> str:
    return one_line(" ".join((column.title, *(f"({detail})" for detail in column.details))))


def _text(cell: Cell) -> str:
    return one_line(" ".join(filter(None, (cell.text, cell.flag, *cell.below))))
