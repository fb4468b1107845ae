"""Findings on the consistency checks that were made before the search. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.presentation.numbers import number, percent, rsd_words
from joulebench.records.model import LedgerEntry
from joulebench.results.consistency import MAX_RSD, Consistency, meter_checks
from joulebench.results.findings import Code, Finding
from joulebench.spec.task import Task


def precheck_findings(task: Task, entries: Sequence[LedgerEntry]) -> tuple[Finding, ...]:
    """One finding for each session's precheck; none where none was made."""
    found = meter_checks(task, entries)
    several = len(found) > 1
    return tuple(_finding(check, f" of session {session}" if several else "") for session, check in found)


def _others(check: Consistency) -> str:
    busy = check.most_other_load
    return "" if busy is None else f", with up to {number(busy, 2)} CPUs kept busy by other processes"


def _finding(check: Consistency, which: str) -> Finding:
    if check.rsd is None:
        reasons = [w.reason for w in check.windows if w.reason]
        why = reasons[0] if reasons else "no window was measured"
        text = f"The precheck{which} could not judge the meter's consistency: {why}."
        return Finding("warning", Code.METER_UNKNOWN, "Meter consistency unknown", text)
    spread = (
        f"Before the search{which}, the default configuration, untrained, was measured in {check.rsd.n} windows: "
        f"joules per {check.unit} differ by {rsd_words(check.rsd)}, {check.kind}"
        f"{_others(check)}"
    )
    follows = (
        " Its power did not move, so this is the spread of time."
        if check.kind == "estimated" and check.steady_power
        else ""
    )
    if check.rsd.value < MAX_RSD:
        text = f"{spread}; below the {percent(MAX_RSD)} asked for.{follows}"
        return Finding("note", Code.METER_CONSISTENT, "Meter consistency", text)
    return Finding(
        "warning",
        Code.METER_INCONSISTENT,
        "Meter inconsistent before the search",
        f"{spread}; {percent(MAX_RSD)} or more.{follows} Configurations closer than that cannot be ranked. Keep "
        "other load off the machine, warm up longer (protocol.warmup_s), measure longer "
        "windows (protocol.window_s) or take a larger batch; --strict refuses to search on such a machine.",
    )
