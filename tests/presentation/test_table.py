"""Tables of words."""

from __future__ import annotations

from joulebench.presentation.table import Cell, Column, Table, condensed


def test_what_a_whole_column_says_is_said_once() -> None:
    def cell(text: str, *details: str, interval: str = "") -> Cell:
        return Cell(text, details, interval=interval)

    columns = (Column("a"), Column("b", True), Column("c", True))
    rows = (
        (cell("x"), cell("1", "n = 5", interval="[0, 2]"), cell("3", "n = 5")),
        (cell("y"), cell("2", "n = 5", interval="[1, 3]"), cell("4", "n = 6")),
        (cell("z"), cell("not measured"), cell("—")),
    )
    found = condensed(Table("t", columns, rows))
    assert [c.details for c in found.columns] == [(), ("n = 5",), ()]
    assert [row[1].below for row in found.rows] == [("[0, 2]",), ("[1, 3]",), ()]
    assert [row[2].details for row in found.rows] == [("n = 5",), ("n = 6",), ()]
    single = Table("t", columns, rows[:1])
    assert condensed(single) == single
