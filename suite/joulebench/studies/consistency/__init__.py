"""Consistency of the meter: spread and drift over windows of the same work, their causes, and the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import NEEDS_ENERGY, Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.spec.task import Task
    from joulebench.studies.consistency.analysis import Consistency as Result


class Consistency(Study["Result"]):
    """Consistency of the meter: spread and drift over windows of the same work, their causes, and the gate."""

    name = "consistency"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.consistency.analysis import consistency

        return consistency(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.consistency.section import consistency_section

        return consistency_section(result)
