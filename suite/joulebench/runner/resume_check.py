"""Whether a run may go on where it stopped: what may differ between its sessions, and what ended them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from joulebench.errors import InputError
from joulebench.records.model import LedgerEntry, Manifest

#: A trial during which the process died this often is given up, and the run goes on with the next.
MAX_DEATHS = 3


def differences(before: Manifest, now: Manifest, path: Path) -> str:
    """What changed between the sessions of a run and does not forbid to go on: versions, in words.

    Raises:
        InputError: other data, another machine or other meters; their records would not belong together.
    """
    theirs, ours = before.data.get("fingerprint"), now.data.get("fingerprint")
    if theirs != ours:
        raise InputError(f"{path}: began on data {theirs}, these are {ours}; give the same --data")
    for name in ("cpu", "logical_cpus", "accelerators"):
        old, new = (m.environment.get("host", {}).get(name) for m in (before, now))
        if old != new:
            raise InputError(f"{path}: began on a machine with {name} {old}, this one has {new}; start a new run")
    old_meters, new_meters = (
        sorted(f"{meter['domain']} by {meter['source']} ({meter.get('kind')})" for meter in m.meters)
        for m in (before, now)
    )
    if old_meters != new_meters:
        raise InputError(
            f"{path}: began with meters {', '.join(old_meters)}, now there are {', '.join(new_meters)}; "
            "start a new run, or make the meters what they were"
        )
    old_versions, new_versions = (m.environment.get("packages", {}) for m in (before, now))
    names = sorted(n for n in old_versions | new_versions if old_versions.get(n) != new_versions.get(n))
    return ", ".join(f"{n} {old_versions.get(n, 'absent')} → {new_versions.get(n, 'absent')}" for n in names)


def deaths(ledger: Sequence[LedgerEntry], trial: int) -> int:
    """How often the trial was under way when the process that ran it was killed.

    On one machine: sessions that began it and came to no end of their own. On a cluster: attempts that ended with
    their worker; there the session's own end says nothing of what ran elsewhere.
    """
    ended = {entry.session for entry in ledger if entry.event == "end"}
    here = (e.event == "begin" and e.node is None and e.session not in ended for e in ledger if e.trial == trial)
    return sum(here) + sum(e.event == "died" and e.trial == trial for e in ledger)
