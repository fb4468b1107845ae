"""From a run's records to its report. Loads no torch."""

from suite.reporting.render import Written, write_report
from suite.reporting.summary import Summary, summarise

__all__ = ["Summary", "Written", "summarise", "write_report"]
