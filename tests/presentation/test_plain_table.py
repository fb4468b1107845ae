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
    value = "1.5 ! [1, 2] estimated"
    assert text_table(TABLE) == [
        "What <it> took",
        f"Name   {'Joules (n = 5)':>{len(value)}}",
        f"a b    {value}",
        f"c & d  {'12':>{len(value)}}",
    ]


def test_a_table_wider_than_the_terminal_becomes_a_list_a_row():
    whole = text_table(TABLE)
    wide = max(map(len, whole[1:]))
    assert text_table(TABLE, wide) == whole
    assert text_table(TABLE, wide - 1) == [
        "What <it> took",
        "a b",
        "  Joules (n = 5)  1.5 ! [1, 2] estimated",
        "c & d",
        "  Joules (n = 5)  12",
    ]


def test_html_is_escaped():
    html = html_table(TABLE)
    assert "<it>" not in html
    assert "c &amp; d" in html
    assert html.count("<tr>") == 3
