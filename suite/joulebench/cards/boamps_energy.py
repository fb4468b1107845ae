"""The joules, seconds and work of one stage, added up over its windows: what BoAmps calls a measure. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from joulebench.cards.subject import Subject, training
from joulebench.records.model import Kind, Window
from joulebench.results.energy import common_domains, idle_power_w, invalidity, nearest_idle
from joulebench.results.ledger import family
from joulebench.results.phase_cost import EVERY_FAMILY


@dataclass(frozen=True)
class Spent:
    """A stage's windows in sum; `idle_j` over `idle_s` is the baseline nearest to it, where that was quiet."""

    stage: str
    what: str
    unit: str
    units: int
    energy_j: float
    duration_s: float
    start_utc: str
    domains: tuple[str, ...]
    kind: Kind
    measured_share: float
    sources: dict[str, str]  # by family of domains
    utilisation: dict[str, float]  # by family, 0 … 1; absent where it was not read
    idle_j: float | None = None
    idle_s: float | None = None
    epochs: int | None = None


def inference_spent(subject: Subject) -> Spent | None:
    """Every valid window of the main phase, over all trials of the configuration; None where there is none."""
    phase = subject.main_phase
    if phase is None:
        return None
    protocol = subject.records.task.protocol
    windows = [w for t in subject.trials for w in t.windows if w.phase == phase and invalidity(w, protocol) is None]
    what = f"{len(windows)} windows of phase {phase}, {sum(w.units for w in windows)} {subject.phases[phase]}s"
    return _spent(subject, "inference", what, subject.phases[phase], windows)


def training_spent(subject: Subject) -> Spent | None:
    """The training steps of the first trial, which are one training; None where their joules are not known."""
    if training(subject) is None or not subject.trials:
        return None
    trial = subject.trials[0]
    windows = [w for w in trial.windows if w.phase == "train"]
    if any(w.fault for w in windows):
        return None
    epochs = len(trial.epochs) or None
    unit = next(iter(trial.unit.values()), "sample")
    what = f"training steps of trial {trial.trial}, without validation"
    return _spent(subject, "training", what, unit, windows, epochs)


def _spent(
    subject: Subject, stage: str, what: str, unit: str, windows: Sequence[Window], epochs: int | None = None
) -> Spent | None:
    names = common_domains(windows, EVERY_FAMILY)
    if not windows or not names:
        return None
    readings = [r for w in windows for r in w.readings if r.role == "primary" and r.domain in names]
    energy_j = sum(r.energy_j for r in readings)
    if energy_j <= 0:
        return None
    sources: dict[str, str] = {}
    for name in dict.fromkeys(family(n) for n in names):
        sources[name] = ", ".join(sorted({r.source for r in readings if family(r.domain) == name}))
    block = nearest_idle(subject.idle, windows[0])
    quiet = [w for w in block if not w.fault] if idle_power_w(block, names) is not None else []
    idle_j = sum(r.energy_j for w in quiet for r in w.readings if r.role == "primary" and r.domain in names)
    return Spent(
        stage=stage,
        what=what,
        unit=unit,
        units=sum(w.units for w in windows),
        energy_j=energy_j,
        duration_s=sum(w.duration_s for w in windows),
        start_utc=min(w.start_utc for w in windows),
        domains=names,
        kind="measured" if {r.kind for r in readings} == {"measured"} else "estimated",
        measured_share=sum(r.energy_j for r in readings if r.kind == "measured") / energy_j,
        sources=sources,
        utilisation=_utilisation(windows),
        idle_j=idle_j if quiet else None,
        idle_s=sum(w.duration_s for w in quiet) if quiet else None,
        epochs=epochs,
    )


def _utilisation(windows: Iterable[Window]) -> dict[str, float]:
    """Means over time; a mean outside 0 … 1 is the kernel's rounding over short windows, and says nothing."""
    found = {}
    listed = list(windows)
    for name, ending in (("cpu", "cpu_utilisation"), ("gpu", ":0_utilisation")):
        values = [(w.duration_s, v) for w in listed for k, v in w.conditions.items() if k.endswith(ending)]
        seconds = sum(s for s, _ in values)
        if values and seconds > 0 and 0 <= (mean := sum(s * v for s, v in values) / seconds) <= 1:
            found[name] = mean
    return found
