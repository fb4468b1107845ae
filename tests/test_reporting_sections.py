"""Analyses that a task may name and sections that a report has."""

from __future__ import annotations

import typing

import pytest
from joulebench.presentation.table import Cell, Column, Table, condensed
from joulebench.results.records import Records
from joulebench.spec.task import Analysis
from joulebench.studies.registry import ANALYSES, sections

from tests.run_factory import RunBuilder, make_task


def test_every_section_is_of_an_analysis_that_a_task_may_name() -> None:
    assert set(typing.get_args(Analysis)) - {"frontier"} >= set(ANALYSES)


@pytest.mark.parametrize("name", sorted(ANALYSES))
def test_any_analysis_of_a_run_without_trials_says_so_or_nothing(name: str) -> None:
    run = RunBuilder(make_task(analyses=[name]))
    found = sections(Records(run.manifest(), run.task, ()))
    assert all(section.name == name and section.answer for section in found)


def test_what_a_whole_column_says_is_said_once() -> None:
    def cell(text: str, *details: str) -> Cell:
        return Cell(text, details)

    columns = (Column("a"), Column("b", True), Column("c", True))
    rows = (
        (cell("x"), cell("1", "[0, 2]", "n = 5"), cell("3", "n = 5")),
        (cell("y"), cell("2", "[1, 3]", "n = 5"), cell("4", "n = 6")),
        (cell("z"), cell("not measured"), cell("—")),
    )
    found = condensed(Table("t", columns, rows))
    assert [c.details for c in found.columns] == [(), ("n = 5",), ()]
    assert [row[1].details for row in found.rows] == [("[0, 2]",), ("[1, 3]",), ()]
    assert [row[2].details for row in found.rows] == [("n = 5",), ("n = 6",), ()]
    single = Table("t", columns, rows[:1])
    assert condensed(single) == single
