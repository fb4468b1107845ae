"""Verification of published sets: checksums, signature, records, and reports reproduced from the records."""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joulebench.comparison.page import write_comparison
from joulebench.errors import InputError
from joulebench.host.files import is_temporary, remove_abandoned, write_whole
from joulebench.publishing.checks import problems, undigested
from joulebench.publishing.copying import RUNS, SEALED, SUMS, changed, contents, copy_records, naming, seal
from joulebench.publishing.crosscheck import unknown_commit
from joulebench.publishing.signing import SIGNATURE, signer
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
from joulebench.reporting.summary import published_busy
from joulebench.spec.reading import read_file, read_json

#: Largest difference of a pixel's shade (of 255) and of a coordinate that another processor's rounding makes. A
#: digit that is another, or a point elsewhere, differs by more.
MAX_SHADE, MAX_SHIFT = 32, 0.01
#: Endings that a report's figures, tables and pages have, and nothing that a person writes.
DERIVED = (".csv", ".svg", ".png", ".html")
#: What makes a browser run or fetch something: no figure of ours has it.
_ACTIVE = re.compile(
    rb"<\s*(?:script|foreignObject|iframe|object|embed|animate|set|handler|!ENTITY|!DOCTYPE[^>]*\[)"
    rb"|\son[a-z]+\s*=|javascript:|(?:href|src)\s*=\s*[\"'](?!#|data:image/png;base64,)|@import|url\(\s*[\"']?(?!#)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(-?\d+\.\d+)")
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Verified:
    """A published set with what is wrong.

    Attributes:
        problems: of the records, or of files that do not belong.
        outdated: files of the report that this version makes otherwise, from records that are intact.
        signer: who signed it, by the list of allowed signers; None without a list.
        is_signed: whether there is a signature at all.
        unrecorded: what a set of an earlier version has no digest of.
        unknown_commit: the commit that ran, where this checkout does not have it.
    """

    path: Path
    problems: tuple[str, ...]
    outdated: tuple[str, ...] = ()
    signer: str | None = None
    is_signed: bool = False
    unrecorded: tuple[str, ...] = ()
    unknown_commit: str | None = None


def published(reports: Path) -> list[Path]:
    """List published sets below a folder, runs before comparisons."""
    found = (path.parent for path in reports.rglob(SUMS))
    sets = sorted(path for path in found if not any(map(is_temporary, path.relative_to(reports).parts)))
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
        remove_abandoned(path)
        with tempfile.TemporaryDirectory() as scratch:
            rebuilt = Path(scratch) / "set"
            if found := [*changed(path), *_rebuild(path, root, rebuilt)]:
                raise InputError(f"{path}: not made anew: {'; '.join(found)}")
            seal(rebuilt)
            new = {name: read_file(file) for name, file in contents(rebuilt).items() if name not in SEALED}
            old = {name: read_file(file) for name, file in contents(path).items() if name not in SEALED}
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
    unrecorded: list[str] = []
    commit: str | None = None
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
            unrecorded, commit = _unrecorded(rebuilt), _unknown_commit(rebuilt)
        except (InputError, OSError) as error:  # a pipe or a device, too, is no file of a set
            found.append(str(error))
    is_signed = (path / SIGNATURE).is_file()
    return Verified(path, tuple(found), tuple(outdated), who, is_signed, tuple(unrecorded), commit)


def _rebuild(path: Path, root: Path, rebuilt: Path) -> list[str]:
    """Copy a set's records, check the copy and make its report; what is wrong with the records."""
    if (path / RUNS).is_file():
        names = _compared(path, root)
        write_comparison([RunFolder.open(root / name) for name in names], rebuilt)
        (rebuilt / RUNS).write_bytes(read_file(path / RUNS))
        return []
    if not (path / "manifest.json").is_file():
        raise InputError("neither a run nor a comparison")
    copy_records(path, rebuilt)
    with naming(path, rebuilt):
        folder = RunFolder.open(rebuilt)
        found = problems(folder, published_busy(folder))
        write_report(folder)
    return found


def _unrecorded(folder: Path) -> list[str]:
    if not (folder / "manifest.json").is_file():  # a comparison
        return []
    run = RunFolder.open(folder)
    return [] if run.manifest().own_code is not None else undigested(run.manifest(), run.task())


def _unknown_commit(folder: Path) -> str | None:
    if not (folder / "manifest.json").is_file():  # a comparison
        return None
    return unknown_commit(RunFolder.open(folder).manifest())


def _compared(path: Path, root: Path) -> list[str]:
    names = read_json(path / RUNS)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{RUNS}: must be a list of folders")
    outside = [name for name in names if not _is_below(root, name)]
    if outside:
        raise InputError(f"{RUNS}: {outside[0]!r} is not below {root.name}/")
    return names


def _is_below(root: Path, name: str) -> bool:
    try:
        return (root / name).resolve().is_relative_to(root)
    except (OSError, ValueError):  # a name that no file can have
        return False


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
        content, made = read_file(theirs[name]), read_file(ours[name])
        if problem := _image_problem(name, content):
            wrong.append(problem)
        elif content != made and not _looks_like(name, content, made):
            outdated.append(name)
    return wrong, outdated


def _looks_like(name: str, content: bytes, made: bytes) -> bool:
    """Whether a figure differs from the one made here by rounding alone."""
    if name.endswith(".svg"):
        there, here = (_NUMBER.split(text.decode(errors="replace")) for text in (content, made))
        return len(there) == len(here) and all(map(_same, there, here))
    if not name.endswith(".png"):
        return False
    from PIL import Image, ImageChops

    try:
        with Image.open(io.BytesIO(content)) as a, Image.open(io.BytesIO(made)) as b:
            if (a.size, a.mode) != (b.size, b.mode):  # known before anything is decompressed
                return False
            shades = ImageChops.difference(a, b).getextrema()
    except Exception:  # each of Pillow's decoders fails in its own way
        return False
    bands = shades if isinstance(shades[0], tuple) else (shades,)
    return all(most <= MAX_SHADE for _, most in bands)


def _same(there: str, here: str) -> bool:
    try:
        return there == here or abs(float(there) - float(here)) <= MAX_SHIFT
    except ValueError:
        return False


def _image_problem(name: str, content: bytes) -> str | None:
    if name.endswith(".svg") and _ACTIVE.search(content):
        return f"{name} holds something that a browser would run or fetch"
    if name.endswith(".png") and not (content.startswith(_PNG) and content.rstrip().endswith(b"IEND\xaeB`\x82")):
        return f"{name} is no PNG image"
    return None
