"""Text generation: energy per token, latency and memory of whole requests, of prefill and of decode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.generation.analysis import Generation as Result


class Generation(Study["Result"]):
    """Text generation: energy per token, latency and memory of whole requests, of prefill and of decode."""

    name = "generation"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.generation.analysis import generation

        return generation(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.generation.section import generation_section

        return generation_section(result, run.task.protocol)
