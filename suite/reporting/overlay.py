"""The frontier of another run, to be drawn over this one: a task's `options.overlay` names its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from suite.analysis.phases import families, phase_cost
from suite.energy import Estimate
from suite.errors import InputError
from suite.frontier import frontier
from suite.outcome import configurations, idle_windows
from suite.record import Kind, RunFolder
from suite.reporting.section import Records

OPTION = "overlay"


@dataclass(frozen=True)
class OverlayPoint:
    """A member of the other run's frontier."""

    j_per_unit: Estimate
    quality: Estimate
    kind: Kind


@dataclass(frozen=True)
class Overlay:
    """What is drawn over a figure; `problem` says why there is nothing, `differs` what was not the same there."""

    name: str
    points: tuple[OverlayPoint, ...]
    differs: tuple[str, ...]
    problem: str | None = None


def read_overlay(records: Records, quality: str | None) -> Overlay | None:
    """The frontier of the run that the task's options name, gross, in its phase of this task's; None if they name
    none."""
    path = records.task.options.get(OPTION)
    if path is None:
        return None
    try:
        other = Records.of(RunFolder.open(Path(str(path)).expanduser()))
    except InputError as error:
        return Overlay(str(path), (), (), str(error))
    name = f"{other.task.name}, {other.manifest.budget or 'no budget'}"
    if quality is None or quality not in other.task.objectives:
        return Overlay(name, (), (), f"{path}: that run does not judge by {quality or 'any quality'}")
    points = _points(records, other, quality)
    if not points:
        return Overlay(name, (), (), f"{path}: that run has no frontier with energy of the same phase")
    return Overlay(name, points, _differences(records, other))


def _points(records: Records, other: Records, quality: str) -> tuple[OverlayPoint, ...]:
    phase = records.task.measured.phase if records.task.measured else None
    idle, found = idle_windows(other.trials), []
    for member in frontier(other.task, configurations(other.task, other.trials)):
        usable = [t for t in member.trials if t.status == "ok"]
        cost = phase_cost(other.task.protocol, usable, phase or "", families(records.task), idle)
        if cost is not None:
            found.append(OverlayPoint(cost.gross, member.outcomes[quality].value, cost.kind))
    return tuple(found)


def _differences(records: Records, other: Records) -> tuple[str, ...]:
    """What two runs must share for their points to compare, where they do not."""
    ours, theirs = records.manifest, other.manifest
    pairs: Sequence[tuple[str, object, object]] = (
        ("hardware", ours.hardware.get("name"), theirs.hardware.get("name")),
        ("data", ours.data.get("fingerprint"), theirs.data.get("fingerprint")),
        ("batch size", records.task.defaults.get("batch_size"), other.task.defaults.get("batch_size")),
        ("version of joulebench", ours.joulebench, theirs.joulebench),
    )
    return tuple(f"{what} ({there} there, {here} here)" for what, here, there in pairs if here != there)
