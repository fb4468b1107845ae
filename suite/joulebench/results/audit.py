"""Audit of a run's records: impossible, missing and inconsistent records. Pure.

The harness writes windows that do not overlap, joules that are not negative, trials numbered without a gap and
values that lie in the task's space. Records that differ were damaged or changed. Where the configuration or the
trial cannot be identified they are refused; else the trial gives no value and a finding says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from joulebench.errors import InputError, did_you_mean
from joulebench.records.folder import TornLine
from joulebench.records.model import LedgerEntry, Manifest, ScoreRecord, TrialRecord, Window
from joulebench.results.energy import MAX_VALUE
from joulebench.results.findings import Code, Finding, Level
from joulebench.results.validity import MAX_J
from joulebench.spec.task import RESERVED_PHASES, Task
from joulebench.spec.toml import digest

#: Times are differences of long sums.
OVERLAP_S = 1e-6
MAX_S = 1e12
MAX_LISTED = 3


@dataclass(frozen=True)
class Audit:
    """The trials as they may be used, and the audit's findings."""

    trials: tuple[TrialRecord, ...]
    findings: tuple[Finding, ...]


def audit(
    origin: object,
    manifest: Manifest,
    task: Task,
    trials: Sequence[TrialRecord],
    entries: Sequence[LedgerEntry] = (),
    scores: Sequence[ScoreRecord] = (),
    torn: Sequence[TornLine] = (),
) -> Audit:
    """Check a run's records; a trial that cannot have happened as recorded becomes `invalid`.

    Raises:
        InputError: a trial's number is taken, its parameters are not the task's, or a time is none; one line with
            `origin`, which is the file of trials.
    """
    _refuse(origin, task, trials)
    for number, entry in enumerate(entries, start=1):
        _refuse_times(f"{origin} (its ledger.jsonl, line {number})", entry.windows)
    usable, broken = [], []
    for trial in trials:
        problem = next(_problems(task, trial), None)
        if problem is not None:
            broken.append(f"trial {trial.trial}: {problem}")
            trial = trial.model_copy(update={"status": "invalid", "error": f"not as recorded: {problem}"})
        usable.append(trial)
    named = (w.phase for t in trials for w in t.windows if w.phase not in t.unit)
    unknown = dict.fromkeys(phase for phase in named if phase not in RESERVED_PHASES)
    known = {t.trial for t in trials}
    failed = [f"trial {s.trial}: {s.error}" for s in scores if s.error is not None]
    lost = [f"trial {s.trial}" for s in scores if s.trial not in known]
    findings = [
        _digest(manifest, task),
        _listed(Code.IMPOSSIBLE_TRIALS, "Trials that cannot have happened as recorded; they give no value", broken),
        _numbers(trials),
        _listed(Code.UNKNOWN_PHASES, "Phases that neither the harness nor the workload names", unknown),
        _listed(Code.SCORES_WITHOUT_TRIAL, "Test scores of trials that are not recorded", lost),
        _listed(Code.NOT_SCORED, "Models without test scores", failed, "warning"),
    ]
    for t in torn:
        text = f"{t.path.name} ends in an incomplete line ({t.line}), as after a crash: that record is lost."
        findings.append(_finding("note", Code.TORN_LINE, text))
    return Audit(tuple(usable), tuple(f for f in findings if f is not None))


def _refuse(origin: object, task: Task, trials: Sequence[TrialRecord]) -> None:
    lines: dict[int, int] = {}
    for line, trial in enumerate(trials, start=1):
        where = f"{origin}, line {line}"
        if (first := lines.setdefault(trial.trial, line)) != line:
            raise InputError(f"{where}: trial: {trial.trial} is taken by line {first}; a run has each trial once")
        for name in trial.params.keys() - task.parameters.keys():
            allowed = ", ".join(task.parameters)
            hint = did_you_mean(name, task.parameters)
            raise InputError(f"{where}: params: the task has no parameter '{name}'{hint} (allowed: {allowed})")
        for name in task.parameters.keys() - trial.params.keys():
            raise InputError(f"{where}: params.{name}: missing; a trial states every parameter of its task")
        _refuse_times(where, trial.windows)


def _refuse_times(where: str, windows: Iterable[Window]) -> None:
    for window in windows:
        if not (abs(window.start_s) <= MAX_S and abs(window.end_s) <= MAX_S):
            raise InputError(
                f"{where}: windows: start_s and end_s must be seconds (got {window.start_s:g}, {window.end_s:g})"
            )
        if not _is_time(window.start_utc):
            raise InputError(
                f"{where}: windows.start_utc: must be a time with its zone, as 2026-01-02T03:04:05Z "
                f"(got {window.start_utc[:40]!r})"
            )


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _problems(task: Task, trial: TrialRecord) -> Iterator[str]:
    for name, value in trial.params.items():
        if not task.parameters[name].contains(value):
            yield f"{name} = {str(value)[:40]} lies outside the task's space"
    for name, value in (*trial.metrics.items(), *trial.sems.items()):
        if not math.isfinite(value) or abs(value) > MAX_VALUE:
            yield f"{name} = {value:g} is no value"
    end_s = -math.inf
    for window in trial.windows:
        if window.end_s < window.start_s:
            yield f"a window of {window.phase} ends {window.start_s - window.end_s:g} s before it starts"
        if window.start_s < end_s - OVERLAP_S:
            yield f"a window of {window.phase} overlaps the one before it by {end_s - window.start_s:g} s"
        end_s = max(end_s, window.end_s)
        yield from _impossible(window)


def _impossible(window: Window) -> Iterator[str]:
    for reading in window.readings:
        if not window.fault and not 0 <= reading.energy_j <= MAX_J:  # nor is a NaN
            yield f"{reading.domain} reads {reading.energy_j:g} J in a window of {window.phase}"


def _digest(manifest: Manifest, task: Task) -> Finding | None:
    """Finding where the manifest's digest is neither its task's nor that with later versions' defaults added."""
    try:
        own = digest({name: part for name, part in manifest.task.items() if name not in ("budgets", "cluster")})
        if manifest.digest in (own, task.digest):
            return None
    except ValueError:  # a NaN, which no task holds
        own = "none"
    return _finding(
        "alert",
        Code.DIGEST_DIFFERS,
        f"The manifest states the digest {manifest.digest[:40]}, but its task has {own}: the task or the digest "
        "was changed after the run, so what was measured may not be what is stated.",
    )


def _numbers(trials: Sequence[TrialRecord]) -> Finding | None:
    """Finding where trials are not numbered from 0 without a gap."""
    numbers = [t.trial for t in trials]
    if numbers == list(range(len(numbers))):
        return None
    missing = sorted(set(range(max(numbers) + 1)) - set(numbers)) if max(numbers) < 10 * len(numbers) + 1000 else []
    if missing:
        title = "Trials are missing: a run records every trial, with those that failed"
        return _listed(Code.MISSING_TRIALS, title, map(str, missing))
    if sorted(numbers) == list(range(len(numbers))):
        return None  # several may have run at once
    return _finding(
        "alert",
        Code.MISSING_TRIALS,
        f"The trials' numbers go to {max(numbers)} for {len(numbers)} trials: records are missing.",
    )


def _listed(code: Code, title: str, items: Iterable[str], level: Level = "alert") -> Finding | None:
    every = list(items)
    if not every:
        return None
    more = f"; and {len(every) - MAX_LISTED} more" if len(every) > MAX_LISTED else ""
    return _finding(level, code, f"{title}: {'; '.join(every[:MAX_LISTED])}{more}.")


def _finding(level: Level, code: Code, text: str) -> Finding:
    return Finding(level, code, "The records", text)
