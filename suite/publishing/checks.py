"""Whether a run's records can be defended: everything a reader could hold against them, in words."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.energy import invalidity
from suite.errors import InputError
from suite.record import DONE, LedgerEntry, Manifest, RunFolder, ScoreRecord, TrialRecord, Window, read_lines
from suite.task import Task

#: Windows touch; what two clocks' rounding may put between them.
CLOCK_S = 1e-6
_NEEDED = ("host.cpu", "host.logical_cpus", "host.os", "python", "device", "packages.joulebench")
_NEEDED_TORCH = ("packages.torch", "torch.threads")
_NEEDED_CUDA = ("torch.gpu", "torch.driver", "torch.cuda")
#: More of one sort of problem than this are counted, not listed.
MOST = 3


def problems(folder: RunFolder) -> list[str]:
    """What forbids to publish a run; empty if nothing does.

    Raises:
        InputError: a record file is damaged, or of another schema version.
    """
    manifest, task = folder.manifest(), folder.task()
    trials, ledger = folder.trials(), folder.ledger()
    found = [
        *_torn(folder),
        *_of_the_manifest(manifest, task),
        *_of_the_environment(manifest.environment),
        *_ending(ledger),
        *_numbering(trials, folder.scores()),
        *_of_windows(trials, ledger),
        *_validity(task, trials),
    ]
    return [problem for problem in found if problem]


def _torn(folder: RunFolder) -> Iterator[str]:
    for path, model in (
        (folder.trials_path, TrialRecord),
        (folder.ledger_path, LedgerEntry),
        (folder.scores_path, ScoreRecord),
    ):
        torn = read_lines(path, model)[1]
        if torn is not None:
            yield f"{path.name}, line {torn.line}: incomplete; `joulebench resume` drops it"


def _of_the_manifest(manifest: Manifest, task: Task) -> Iterator[str]:
    if task.digest != manifest.digest:
        yield f"manifest.json: digest: says {manifest.digest}, its task has {task.digest}: one was changed by hand"
    if manifest.replay:
        yield f"manifest.json: replay: joules from {manifest.replay} were not measured here"
    if manifest.hardware_override:
        yield f"manifest.json: hardware: {manifest.hardware_override}"


def _of_the_environment(environment: Mapping[str, Any]) -> Iterator[str]:
    needed = [*_NEEDED]
    if "torch" in environment:
        needed += _NEEDED_TORCH
    if str(environment.get("device", "")).startswith("cuda"):
        needed += _NEEDED_CUDA
    missing = [name for name in needed if _at(environment, name) in (None, "")]
    if missing:
        yield f"manifest.json: environment: without {', '.join(missing)}"
    if _at(environment, "code.modified"):
        commit = str(_at(environment, "code.commit"))[:12]
        yield f"manifest.json: code: ran with changes that are not in commit {commit}; commit them and run again"


def _at(tree: Mapping[str, Any], dotted: str) -> Any:
    found: Any = tree
    for name in dotted.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _ending(ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    if not ledger or ledger[-1].event != "end" or ledger[-1].note != DONE:
        note = f" (it ended with “{ledger[-1].note}”)" if ledger and ledger[-1].event == "end" else ""
        yield f"ledger.jsonl: the run is not finished{note}; `joulebench resume` goes on"


def _numbering(trials: Sequence[TrialRecord], scores: Sequence[ScoreRecord]) -> Iterator[str]:
    numbers = [t.trial for t in trials]
    if numbers != list(range(len(numbers))):
        wrong = next(i for i, n in enumerate(numbers) if i != n)
        yield f"trials.jsonl, line {wrong + 1}: trial {numbers[wrong]}, not {wrong}: a line is missing or twice"
    if not trials:
        yield "trials.jsonl: no trial"
    strangers = sorted({s.trial for s in scores} - set(numbers))
    if strangers:
        yield f"scores.jsonl: of trial {strangers[0]}, which there is not"


def _of_windows(trials: Sequence[TrialRecord], ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    """Times that go backwards or overlap, joules that no meter reads. Of each session, in order of time."""
    sessions: dict[int, list[tuple[str, Window]]] = {}
    for trial in trials:
        sessions.setdefault(trial.session, []).extend((f"trial {trial.trial}", w) for w in trial.windows)
    for entry in ledger:
        sessions.setdefault(entry.session, []).extend(
            (f"ledger, session {entry.session}", w) for w in entry.windows
        )
    backwards, overlapping, odd = [], [], []
    for windows in sessions.values():
        ordered = sorted(windows, key=lambda item: (item[1].start_s, item[1].end_s))
        end_s = -math.inf
        for where, window in ordered:
            at = f"{where}, {window.phase} at {window.start_s:.6g} s"
            if not (math.isfinite(window.start_s) and window.end_s >= window.start_s):
                backwards.append(at)
            elif window.start_s < end_s - CLOCK_S:
                overlapping.append(at)
            end_s = max(end_s, window.end_s)
            if any(not math.isfinite(r.energy_j) or r.energy_j < 0 for r in window.readings) and not window.fault:
                odd.append(at)
    yield _several(backwards, "ends before it begins")
    yield _several(overlapping, "overlaps the window before it")
    yield _several(odd, "has joules below 0, or that are no number")


def _validity(task: Task, trials: Sequence[TrialRecord]) -> Iterator[str]:
    """Trials recorded as ok whose own windows do not bear it out."""
    phases = {o.phase for o in task.objectives.values() if o.is_energy and o.phase and o.phase != "train"}
    short = []
    for trial in trials:
        if trial.status != "ok":
            continue
        for phase in sorted(phases):
            mine = [w for w in trial.windows if w.phase == phase]
            valid = sum(invalidity(w, task.protocol) is None for w in mine)
            if valid < task.protocol.repeats:
                short.append(f"trial {trial.trial}: {valid} valid windows of {phase}")
    yield _several(short, f"recorded as ok, and the protocol asks for {task.protocol.repeats}")


def _several(found: Sequence[str], what: str) -> str:
    if not found:
        return ""
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return f"{'; '.join(found[:MOST])}{more}: {what}"


def task_file_problem(manifest: Manifest) -> str | None:
    """Whether the user's own task file is committed as it ran; None if it is, or the task is the catalogue's.

    Raises:
        InputError: the file is gone or broken.
    """
    if manifest.task_file is None:
        return None
    path = Path(manifest.task_file)
    try:
        tracked = _git(path.parent, "ls-files", "--", path.name)
        changed = _git(path.parent, "status", "--porcelain", "--", path.name)
    except (OSError, subprocess.SubprocessError):
        return f"{path.name}: is in no git repository, so no reader can know it; commit it"
    if not tracked:
        return f"{path.name}: is not committed"
    return f"{path.name}: has changes that are not committed" if changed else None


def _git(folder: Path, *arguments: str) -> str:
    if not folder.is_dir():
        raise InputError(f"{folder}: the task file's folder is gone")
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()
