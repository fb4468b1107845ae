"""What was measured: windows, trials and run folders; append-only, fsynced, with a versioned schema.

Nothing derived is stored: joules per sample, intervals and validity are computed by the reader (`joulebench.results.energy`).
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from joulebench.errors import InputError
from joulebench.host.files import append_whole, cut_off, write_whole
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.spec.toml import validate

SCHEMA: Literal[1] = 1
DONE = "done"  # the note of a session that came to its end
Status = Literal["ok", "oom", "failed", "invalid", "infeasible"]
Kind = Literal["measured", "estimated"]


#: Counts are not negative, and no record holds one that a float could not.
Count = Annotated[int, Field(ge=0, le=10**30)]


#: ISO 8601, UTC. A published run's folder is named by its day, so nothing else may stand here.
Utc = Annotated[str, Field(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\z")]


class Record(BaseModel):
    """A frozen line of a record file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Reading(Record):
    """Energy of one domain over one window."""

    domain: str  # gpu:0, cpu, ram
    energy_j: float  # what cannot be is not counted (`joulebench.results.energy.is_read`)
    source: str  # nvml_counter, rapl_package, cpu_load_model, ram_model, replay, …
    kind: Kind
    role: Literal["primary", "check"] = "primary"
    counter_updates: Count | None = None  # how often the counter moved; None for a continuous source


class Window(Record):
    """A span of time with the energy spent in it. A trial's windows touch: together they hold every joule."""

    phase: str  # propose, build, train, validate, count, warmup, idle, inference, …, record
    of: str | None = None  # for a warm-up: the phase it prepares
    start_utc: str
    start_s: float  # the run's monotonic clock
    end_s: float
    units: Count = 0  # samples or tokens done
    steps: Count = 0
    step_s: tuple[
        Annotated[float, Field(ge=0, le=1e12)], ...
    ] = ()  # seconds of each step, where the phase is timed
    readings: tuple[Reading, ...]
    fault: str | None = None  # why the writer rejects it: counter reset, overlap, unsynchronised
    conditions: dict[str, float] = {}
    node: str | None = None  # of a cluster, and its boot: whose clock `start_s` is; None where there is one machine

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


class Costs(Record):
    """Static costs of a model (see `joulebench.workloads.flops` for the counting rule), and the memory it took.

    `peak_memory_bytes`: on a GPU the most its allocator held; on a CPU the process's largest resident set. Of a
    trial that ran out of memory: what was held and what was asked for when it did, which is less than it needs.
    """

    parameters: Count | None = None
    macs: Count | None = None  # multiply-accumulates of one sample's forward pass
    flops: Count | None = None
    phase_flops: dict[
        str, Annotated[float, Field(ge=0, le=1e30)]
    ] = {}  # FLOPs of one unit of a phase, where it is not one forward pass a sample
    peak_memory_bytes: Count | None = None
    memory_limit_bytes: Count | None = None  # what the device had for the trial
    unsupported_ops: dict[str, Count] = {}
    uncounted: str | None = None  # why there are no counts


class EpochRecord(Record):
    """One epoch: what was trained and what it reached."""

    index: int
    units: Count
    complete: bool = True
    metrics: dict[str, float] = {}


class TrialRecord(Record):
    """One configuration, built, trained, measured and scored once."""

    schema_version: Literal[1] = SCHEMA
    trial: Annotated[int, Field(ge=0, le=10**9)]
    session: int
    stage: str
    origin: str  # default, sobol, qnehvi, …: what proposed it
    params: Params
    seed: int
    attempt: int = 0  # on a cluster: which one came back, where workers were lost before
    status: Status
    error: str | None = None
    metrics: dict[str, float] = {}
    sems: dict[str, float] = {}  # standard errors of metrics, where the workload knows them
    expected: dict[str, float] = {}  # what the search expected of it when it was proposed
    costs: Costs = Costs()
    epochs: tuple[EpochRecord, ...] = ()
    stopped_by: Literal["epochs", "patience", "time"] | None = None  # what ended training
    unit: dict[str, str] = {}  # phase -> what its units are: sample, token
    windows: tuple[Window, ...]

    @property
    def node(self) -> str | None:
        """Where it was measured; None where there is one machine, or nothing was measured."""
        return self.windows[-1].node if self.windows else None


class Proposed(Record):
    """A configuration that was chosen: what for, by what, and what the search expected of it."""

    stage: str
    origin: str
    params: Params
    expected: dict[str, float] = {}


class LedgerEntry(Record):
    """Energy of the run outside its trials: data, idle, final scores, reporting; a session's ends, and a trial's
    beginning, so that one which ends the process is known.

    On a cluster also each proposal ("propose") with the trials that were `pending` when it was made: with the
    records of all others before it, it is what the proposal was a function of. "died": an attempt at a trial whose
    worker was lost; `node` says where.
    """

    schema_version: Literal[1] = SCHEMA
    session: int
    event: Literal["start", "propose", "begin", "died", "span", "end"]
    trial: int | None = None  # which one is proposed, begins or was lost
    attempt: int = 0
    node: str | None = None
    pending: tuple[int, ...] = ()
    proposal: Proposed | None = None
    windows: tuple[Window, ...] = ()
    note: str = ""


class ScoreRecord(Record):
    """Scores on the test split, taken once, after the search."""

    schema_version: Literal[1] = SCHEMA
    trial: int
    split: str
    metrics: dict[str, float]


class Manifest(Record):
    """What a run is: everything a reader needs to repeat it."""

    schema_version: Literal[1] = SCHEMA
    joulebench: str
    task: dict[str, Any]  # merged with its budget
    budget: str | None
    digest: str
    hardware: dict[str, Any]
    hardware_override: str | None = None  # how host and profile differ, where the user forced the profile
    seed: int
    created_utc: Utc
    environment: dict[str, Any]
    data: dict[str, Any] = {}  # fingerprint, counts, normalisation
    meters: list[dict[str, str]] = []
    search: dict[str, Any] = {}  # versions and settings of the search
    replay: str | None = None
    trials_from: str | None = None
    task_file: str | None = None  # where the task was read, if not from the catalogue
    data_path: str | None = None
    overrides: dict[str, Any] = {}  # --set
    cluster: dict[str, Any] = {}  # of a run on Ray: its id, which hardware ran beside it, the nodes it began on


R = TypeVar("R", bound=Record)


def append(path: Path, record: Record) -> None:
    """Append one line and force it to the disk.

    Raises:
        InputError: the disk is full or the file cannot be written; earlier lines are untouched.
    """
    fields = record.model_dump(mode="json", exclude_defaults=True)
    line = json.dumps({"schema_version": SCHEMA, **fields}, separators=(",", ":")) + "\n"
    try:
        append_whole(path, line.encode())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}; what was recorded before is safe") from None


@dataclass(frozen=True)
class TornLine:
    """An incomplete last line, left by a crash while it was written."""

    path: Path
    line: int
    offset: int


def read_lines(path: Path, model: type[R]) -> tuple[list[R], TornLine | None]:
    """The records in a file, and its torn last line if there is one.

    Raises:
        InputError: a line other than the last is damaged, or was written by another schema version.
    """
    records: list[R] = []
    if not path.exists():
        return records, None
    offset = 0
    with path.open("rb") as file, uncollected():
        for number, raw in enumerate(file, start=1):
            if not raw.endswith(b"\n"):
                return records, TornLine(path, number, offset)
            try:
                records.append(_lean(model.model_validate_json(raw)))
            except ValidationError as error:
                raise InputError(_damage(f"{path}, line {number}", raw, error)) from None
            offset += len(raw)
    return records, None


#: Which fields a line gave. Nothing asks for it, and a set of them for every object takes a third of the memory.
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
    try:
        version = json.loads(raw).get("schema_version", SCHEMA)
    except (ValueError, AttributeError, RecursionError):
        return f"{where}: not a JSON object; the file is damaged"
    if version != SCHEMA:
        return f"{where}: schema version {str(version)[:40]}; this joulebench reads {SCHEMA}"
    first = error.errors(include_url=False)[0]
    return f"{where}: {'.'.join(map(str, first['loc']))[:200]}: {first['msg'][:200]}"


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
            path.mkdir(parents=True)
            folder = cls(path)
            write_whole(folder.manifest_path, manifest.model_dump_json(indent=1).encode())
        except FileExistsError:
            raise InputError(f"{path}: exists already; choose another --out, or resume it") from None
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
            return Manifest.model_validate_json(self.manifest_path.read_bytes())
        except OSError as error:
            raise InputError(f"{self.manifest_path}: cannot be read: {error.strerror}") from None
        except ValidationError as error:
            raise InputError(_damage(self.manifest_path, self.manifest_path.read_bytes(), error)) from None

    def task(self) -> Task:
        return validate(Task, self.manifest().task, self.manifest_path)

    def trials(self) -> list[TrialRecord]:
        """In the trials' order; on a cluster they are written as they come back."""
        return sorted(read_lines(self.trials_path, TrialRecord)[0], key=lambda record: record.trial)

    def ledger(self) -> list[LedgerEntry]:
        return read_lines(self.ledger_path, LedgerEntry)[0]

    def end_s(self) -> float:
        """Where the run's clock stood at its last record; 0 for a run without any."""
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
