"""Energy and time at each power cap of a GPU, relative to the highest cap of the same setting. Pure.

A setting is everything else: network, batch size, GPU … A cap changes clocks, not arithmetic, so quality differs by
the randomness of training only; it is shown where it was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from joulebench.host.power_limit import PARAMETER
from joulebench.records.model import Kind, TrialRecord, combined
from joulebench.results.confirmation import optimum
from joulebench.results.energy import Energy
from joulebench.results.frontier import non_dominated
from joulebench.results.run import Run
from joulebench.spec.parameters import Value
from joulebench.spec.task import CONFIRM, Task
from joulebench.stats.estimate import Estimate, mean_of_runs, point
from joulebench.stats.intervals import differ, ratio

#: Accepted slowdowns, for each of which the best cap is chosen.
TOLERANCES = (0.0, 0.05, 0.10)
#: Caps have no effect on a setting whose mean power stays below this share of the lowest cap …
NO_EFFECT_BELOW = 0.95
#: … and falls by less than this share from the highest cap to the lowest: cut peaks lower the mean.
STEADY = 0.10

Setting = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Cap:
    """One cap in one setting: joules and seconds per unit of work (or per run), over `trials`."""

    watts: float
    energy_j: Estimate
    time_s: Estimate
    quality: Mapping[str, float]
    trials: tuple[int, ...]
    confirmed: bool = False  # over its confirming runs alone
    searched_j: float | None = None  # joules by the runs before confirmation, where it was confirmed
    on_frontier: bool = False  # no other cap of the setting is better in energy and no worse in time, or vice versa

    @property
    def power_w(self) -> float:
        return self.energy_j.mean / self.time_s.mean


@dataclass(frozen=True)
class Choice:
    """Cap with the least energy within a tolerated slowdown, of confirmed caps where there are any.

    `energy` and `time` are relative to the highest cap.
    """

    tolerance: float
    cap: Cap
    energy: Estimate
    time: Estimate

    @property
    def saving(self) -> float:
        return 1 - self.energy.mean


@dataclass(frozen=True)
class Curve:
    """All caps of one setting, lowest first."""

    setting: Setting
    caps: tuple[Cap, ...]
    choices: tuple[Choice, ...]

    @property
    def highest(self) -> Cap:
        return self.caps[-1]

    @property
    def unaffected(self) -> bool:
        """Whether power stays too low for any cap to have an effect: differences between caps are noise."""
        lowest = self.caps[0]
        below = max(c.power_w for c in self.caps) < NO_EFFECT_BELOW * lowest.watts
        return below and lowest.power_w > (1 - STEADY) * self.highest.power_w

    def choice(self, tolerance: float) -> Choice:
        return next(c for c in self.choices if c.tolerance == tolerance)


@dataclass(frozen=True)
class PowerCap:
    """Curves of all settings with two or more caps."""

    curves: tuple[Curve, ...]
    energy: str  # name of the metric or objective
    time: str
    single: int  # settings with one cap only
    lost: int  # trials without a value

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that differ between settings."""
        values = [dict(c.setting) for c in self.curves]
        return tuple(n for n in values[0] if len({v.get(n) for v in values}) > 1)

    @property
    def kind(self) -> Kind | None:
        """None for a table's joules, as they were published."""
        metered = [e.kind for c in self.curves for cap in c.caps if isinstance(e := cap.energy_j, Energy)]
        return combined(metered) if metered else None

    @property
    def affected(self) -> tuple[Curve, ...]:
        return tuple(c for c in self.curves if not c.unaffected)

    @property
    def noise(self) -> float | None:
        """Pooled relative standard deviation of energy between caps without effect; None without such settings."""
        unaffected = [[cap.energy_j.mean for cap in c.caps] for c in self.curves if c.unaffected]
        squares = [(stdev(energies) / fmean(energies)) ** 2 for energies in unaffected]
        return fmean(squares) ** 0.5 if squares else None


def power_cap(run: Run) -> PowerCap | None:
    """The power caps of a run; None where the task has no parameter `power_limit_w`, or no objective of energy.

    Energy is the first energy objective, else the first whose name ends in `_j`. Time is that of the same phase,
    else the first objective whose name ends in `_s`. What is left is quality.
    """
    energy = _energy_objective(run.task)
    if PARAMETER not in run.task.parameters or energy is None:
        return None
    groups: dict[Setting, dict[float, list[TrialRecord]]] = {}
    for trial in run.trials:
        watts = trial.params[PARAMETER]
        if trial.status == "ok" and isinstance(watts, int | float):
            setting = tuple((n, v) for n, v in trial.params.items() if n != PARAMETER)
            groups.setdefault(setting, {}).setdefault(float(watts), []).append(trial)
    settings = {
        setting: [cap for watts, trials in by_cap.items() if (cap := _cap(run, energy, watts, trials))]
        for setting, by_cap in groups.items()
    }
    lost = len(run.trials) - sum(len(c.trials) for caps in settings.values() for c in caps)
    return compare(settings, energy, _time_objective(run.task) or "time", lost)


def compare(
    settings: Mapping[Setting, Sequence[Cap]], energy: str = "energy_j", time: str = "time_s", lost: int = 0
) -> PowerCap | None:
    """Curves of the settings with two or more caps; None where there is none."""
    curves = tuple(_curve(s, caps) for s, caps in settings.items() if len(caps) >= 2)
    single = sum(len(caps) == 1 for caps in settings.values())
    return PowerCap(curves, energy, time, single, lost) if curves else None


def _curve(setting: Setting, caps: Sequence[Cap]) -> Curve:
    ordered = sorted(caps, key=lambda c: c.watts)
    kept = non_dominated([(c.energy_j.mean, c.time_s.mean) for c in ordered], ["minimize", "minimize"])
    marked = tuple(replace(c, on_frontier=bool(k)) for c, k in zip(ordered, kept, strict=True))
    return Curve(setting, marked, tuple(_choice(marked, t) for t in TOLERANCES))


def _choice(caps: Sequence[Cap], tolerance: float) -> Choice:
    highest = caps[-1]
    fast_enough = [c for c in caps if c.time_s.mean <= (1 + tolerance) * highest.time_s.mean]
    best = optimum(
        sorted(fast_enough, key=lambda c: -c.watts),  # of equal ones the fastest
        confirmed=lambda c: c.confirmed,
        before=lambda c: c.energy_j.mean if c.searched_j is None else c.searched_j,
        now=lambda c: c.energy_j.mean,
        differ=lambda c, d: differ(c.energy_j, d.energy_j),
    )
    assert best is not None  # the highest is as fast as itself
    energy, time = ratio(best.energy_j, highest.energy_j), ratio(best.time_s, highest.time_s)
    assert energy is not None  # both are positive
    assert time is not None
    return Choice(tolerance, best, energy, time)


def _energy_objective(task: Task) -> str | None:
    metered = [n for n, o in task.objectives.items() if o.is_energy]
    return next(iter([*metered, *(n for n in task.objectives if n.endswith("_j"))]), None)


def _time_objective(task: Task) -> str | None:
    return next((n for n in task.objectives if n.endswith("_s") and not n.endswith("_per_s")), None)


def _cap(run: Run, energy: str, watts: float, trials: Sequence[TrialRecord]) -> Cap | None:
    """None where energy or time are missing, or not positive."""
    confirms = any(c.confirmed for c in run.configurations)
    confirming = [t for t in trials if t.stage == CONFIRM and confirms]
    values = _values(run, energy, confirming or list(trials))
    searched = _values(run, energy, [t for t in trials if t.stage != CONFIRM]) if confirming else None
    if values is None:
        return None
    energy_j, time_s, known = values
    if energy_j.mean <= 0 or time_s.mean <= 0:
        return None
    plain = [n for n, o in run.task.objectives.items() if not o.is_energy and not n.endswith(("_j", "_s"))]
    reached = {n: [t.metrics[n] for t in known if n in t.metrics] for n in plain}
    quality = {n: fmean(each) for n, each in reached.items() if each}
    return Cap(
        watts,
        energy_j,
        time_s,
        quality,
        tuple(t.trial for t in known),
        confirmed=bool(confirming),
        searched_j=None if searched is None else searched[0].mean,
    )


def _values(
    run: Run, energy: str, trials: Sequence[TrialRecord]
) -> tuple[Estimate, Estimate, Sequence[TrialRecord]] | None:
    """Joules and seconds over trials of one cap, and the trials that have them."""
    objective, time = run.task.objectives[energy], _time_objective(run.task)
    if objective.phase is None:
        known = [t for t in trials if time is not None and energy in t.metrics and time in t.metrics]
        if time is None or not known:
            return None
        joules_of, seconds_of = ([point(t.metrics[name]) for t in known] for name in (energy, time))
        return mean_of_runs(joules_of), mean_of_runs(seconds_of), known
    if objective.phase == "train":
        trained = run.training(trials, objective.domains)
        if trained is None:
            return None
        each, each_s = trained.per(trained.units, "unit"), trained.seconds_per(trained.units)
        return None if each is None or each_s is None else (each, each_s, trained.trials)
    phase = run.phase(trials, objective.phase, objective.domains)
    return None if phase is None else (phase.gross, phase.unit_s, phase.measured)
