"""Verification of published sets: checksums, signature, records, and reports reproduced from the records."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joulebench.comparison.page import write_comparison
from joulebench.errors import InputError
from joulebench.host.files import read_own, write_whole
from joulebench.publishing.checks import problems
from joulebench.publishing.copying import RUNS, SEALED, SUMS, changed, contents, copy_records, naming, seal
from joulebench.publishing.signing import SIGNATURE, signer
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
from joulebench.reporting.summary import published_busy

#: Files that must be reproduced exactly; images depend on the font library.
EXACT = (".md", ".csv", ".json", ".html")
#: Endings that a report's figures, tables and pages have, and nothing that a person writes.
DERIVED = (".csv", ".svg", ".png", ".html")
#: What makes a browser run or fetch something: no figure of ours has it.
_ACTIVE = re.compile(
    rb"<\s*(?:script|foreignObject|iframe|object|embed|animate|set|handler|!ENTITY|!DOCTYPE[^>]*\[)"
    rb"|\son[a-z]+\s*=|javascript:|(?:href|src)\s*=\s*[\"'](?!#|data:image/png;base64,)|@import|url\(\s*[\"']?(?!#)",
    re.IGNORECASE,
)
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Verified:
    """A published set with what is wrong.

    Attributes:
        problems: of the records, or of files that do not belong.
        outdated: files of the report that this version makes otherwise, from records that are intact.
        signer: who signed it, by the list of allowed signers; None without a list.
        is_signed: whether there is a signature at all.
    """

    path: Path
    problems: tuple[str, ...]
    outdated: tuple[str, ...] = ()
    signer: str | None = None
    is_signed: bool = False


def published(reports: Path) -> list[Path]:
    """List published sets below a folder, runs before comparisons."""
    sets = sorted(path.parent for path in reports.rglob(SUMS))
    return sorted(sets, key=lambda path: (path / RUNS).exists())


def verify(reports: Path, signers: Path | None = None) -> Iterator[Verified]:
    """Verify each published set.

    Args:
        signers: file of allowed signers; a set that none of them signed has a problem.

    Raises:
        InputError: no set is published below `reports`, or the signers cannot be read.
    """
    sets = _sets(reports)
    root = _root(reports)
    for path in sets:
        yield _verified(path, root, signers)


def _sets(reports: Path) -> list[Path]:
    sets = published(reports)
    if not sets:
        raise InputError(f"{reports}: nothing is published there (no {SUMS})")
    return sets


def refresh(reports: Path) -> Iterator[tuple[Path, list[str]]]:
    """Make the reports of published sets anew, with this version; the records stay as they are.

    Yields:
        Each set with the names of the files that changed.

    Raises:
        InputError: nothing is published there, or records of a set are not intact.
    """
    root = _root(reports)
    for path in _sets(reports):
        with tempfile.TemporaryDirectory() as scratch:
            rebuilt = Path(scratch) / "set"
            if found := [*changed(path), *_rebuild(path, root, rebuilt)]:
                raise InputError(f"{path}: not made anew: {'; '.join(found)}")
            seal(rebuilt)
            new = {name: read_own(file) for name, file in contents(rebuilt).items() if name not in SEALED}
            old = {name: read_own(file) for name, file in contents(path).items() if name not in SEALED}
            gone = sorted(old.keys() - new.keys())
            if foreign := [name for name in gone if not name.endswith(DERIVED)]:
                raise InputError(f"{path}: not made anew: {', '.join(foreign)} was not published; move it away")
            for name in gone:  # of an older version's report
                (path / name).unlink()
            differing = sorted(name for name in new if old.get(name) != new[name])
            for name in differing:
                (path / name).parent.mkdir(exist_ok=True)
                write_whole(path / name, new[name])
            if not (path / SIGNATURE).exists():  # older checksums cover the report too
                seal(path)
            yield path, [*differing, *gone]


def _root(path: Path) -> Path:
    """Find the `reports` folder, which the paths of a comparison's runs are relative to."""
    for folder in (path.resolve(), *path.resolve().parents):
        if folder.name == "reports":
            return folder
    return path.resolve()


def _verified(path: Path, root: Path, signers: Path | None) -> Verified:
    found: list[str] = []
    outdated: list[str] = []
    who = None
    if signers is not None:
        try:
            who = signer(path / SUMS, signers)
        except ValueError as error:
            found.append(str(error))
    with tempfile.TemporaryDirectory() as scratch:
        rebuilt = Path(scratch) / "set"
        try:
            found += changed(path)
            found += _rebuild(path, root, rebuilt)
            wrong, outdated = _differences(path, rebuilt)
            found += wrong
        except (InputError, OSError) as error:  # a pipe or a device, too, is no file of a set
            found.append(str(error))
    return Verified(path, tuple(found), tuple(outdated), who, (path / SIGNATURE).is_file())


def _rebuild(path: Path, root: Path, rebuilt: Path) -> list[str]:
    """Copy a set's records, check the copy and make its report; what is wrong with the records."""
    if (path / RUNS).is_file():
        names = _compared(path, root)
        write_comparison([RunFolder.open(root / name) for name in names], rebuilt)
        (rebuilt / RUNS).write_bytes(read_own(path / RUNS))
        return []
    if not (path / "manifest.json").is_file():
        raise InputError("neither a run nor a comparison")
    copy_records(path, rebuilt)
    with naming(path, rebuilt):
        folder = RunFolder.open(rebuilt)
        found = problems(folder, published_busy(folder))
        write_report(folder)
    return found


def _compared(path: Path, root: Path) -> list[str]:
    try:
        names = json.loads(read_own(path / RUNS))
    except (OSError, ValueError, RecursionError):
        raise InputError(f"{RUNS}: not JSON") from None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{RUNS}: must be a list of folders")
    outside = [name for name in names if not (root / name).resolve().is_relative_to(root)]
    if outside:
        raise InputError(f"{RUNS}: {outside[0]} is not below {root.name}/")
    return names


def _differences(path: Path, rebuilt: Path) -> tuple[list[str], list[str]]:
    """Files that do not belong into a set, and those of its report that are not what its records give."""
    ours = contents(rebuilt)
    theirs = {name: file for name, file in contents(path).items() if not file.is_symlink()}  # told before
    wrong, outdated = [], []
    for name in sorted(theirs.keys() - ours.keys()):
        # an older version may have had other files; no record of ours, and nothing that is not a report's
        if name in SEALED:
            continue  # told by the checksums
        wrong.append(f"{name} was not published")
    for name in sorted(ours.keys() - SEALED):
        if name not in theirs:
            if not name.endswith(".html") and not (path / name).is_symlink():
                outdated.append(name)
            continue
        content = read_own(theirs[name])
        if name.endswith(EXACT):
            if content != read_own(ours[name]):
                outdated.append(name)
        elif problem := _image_problem(name, content):
            wrong.append(problem)
    return wrong, outdated


def _image_problem(name: str, content: bytes) -> str | None:
    if name.endswith(".svg") and _ACTIVE.search(content):
        return f"{name} holds something that a browser would run or fetch"
    if name.endswith(".png") and not (content.startswith(_PNG) and content.rstrip().endswith(b"IEND\xaeB`\x82")):
        return f"{name} is no PNG image"
    return None
