"""The frontier of another run, to be drawn over this one.

`joulebench report RUN --overlay OTHER` keeps the other run's records beside this one's, so that the report can be
made again without it; a task's `options.overlay` may name a folder instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from joulebench.errors import InputError
from joulebench.host.files import write_whole
from joulebench.records.folder import RunFolder
from joulebench.results.energy import Energy
from joulebench.results.run import FOLDER, Run
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate

OPTION = FOLDER


@dataclass(frozen=True)
class OverlayPoint:
    """A member of the other run's frontier."""

    j_per_unit: Energy
    quality: Estimate


@dataclass(frozen=True)
class Overlay:
    """What is drawn over a figure; `problem` says why there is nothing, `differs` what was not the same there."""

    name: str
    points: tuple[OverlayPoint, ...]
    differs: tuple[str, ...]
    problem: str | None = None
    apart: bool = False  # of other hardware, data or basis: no number may be made of both


def keep_overlay(folder: RunFolder, path: Path) -> None:
    """Put another run's records beside this one's, where its frontier may be laid over it.

    Raises:
        InputError: it is no run, has no frontier in this task's terms, or is of other hardware, data or basis.
    """
    records, other = Run.of(folder), Run.of(RunFolder.open(path))
    quality = quality_of(records.task)
    found = _overlay(records, other, str(path), quality)
    if found.problem:
        raise InputError(f"--{OPTION}: {found.problem}")
    if alien := _apart(records, other):
        raise InputError(f"--{OPTION}: {path} does not compare with {folder.path}: another {', '.join(alien)}")
    kept = folder.path / FOLDER
    try:
        kept.mkdir(exist_ok=True)
        for name in ("manifest.json", "trials.jsonl"):
            if not (kept / name).exists() or not kept.samefile(path):
                write_whole(kept / name, (path / name).read_bytes())
    except OSError as error:
        raise InputError(f"{kept}: cannot be written: {error.strerror}") from None


def quality_of(task: Task) -> str | None:
    """The metric by which its models are judged: the first objective of no phase that is to be high."""
    return next((n for n, o in task.objectives.items() if o.phase is None and o.goal == "maximize"), None)


def read_overlay(records: Run, quality: str | None) -> Overlay | None:
    """The frontier of the run that is kept beside this one, or that the task's options name, gross, in this task's
    phase; None if there is none."""
    if records.overlay is not None:
        return _overlay(records, records.overlay, "the run beside these records", quality)
    path = records.task.options.get(OPTION)
    if path is None:
        return None
    try:
        other = Run.of(RunFolder.open(Path(str(path)).expanduser()))
    except InputError as error:
        return Overlay(str(path), (), (), str(error))
    return _overlay(records, other, str(path), quality)


def _overlay(records: Run, other: Run, path: str, quality: str | None) -> Overlay:
    name = f"{other.task.name}, {other.manifest.budget or 'no budget'}"
    if quality is None or quality not in other.task.objectives:
        return Overlay(name, (), (), f"{path}: that run does not judge by {quality or 'any quality'}")
    points = _points(records, other, quality)
    if not points:
        return Overlay(name, (), (), f"{path}: that run has no frontier with energy of the same phase")
    return Overlay(name, points, _differences(records, other), apart=bool(_apart(records, other)))


def _apart(records: Run, other: Run) -> list[str]:
    """What two runs must share for any number to be made of both, where they do not."""
    ours, theirs = records.manifest, other.manifest
    pairs: Sequence[tuple[str, object, object]] = (
        ("hardware", ours.hardware.get("name"), theirs.hardware.get("name")),
        ("data", ours.data.get("fingerprint"), theirs.data.get("fingerprint")),
        ("basis", _basis(records.task), _basis(other.task)),
        ("replay", ours.replay, theirs.replay),
    )
    return [f"{what} ({there} there, {here} here)" for what, here, there in pairs if here != there]


def _basis(task: Task) -> str:
    """Phase, gross or net, and domains of the energy that a task is about."""
    energy = task.measured
    return (
        "none" if energy is None else f"{energy.phase}, {energy.basis}, {' + '.join(sorted(energy.domains or ()))}"
    )


def _points(records: Run, other: Run, quality: str) -> tuple[OverlayPoint, ...]:
    phase = records.task.measured.phase if records.task.measured else None
    found = []
    for member in other.frontier:
        cost = other.phase(member.trials, phase or "", records.families)
        if cost is not None:
            found.append(OverlayPoint(cost.gross, member.outcomes[quality].value))
    return tuple(found)


def _differences(records: Run, other: Run) -> tuple[str, ...]:
    """What two runs must share for their points to compare, where they do not."""
    ours, theirs = records.manifest, other.manifest
    pairs: Sequence[tuple[str, object, object]] = (
        ("hardware", ours.hardware.get("name"), theirs.hardware.get("name")),
        ("data", ours.data.get("fingerprint"), theirs.data.get("fingerprint")),
        ("batch size", records.task.defaults.get("batch_size"), other.task.defaults.get("batch_size")),
        ("version of joulebench", ours.joulebench, theirs.joulebench),
    )
    found = [f"{what} ({there} there, {here} here)" for what, here, there in pairs if here != there]
    return (*found, *(["that its own records do not hold together"] if other.findings else []))
