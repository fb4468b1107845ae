"""Racing: a configuration that another one clearly dominates is measured in fewer windows. Pure.

A configuration is clearly dominated if a member of the frontier is at least as good in all that is known exactly
(metrics, static costs) and better in energy by more than `SIGMAS` standard errors. Its interval is wider, and
since it stopped at an unfavourable mean, it seems slightly dearer than it is: nothing rests on it but that it is
dominated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from joulebench.records.model import Costs, TrialRecord, Window
from joulebench.results.energy import common_domains, joules, phase_energy
from joulebench.results.frontier import frontier
from joulebench.results.outcome import Configuration, configuration_key, configurations, run_to_run
from joulebench.results.validity import valid_windows
from joulebench.spec.objectives import COSTS, Objective, energy_form
from joulebench.spec.parameters import Params
from joulebench.spec.task import FRONTIER, Protocol, Task

#: Stages whose trials may race: they look for a frontier, and most of what they try is not on it.
SEARCHES = ("random", "sobol", "qnehvi", "nsga2")
SIGMAS = 3.0
MIN_FREEDOM = 10  # degrees of freedom of the pooled spread of windows


@dataclass(frozen=True)
class Race:
    """What a trial is compared with while it is measured.

    Attributes:
        rivals: the frontier's values by objective, one mapping a configuration.
        spread: by energy objective, relative standard deviation of windows within a run, pooled over runs.
        between: the same between runs of one configuration; absent where none was repeated.
    """

    rivals: tuple[Mapping[str, float], ...]
    spread: Mapping[str, float]
    between: Mapping[str, float]


def may_race(task: Task) -> bool:
    """Whether trials of a task can be decided early.

    Only where the frontier is all that is asked, and every objective is exact or the energy of a measured phase. A
    bound on something measured could make a dominated configuration the only one that keeps it.
    """
    measured = [(name, q) for _, name, q in task.quantities() if q.phase is not None]
    return (
        set(task.analyses) == {FRONTIER}
        and task.measured is not None
        and all(isinstance(q, Objective) and q.is_energy and q.phase != "train" for _, q in measured)
        and all(_is_thrifty(name, o) for name, o in task.objectives.items() if o.is_energy)
    )


def _is_thrifty(name: str, objective: Objective) -> bool:
    """Whether an objective asks for fewer joules and for nothing else."""
    form = energy_form(name)
    better = "maximize" if form.inverse else "minimize"
    return not form.delays and objective.share is None and objective.goal == better


def race(task: Task, stage: str, params: Params, trials: Sequence[TrialRecord]) -> Race | None:
    """The race that a trial of `stage` runs, given the trials so far; None where it is measured in full.

    The default configuration and those on the frontier are always measured in full.
    """
    planned = task.stages.get(stage)
    if planned is None or planned.method not in SEARCHES or not may_race(task):
        return None
    members = frontier(task, configurations(task, trials))
    own = configuration_key(task, params)
    if not members or own in {configuration_key(task, task.defaults), *(m.key for m in members)}:
        return None
    energies = {name: o for name, o in task.objectives.items() if o.is_energy}
    spread = {name: _pooled_rsd(task.protocol, trials, o) for name, o in energies.items()}
    known = {name: rsd for name, rsd in spread.items() if rsd is not None}
    if len(known) < len(spread):
        return None
    between = {name: spread.sd for name, spread in run_to_run(task, trials).items() if name in energies}
    return Race(tuple(_values(m) for m in members), known, between)


def _values(member: Configuration) -> dict[str, float]:
    return {name: outcome.value.mean for name, outcome in member.outcomes.items()}


def _pooled_rsd(protocol: Protocol, trials: Sequence[TrialRecord], objective: Objective) -> float | None:
    """Relative standard deviation of gross joules per unit over the windows of a run; None from too few."""
    squares, freedom = 0.0, 0
    for trial in trials:
        each = _gross(trial.windows, objective, protocol) if trial.status == "ok" else []
        if len(each) >= 2 and (mean := fmean(each)) > 0:
            squares += sum((e / mean - 1) ** 2 for e in each)
            freedom += len(each) - 1
    return math.sqrt(squares / freedom) if freedom >= MIN_FREEDOM else None


def _gross(windows: Sequence[Window], objective: Objective, protocol: Protocol) -> list[float]:
    """Gross joules per unit of each window that counts."""
    valid = valid_windows(windows, objective.phase or "", protocol)
    domains = common_domains(valid, objective.domains or ())
    return [e / w.units for w in valid if (e := joules(w, domains)) is not None] if domains else []


def is_beaten(
    task: Task,
    against: Race,
    metrics: Mapping[str, float],
    costs: Costs,
    windows: Sequence[Window],
    idle: Sequence[Window],
) -> bool:
    """Whether some rival clearly dominates a trial, by its windows so far.

    False while an objective's phase has fewer than `min_windows` valid windows.
    """
    own: dict[str, float] = {}
    margin: dict[str, float] = {}
    protocol = task.protocol
    for name, objective in task.objectives.items():
        if not objective.is_energy:
            value = metrics.get(name, getattr(costs, name, None) if name in COSTS else None)
            if value is None:
                return False
            own[name] = value
            continue
        each = _gross(windows, objective, protocol)
        baseline = idle if objective.basis == "net" else None
        phase, domains = objective.phase or "", objective.domains or ()
        energy = phase_energy(windows, phase, domains, protocol, baseline)
        if energy is None or len(each) < protocol.min_windows:
            return False
        own[name] = energy.mean
        # of a difference of two values, each from this few windows; what varies in net joules are the gross ones
        variance = against.spread[name] ** 2 / protocol.min_windows + against.between.get(name, 0.0) ** 2
        margin[name] = SIGMAS * math.sqrt(2 * variance) * fmean(each)
    return any(_dominates(task, rival, own, margin) for rival in against.rivals)


def _dominates(
    task: Task, rival: Mapping[str, float], own: Mapping[str, float], margin: Mapping[str, float]
) -> bool:
    for name, objective in task.objectives.items():
        theirs, mine = rival[name], own[name]
        if name in margin:
            theirs_j = task.energy_form(name).joules(theirs)
            if theirs_j is None or not theirs_j + margin[name] < mine:
                return False
        elif theirs < mine if objective.goal == "maximize" else theirs > mine:
            return False
    return True
