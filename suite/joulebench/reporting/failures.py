"""Trials that gave no value: why, how many, and what memory they needed. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from joulebench.presentation.numbers import number, octets, percent
from joulebench.presentation.words import plural
from joulebench.records.model import TrialRecord
from joulebench.results.findings import Code, Finding, Level
from joulebench.results.losses import NEAR_ZERO, Losses, near_zero
from joulebench.results.run import Run
from joulebench.spec.parameters import is_number

_ADVICE = {
    "oom": "Out of memory is a result: the search learns to stay away; cap batch size or width to spend fewer "
    "trials on it.",
    "failed": "A failed trial raised an error or gave no number; its reason is in the table.",
    "invalid": "An invalid trial has too few windows that count, or net energy that is not distinguishable from "
    "idle; its reason is in the table.",
    "infeasible": "An infeasible trial names a configuration that does not exist, though the parameters allow it: "
    "a constraint on the parameters would spare the search from proposing it.",
}


@dataclass(frozen=True)
class FailureGroup:
    """Trials of the same status and reason.

    `need_low` and `need_high` are the least and the most bytes that its trials held and asked for when they ran
    out of memory, `limit_bytes` what they had; None for other trials, and where it was not recorded.
    """

    status: str
    reason: str
    trials: tuple[int, ...]
    need_low: int | None = None
    need_high: int | None = None
    limit_bytes: int | None = None


def failures(run: Run, lost: Losses) -> tuple[FailureGroup, ...]:
    """Trials without a value, by status and reason, most frequent first.

    One that was recorded as `ok`, and has none as its records are judged today, is invalid. Reasons for running out
    of memory differ by the bytes asked for: they are one reason, and the first is shown.
    """
    groups: dict[tuple[str, str], list[tuple[TrialRecord, str]]] = {}
    for trial in run.trials:
        status = "invalid" if trial.trial in lost.without_value else trial.status
        if status != "ok":
            reason = _reason(run, trial, lost)
            key = re.sub(r"\d+(?:\.\d+)?(?: [KMGT]i?B)?", "…", reason) if status == "oom" else reason
            groups.setdefault((status, key), []).append((trial, reason))
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(_group(status, [t for t, _ in members], members[0][1]) for (status, _), members in ordered)


def _group(status: str, trials: Sequence[TrialRecord], reason: str) -> FailureGroup:
    needs, limit = _memory(trials) if status == "oom" else ([], None)
    return FailureGroup(
        status,
        reason,
        tuple(t.trial for t in trials),
        min(needs, default=None),
        max(needs, default=None),
        limit,
    )


def _reason(run: Run, trial: TrialRecord, lost: Losses) -> str:
    if trial.trial in lost.without_value:
        return f"recorded as ok; {lost.without_value[trial.trial]}"
    if trial.status == "invalid" and near_zero(run.task, trial, run.idle):
        return NEAR_ZERO
    return " ".join((trial.error or "no reason recorded").split())[:300]


def _memory(trials: Sequence[TrialRecord]) -> tuple[list[int], int | None]:
    """Peak bytes of each trial, and the smallest limit of any; only what was recorded."""
    held = [t.costs.peak_memory_bytes for t in trials if t.costs.peak_memory_bytes is not None]
    limits = [t.costs.memory_limit_bytes for t in trials if t.costs.memory_limit_bytes is not None]
    return held, min(limits, default=None)


def failure_findings(run: Run, groups: Sequence[FailureGroup]) -> Iterator[Finding]:
    """Findings on trials without a value, with remedies, and on the memory of those that ran out."""
    trials = run.trials
    each = Counter(dict.fromkeys(_ADVICE, 0))
    for group in groups:
        each[group.status] += len(group.trials)
    counts = {status: n for status, n in each.items() if n}
    if bad := sum(counts.values()):
        parts = ", ".join(f"{n} {status}" for status, n in counts.items())
        text = " ".join((f"{bad} of {len(trials)} trials gave no value ({parts}).", *(_ADVICE[s] for s in counts)))
        level: Level = "warning" if bad * 5 >= len(trials) else "note"
        yield Finding(level, Code.FAILING_TRIALS, "Failing trials", text)
    if near := sum(len(g.trials) for g in groups if g.reason.endswith(NEAR_ZERO)):
        text = (
            f"{plural(near, 'trial')} gave no value because the interval of a net objective reaches 0: what it "
            "took is not distinguishable from idle, and one joule more or less would make it the best or the worst "
            "of all. Use the gross basis, a larger batch, longer windows (protocol.window_s), or more idle windows "
            "(protocol.idle_s)."
        )
        yield Finding("warning", Code.NET_NEAR_ZERO, "Net energy not distinguishable from idle", text)
    if "oom" in counts:
        yield Finding("note", Code.OUT_OF_MEMORY, "Out of memory", " ".join(_memory_sentences(run)))


def _memory_sentences(run: Run) -> Iterator[str]:
    """What memory trials needed, in bytes and in the parameters that alone decide it."""
    out, ok = ([t for t in run.trials if t.status == status] for status in ("oom", "ok"))
    (needs, limit), (held, _) = _memory(out), _memory(ok)
    had = f" where a trial had {octets(limit)}" if limit is not None else ""
    yield f"{len(out)} of {plural(len(run.trials), 'trial')} ran out of memory{'' if needs else had}."
    if needs:
        yield f"The least of them needs at least {octets(min(needs))}{had}."
    if held:
        share = f" ({percent(max(held) / limit)} of it)" if limit else ""
        yield f"The most that a completed trial held is {octets(max(held))}{share}."
    for name in run.task.free:
        fit, over = ([v for t in trials if is_number(v := t.params.get(name))] for trials in (ok, out))
        if fit and over and max(fit) < min(over):
            yield (
                f"The largest {name} that completed is {number(max(fit))}; the smallest that ran out is "
                f"{number(min(over))}."
            )
