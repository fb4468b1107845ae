"""Reference frontier: the frontier of another run, to be drawn over this one.

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
class ReferencePoint:
    """Member of the other run's frontier."""

    j_per_unit: Energy
    quality: Estimate


@dataclass(frozen=True)
class ReferenceFrontier:
    """Frontier of another run; `problem` says why there is none, `differs` lists differences between the runs."""

    name: str
    points: tuple[ReferencePoint, ...]
    differs: tuple[str, ...]
    problem: str | None = None
    incomparable: bool = False  # other hardware, data or basis: no number may combine the two


def keep_reference(folder: RunFolder, path: Path) -> None:
    """Copy another run's records into this run's folder, as its reference frontier.

    Raises:
        InputError: it is no run, has no frontier in this task's terms, or is of other hardware, data or basis.
    """
    records, other = Run.of(folder), Run.of(RunFolder.open(path))
    quality = quality_of(records.task)
    reference = _reference(records, other, str(path), quality)
    if reference.problem:
        raise InputError(f"--{OPTION}: {reference.problem}")
    if differing := _incomparable(records, other):
        raise InputError(f"--{OPTION}: {path} does not compare with {folder.path}: another {', '.join(differing)}")
    kept = folder.path / FOLDER
    try:
        kept.mkdir(exist_ok=True)
        for name in ("manifest.json", "trials.jsonl"):
            if not (kept / name).exists() or not kept.samefile(path):
                write_whole(kept / name, (path / name).read_bytes())
    except OSError as error:
        raise InputError(f"{kept}: cannot be written: {error.strerror}") from None


def quality_of(task: Task) -> str | None:
    """Quality metric of a task: its first maximised objective without a phase; None if there is none."""
    return next((n for n, o in task.objectives.items() if o.phase is None and o.goal == "maximize"), None)


def read_reference(records: Run, quality: str | None) -> ReferenceFrontier | None:
    """Reference frontier kept with this run, or named by its task's options; None if there is none.

    Gross joules of this task's phase.
    """
    if records.overlay is not None:
        return _reference(records, records.overlay, "the run beside these records", quality)
    path = records.task.options.get(OPTION)
    if path is None:
        return None
    try:
        other = Run.of(RunFolder.open(Path(str(path)).expanduser()))
    except InputError as error:
        return ReferenceFrontier(str(path), (), (), str(error))
    return _reference(records, other, str(path), quality)


def _reference(records: Run, other: Run, path: str, quality: str | None) -> ReferenceFrontier:
    name = f"{other.task.name}, {other.manifest.budget or 'no budget'}"
    if quality is None or quality not in other.task.objectives:
        return ReferenceFrontier(name, (), (), f"{path}: that run does not judge by {quality or 'any quality'}")
    points = _points(records, other, quality)
    if not points:
        return ReferenceFrontier(name, (), (), f"{path}: that run has no frontier with energy of the same phase")
    return ReferenceFrontier(
        name, points, _differences(records, other), incomparable=bool(_incomparable(records, other))
    )


def _incomparable(records: Run, other: Run) -> list[str]:
    """Differences for which no number may combine two runs."""
    return _differing(
        records,
        other,
        ("basis", _basis(records.task), _basis(other.task)),
        ("replay", records.manifest.replay, other.manifest.replay),
    )


def _differing(records: Run, other: Run, *more: tuple[str, object, object]) -> list[str]:
    """Differences in hardware, data and `more` (name, here, there)."""
    ours, theirs = records.manifest, other.manifest
    pairs: Sequence[tuple[str, object, object]] = (
        ("hardware", ours.hardware.get("name"), theirs.hardware.get("name")),
        ("data", ours.data.get("fingerprint"), theirs.data.get("fingerprint")),
        *more,
    )
    return [f"{what} ({there} there, {here} here)" for what, here, there in pairs if here != there]


def _basis(task: Task) -> str:
    """Phase, basis and domains of a task's energy objective."""
    energy = task.measured
    return (
        "none" if energy is None else f"{energy.phase}, {energy.basis}, {' + '.join(sorted(energy.domains or ()))}"
    )


def _points(records: Run, other: Run, quality: str) -> tuple[ReferencePoint, ...]:
    phase = (records.task.measured.phase if records.task.measured else None) or ""
    costs = ((m, other.phase(m.trials, phase, records.families)) for m in other.frontier)
    return tuple(ReferencePoint(c.gross, m.outcomes[quality].value) for m, c in costs if c is not None)


def _differences(records: Run, other: Run) -> tuple[str, ...]:
    """Differences that limit a comparison of points."""
    differing = _differing(
        records,
        other,
        ("batch size", records.task.defaults.get("batch_size"), other.task.defaults.get("batch_size")),
        ("version of joulebench", records.manifest.joulebench, other.manifest.joulebench),
    )
    return (*differing, *(["that its own records do not hold together"] if other.findings else []))
