"""Repeatability: distribution of joules over repeats, by batch size and by number of epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.repeatability.analysis import Repeatability as Result


class Repeatability(Study["Result"]):
    """Repeatability: distribution of joules over repeats, by batch size and by number of epochs."""

    name = "repeatability"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.repeatability.analysis import repeatability

        return repeatability(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.repeatability.section import repeatability_section

        return repeatability_section(result)
