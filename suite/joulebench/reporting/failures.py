"""Trials that gave no value: why, how many, and where memory ends. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from joulebench.presentation.numbers import number, octets, percent
from joulebench.records.model import TrialRecord
from joulebench.results.findings import Code, Finding
from joulebench.spec.parameters import is_number
from joulebench.spec.task import Task

_ADVICE = {
    "oom": "Out of memory is a result: the search learns to stay away; cap batch size or width to spend fewer "
    "trials on it.",
    "failed": "A failed trial raised an error or gave no number; its reason is in the table.",
    "invalid": "An invalid trial has no window that counts: too short, unsynchronised, or its counter stood still; "
    "longer windows (protocol.window_s) mostly mend it.",
    "infeasible": "An infeasible trial names a configuration that does not exist, though the parameters allow it: "
    "a constraint on the parameters would spare the search from proposing it.",
}


@dataclass(frozen=True)
class FailureGroup:
    """Trials that ended the same way; bytes are of trials out of memory, None where they do not tell.

    A trial that ran out needs at least what it held and asked for: `need_low` and `need_high` are the least and
    the most of that over the group.
    """

    status: str
    reason: str
    trials: tuple[int, ...]
    need_low: int | None = None
    need_high: int | None = None
    limit_bytes: int | None = None


def failures(trials: Sequence[TrialRecord]) -> tuple[FailureGroup, ...]:
    """Trials that are not `ok`, by status and reason, most frequent first.

    Reasons for running out of memory differ by the bytes asked for: they are one reason, and the first is shown.
    """
    groups: dict[tuple[str, str], list[TrialRecord]] = {}
    for trial in trials:
        if trial.status != "ok":
            reason = _reason(trial)
            key = re.sub(r"\d+(?:\.\d+)?(?: [KMGT]i?B)?", "…", reason) if trial.status == "oom" else reason
            groups.setdefault((trial.status, key), []).append(trial)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(_group(status, members) for (status, _), members in ordered)


def _group(status: str, trials: Sequence[TrialRecord]) -> FailureGroup:
    needs, limit = _memory(trials) if status == "oom" else ([], None)
    return FailureGroup(
        status,
        _reason(trials[0]),
        tuple(t.trial for t in trials),
        min(needs, default=None),
        max(needs, default=None),
        limit,
    )


def _reason(trial: TrialRecord) -> str:
    return " ".join((trial.error or "no reason recorded").split())[:300]


def _memory(trials: Sequence[TrialRecord]) -> tuple[list[int], int | None]:
    """What each trial held at most, and the least that any of them could have had."""
    held = [t.costs.peak_memory_bytes for t in trials if t.costs.peak_memory_bytes is not None]
    limits = [t.costs.memory_limit_bytes for t in trials if t.costs.memory_limit_bytes is not None]
    return held, min(limits, default=None)


def failure_findings(task: Task, trials: Sequence[TrialRecord]) -> tuple[Finding, ...]:
    """How many trials gave no value and what to do, and where memory ends."""
    found = (_failing(trials), _wall(task, trials))
    return tuple(d for d in found if d is not None)


def _failing(trials: Sequence[TrialRecord]) -> Finding | None:
    bad = [t for t in trials if t.status != "ok"]
    if not bad:
        return None
    counts = {s: sum(t.status == s for t in bad) for s in _ADVICE}
    parts = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    text = " ".join(_ADVICE[s] for s, n in counts.items() if n)
    share = f"{len(bad)} of {len(trials)} trials gave no value ({parts})."
    level: Literal["warning", "note"] = "warning" if len(bad) * 5 >= len(trials) else "note"
    return Finding(level, Code.FAILING_TRIALS, "Failing trials", f"{share} {text}")


def _wall(task: Task, trials: Sequence[TrialRecord]) -> Finding | None:
    """Where memory ends, in bytes and in the parameters that alone decide it."""
    out = [t for t in trials if t.status == "oom"]
    if not out:
        return None
    ok = [t for t in trials if t.status == "ok"]
    (needs, limit), (held, _) = _memory(out), _memory(ok)
    had = f" where a trial had {octets(limit)}" if limit is not None else ""
    text = [f"{len(out)} of {len(trials)} trials ran out of memory{'' if needs else had}."]
    if needs:
        text.append(f"The least of them needs at least {octets(min(needs))}{had}.")
    if held:
        share = f" ({percent(max(held) / limit)} of it)" if limit else ""
        text.append(f"The most that a completed trial held is {octets(max(held))}{share}.")
    text += _edges(task, ok, out)
    return Finding("note", Code.OUT_OF_MEMORY, "Where memory ends", " ".join(text))


def _edges(task: Task, ok: Sequence[TrialRecord], out: Sequence[TrialRecord]) -> list[str]:
    """Parameters that tell completed trials from those that ran out: all of these lie above all of those."""
    found = []
    for name in task.free:
        fit = [v for t in ok if is_number(v := t.params.get(name))]
        over = [v for t in out if is_number(v := t.params.get(name))]
        if fit and over and max(fit) < min(over):
            found.append(
                f"The largest {name} that completed is {number(max(fit))}; the smallest that ran out is "
                f"{number(min(over))}."
            )
    return found
