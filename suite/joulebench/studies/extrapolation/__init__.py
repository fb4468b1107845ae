"""Extrapolation of a training's energy and time from its first epochs, every rule against what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.extrapolation.analysis import Extrapolation as Result


class Extrapolation(Study["Result"]):
    """Extrapolation of a training's energy and time from its first epochs, every rule against what came."""

    name = "extrapolation"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.extrapolation.analysis import extrapolation

        return extrapolation(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.extrapolation.section import extrapolation_section

        return extrapolation_section(result)
