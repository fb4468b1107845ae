"""Joules of the same windows by every source that a run has, and what its meters cost. Pure.

Sources are the readings of a window, primary ones and checks, and the models that follow from its recorded
conditions, which nothing has to be measured for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from joulebench.presentation.table import label
from joulebench.records.model import Kind, Window
from joulebench.results.power_curve import CURVE_MODEL, LOAD, LOAD_MODEL, curve_j, recorded_tdp_w
from joulebench.results.run import Run
from joulebench.results.validity import is_read, training_fault, valid_windows
from joulebench.stats.estimate import Estimate, estimate, point

UTILISATION_MODEL, RAM_MODEL, RAM_BY_SIZE = "tdp_utilisation", "ram_model", "ram_by_size"
#: CodeCarbon's models, which stand in for the counters of a domain.
STAND_INS = {"cpu": LOAD_MODEL, "ram": RAM_MODEL}
READ_SHARE, SAMPLING = "_read_share", "_sampling_cpus"
_WATTS_PER_GIB = 3 / 8
_ORIGINS = ("primary", "check", "computed")


@dataclass(frozen=True)
class Source:
    """What gives the joules of a domain: a reading (primary or check), or a model computed from conditions."""

    domain: str
    name: str
    kind: Kind
    origin: Literal["primary", "check", "computed"]


@dataclass(frozen=True)
class Load:
    """Windows of one load (idle, training or a phase of one configuration), or all of a run: power by source.

    `ratios`: over the primary source of the same domain; of one load the mean of its windows' ratios, of all
    windows the ratio of their sums, with the number of windows that have the source.
    """

    name: str
    windows: int
    seconds: float
    utilisation: float | None  # mean CPU load, 0 … 1
    power_w: Mapping[Source, float]
    ratios: Mapping[Source, Estimate]

    def primary(self, domain: str) -> Source:
        return next(s for s in self.power_w if s.domain == domain and s.origin == "primary")


@dataclass(frozen=True)
class Metering:
    """Time that one meter took: in reads at the windows' edges, and of the CPU in its samples between them."""

    meter: str
    reads: int
    read_s: float
    sampling_s: float | None  # None: it takes no samples
    seconds: float  # of the windows

    @property
    def share(self) -> float:
        """Time of the meter over the time of the windows."""
        return (self.read_s + (self.sampling_s or 0.0)) / self.seconds


@dataclass(frozen=True)
class MeterComparison:
    """Every source of a run's joules over the same windows, by load and over all sound windows."""

    loads: tuple[Load, ...]
    total: Load
    without: (
        Estimate | None
    )  # joules with models in place of CPU and RAM counters, over those with; None: no counter
    metering: tuple[Metering, ...]
    tdp_w: float | None


def meter_comparison(run: Run) -> MeterComparison | None:
    """Compare the sources of a run's joules; None where no window has a second source."""
    tdp_w, host = recorded_tdp_w(run.manifest), run.manifest.environment.get("host", {})
    read = _Reader(tdp_w, host.get("memory_bytes")).joules
    sound = [(w, joules) for w in run.windows if w.fault is None and (joules := read(w))]
    total = _load("all sound windows", sound, several=True)
    if not total.ratios:
        return None
    loads = (_load(name, [(w, read(w)) for w in windows]) for name, windows in _by_load(run).items())
    return MeterComparison(
        tuple(loads), total, _without([j for _, j in sound]), _metering(list(run.windows)), tdp_w
    )


@dataclass(frozen=True)
class _Reader:
    tdp_w: float | None
    memory_bytes: int | None

    def joules(self, window: Window) -> dict[Source, float]:
        """Joules of a window by source, of the domains that have a primary reading; empty without duration."""
        if not window.duration_s > 0:
            return {}
        found = {Source(r.domain, r.source, r.kind, r.role): r.energy_j for r in window.readings if is_read(r)}
        domains, known = {s.domain for s in found if s.origin == "primary"}, {(s.domain, s.name) for s in found}
        for key, energy_j in self._modelled(window).items():
            if key not in known:
                found[Source(*key, "estimated", "computed")] = energy_j
        return {s: found[s] for s in sorted(found, key=_order) if s.domain in domains}

    def _modelled(self, window: Window) -> dict[tuple[str, str], float]:
        """Models of mean load and of installed memory.

        TDP × load is the fall-back of Mavromatis et al. (arXiv 2406.14328) where RAPL cannot be read; 3 W per 8 GiB
        of installed memory is CodeCarbon's model before version 3 (its documentation, "Methodology").
        """
        seconds, load, models = window.duration_s, window.conditions.get(LOAD), {}
        if self.tdp_w is not None and load is not None and (by_curve := curve_j(window, self.tdp_w)) is not None:
            load = min(max(load, 0.0), 1.0)
            models["cpu", LOAD_MODEL] = self.tdp_w * (0.1 + 0.9 * load**3) * seconds
            models["cpu", UTILISATION_MODEL] = self.tdp_w * load * seconds
            models["cpu", CURVE_MODEL] = by_curve
        if self.memory_bytes is not None:
            models["ram", RAM_BY_SIZE] = _WATTS_PER_GIB * self.memory_bytes / 2**30 * seconds
        return models


def _order(source: Source) -> tuple[str, int, str]:
    return source.domain, _ORIGINS.index(source.origin), source.name


def _by_load(run: Run) -> dict[str, list[Window]]:
    """Windows that count: idle ones, those of training, and of each measured phase, by configuration."""
    protocol, found = run.task.protocol, defaultdict[str, list[Window]](list)
    found["idle"] += [w for w in run.idle if w.fault is None]
    for trial in (t for t in run.trials if t.status == "ok"):
        phases = {phase: valid_windows(trial.windows, phase, protocol) for phase in trial.unit}
        phases["train"] = [w for w in trial.windows if w.phase == "train" and training_fault(w, protocol) is None]
        for phase, windows in phases.items():
            found[", ".join([phase, *([label(trial.params, run.varied)] if run.varied else [])])] += windows
    return {name: windows for name, windows in found.items() if windows}


def _load(name: str, windows: Sequence[tuple[Window, Mapping[Source, float]]], several: bool = False) -> Load:
    """Power and ratios of windows; those of several loads have a ratio of sums, without an interval."""
    beside: dict[Source, list[tuple[float, float, float]]] = {}  # joules, those of the primary source, seconds
    for window, joules in windows:
        primary = {s.domain: energy_j for s, energy_j in joules.items() if s.origin == "primary"}
        for source, energy_j in joules.items():
            beside.setdefault(source, []).append((energy_j, primary[source.domain], window.duration_s))
    sums = {
        s: tuple(math.fsum(column) for column in zip(*beside[s], strict=True)) for s in sorted(beside, key=_order)
    }
    ratios = {
        s: _of_sums(sums[s][0] / sums[s][1], len(beside[s]))
        if several
        else estimate([e / p for e, p, _ in beside[s]], "windows")
        for s in sums
        if s.origin != "primary" and (sums[s][1] > 0 if several else all(p > 0 for _, p, _ in beside[s]))
    }
    loads = [(w.conditions[LOAD] * w.duration_s, w.duration_s) for w, _ in windows if LOAD in w.conditions]
    return Load(
        name=name,
        windows=len(windows),
        seconds=math.fsum(w.duration_s for w, _ in windows),
        utilisation=math.fsum(a for a, _ in loads) / math.fsum(b for _, b in loads) if loads else None,
        power_w={s: energy_j / seconds for s, (energy_j, _, seconds) in sums.items()},
        ratios=ratios,
    )


def _of_sums(ratio: float, windows: int) -> Estimate:
    return replace(point(ratio), n=windows)


def _without(windows: Iterable[Mapping[Source, float]]) -> Estimate | None:
    """The run's joules with CodeCarbon's models in place of the counters of CPU and RAM, over those with them, in
    the windows that have a model of each. A replayed trace is one of a counter."""
    with_j, change_j, compared = [], [], 0
    for joules in windows:
        named = {(s.domain, s.name): energy_j for s, energy_j in joules.items()}
        primary = [s for s in joules if s.origin == "primary"]
        counted = [s for s in primary if s.domain in STAND_INS and (s.kind == "measured" or s.name == "replay")]
        if counted and all((s.domain, STAND_INS[s.domain]) in named for s in counted):
            compared += 1
            with_j += [joules[s] for s in primary]
            change_j += [named[s.domain, STAND_INS[s.domain]] - joules[s] for s in counted]
    total_j = math.fsum(with_j)
    return _of_sums(1 + math.fsum(change_j) / total_j, compared) if total_j > 0 else None


def _metering(windows: Sequence[Window]) -> tuple[Metering, ...]:
    names = {n.removesuffix(READ_SHARE) for w in windows for n in w.conditions if n.endswith(READ_SHARE)}
    found = []
    for name in sorted(names):
        timed = [w for w in windows if name + READ_SHARE in w.conditions and w.duration_s > 0]
        sampled = [w.conditions[name + SAMPLING] * w.duration_s for w in timed if name + SAMPLING in w.conditions]
        read_s = math.fsum(w.conditions[name + READ_SHARE] * w.duration_s for w in timed)
        of_s = math.fsum(w.duration_s for w in timed)
        found.append(Metering(name, len(timed), read_s, math.fsum(sampled) if sampled else None, of_s))
    return tuple(m for m in found if m.reads)
