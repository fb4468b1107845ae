"""A published set: a run's records without paths of the machine, its report, and a manifest of checksums."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePath

from joulebench.comparison.join import join
from joulebench.comparison.page import NAME as COMPARISON
from joulebench.comparison.page import read_runs, write_comparison
from joulebench.errors import GateError, InputError
from joulebench.host.files import read_own
from joulebench.meters.wall_comparison import LOG_FILE
from joulebench.publishing.checks import problems, task_file_problem
from joulebench.records.folder import RunFolder
from joulebench.records.model import Manifest
from joulebench.reporting import write_report
from joulebench.reporting.summary import PUBLISHED
from joulebench.results.run import FOLDER as OVERLAY
from joulebench.spec.hardware import HardwareProfile
from joulebench.spec.toml import validate

SUMS = "SHA256SUMS"
RUNS = "runs.json"
RECORDS = ("manifest.json", "trials.jsonl", "ledger.jsonl", "scores.jsonl", LOG_FILE, PUBLISHED)


def publish(run: Path, reports: Path, allow_busy: bool = False) -> Path:
    """Check a run and copy it to `reports/<task>/<hardware>/<date>/`; a published one is left unchanged.

    With `allow_busy` also one that other work on the machine disturbed: it is labelled.

    Raises:
        GateError: the run fails the checks; every reason in one line.
        InputError: not a run, damaged records, or already published under that name with other content.
    """
    if (run / SUMS).is_file():
        return run
    folder = RunFolder.open(run)
    manifest, task = folder.manifest(), folder.task()
    profile = validate(HardwareProfile, manifest.hardware, folder.manifest_path)
    found = problems(folder)
    kept = problems(folder, allow_busy=True) if allow_busy else found
    busy = kept != found
    reasons = [*kept, *([p] if (p := task_file_problem(manifest)) else [])]
    if reasons:
        raise GateError(f"{run}: not published: {'; '.join(reasons)}")
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "run"
        copy_records(run, copy)
        for path in copy.rglob("manifest.json"):
            plain = without_paths(RunFolder.open(path.parent).manifest())
            path.write_text(plain.model_dump_json(indent=1), encoding="utf-8")
        (copy / PUBLISHED).unlink(missing_ok=True)
        if busy:
            (copy / PUBLISHED).write_text(json.dumps({"allow_busy": True}) + "\n", encoding="utf-8")
        write_report(RunFolder.open(copy))
        seal(copy)
        return _place(copy, reports / task.name / profile.name, manifest.created_utc[:10])


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
            try:
                (to / folder / name).write_bytes(read_own(run / folder / name))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise InputError(f"{run / folder / name}: cannot be read: {error.strerror}") from None


def without_paths(manifest: Manifest) -> Manifest:
    """Reduce paths to file names, and another run's path to task, hardware and time."""

    def last(path: str | None, parts: int) -> str | None:
        return None if path is None else str(PurePath(*PurePath(path).parts[-parts:]))

    return manifest.model_copy(
        update={
            "data_path": last(manifest.data_path, 1),
            "task_file": last(manifest.task_file, 1),
            "trials_from": last(manifest.trials_from, 3),
        }
    )


def publish_comparison(runs: Sequence[Path], reports: Path) -> Path:
    """Compare published runs and write the comparison to `reports/<task>/comparison/<machines>/`.

    Raises:
        InputError: the runs do not compare.
    """
    folders = [RunFolder.open(run) for run in runs]
    joined = join(read_runs(folders))
    name = "_vs_".join(sorted({str(m.run.manifest.hardware["name"]) for m in joined.machines}))
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "comparison"
        write_comparison(folders, copy)
        relative = [run.resolve().relative_to(reports.resolve()).as_posix() for run in runs]
        (copy / RUNS).write_text(json.dumps(relative, indent=1) + "\n", encoding="utf-8")
        seal(copy)
        return _place(copy, reports / joined.task.name / COMPARISON, name)


def seal(folder: Path) -> None:
    """Remove HTML pages, which can be rebuilt, and write the checksums of all other files."""
    for page in folder.glob("*.html"):
        page.unlink()
    lines = [f"{_sha256(path)}  {name}\n" for name, path in contents(folder).items()]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def contents(folder: Path) -> dict[str, Path]:
    """Published files of a folder by relative name, without the checksums and HTML pages."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS and p.suffix != ".html")
    return {path.relative_to(folder).as_posix(): path for path in files}


def changed(folder: Path) -> list[str]:
    """List files that are missing, not in the checksums, or changed."""
    expected: dict[str, str] = {}
    for number, line in enumerate((folder / SUMS).read_text(encoding="utf-8").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != 64:
            return [f"{SUMS}, line {number}: not a checksum and a file name"]
        expected[name] = digest
    actual = {name: _sha256(path) for name, path in contents(folder).items()}
    changes = [f"{name} is missing" for name in expected if name not in actual]
    changes += [f"{name} was not published" for name in actual if name not in expected]
    changes += [f"{name} was changed" for name, digest in actual.items() if expected.get(name, digest) != digest]
    return changes


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _place(copy: Path, parent: Path, name: str) -> Path:
    """Move a folder to its place; identical content is kept once, different content gets a number."""
    for n in range(1, 1000):
        target = parent / (name if n == 1 else f"{name}-{n}")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(copy, target)
            return target
        if (target / SUMS).is_file() and (target / SUMS).read_bytes() == (copy / SUMS).read_bytes():
            return target
    raise InputError(f"{parent / name}: 1000 sets of that name are published")
