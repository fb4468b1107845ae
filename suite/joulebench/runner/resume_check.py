"""Checks before a run is resumed: what may differ between sessions, and how often a trial killed its process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry, Manifest
from joulebench.runner.own_code import changed
from joulebench.runner.session import Facts

#: A trial during which the process died this often is recorded as failed.
MAX_DEATHS = 3


def mismatch(before: Facts | Manifest, now: Facts | Manifest) -> tuple[str, Any, Any] | None:
    """Find the first difference in data, host, meters or the user's own code: its name and both values; None if
    records compare.
    """
    by_device = all(_gpus(facts) for facts in (before, now))
    old, new = (_compared(facts, by_device) for facts in (before, now))
    unlike = ((name, old[name], new[name]) for name in old if old[name] != new[name])
    return next(unlike, None) or changed(before.own_code, now.own_code)


def _compared(facts: Facts | Manifest, by_device: bool) -> dict[str, Any]:
    """What has to be equal; `by_device`: only the GPUs that are read, whichever they are of equal ones."""
    host = facts.environment.get("host", {})
    primary = (m for m in facts.meters if m.get("role") != "check")  # what a check reads is not in any result
    meters = sorted(f"{meter['domain']} by {meter['source']} ({meter.get('kind')})" for meter in primary)
    used = ", ".join(f"{domain} {name}" for domain, (name, _) in sorted(_gpus(facts).items()))
    return {
        "data": facts.data.get("fingerprint"),
        **{name: host.get(name) for name in ("cpu", "logical_cpus")},
        "accelerators": used if by_device else host.get("accelerators"),
        "meters": ", ".join(meters),
    }


def _gpus(facts: Facts | Manifest) -> dict[str, tuple[str, str]]:
    """Name and UUID of each GPU that a meter reads, by its role in the run; none in older records."""
    return {m["domain"]: (m["device"], m.get("uuid", "")) for m in facts.meters if "device" in m}


def differences(before: Manifest, now: Manifest, path: Path) -> str:
    """Describe what changed between the sessions of a run: package versions, and which of equal GPUs it is on.

    Raises:
        InputError: other data, code, machine or meters; their records would not compare.
    """
    if (unlike := mismatch(before, now)) is not None:
        name, old, new = unlike
        remedy = "give the same --data" if name == "data" else "start a new run"
        raise InputError(f"{path}: began with {name} {old}, now {new}; {remedy}")
    old_versions, new_versions = (m.environment.get("packages", {}) for m in (before, now))
    names = sorted(n for n in old_versions | new_versions if old_versions.get(n) != new_versions.get(n))
    old_gpus, new_gpus = _gpus(before), _gpus(now)
    moved = [d for d in sorted(old_gpus.keys() & new_gpus.keys()) if old_gpus[d] != new_gpus[d]]
    changes = [f"{n} {old_versions.get(n, 'absent')} → {new_versions.get(n, 'absent')}" for n in names]
    changes += [f"{d} {old_gpus[d][0]} {old_gpus[d][1]} → an equal one, {new_gpus[d][1]}" for d in moved]
    return ", ".join(changes)


def is_complete(folder: RunFolder) -> bool:
    """Whether a run has nothing left to do: its last session ended so, and all that it began is recorded."""
    trials, ledger, _, torn = folder.records()
    begun = {e.trial for e in ledger if e.event == "begin"}
    return not torn and bool(ledger) and ledger[-1].ending == "done" and begun <= {t.trial for t in trials}


def deaths(ledger: Sequence[LedgerEntry], trial: int, event: str = "begin") -> int:
    """Count how often the process that ran a trial was killed; `event` "score": that scored it on the test split.

    On one machine: sessions that began it and have no end. On a cluster: attempts that ended with their worker.
    """
    ended = {entry.session for entry in ledger if entry.event == "end"}
    here = (e.event == event and e.node is None and e.session not in ended for e in ledger if e.trial == trial)
    return sum(here) + sum(event == "begin" and e.event == "died" and e.trial == trial for e in ledger)
