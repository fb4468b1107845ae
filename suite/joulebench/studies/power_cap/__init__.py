"""Power caps of a GPU: energy saved and time lost at each cap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.power_cap.analysis import PowerCap as Result


class PowerCap(Study["Result"]):
    """Power caps of a GPU: energy saved and time lost at each cap."""

    name = "power_cap"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.power_cap.analysis import power_cap

        return power_cap(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.power_cap.section import power_cap_section

        return power_cap_section(result)
