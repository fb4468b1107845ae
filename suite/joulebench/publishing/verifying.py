"""Verification of published sets: checksums, records, and reports reproduced from them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joulebench.comparison.page import write_comparison
from joulebench.errors import InputError
from joulebench.publishing.checks import problems
from joulebench.publishing.copying import RUNS, SUMS, changed, contents, copy_records
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
from joulebench.reporting.summary import published_busy

#: Files that must be reproduced exactly; images depend on the font library.
EXACT = (".md", ".csv", ".json")


@dataclass(frozen=True)
class Verified:
    """A published set and its problems."""

    path: Path
    problems: tuple[str, ...]


def published(reports: Path) -> list[Path]:
    """List published sets below a folder, runs before comparisons."""
    sets = sorted(path.parent for path in reports.rglob(SUMS))
    return sorted(sets, key=lambda path: (path / RUNS).exists())


def verify(reports: Path) -> Iterator[Verified]:
    """Verify each published set.

    Raises:
        InputError: no set is published below `reports`.
    """
    sets = published(reports)
    if not sets:
        raise InputError(f"{reports}: nothing is published there (no {SUMS})")
    root = _root(reports)
    for path in sets:
        yield Verified(path, tuple(_problems(path, root)))


def _root(path: Path) -> Path:
    """Find the `reports` folder, which the paths of a comparison's runs are relative to."""
    for folder in (path.resolve(), *path.resolve().parents):
        if folder.name == "reports":
            return folder
    return path.resolve()


def _problems(path: Path, root: Path) -> Iterator[str]:
    yield from changed(path)
    try:
        if (path / RUNS).is_file():
            yield from _comparison_problems(path, root)
        elif (path / "manifest.json").is_file():
            folder = RunFolder.open(path)
            yield from problems(folder, published_busy(folder))
            yield from _report_problems(path)
        else:
            yield "neither a run nor a comparison"
    except InputError as error:
        yield str(error)


def _report_problems(path: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as scratch:
        rebuilt = Path(scratch) / "run"
        copy_records(path, rebuilt)
        write_report(RunFolder.open(rebuilt))
        yield from _differing(path, rebuilt)


def _comparison_problems(path: Path, root: Path) -> Iterator[str]:
    try:
        names = json.loads((path / RUNS).read_text(encoding="utf-8"))
    except ValueError:
        yield f"{RUNS}: not JSON"
        return
    outside = [name for name in names if not (root / str(name)).resolve().is_relative_to(root)]
    if outside:
        yield f"{RUNS}: {outside[0]} is not below {root.name}/"
        return
    folders = [RunFolder.open(root / name) for name in names]
    with tempfile.TemporaryDirectory() as scratch:
        rebuilt = Path(scratch) / "comparison"
        write_comparison(folders, rebuilt)
        yield from _differing(path, rebuilt)


def _differing(path: Path, rebuilt: Path) -> Iterator[str]:
    ours, theirs = (
        {n: p.read_bytes() for n, p in contents(folder).items() if p.suffix in EXACT and n != RUNS}
        for folder in (rebuilt, path)
    )
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield f"{name} cannot be reproduced from these records"
