"""Second model of the CPU's power, which shows how far joules by CodeCarbon's load model can be off. Pure.

Both models are shares of the same TDP by load; they differ in the curve. What they give over the same windows is a
systematic range: no repetition makes it smaller, and no interval over windows or runs contains it. Where the
family of the CPU was recorded, a third model widens it that needs no TDP (`server_share`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np

from joulebench.records.model import Fault, FaultKind, Manifest, Reading, Window
from joulebench.results.energy import Energy
from joulebench.results.frontier import Array, frontier
from joulebench.results.members import Target, targets
from joulebench.results.outcome import Configuration
from joulebench.results.run import Run
from joulebench.results.server_share import LOAD as LOAD
from joulebench.results.server_share import STANDS_FOR, ServerShare, by_share, modelled_parts, server_share
from joulebench.results.validity import is_read
from joulebench.spec.parameters import Params

#: Source of the readings that have a second model, and the name of that model.
LOAD_MODEL, CURVE_MODEL = STANDS_FOR["cpu"], "teads_curve"
#: Load, and share of the TDP at it, linear in between.
CURVE = ((0.0, 0.12), (0.1, 0.32), (0.5, 0.75), (1.0, 1.02))
CURVE_SOURCE = (
    "B. Davy, Building an AWS EC2 Carbon Emissions Dataset, Teads Engineering 2021, "
    "https://medium.com/teads-engineering/building-an-aws-ec2-carbon-emissions-dataset-3f0fd76c98ac"
)


def curve_share(load: float) -> float:
    """Power as a share of the TDP at a load of 0 … 1, by the Teads curve.

    The four points are means over servers under `turbostress`, read by RAPL (`CURVE_SOURCE`); the Impact Framework
    of the Green Software Foundation takes them with linear interpolation, as here.
    """
    load = min(max(load, 0.0), 1.0)
    (x0, y0), (x1, y1) = next(pair for pair in pairwise(CURVE) if load <= pair[1][0])
    return y0 + (y1 - y0) * (load - x0) / (x1 - x0)


def curve_j(window: Window, tdp_w: float) -> float | None:
    """CPU joules of a window by the curve, from its mean load; None where no load was recorded."""
    load = window.conditions.get(LOAD)
    if load is None or not math.isfinite(load) or not window.duration_s > 0:
        return None
    return curve_share(load) * tdp_w * window.duration_s


def recorded_tdp_w(manifest: Manifest) -> float | None:
    """TDP that the load model took: as its meter's description has it, else the hardware profile's; None: unknown.

    Records from before the description had it know it only where the profile states one.
    """
    fact = manifest.hardware.get("cpu_tdp_w")
    stated = next((m["tdp_w"] for m in manifest.meters if m.get("source") == LOAD_MODEL and "tdp_w" in m), None)
    if stated is None and isinstance(fact, Mapping):
        stated = fact.get("value")
    try:
        tdp_w = float(stated)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return tdp_w if math.isfinite(tdp_w) and tdp_w > 0 else None


def has_load_model(run: Run) -> bool:
    """Whether the CPU's joules are computed from its utilisation."""
    return any(s.role == "primary" and s.source == LOAD_MODEL for s in run.ledger.sources)


@dataclass(frozen=True)
class JoulesByModel:
    """Joules of the same windows by the load model and by the curve, and both ends by a share of servers."""

    model_j: float
    curve_j: float
    servers_j: tuple[float, float] | None = None

    @property
    def low(self) -> float:
        return min(self.model_j, self.curve_j, *(self.servers_j or ()))

    @property
    def high(self) -> float:
        return max(self.model_j, self.curve_j, *(self.servers_j or ()))

    @property
    def factor(self) -> float | None:
        """Joules by the curve over those by the load model; None where these are not positive."""
        return self.curve_j / self.model_j if self.model_j > 0 else None


@dataclass(frozen=True)
class ConfigurationRange:
    """Joules per unit of work of one configuration, on its objective's basis, by either model of the CPU."""

    target: Target
    trials: tuple[int, ...]
    params: Params
    model: Energy
    curve: Energy
    rank: int  # by joules per unit, among the configurations with values by both; 1 is the least
    curve_rank: int
    on_frontier: bool
    on_curve_frontier: bool
    default: bool
    servers: tuple[Energy, Energy] | None = None  # by a share of servers, the lower end and the upper

    @property
    def joules(self) -> JoulesByModel:
        servers = None if self.servers is None else (self.servers[0].mean, self.servers[1].mean)
        return JoulesByModel(self.model.mean, self.curve.mean, servers)


@dataclass(frozen=True)
class Ranking:
    """How the order of configurations by joules per unit depends on the model.

    `swapped`: pairs whose order differs between the models; `apart`: those of them whose intervals do not overlap
    under either, which noise does not explain.
    """

    target: Target
    pairs: int
    swapped: int
    apart: int


@dataclass(frozen=True)
class ModelRange:
    """What the two models of the CPU say of one run."""

    tdp_w: float
    cpu: JoulesByModel  # over the windows whose load was recorded
    total: JoulesByModel  # of the run: other domains, and windows without a load, are the same in both
    recorded_share: float  # of the load model's joules, in windows whose load was recorded
    configurations: tuple[ConfigurationRange, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    share: ServerShare | None = None  # None: the family of the CPU was not recorded, or the RAM was not modelled
    shared_j: JoulesByModel | None = None  # of CPU and RAM, in windows that have a share

    @cached_property
    def by_trials(self) -> Mapping[tuple[Target, tuple[int, ...]], ConfigurationRange]:
        return {(c.target, c.trials): c for c in self.configurations}

    @property
    def left(self) -> tuple[tuple[int, ...], ...]:
        """Trials of each configuration that is on the frontier by the load model alone."""
        return self._on(lambda c: c.on_frontier and not c.on_curve_frontier)

    @property
    def joined(self) -> tuple[tuple[int, ...], ...]:
        """Trials of each configuration that is on the frontier by the curve alone."""
        return self._on(lambda c: c.on_curve_frontier and not c.on_frontier)

    def _on(self, chosen: Callable[[ConfigurationRange], bool]) -> tuple[tuple[int, ...], ...]:
        return tuple(dict.fromkeys(c.trials for c in self.configurations if chosen(c)))


def model_range(run: Run) -> ModelRange | None:
    """The run by both models; None where no CPU joules are the load model's, or TDP or load were not recorded."""
    tdp_w, total_j = recorded_tdp_w(run.manifest), run.ledger.total_j
    every_j = math.fsum(s.energy_j for s in run.ledger.sources if s.role == "primary" and s.source == LOAD_MODEL)
    if tdp_w is None or total_j is None or every_j <= 0:
        return None
    cpu = _cpu(run.windows, tdp_w)
    if cpu is None:
        return None
    share = server_share(run.manifest)
    shared = None if share is None else _shared(run.windows, share, tdp_w)
    servers_j = None
    if shared is not None and shared.servers_j is not None:
        rest_j = total_j - shared.model_j
        servers_j = (rest_j + shared.servers_j[0], rest_j + shared.servers_j[1])
    total = JoulesByModel(total_j, total_j + cpu.curve_j - cpu.model_j, servers_j)
    share = None if shared is None else share
    configurations = _configurations(run, tdp_w, share)
    of = {t: [c for c in configurations if c.target == t] for t in dict.fromkeys(c.target for c in configurations)}
    rankings = tuple(_ranking(target, members) for target, members in of.items())
    return ModelRange(tdp_w, cpu, total, cpu.model_j / every_j, configurations, rankings, share, shared)


def _cpu(windows: Iterable[Window], tdp_w: float) -> JoulesByModel | None:
    model, curve = [], []
    for window in windows:
        readings = _by_load_model(window)
        if readings and (energy_j := curve_j(window, tdp_w)) is not None:
            model += [r.energy_j for r in readings]
            curve.append(energy_j)
    return JoulesByModel(math.fsum(model), math.fsum(curve)) if math.fsum(model) > 0 else None


def _shared(windows: Iterable[Window], share: ServerShare, tdp_w: float) -> JoulesByModel | None:
    """Joules of CPU and RAM by every model; None where no window has all of them."""
    model, curve, low, high = [], [], [], []
    for window in windows:
        parts, ends_j, energy_j = modelled_parts(window), share.energy_j(window), curve_j(window, tdp_w)
        if parts is None or ends_j is None or energy_j is None:
            continue
        model.append(parts[0].energy_j + parts[1].energy_j)
        curve.append(energy_j + parts[1].energy_j)
        low.append(ends_j[0])
        high.append(ends_j[1])
    if not model:
        return None
    return JoulesByModel(math.fsum(model), math.fsum(curve), (math.fsum(low), math.fsum(high)))


def _by_load_model(window: Window) -> list[Reading]:
    return [r for r in window.readings if r.role == "primary" and r.source == LOAD_MODEL and is_read(r)]


def by_curve(run: Run, tdp_w: float) -> Run:
    """The run with the CPU's joules by the curve in place of the load model's, in windows that results rest on.

    A window whose load was not recorded has no value by the curve, and is faulty here.
    """
    return _changed(run, lambda window: _window_by_curve(window, tdp_w))


def by_servers(run: Run, share: ServerShare) -> tuple[Run, Run]:
    """The run with a share of servers in place of modelled CPU and RAM, by its lower and by its upper end."""

    def change(window: Window, end: int) -> Window:
        if modelled_parts(window) is None:
            return window
        ends_j = share.energy_j(window)
        return _without_load(window) if ends_j is None else by_share(window, ends_j[end])

    return _changed(run, lambda window: change(window, 0)), _changed(run, lambda window: change(window, 1))


def _changed(run: Run, change: Callable[[Window], Window]) -> Run:
    quantities = (*run.task.objectives.values(), *run.task.outcome_constraints.values())
    phases = {"idle", *(q.phase for q in quantities), *(t.phase for t in targets(run.task, run.trials))}
    trials = [
        t.model_copy(update={"windows": tuple(change(w) for w in t.windows if w.phase in phases)})
        for t in run.trials
    ]
    return replace(run, trials=trials, entries=(), findings=(), overlay=None)


def _window_by_curve(window: Window, tdp_w: float) -> Window:
    replaced = _by_load_model(window)
    if not replaced:
        return window
    if (energy_j := curve_j(window, tdp_w)) is None:
        return _without_load(window)
    of_curve = replaced[0].model_copy(update={"energy_j": energy_j, "source": CURVE_MODEL})
    others = tuple(r for r in window.readings if not any(r is taken for taken in replaced))
    return window.model_copy(update={"readings": (*others, of_curve)})


def _without_load(window: Window) -> Window:
    missing = Fault(kind=FaultKind.MISSING_READING, text="no CPU load was recorded")
    return window.model_copy(update={"fault": window.fault or missing})


def _configurations(run: Run, tdp_w: float, share: ServerShare | None) -> tuple[ConfigurationRange, ...]:
    """Configurations with values by both models, by target in order of joules per unit by the load model."""
    other = by_curve(run, tdp_w)
    ends = (
        [] if share is None else [{c.key: (end, c) for c in end.configurations} for end in by_servers(run, share)]
    )
    second = {c.key: c for c in other.configurations}
    both = [(c, d) for c in run.configurations if c.complete and (d := second[c.key]).complete]
    kept = {c.key for c in frontier(run.task, [c for c, _ in both])}
    curve_kept = {d.key for d in frontier(run.task, [d for _, d in both])}
    ranges = []
    for target in targets(run.task, run.trials):
        known = [
            (c, a, b)
            for c, d in both
            if (a := _energy(run, c, target))
            and "cpu" in a.domains
            and (b := _energy(other, d, target))
            and a.comparable(b)
        ]
        ranks, curve_ranks = _ranks([a.mean for _, a, _ in known]), _ranks([b.mean for _, _, b in known])
        rows = [
            ConfigurationRange(
                target=target,
                trials=tuple(t.trial for t in c.usable),
                params=c.params,
                model=a,
                curve=b,
                rank=rank,
                curve_rank=curve_rank,
                on_frontier=c.key in kept,
                on_curve_frontier=c.key in curve_kept,
                default=c.default,
                servers=_by_servers([end[c.key] for end in ends], a, target),
            )
            for (c, a, b), rank, curve_rank in zip(known, ranks, curve_ranks, strict=True)
        ]
        ranges += sorted(rows, key=lambda row: (row.rank, row.trials))
    return tuple(ranges)


def _by_servers(
    ends: Sequence[tuple[Run, Configuration]], energy: Energy, target: Target
) -> tuple[Energy, Energy] | None:
    """Joules per unit by both ends of a share; None where they are not of CPU and RAM together, as a share is."""
    if not ends or not set(STANDS_FOR) <= set(energy.domains):
        return None
    low, high = (_energy(run, configuration, target) for run, configuration in ends)
    if low is None or high is None or not (low.comparable(energy) and high.comparable(energy)):
        return None
    return low, high


def _energy(run: Run, configuration: Configuration, target: Target) -> Energy | None:
    """Joules per unit of a target, on the basis of its objective; those of training are gross."""
    if target.phase == "train":
        trained = run.training(configuration.usable, target.families)
        return None if trained is None else trained.per(trained.units, target.unit)
    phase = run.phase(configuration.usable, target.phase, target.families)
    net = target.objective is not None and run.task.objectives[target.objective].basis == "net"
    return None if phase is None else phase.net if net else phase.gross


def _ranks(values: Sequence[float]) -> list[int]:
    """Position of each value in ascending order, from 1; equal values share the first of theirs."""
    order = sorted(values)
    first = {value: i + 1 for i, value in reversed(list(enumerate(order)))}
    return [first[value] for value in values]


def _ranking(target: Target, members: Sequence[ConfigurationRange]) -> Ranking:
    """Compare every pair; `members` are in ascending order of joules by the load model."""
    model, model_low, model_high = _ends([m.model for m in members])
    curve, curve_low, curve_high = _ends([m.curve for m in members])
    swapped = apart = 0
    for i in range(len(members) - 1):
        rest = slice(i + 1, None)
        other = (model[i] < model[rest]) & (curve[rest] < curve[i])
        clear = (model_high[i] < model_low[rest]) & (curve_high[rest] < curve_low[i])
        swapped += int(other.sum())
        apart += int((other & clear).sum())
    return Ranking(target, len(members) * (len(members) - 1) // 2, swapped, apart)


def _ends(values: Sequence[Energy]) -> Array:
    """Means, lower and upper ends of their intervals (the mean where there is none): 3 × n."""
    rows = [(v.mean, v.mean if v.low is None else v.low, v.mean if v.high is None else v.high) for v in values]
    return np.array(rows, dtype=float).T
