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

from joulebench.errors import IncompleteError, InputError, MissingFileError, unwritable
from joulebench.host.files import append_line, claim_folder, cut_off, write_whole
from joulebench.records.model import SCHEMA, LedgerEntry, Manifest, Record, ScoreRecord, TrialRecord
from joulebench.records.schema1 import renumbered, upgraded
from joulebench.spec.reading import open_file, read_file
from joulebench.spec.task import Task
from joulebench.spec.toml import validate
from joulebench.text import without_surrogates

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
        return without_surrogates(value)
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
        opened = open_file(path)
    except MissingFileError:
        return records, None
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
    field = "".join(f"{part}." for part in first["loc"])[:200].removesuffix(".")
    problem = first["msg"].removeprefix("Value error, ")[:200]
    return f"{where}: {field}: {problem}" if field else f"{where}: {problem}"


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
    def claim(cls, path: Path, manifest: Manifest) -> RunFolder:
        """Make the folder, with a number appended if it exists, as several runs may begin in one second.

        Raises:
            InputError: no such folder can be made.
        """
        try:
            named = claim_folder(path)
        except OSError as error:
            raise unwritable(path, error) from None
        return cls.begin(named, manifest)

    @classmethod
    def begin(cls, path: Path, manifest: Manifest) -> RunFolder:
        """Write the manifest of a run into its folder, which is empty.

        Raises:
            InputError: it cannot be written; then there is no such folder.
        """
        folder = cls(path)
        try:
            write_whole(folder.manifest_path, manifest.model_dump_json(indent=1).encode())
        except OSError as error:
            with suppress(OSError):
                path.rmdir()
            raise unwritable(path, error) from None
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
        content = read_file(self.manifest_path)
        try:
            return read_record(content, Manifest)
        except ValidationError as error:
            raise InputError(_damage(self.manifest_path, content, error)) from None

    def task(self) -> Task:
        manifest = self.manifest()
        return validate(Task, _upgraded_task(manifest.task), self.manifest_path).at(manifest.hardware)

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
        trials, torn_trial = read_lines(self.trials_path, TrialRecord)
        entries, torn_entry = read_lines(self.ledger_path, LedgerEntry)
        scores, torn_score = read_lines(self.scores_path, ScoreRecord)
        return trials, entries, scores, [t for t in (torn_trial, torn_entry, torn_score) if t is not None]

    def repair(self) -> Iterator[TornLine]:
        """Cut off torn last lines, yielding each."""
        for torn in self.records()[3]:
            cut_off(torn.path, torn.offset)
            yield torn

    def weights_file(self, trial: int) -> Path:
        return self.weights_path / f"{trial:05d}.pt"

    def keep_weights(self, trials: Collection[int]) -> None:
        """Delete the weights of all other trials."""
        kept = {self.weights_file(trial).name for trial in trials}
        for file in self.weights_path.glob("[0-9]*.pt"):
            if file.name not in kept:
                file.unlink()
