"""Which sections a run's report has beside the frontier, in the task's order. Pure."""

from __future__ import annotations

from suite.reporting.analysis_consistency import consistency_section
from suite.reporting.analysis_repeatability import repeatability_section
from suite.reporting.section import Section
from suite.reporting.summary import Summary


def sections(summary: Summary) -> tuple[Section, ...]:
    """One for each analysis that the task names and these records allow."""
    found = {
        "consistency": consistency_section(summary.consistency) if summary.consistency else None,
        "repeatability": repeatability_section(summary.repeatability) if summary.repeatability else None,
    }
    return tuple(s for name in summary.task.analyses if (s := found.get(name)) is not None)
