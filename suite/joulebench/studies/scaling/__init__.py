"""Scaling of joules per unit of work with the size of the model: exponents with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.scaling.analysis import Scaling as Result


class Scaling(Study["Result"]):
    """Scaling of joules per unit of work with the size of the model: exponents with intervals."""

    name = "scaling"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.scaling.analysis import scaling

        return scaling(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.scaling.section import scaling_section

        return scaling_section(result, run.task.protocol)
