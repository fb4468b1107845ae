"""Quality of search methods: hypervolume reached, trials and joules needed, on problems with known answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.search_quality.analysis import SearchQuality as Result


class SearchQuality(Study["Result"]):
    """Quality of search methods: hypervolume reached, trials and joules needed, on problems with known answers."""

    name = "search_quality"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.search_quality.analysis import search_quality

        return search_quality(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.search_quality.section import search_quality_section

        return search_quality_section(result)
