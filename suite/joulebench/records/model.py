"""Records of what was measured: windows, trials, ledger entries, scores and the manifest, with a versioned schema.

Nothing derived is stored: joules per sample, intervals and validity are computed by the reader
(`joulebench.results`).
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from joulebench.spec.parameters import Params

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


class Record(BaseModel):
    """A frozen line of a record file."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Reading(Record):
    """Energy of one domain over one window."""

    domain: str  # gpu:0, cpu, ram
    energy_j: float  # what cannot be is not counted (`joulebench.results.validity.is_read`)
    source: str  # nvml_counter, rapl_package, cpu_load_model, ram_model, replay, …
    kind: Kind
    role: Literal["primary", "check"] = "primary"
    counter_updates: Count | None = None  # how often the counter moved; None for a continuous source


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
    ] = {}  # FLOPs of one unit of a phase, where it is not one forward pass a sample
    peak_memory_bytes: Count | None = None
    memory_limit_bytes: Count | None = None  # what the device had for the trial
    unsupported_ops: dict[str, Count] = {}
    uncounted: str | None = None  # why there are no counts


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
    event: Literal["start", "precheck", "propose", "begin", "died", "span", "stopped", "end"]
    ending: Ending | None = None  # of "end" alone
    trial: int | None = None  # which one is proposed, begins or was lost
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
    trials_from: str | None = None
    task_file: str | None = None  # where the task was read, if not from the catalogue
    data_path: str | None = None
    overrides: dict[str, Any] = {}  # --set
    own_meters: tuple[str, ...] = ()  # --meter
    cluster: dict[str, Any] = {}  # of a run on Ray: its id, which hardware ran beside it, the nodes it began on
