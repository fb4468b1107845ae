"""Tables as lines of text for a terminal, and as HTML for a notebook. Pure."""

from __future__ import annotations

from html import escape

from joulebench.presentation.table import Cell, Column, Table
from joulebench.text import one_line


def text_table(table: Table) -> list[str]:
    """Lines: the caption, the titles, the rows; columns are aligned."""
    rows = [[_title(c) for c in table.columns], *([_text(cell) for cell in row] for row in table.rows)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(table.columns))]
    lines = [
        "  ".join(
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(row, widths, table.columns, strict=True)
        ).rstrip()
        for row in rows
    ]
    return [*([one_line(table.caption)] if table.caption else []), *lines]


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
