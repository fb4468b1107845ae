"""Proxies for energy: correlation of parameters, MACs, activations, bytes moved and runtime with joules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import NEEDS_ENERGY, Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.spec.task import Task
    from joulebench.studies.proxies.analysis import Proxies as Result


class Proxies(Study["Result"]):
    """Proxies for energy: correlation of parameters, MACs, activations, bytes moved and runtime with joules."""

    name = "proxies"

    def needs(self, task: Task) -> str | None:
        return NEEDS_ENERGY if task.measured is None else None

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.proxies.analysis import proxies

        return proxies(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.studies.proxies.section import proxies_section

        return proxies_section(result, run.task.protocol)
