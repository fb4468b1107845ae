"""Energy efficiency against batch size: the optimum, its price in latency and memory, and where memory ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from joulebench.studies.base import Study

if TYPE_CHECKING:
    from joulebench.presentation.section import Section
    from joulebench.results.run import Run
    from joulebench.studies.batch.analysis import Batch as Result


class Batch(Study["Result"]):
    """Energy efficiency against batch size: the optimum, its price in latency and memory, and where memory ends."""

    name = "batch"

    def analyse(self, run: Run) -> Result | None:
        from joulebench.studies.batch.analysis import batch

        return batch(run.task, run.trials)

    def section(self, result: Result, run: Run) -> Section:
        from joulebench.results.ledger import balance
        from joulebench.studies.batch.section import batch_section

        return batch_section(result, run.task, balance(run.trials, run.entries))
