"""What the gate records and what it is told: replicates of a process, and settings. Nothing derived is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from joulebench.records.model import SCHEMA, Record, Window
from joulebench.spec.hardware import HardwareProfile
from joulebench.spec.task import Protocol

MetricName = Literal["energy", "time"]
Choice = Literal["auto", "energy", "time"]

#: Minutes on two CPU cores: short windows, for a meter that is read continuously.
QUICK = Protocol(
    warmup_s=0.1, max_warmup_s=1.0, window_s=0.15, repeats=2, max_repeats=6, target_rel_ci=1.0, idle_s=0.0
)
#: For accelerators, whose counters move every 0.1 s.
STANDARD = Protocol(
    warmup_s=2.0, max_warmup_s=20.0, window_s=3.0, repeats=2, max_repeats=4, target_rel_ci=1.0, idle_s=0.0
)
FORMS = {"quick": QUICK, "standard": STANDARD}
PAIRS = {"quick": 18, "standard": 20}  # processes of each commit


def form_of(profile: HardwareProfile) -> str:
    """The form where none was asked for."""
    return "standard" if profile.kind == "gpu" else "quick"


class Measurement(Record):
    """One benchmark in one process: every window of it, warm-ups and invalid ones too."""

    name: str
    unit: str = "call"
    configuration: dict[str, Any] = {}
    protocol: Protocol
    windows: tuple[Window, ...]

    @property
    def phase(self) -> str:
        return "benchmark"


class Replicate(Record):
    """One process: what it measured, where, and its place among the others.

    `pair` numbers the processes of two commits that ran one after the other in the same `session`.
    """

    schema_version: Literal[2] = SCHEMA
    session: str
    started_utc: str
    pair: int | None = None
    rerun: bool = False  # measured to confirm what the session's first processes showed
    hardware: str
    commit: str | None = None  # of the code under test
    environment: dict[str, Any] = {}
    meters: tuple[dict[str, str], ...] = ()
    measurements: tuple[Measurement, ...]

    def measurement(self, name: str) -> Measurement | None:
        return next((m for m in self.measurements if m.name == name), None)


@dataclass(frozen=True)
class Settings:
    """How the gate decides.

    Attributes:
        threshold: a regression takes more than this much more, as a fraction.
        repeats: valid windows of a benchmark on either side; fewer decide nothing.
        sessions: a stored baseline of fewer decides nothing.
        false_alarms: the most that may be called a regression of a change that costs `threshold` or less, over all
            benchmarks of a gate together.
    """

    threshold: float = 0.02
    repeats: int = 20
    sessions: int = 5
    metric: Choice = "auto"
    require_energy: bool = False
    strict: bool = False
    false_alarms: float = 0.01
