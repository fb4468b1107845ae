"""Records and settings of the gate. Nothing derived is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from joulebench.gate.statistics import LOOKS
from joulebench.records.model import SCHEMA, Record, Window
from joulebench.spec.hardware import HardwareProfile
from joulebench.spec.task import Protocol

MetricName = Literal["energy", "processor", "time", "instructions"]
Choice = Literal["auto", "energy", "processor", "time"]

_protocol = partial(Protocol, target_rel_ci=1.0, idle_s=0.0, allow_busy=True)
#: Many short windows, for continuously readable meters.
QUICK = _protocol(warmup_s=0.1, max_warmup_s=0.3, window_s=0.05, repeats=12, max_repeats=12)
#: Few long windows, for accelerators, whose counters update every 0.1 s.
STANDARD = _protocol(warmup_s=2.0, max_warmup_s=20.0, window_s=3.0, repeats=3, max_repeats=6)
FORMS = {"quick": QUICK, "standard": STANDARD}
MINUTES = {"quick": 5.0, "standard": 60.0}  # at most, until all is decided
RERUN_PAIRS = 12


def form_of(profile: HardwareProfile) -> str:
    """Default form of a hardware profile."""
    return "standard" if profile.kind == "gpu" else "quick"


class Measurement(Record):
    """All windows of one benchmark in one process, warm-ups and invalid ones included."""

    name: str
    unit: str = "call"
    configuration: dict[str, Any] = {}
    protocol: Protocol
    windows: tuple[Window, ...]

    @property
    def phase(self) -> str:
        return "benchmark"


class Replicate(Record):
    """Measurements of one process, its machine, and its place in the session.

    `pair` numbers the processes of two commits that were measured in turn in the same `session`.
    """

    schema_version: Literal[2] = SCHEMA
    session: str
    started_utc: str
    pair: int | None = None
    look: Annotated[int, Field(ge=0, le=LOOKS)] = 0  # at which the pair was judged first; 0: all pairs at once
    rerun: bool = False  # measured to confirm a regression or an improvement
    hardware: str
    commit: str | None = None  # of the code under test
    environment: dict[str, Any] = {}
    meters: tuple[dict[str, str], ...] = ()
    measurements: tuple[Measurement, ...]

    def measurement(self, name: str) -> Measurement | None:
        return next((m for m in self.measurements if m.name == name), None)


@dataclass(frozen=True)
class Settings:
    """Settings of the decision.

    Attributes:
        threshold: relative increase above which a change is a regression.
        repeats: valid windows needed per benchmark and side.
        sessions: sessions needed in a stored baseline.
        false_alarms: largest probability of a false regression in a gate, over all its benchmarks.
        rare: share of processes; a dear kind that makes up so many of them must have had its chance to be seen.
    """

    threshold: float = 0.02
    repeats: int = 20
    sessions: int = 5
    metric: Choice = "auto"
    require_energy: bool = False
    strict: bool = False
    false_alarms: float = 0.01
    rare: float = 0.1
