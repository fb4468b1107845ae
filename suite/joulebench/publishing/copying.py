"""A published set: a run's records without names of people and machines, its report, and checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from joulebench.comparison.join import join
from joulebench.comparison.page import NAME as COMPARISON
from joulebench.comparison.page import read_runs, write_comparison
from joulebench.errors import GateError, InputError, MissingFileError
from joulebench.host.files import make_folder, whole_folder, write_whole
from joulebench.meters.wall_comparison import LOG_FILE
from joulebench.publishing.checks import problems, task_file_problem, uncommitted_code
from joulebench.publishing.privacy import Change, Scrubber, scrub_json, scrub_lines, scrub_text
from joulebench.publishing.signing import SIGNATURE, sign
from joulebench.records.folder import RunFolder
from joulebench.records.model import Manifest
from joulebench.reporting import write_report
from joulebench.reporting.summary import PUBLISHED
from joulebench.results.run import FOLDER as OVERLAY
from joulebench.spec.hardware import HardwareProfile
from joulebench.spec.reading import read_file, read_text
from joulebench.spec.toml import digest, validate

SUMS = "SHA256SUMS"
RUNS = "runs.json"
RECORDS = ("manifest.json", "trials.jsonl", "ledger.jsonl", "scores.jsonl", LOG_FILE, PUBLISHED)
#: What the checksums cover: records alone, so that a report's new wording breaks no seal and no signature.
SEALED = frozenset({*RECORDS, *(f"{OVERLAY}/{name}" for name in RECORDS), RUNS})


@dataclass(frozen=True)
class Prepared:
    """A set as it would be published, in a folder of its own.

    Attributes:
        changes: texts that are published otherwise than they were recorded.
    """

    folder: Path
    task: str
    hardware: str
    date: str
    changes: tuple[Change, ...]


def publish(
    run: Path,
    reports: Path,
    allow_busy: bool = False,
    key: Path | None = None,
    allow_uncommitted: bool = False,
) -> Path:
    """Check a run and copy it to `reports/<task>/<hardware>/<date>/`; a published one is left unchanged.

    Args:
        allow_busy: also one that other work on the machine disturbed: it is labelled.
        key: SSH key to sign it with.
        allow_uncommitted: also one whose own code is in no commit; its report says so.

    Raises:
        GateError: the run fails the checks; every reason in one line.
        InputError: not a run, damaged records, already published under that name with other content, or a key that
            cannot sign.
    """
    if (run / SUMS).is_file():
        if found := changed(run):
            raise GateError(f"{run}: not as it was published: {'; '.join(found)}")
        if key is not None:
            sign(run / SUMS, key)
        return run
    with tempfile.TemporaryDirectory() as scratch:
        ready = prepare(run, Path(scratch) / "run", allow_busy, allow_uncommitted)
        if key is not None:
            sign(ready.folder / SUMS, key)
        return _place(ready.folder, reports / ready.task / ready.hardware, ready.date)


def prepare(run: Path, to: Path, allow_busy: bool = False, allow_uncommitted: bool = False) -> Prepared:
    """Copy a run's records, scrub and check the copy, and make its report and its checksums.

    What is checked is what was copied, so nothing can change in between.

    Raises:
        GateError: the run fails the checks; every reason in one line.
        InputError: not a run, or damaged records.
    """
    copy_records(run, to)
    with naming(run, to):
        (to / PUBLISHED).unlink(missing_ok=True)
        recorded = RunFolder.open(to).manifest()
        changes = scrub(to)
        folder = RunFolder.open(to)
        manifest, task = folder.manifest(), folder.task()
        profile = validate(HardwareProfile, manifest.hardware, folder.manifest_path)
        found = problems(folder)
        kept = problems(folder, allow_busy=True) if allow_busy else found
    code = [] if allow_uncommitted else uncommitted_code(manifest, task)
    reasons = [*kept, *code, *([p] if (p := task_file_problem(recorded)) else [])]
    if reasons:
        raise GateError(f"{run}: not published: {'; '.join(reasons)}")
    if kept != found:
        write_whole(to / PUBLISHED, (json.dumps({"allow_busy": True}) + "\n").encode())
    write_report(folder)
    seal(to)
    return Prepared(to, task.name, profile.name, manifest.created_utc[:10], tuple(changes))


@contextmanager
def naming(original: Path, copy: Path) -> Iterator[None]:
    """Name the original in errors about its copy."""
    try:
        yield
    except InputError as error:
        raise type(error)(str(error).replace(str(copy), str(original))) from None


def scrub(folder: Path) -> list[Change]:
    """Take paths, names, addresses and secrets out of the copied records; what changed.

    Where a task changes by it, so does the digest that the manifest states.
    """
    changes: list[Change] = []
    for inner in (Path(), Path(OVERLAY)):
        if not (folder / inner / "manifest.json").is_file():
            continue
        run = RunFolder.open(folder / inner)
        nodes = sorted({n for n in (*(t.node for t in run.trials()), *(e.node for e in run.ledger())) if n})
        scrubber = Scrubber.here(nodes)
        for name in RECORDS:
            path, shown = folder / inner / name, (inner / name).as_posix()
            if not path.is_file():
                continue
            content = path.read_bytes()
            if name == "manifest.json":
                before = run.manifest()
                plain = _without_paths(before)
                text = plain.model_dump_json(indent=1).encode()
                after, found = scrub_json(text, shown, scrubber, indent=1)
                write_whole(path, after)
                scrubbed = RunFolder.open(path.parent).manifest()
                if scrubbed.task != before.task and before.digest == _digest(before):
                    scrubbed = scrubbed.model_copy(update={"digest": _digest(scrubbed)})
                    after = scrubbed.model_dump_json(indent=1).encode()
                found = _of_paths(before, plain, shown) + found
            elif name.endswith(".jsonl"):
                after, found = scrub_lines(content, shown, scrubber)
            else:
                after, found = scrub_text(content, shown, scrubber)
            write_whole(path, after)
            changes += found
    return changes


def _digest(manifest: Manifest) -> str:
    return digest({name: part for name, part in manifest.task.items() if name not in ("budgets", "cluster")})


def _without_paths(manifest: Manifest) -> Manifest:
    """Reduce paths to file names, and another run's path to task, hardware and time; leave kept source out."""

    def last(path: str | None, parts: int) -> str | None:
        return None if path is None else str(PurePath(*PurePath(path).parts[-parts:]))

    found = manifest.found
    return manifest.model_copy(
        update={
            "data_path": last(manifest.data_path, 1),
            "task_file": last(manifest.task_file, 1),
            "trials_from": last(manifest.trials_from, 3),
            "found": found and found.model_copy(update={"path": last(found.path, 3)}),
            "own_code": manifest.own_code and tuple(c.model_copy(update={"source": {}}) for c in manifest.own_code),
        }
    )


def _of_paths(before: Manifest, after: Manifest, name: str) -> list[Change]:
    fields = ("data_path", "task_file", "trials_from")
    pairs = ((field, getattr(before, field), getattr(after, field)) for field in fields)
    changes = [Change(f"{name}: {field}", old, new) for field, old, new in pairs if old != new]
    if before.found and after.found and before.found.path != after.found.path:
        changes.append(Change(f"{name}: found.path", before.found.path, after.found.path))
    return changes


def copy_records(run: Path, to: Path) -> None:
    """Copy the record files of a run, and nothing derived from them.

    Raises:
        InputError: one of them is a link or no regular file.
    """
    for folder in (Path(), Path(OVERLAY)):
        if folder != Path() and not (run / folder / "manifest.json").exists():
            continue
        RunFolder.open(run / folder)  # refuses links
        (to / folder).mkdir(parents=True)
        for name in RECORDS:
            with suppress(MissingFileError):
                write_whole(to / folder / name, read_file(run / folder / name))


def publish_comparison(runs: Sequence[Path], reports: Path, key: Path | None = None) -> Path:
    """Compare published runs and write the comparison to `reports/<task>/comparison/<machines>/`.

    Raises:
        InputError: the runs do not compare.
    """
    folders = [RunFolder.open(run) for run in runs]
    joined = join(read_runs(folders))
    profiles = {validate(HardwareProfile, m.run.manifest.hardware, m.label).name for m in joined.machines}
    if outside := next((run for run in runs if not run.resolve().is_relative_to(reports.resolve())), None):
        raise InputError(f"{outside}: is not below {reports}/, where a comparison could name it")
    name = "_vs_".join(sorted(profiles))
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "comparison"
        write_comparison(folders, copy)
        relative = [run.resolve().relative_to(reports.resolve()).as_posix() for run in runs]
        write_whole(copy / RUNS, (json.dumps(relative, indent=1) + "\n").encode())
        seal(copy)
        if key is not None:
            sign(copy / SUMS, key)
        return _place(copy, reports / joined.task.name / COMPARISON, name)


def seal(folder: Path) -> None:
    """Remove HTML pages, which can be rebuilt, and write the checksums of the records."""
    for page in folder.glob("*.html"):
        page.unlink()
    lines = [f"{_sha256(path)}  {name}\n" for name, path in contents(folder).items() if name in SEALED]
    write_whole(folder / SUMS, "".join(lines).encode())


def contents(folder: Path) -> dict[str, Path]:
    """Every file and link in a folder by relative name, without the checksums and their signature."""
    files = sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path for name, path in named.items() if name not in (SUMS, SIGNATURE)}


def changed(folder: Path) -> list[str]:
    """List records that are missing, not in the checksums, or changed.

    Checksums of reports, which older sets have too, are left out: `verify` makes reports anew.

    Raises:
        InputError: the checksums cannot be read.
    """
    expected: dict[str, str] = {}
    for number, line in enumerate(read_text(folder / SUMS).splitlines(), start=1):
        digest_, separator, name = line.partition("  ")
        if not separator or len(digest_) != 64:
            return [f"{SUMS}, line {number}: not a checksum and a file name"]
        if name in SEALED:
            expected[name] = digest_
    links = [name for name, path in contents(folder).items() if path.is_symlink()]
    if links:
        return [f"{name} is a symbolic link" for name in links]
    actual = {name: _sha256(path) for name, path in contents(folder).items() if name in SEALED}
    changes = [f"{name} is missing" for name in expected if name not in actual]
    changes += [f"{name} was not published" for name in actual if name not in expected]
    changes += [f"{name} was changed" for name, found in actual.items() if expected.get(name, found) != found]
    return changes


def _sha256(path: Path) -> str:
    return hashlib.sha256(read_file(path)).hexdigest()


def _place(copy: Path, parent: Path, name: str) -> Path:
    """Copy a folder to its place; identical content is kept once, different content gets a number."""
    for n in range(1, 1000):
        target = parent / (name if n == 1 else f"{name}-{n}")
        with suppress(FileExistsError):
            make_folder(parent)
            with whole_folder(target) as placed:  # all of it or nothing: the copy may be on another file system
                for path in sorted(copy.rglob("*")):
                    if path.is_dir():
                        (placed / path.relative_to(copy)).mkdir()
                    else:
                        shutil.copyfile(path, placed / path.relative_to(copy))
            return target
        if (target / SUMS).is_file() and (target / SUMS).read_bytes() == (copy / SUMS).read_bytes():
            return target
    raise InputError(f"{parent / name}: 1000 sets of that name are published")
