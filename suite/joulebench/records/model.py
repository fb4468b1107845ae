"""Records of what was measured: windows, trials, ledger entries, scores and the manifest, with a versioned schema.

Nothing derived is stored: joules per sample, intervals and validity are computed by the reader
(`joulebench.results`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from joulebench.spec.parameters import Params
from joulebench.spec.toml import digest, no_number

#: Of record files. Those of schema 1 are read too (`joulebench.records.schema1`).
SCHEMA: Literal[2] = 2
Status = Literal["ok", "oom", "failed", "invalid", "infeasible"]
Kind = Literal["measured", "estimated"]
#: How a session ended; `failed`: by an error that its note states, `crashed`: by one that nobody expected.
Ending = Literal["done", "interrupted", "failed", "crashed"]


def combined(kinds: Iterable[Kind | None]) -> Kind:
    """Kind of a sum of joules: measured if there are parts and all are measured; else estimated."""
    return "measured" if set(kinds) == {"measured"} else "estimated"


#: Counts are not negative, and no record holds one that a float could not.
Count = Annotated[int, Field(ge=0, le=10**30)]


#: ISO 8601, UTC. A published run's folder is named by its day, so nothing else may stand here.
Utc = Annotated[str, Field(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z\z")]


#: A path as it was given; no file has a NUL in its name, and no system call takes one.
GivenPath = Annotated[str, Field(pattern=r"\A[^\x00]*\z")]


class Record(BaseModel):
    """A frozen line of a record file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Reading(Record):
    """Energy of one domain over one window."""

    domain: str  # gpu:0 (of the run, before that NVML's number), cpu, ram, module:0
    energy_j: float  # what cannot be is not counted (`joulebench.results.validity.is_read`)
    source: str  # nvml_counter, rapl_package, cpu_load_model, ram_model, replay, …
    kind: Kind
    role: Literal["primary", "check"] = "primary"
    counter_updates: Count | None = None  # how often the counter moved; None for a continuous source
    edge_sd_j: Annotated[float, Field(ge=0, le=1e15)] | None = (
        None  # standard deviation of what a counter that moves in steps leaves unknown at the window's edges
    )


class FaultKind(StrEnum):
    """Why a window does not count."""

    # what its writer saw
    COUNTER_RESET = "counter_reset"
    COUNTER_STUCK = "counter_stuck"
    SAMPLING_GAP = "sampling_gap"
    MISSING_READING = "missing_reading"
    NO_NUMBER = "no_number"
    UNCLASSIFIED = "unclassified"  # of records before schema 2, and of meters that give no kind
    # what its reader finds
    OVERLAP = "overlap"
    NO_DURATION = "no_duration"
    TOO_SHORT = "too_short"
    NO_WORK = "no_work"
    IMPOSSIBLE_READING = "impossible_reading"
    IMPOSSIBLE_POWER = "impossible_power"
    FEW_UPDATES = "few_counter_updates"
    TOO_LONG = "too_long"
    METERS_DISAGREE = "meters_disagree"
    OTHER_LOAD = "other_load"
    STOLEN_TIME = "stolen_time"
    OTHER_GPU_PROCESS = "other_gpu_process"
    UNMETERED_GPU = "unmetered_gpu"
    GPU_IN_USE = "gpu_in_use"
    THROTTLING_CHANGED = "throttling_changed"


class Fault(Record):
    """Why a window does not count, for programs and for people."""

    kind: FaultKind
    text: str

    @classmethod
    def joined(cls, faults: Iterable[Fault]) -> Fault | None:
        """Join faults: the kind of the first, all texts; None without faults."""
        each = list(faults)
        return cls(kind=each[0].kind, text="; ".join(f.text for f in each)) if each else None


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
    fault: Fault | None = None  # why its writer rejects it
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
    ] = {}  # FLOPs of one unit of a phase, where it is not one forward pass a sample; "train": forward and backward
    peak_memory_bytes: Count | None = None
    memory_limit_bytes: Count | None = None  # what the device had for the trial
    unsupported_ops: dict[str, Count] = {}
    uncounted: str | None = None  # why there are no counts
    train_unsupported_ops: dict[str, Count] = {}  # of a training step
    train_uncounted: str | None = None  # why there is no count of training


class EpochRecord(Record):
    """Epoch of a training: units of work done and metrics reached."""

    index: int
    units: Count
    complete: bool = True
    metrics: dict[str, float] = {}


class TrialRecord(Record):
    """Trial: one configuration built, trained, measured and scored once."""

    schema_version: Literal[2] = SCHEMA
    trial: Annotated[int, Field(ge=0, le=10**9)]
    session: int
    stage: str
    origin: str  # the method that proposed it: default, sobol, qnehvi, …, or a user's own
    fallback: str | None = None  # why it was not the stage's own method
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
    raced: bool = False  # measured in `protocol.min_windows` only: another configuration is clearly better
    unit: dict[str, str] = {}  # phase -> what its units are: sample, token
    windows: tuple[Window, ...]

    @property
    def proposed_by(self) -> str:
        """The method, with the reason where it was not the stage's own."""
        return self.origin if self.fallback is None else f"{self.origin} ({self.fallback})"

    @property
    def node(self) -> str | None:
        """Node of a cluster that measured it; None on one machine, or where nothing was measured."""
        return self.windows[-1].node if self.windows else None


def trial_seed(run_seed: int, trial: int) -> int:
    """Seed of a trial: a function of the run's and of its number, whatever ran before it."""
    return random.Random(f"{run_seed}/{trial}").getrandbits(31)


class Proposed(Record):
    """Proposed configuration: its stage, method and the search's expectations."""

    stage: str
    origin: str
    fallback: str | None = None  # why it was not the stage's own method
    params: Params
    expected: dict[str, float] = {}


class LedgerEntry(Record):
    """Event of a run and its energy outside trials: data, idle, final scores, reporting; a session's start and end,
    and the start of a trial, so that a trial that ended the process is known.

    On a cluster also each proposal ("propose") with the trials that were `pending` when it was made: with the
    records of all others before it, it is what the proposal was a function of. "died": an attempt at a trial whose
    worker was lost; `node` says where. "stopped": a rule of the task ended the search, which the note states.
    """

    schema_version: Literal[2] = SCHEMA
    session: int
    event: Literal["start", "precheck", "propose", "begin", "died", "span", "stopped", "score", "end"]
    ending: Ending | None = None  # of "end" alone
    trial: int | None = None  # which one is proposed, begins, was lost, or is scored on the test split
    attempt: int = 0
    node: str | None = None
    pending: tuple[int, ...] = ()
    proposal: Proposed | None = None
    windows: tuple[Window, ...] = ()
    note: str = ""

    @model_validator(mode="after")
    def _ending_belongs_to_an_end(self) -> LedgerEntry:
        if self.ending is not None and self.event != "end":
            raise ValueError(f'only an event "end" has an ending (got "{self.event}")')
        return self


class ScoreRecord(Record):
    """Scores on the test split, evaluated once, after the search."""

    schema_version: Literal[2] = SCHEMA
    trial: int
    split: str
    metrics: dict[str, float]
    error: str | None = None  # why there are none


def _below(path: str) -> str:
    """Check that a path leads to a file below the folder that it is relative to."""
    if not path or path != str(PurePosixPath(path)) or PurePosixPath(path).is_absolute() or ".." in path.split("/"):
        raise ValueError("must be the path of a file below a folder")
    return path


#: Files of one name whose content is recorded; further ones are counted.
MAX_FILES = 1000


class OwnCode(Record):
    """What stands behind one name of the user's own in a run: its files by content, and where they are kept.

    Of code: the module and those of its package or folder that were imported when the run began.
    """

    name: str  # package.module:name or an entry point; of a file that the task's options name, that file's
    #: path below the folder that it was imported from -> SHA-256
    files: Annotated[
        dict[Annotated[str, AfterValidator(_below)], Annotated[str, Field(pattern=r"\A[0-9a-f]{64}\z")]],
        Field(max_length=MAX_FILES),
    ] = {}
    left_out: Count = 0  # files beyond MAX_FILES
    commit: str | None = None  # of the git repository that they lie in
    #: of what only the program itself defined (`__main__`): its source by what each statement defines, to be
    #: compared and never executed; `files` has its digest under the script's name
    source: Annotated[dict[str, Annotated[str, Field(max_length=1_000_000)]], Field(max_length=MAX_FILES)] = {}
    distribution: str | None = None  # installed package and version that they come from
    uncommitted: tuple[str, ...] = ()  # files that are in neither as they ran

    @property
    def digest(self) -> str:
        """Fingerprint of the files' names and contents."""
        return digest(sorted(self.files.items()))


class Found(Record):
    """Where a run's found configurations come from: the frontier of a search (`--found`)."""

    path: GivenPath
    task: str  # the search's, with its budget
    digest: str  # of the search's task and code
    confirmed: bool  # whether new runs had confirmed the frontier
    search_split: str  # what the search judged by
    trials: tuple[tuple[Count, ...], ...]  # of the search, by configuration, in the order of the points


class Manifest(Record):
    """Description of a run: what is needed to repeat it."""

    schema_version: Literal[2] = SCHEMA
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
    trials_from: GivenPath | None = None
    found: Found | None = None
    task_file: GivenPath | None = None  # where the task was read, if not from the catalogue
    data_path: GivenPath | None = None
    overrides: dict[str, Any] = {}  # --set
    own_meters: tuple[str, ...] = ()  # --meter
    own_code: tuple[OwnCode, ...] | None = None  # None: not recorded, by an earlier version
    from_catalogue: bool | None = None  # whether the task is one that ships; None: not recorded
    cluster: dict[
        str, Any
    ] = {}  # of a run on Ray: its id, which hardware ran beside it, the nodes or cards it began on

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The equal GPUs of one machine that trials ran on beside each other, each by its UUID; else empty."""
        cards = self.cluster.get("cards")
        return [card for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []

    @property
    def run_digest(self) -> str:
        """Fingerprint of the task with the code of the user's own, equal for runs of the same task."""
        if not self.own_code:
            return self.digest
        return digest([self.digest, sorted((code.name, code.digest) for code in self.own_code)])

    @model_validator(mode="after")
    def _numbers_are_finite(self) -> Manifest:
        for name in ("task", "hardware", "environment", "data", "search", "overrides", "cluster"):
            if (field := no_number(getattr(self, name), name)) is not None:
                raise ValueError(f"{field}: must be a finite number")
        return self
