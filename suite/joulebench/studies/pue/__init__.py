"""Effect of PUE (data-centre overhead) and grid on rankings and frontier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.pue.analysis import Pue as Result


class Pue(Study["Result"]):
    """Effect of PUE (data-centre overhead) and grid on rankings and frontier."""

    name = "pue"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.pue.analysis import pue
        from joulebench.studies.pue.section import site_of

        return pue(run.task, run.trials, *site_of(run.manifest))

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.pue.section import pue_section

        return pue_section(result)
