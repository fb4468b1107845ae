"""Run folders: append-only, fsynced record files, and their readers."""

from __future__ import annotations

import gc
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from joulebench.errors import IncompleteError, InputError
from joulebench.host.files import append_line, cut_off, own_file, read_own, write_whole
from joulebench.records.model import SCHEMA, LedgerEntry, Manifest, Record, ScoreRecord, TrialRecord
from joulebench.records.schema1 import renumbered, upgraded
from joulebench.spec.task import Task
from joulebench.spec.toml import validate

R = TypeVar("R", bound=Record)


def line(record: Record) -> bytes:
    """Line of a record file."""
    fields = record.model_dump(mode="json", exclude_defaults=True)
    written = {"schema_version": SCHEMA, **fields}
    text = json.dumps(written, separators=(",", ":"))
    if "\\ud" in text:  # there may be half a character, which could not be read back
        text = json.dumps(_whole(written), separators=(",", ":"))
    return text.encode() + b"\n"


def append(path: Path, record: Record) -> None:
    """Append one line and force it to the disk.

    Raises:
        IncompleteError: the disk is full or the file cannot be written; earlier lines are untouched.
    """
    try:
        append_line(path, line(record))
    except OSError as error:
        text = f"{path}: cannot be written: {error.strerror}; what was recorded before is safe"
        raise IncompleteError(text) from None


def _whole(value: Any) -> Any:
    """JSON value with lone surrogates in its texts replaced by question marks."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, dict):
        return {_whole(name): _whole(part) for name, part in value.items()}
    return [_whole(part) for part in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class TornLine:
    """Incomplete last line, left by a crash during a write."""

    path: Path
    line: int
    offset: int


def read_lines(path: Path, model: type[R]) -> tuple[list[R], TornLine | None]:
    """Read the records of a file, and its torn last line if there is one.

    Raises:
        InputError: a line other than the last is damaged, or was written by another schema version.
    """
    records: list[R] = []
    try:
        opened = own_file(path)
    except FileNotFoundError:
        return records, None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    offset = 0
    with opened as file, uncollected():
        for number, raw in enumerate(file, start=1):
            try:
                records.append(_lean(read_record(raw, model)))
            except ValidationError as error:
                if not raw.endswith(b"\n"):
                    return records, TornLine(path, number, offset)
                raise InputError(_damage(f"{path}, line {number}", raw, error)) from None
            offset += len(raw)
    return records, None


def read_record(raw: bytes, model: type[R]) -> R:
    """Parse a record from JSON of this schema or of schema 1.

    Raises:
        ValidationError: it is damaged, or of another schema version.
    """
    try:
        return model.model_validate_json(renumbered(raw))
    except ValidationError:
        line = _json(raw)
        if not isinstance(line, dict) or line.get("schema_version") != 1:
            raise
    return model.model_validate(upgraded(line))


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


#: Replaces pydantic's sets of given fields, which nothing uses and which take a third of the memory.
_GIVEN: set[str] = set()


def _lean(record: R) -> R:
    for window in getattr(record, "windows", ()):
        object.__setattr__(window, "__pydantic_fields_set__", _GIVEN)
        for reading in window.readings:
            object.__setattr__(reading, "__pydantic_fields_set__", _GIVEN)
    return record


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the collector of reference cycles: records have none, and it walks all of them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _damage(where: object, raw: bytes, error: ValidationError) -> str:
    line = _json(raw)
    if not isinstance(line, dict):
        return f"{where}: not a JSON object; the file is damaged"
    version = line.get("schema_version", SCHEMA)
    if version not in (1, SCHEMA):
        return f"{where}: schema version {str(version)[:40]}; this joulebench reads 1 and {SCHEMA}"
    first = error.errors(include_url=False)[0]
    return f"{where}: {'.'.join(map(str, first['loc']))[:200]}: {first['msg'][:200]}"


def _upgraded_task(task: dict[str, Any]) -> dict[str, Any]:
    """A manifest's task; one from before there was confirmation has none, and keeps the order of its stages."""
    stages = task.get("stages")
    if "confirm" in task or not isinstance(stages, dict):
        return task
    ordered = {
        name: {**stage, "order": "given"}
        for name, stage in stages.items()
        if isinstance(stage, dict) and stage.get("method") in ("points", "grid")
    }
    return {**task, "stages": {**stages, **ordered}, "confirm": {"repeats": 0}}


#: Runs that may begin in one second.
MAX_SAME_NAME = 10_000

#: What a run folder may hold beside its reports. Folders are sent to others, so none of it may lead elsewhere.
OWN = ("manifest.json", "trials.jsonl", "ledger.jsonl", "scores.jsonl", "weights", "overlay", "wall.csv")


class RunFolder:
    """A run on disk: `manifest.json`, `trials.jsonl`, `ledger.jsonl`, `scores.jsonl`, `weights/` and reports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trials_path = path / "trials.jsonl"
        self.ledger_path = path / "ledger.jsonl"
        self.scores_path = path / "scores.jsonl"
        self.weights_path = path / "weights"
        self.manifest_path = path / "manifest.json"

    @classmethod
    def create(cls, path: Path, manifest: Manifest) -> RunFolder:
        """Make the folder and write its manifest.

        Raises:
            InputError: the folder exists already or cannot be written.
        """
        try:
            return cls._made(path, manifest)
        except FileExistsError:
            raise InputError(f"{path}: exists already; choose another --out, or resume it") from None

    @classmethod
    def claim(cls, path: Path, manifest: Manifest) -> RunFolder:
        """Make the folder, with a number appended if it exists: several runs may begin in the same second.

        Raises:
            InputError: no such folder can be made.
        """
        for n in range(1, MAX_SAME_NAME):
            named = path if n == 1 else path.with_name(f"{path.name}-{n}")
            with suppress(FileExistsError):
                return cls._made(named, manifest)
        raise InputError(f"{path}: exists {MAX_SAME_NAME - 1} times already; choose another --out")

    @classmethod
    def _made(cls, path: Path, manifest: Manifest) -> RunFolder:
        try:
            path.mkdir(parents=True)
            folder = cls(path)
            write_whole(folder.manifest_path, manifest.model_dump_json(indent=1).encode())
        except FileExistsError:
            raise
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run.

        Raises:
            InputError: there is no run at `path`, or something in it is a link to somewhere else.
        """
        folder = cls(path)
        for name in OWN:
            if (path / name).is_symlink():
                raise InputError(f"{path / name}: is a symbolic link; what belongs to a run lies in its folder")
        if not folder.manifest_path.is_file():
            raise InputError(f"{path}: not a run folder (it has no manifest.json)")
        return folder

    def manifest(self) -> Manifest:
        try:
            content = read_own(self.manifest_path)
        except OSError as error:
            raise InputError(f"{self.manifest_path}: cannot be read: {error.strerror}") from None
        try:
            return read_record(content, Manifest)
        except ValidationError as error:
            raise InputError(_damage(self.manifest_path, content, error)) from None

    def task(self) -> Task:
        return validate(Task, _upgraded_task(self.manifest().task), self.manifest_path)

    def trials(self) -> list[TrialRecord]:
        """In the trials' order; on a cluster they are written as they come back."""
        return sorted(read_lines(self.trials_path, TrialRecord)[0], key=lambda record: record.trial)

    def ledger(self) -> list[LedgerEntry]:
        return read_lines(self.ledger_path, LedgerEntry)[0]

    def end_s(self) -> float:
        """End of the run's last window, in seconds of the run's clock; 0 for a run without windows."""
        windows = [w for e in self.ledger() for w in e.windows] + [w for t in self.trials() for w in t.windows]
        return max((w.end_s for w in windows), default=0.0)

    def scores(self) -> list[ScoreRecord]:
        return read_lines(self.scores_path, ScoreRecord)[0]

    def records(self) -> tuple[list[TrialRecord], list[LedgerEntry], list[ScoreRecord], list[TornLine]]:
        """Everything but the manifest, trials as their lines are, and the torn last lines that were left out."""
        trials, entries, scores = (
            read_lines(self.trials_path, TrialRecord),
            read_lines(self.ledger_path, LedgerEntry),
            read_lines(self.scores_path, ScoreRecord),
        )
        torn = [t for t in (trials[1], entries[1], scores[1]) if t is not None]
        return trials[0], entries[0], scores[0], torn

    def repair(self) -> Iterator[TornLine]:
        """Cut off torn last lines, yielding each."""
        for path, model in (
            (self.trials_path, TrialRecord),
            (self.ledger_path, LedgerEntry),
            (self.scores_path, ScoreRecord),
        ):
            torn = read_lines(path, model)[1]
            if torn is not None:
                cut_off(path, torn.offset)
                yield torn

    def weights_file(self, trial: int) -> Path:
        return self.weights_path / f"{trial:05d}.pt"

    def keep_weights(self, trials: Collection[int]) -> None:
        """Delete the weights of all other trials."""
        for file in self.weights_path.glob("*.pt"):
            if int(file.stem) not in trials:
                file.unlink()
