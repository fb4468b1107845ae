"""Checks before a run is resumed: what may differ between sessions, and how often a trial killed its process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.records.model import LedgerEntry, Manifest
from joulebench.runner.session import Facts

#: A trial during which the process died this often is recorded as failed.
MAX_DEATHS = 3


def mismatch(before: Facts | Manifest, now: Facts | Manifest) -> tuple[str, Any, Any] | None:
    """Find the first difference in data, host or meters: its name and both values; None if records compare."""
    old, new = _compared(before), _compared(now)
    return next(((name, old[name], new[name]) for name in old if old[name] != new[name]), None)


def _compared(facts: Facts | Manifest) -> dict[str, Any]:
    host = facts.environment.get("host", {})
    primary = (m for m in facts.meters if m.get("role") != "check")  # what a check reads is not in any result
    meters = sorted(f"{meter['domain']} by {meter['source']} ({meter.get('kind')})" for meter in primary)
    return {
        "data": facts.data.get("fingerprint"),
        **{name: host.get(name) for name in ("cpu", "logical_cpus", "accelerators")},
        "meters": ", ".join(meters),
    }


def differences(before: Manifest, now: Manifest, path: Path) -> str:
    """Describe the package versions that changed between the sessions of a run.

    Raises:
        InputError: other data, another machine or other meters; their records would not compare.
    """
    if (unlike := mismatch(before, now)) is not None:
        name, old, new = unlike
        remedy = "give the same --data" if name == "data" else "start a new run"
        raise InputError(f"{path}: began with {name} {old}, now {new}; {remedy}")
    old_versions, new_versions = (m.environment.get("packages", {}) for m in (before, now))
    names = sorted(n for n in old_versions | new_versions if old_versions.get(n) != new_versions.get(n))
    return ", ".join(f"{n} {old_versions.get(n, 'absent')} → {new_versions.get(n, 'absent')}" for n in names)


def deaths(ledger: Sequence[LedgerEntry], trial: int) -> int:
    """Count how often the process that ran a trial was killed.

    On one machine: sessions that began it and have no end. On a cluster: attempts that ended with their worker.
    """
    ended = {entry.session for entry in ledger if entry.event == "end"}
    here = (e.event == "begin" and e.node is None and e.session not in ended for e in ledger if e.trial == trial)
    return sum(here) + sum(e.event == "died" and e.trial == trial for e in ledger)
