"""Report of one run, and its exports. Loads no torch."""

from joulebench.reporting.render import Written, write_report
from joulebench.reporting.summary import Summary, summarise

__all__ = ["Summary", "Written", "summarise", "write_report"]
