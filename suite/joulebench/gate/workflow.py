"""Workflow of the gate: measure, judge, measure suspected benchmarks again, judge again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic

from joulebench.errors import InputError
from joulebench.gate.checkout import checkout, is_unchanged, top_level
from joulebench.gate.decision import judge, suspects, undecided
from joulebench.gate.files import baseline_file, identity, read_replicates, update_baseline
from joulebench.gate.interleave import Observer, Sides, measure_pairs, measure_session, measure_until_decided
from joulebench.gate.model import FORMS, MINUTES, RERUN_PAIRS, Replicate, Settings, form_of
from joulebench.gate.processes import Benchmarks
from joulebench.gate.statistics import pairs_without
from joulebench.gate.verdict import Verdict
from joulebench.host.clock import RealClock
from joulebench.spec.catalog import all_profiles, find_profile
from joulebench.spec.hardware import choose_profile, detect_host


@dataclass(frozen=True)
class Result:
    """Result of a gate; `title` names the two sides."""

    verdicts: Sequence[Verdict]
    settings: Settings
    hardware: str
    title: str
    notes: tuple[str, ...] = ()
    pair_s: float | None = None  # how long a pair of processes took


def compare_files(baseline: Path, current: Path, settings: Settings, rerun: Path | None = None) -> Result:
    """Compare two files or folders of replicates.

    Args:
        rerun: replicates of a rerun of the current commit, if `current` has none.

    Raises:
        InputError: a file cannot be read, or they do not compare.
    """
    before, now = read_replicates(baseline), read_replicates(current)
    _check_apart(before, baseline, now, current)
    for side, path in ((before, baseline), (now, current)):
        _check_one_side(side, path)
    if rerun is not None:
        if all(any(r.pair is not None for r in side) for side in (before, now)):
            raise InputError(f"--rerun: {rerun}: pairs are confirmed by pairs, which the files of both sides hold")
        again = read_replicates(rerun)
        for side, path in ((before, baseline), (now, current)):
            _check_apart(side, path, again, rerun)
        now += [r.model_copy(update={"rerun": True, "pair": None}) for r in again]
    return _result(before, now, settings, f"{current} against {baseline}")


def _check_apart(known: Sequence[Replicate], origin: Path, given: Sequence[Replicate], path: Path) -> None:
    """Check that no process is on both sides, nor in a measurement and its rerun.

    Raises:
        InputError: one is.
    """
    there = set(map(identity, known))
    if same := sum(identity(replicate) in there for replicate in given):
        raise InputError(
            f"{path}: holds the same processes as {origin} ({same} of {len(given)}); what is compared with itself "
            "does not differ, so give the file of another session"
        )


def _check_one_side(replicates: Sequence[Replicate], path: Path) -> None:
    """Check that a file holds one process of each pair.

    Raises:
        InputError: it holds both.
    """
    places = [(r.session, r.rerun, r.pair) for r in replicates if r.pair is not None]
    if len(set(places)) < len(places):
        raise InputError(
            f"{path}: holds several processes of one pair; give the file of one side, such as current.jsonl"
        )


def against(
    ref: str, benchmarks: Benchmarks, settings: Settings, minutes: float | None, observe: Observer
) -> Result:
    """Measure the working tree and `ref` in turn until all is decided, and what is found once more.

    Args:
        minutes: after which what is undecided stays so; a rerun takes some more. By default those of the form.

    Raises:
        InputError: no such commit, or its benchmarks or the current ones fail.
    """
    here = top_level(Path.cwd())
    benchmarks, form = _with_form(benchmarks)
    session = RealClock().utc()
    with checkout(here, ref) as there:
        notes = (f"The working tree is the same code as {ref}.",) if is_unchanged(here, ref) else ()
        trees, title, began_s = (there, here), f"the working tree against {ref}", monotonic()

        def open_ones(sides: Sides) -> list[str]:
            return undecided(_result(*sides, settings, title).verdicts)

        budget_s = 60 * (minutes or MINUTES[form])
        before, now = measure_until_decided(trees, benchmarks, session, budget_s, open_ones, observe)
        pair_s = (monotonic() - began_s) / len(now)
        result = _result(before, now, settings, title)
        if names := suspects(result.verdicts):
            observe(_again(names))
            again = measure_pairs(
                trees, benchmarks, f"{session} rerun", RERUN_PAIRS, observe, rerun=True, only=names
            )
            result = _result(before + again[0], now + again[1], settings, title)
    return replace(result, notes=(*result.notes, *notes), pair_s=pair_s)


def _again(names: Sequence[str]) -> str:
    return f"found to be dearer or cheaper: {', '.join(names)}; measuring again"


def against_baseline(
    benchmarks: Benchmarks, settings: Settings, baseline: Path | None, observe: Observer
) -> Result:
    """Measure a session of the working tree and compare it with a stored baseline.

    If this hardware has no baseline yet, the result holds the measured values only.

    Raises:
        InputError: the baseline does not compare, or a benchmark fails.
    """
    before = read_replicates(baseline) if baseline is not None else None
    benchmarks, form = _with_form(benchmarks)
    # as many as it takes to see a rare kind of process, without which nothing is passed
    processes = max(_processes(form, settings), pairs_without(settings.rare))
    session = RealClock().utc()
    now = measure_session(Path.cwd(), benchmarks, session, processes, observe)
    path = baseline or baseline_file(now[0].hardware)
    if before is None:
        before = read_replicates(path) if path.is_file() else []
    result = _result(before, now, settings, f"the working tree against {path}")
    if names := suspects(result.verdicts):
        observe(_again(names))
        again = measure_session(
            Path.cwd(), benchmarks, f"{session} rerun", processes, observe, rerun=True, only=names
        )
        result = _result(before, now + again, settings, result.title)
    return result


def add_to_baseline(
    benchmarks: Benchmarks, settings: Settings, sessions: int, replace: bool, path: Path | None, observe: Observer
) -> list[str]:
    """Measure sessions and add them to the baseline of this hardware.

    Returns:
        Lines to print.

    Raises:
        InputError: a benchmark fails, or the file cannot be written.
    """
    lines: list[str] = []
    benchmarks, form = _with_form(benchmarks)
    for number in range(sessions):
        observe(f"session {number + 1} of {sessions}")
        processes = _processes(form, settings)
        session = measure_session(Path.cwd(), benchmarks, RealClock().utc(), processes, observe)
        target = path or baseline_file(session[0].hardware)
        if changes := update_baseline(target, session, replace and number == 0):
            lines.append(f"baseline replaced: {'; '.join(changes)}")
        stored = _sessions(read_replicates(target))
    lines.append(f"{target}: {len(stored)} sessions, {_span(stored)}")
    if len(stored) < settings.sessions:
        lines.append(f"{settings.sessions} sessions are needed for a decision")
    return lines


def _sessions(replicates: Sequence[Replicate]) -> list[str]:
    return list(dict.fromkeys(r.session for r in replicates))


def _span(sessions: Sequence[str]) -> str:
    return f"{sessions[0][:16]} to {sessions[-1][:16]} UTC"


def _result(before: Sequence[Replicate], now: Sequence[Replicate], settings: Settings, title: str) -> Result:
    try:
        verdicts = judge(before, now, settings)
    except InputError as error:
        raise InputError(f"{title}: {error}") from None
    return Result(verdicts, settings, now[0].hardware, title, _notes(before))


def _notes(before: Sequence[Replicate]) -> tuple[str, ...]:
    """Notes on the stored baseline."""
    if not before:
        return (
            "Nothing was compared: this hardware has no baseline yet. `--update-baseline` writes one; "
            "`--against REF` needs none.",
        )
    if any(r.pair is not None for r in before):
        return ()
    sessions = _sessions(before)
    commits = {r.commit for r in before if r.commit}
    count = len(commits) or "unnamed"
    notes = [f"The baseline has {len(sessions)} sessions, {_span(sessions)}, of {count} commits."]
    if len(sessions) > 1 and len({s[:13] for s in sessions}) == 1:
        notes.append("All are from one hour: the interval does not include drift from day to day.")
    return tuple(notes)


def _with_form(benchmarks: Benchmarks) -> tuple[Benchmarks, str]:
    """Set the benchmarks' form, by default that of the hardware; returns the form too.

    Raises:
        InputError: no such hardware profile.
    """
    form = benchmarks.form
    if form is None:
        named = benchmarks.hardware
        form = form_of(find_profile(named) if named else choose_profile(all_profiles(), detect_host()))
    return replace(benchmarks, form=form), form


def _processes(form: str, settings: Settings) -> int:
    """Number of processes in a session that gives each benchmark its repeats; at least ten, as processes differ."""
    return max(10, -(-settings.repeats // FORMS[form].repeats))
