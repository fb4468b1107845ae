"""What a phase costs one configuration: joules, seconds and steps, over all its runs. Pure.

A configuration run once has the intervals of its windows and steps; one run more than once those between its runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from joulebench.records.model import Costs, Kind, TrialRecord, Window, combined
from joulebench.results.energy import Energy, invalidity, phase_energy
from joulebench.results.latency import STEPS
from joulebench.spec.parameters import Params
from joulebench.spec.task import Protocol, Task
from joulebench.stats.estimate import Estimate, estimate, reciprocal
from joulebench.stats.quantiles import quantile_of

BETWEEN_RUNS = "runs of the configuration"
EVERY_FAMILY = ("gpu", "cpu", "ram")


@dataclass(frozen=True)
class PhaseCost:
    """Joules per unit of a phase's work; `net` is None where idle power is unknown.

    `units_per_j` and `units_per_s` are each run's own, as objectives are: over several runs their mean is not the
    reciprocal of the other mean. None where an interval of a single run makes no sense (≤ 0).
    """

    phase: str
    unit: str
    gross: Estimate
    net: Estimate | None
    domains: tuple[str, ...]
    kind: Kind
    measured_share: float
    unit_s: Estimate  # seconds per unit
    units_per_j: Estimate | None
    units_per_s: Estimate | None
    step_units: float | None  # units that one step does; None where steps were not counted


def phase_cost(
    protocol: Protocol,
    trials: Sequence[TrialRecord],
    phase: str,
    families: Sequence[str],
    idle: Sequence[Window],
) -> PhaseCost | None:
    """A phase's cost over the usable trials of one configuration; None where none of them has a valid window."""

    def energies(baseline: Sequence[Window] | None) -> list[Energy]:
        each = (phase_energy(t.windows, phase, families, protocol, baseline) for t in trials)
        return [e for e in each if e is not None]

    gross = energies(None)
    if not gross:
        return None
    net = energies(idle) if idle else []
    sized = [w.units / w.steps for t in trials for w in t.windows if w.phase == phase and w.steps]
    return PhaseCost(
        phase=phase,
        unit=next((t.unit[phase] for t in trials if phase in t.unit), "unit"),
        gross=over_runs([e.j_per_unit for e in gross]),
        net=over_runs([e.j_per_unit for e in net]) if len(net) == len(gross) else None,
        domains=gross[0].domains,
        kind=combined(e.kind for e in gross),
        measured_share=fmean(e.measured_share for e in gross),
        unit_s=over_runs([e.unit_s for e in gross]),
        units_per_j=_rate([e.j_per_unit for e in gross]),
        units_per_s=_rate([e.unit_s for e in gross]),
        step_units=fmean(sized) if sized else None,
    )


def _rate(values: Sequence[Estimate]) -> Estimate | None:
    rates = [rate for v in values if (rate := reciprocal(v)) is not None]
    return over_runs(rates) if len(rates) == len(values) else None


def over_runs(values: Sequence[Estimate]) -> Estimate:
    """One run's estimate as it is; over several runs their mean, with the interval between them.

    Raises:
        ValueError: no values.
    """
    return values[0] if len(values) == 1 else estimate([v.mean for v in values], BETWEEN_RUNS)


def step_mean(protocol: Protocol, trials: Sequence[TrialRecord], phase: str) -> Estimate | None:
    """Mean seconds of a step of a timed phase; None where no valid window kept its steps' times."""
    return _over_steps(protocol, trials, phase, lambda seconds: estimate(seconds, STEPS))


def step_quantile(
    protocol: Protocol, trials: Sequence[TrialRecord], phase: str, quantile: float
) -> Estimate | None:
    """A quantile of the seconds that a step of a timed phase took; None as `step_mean`."""
    return _over_steps(protocol, trials, phase, lambda seconds: quantile_of(seconds, quantile, STEPS))


def _over_steps(
    protocol: Protocol, trials: Sequence[TrialRecord], phase: str, summarise: Callable[[list[float]], Estimate]
) -> Estimate | None:
    runs = [seconds for t in trials if (seconds := _step_seconds(protocol, t, phase))]
    return over_runs([summarise(seconds) for seconds in runs]) if runs else None


def _step_seconds(protocol: Protocol, trial: TrialRecord, phase: str) -> list[float]:
    timed = (w for w in trial.windows if w.phase == phase and w.step_s)
    return [s for w in timed if invalidity(w, protocol) is None for s in w.step_s]


def flops_per_unit(costs: Costs, phase: str, unit: str) -> float | None:
    """FLOPs of one unit of a phase: as counted for it, else a forward pass where the unit is a sample."""
    if phase in costs.phase_flops:
        return costs.phase_flops[phase]
    return float(costs.flops) if unit == "sample" and phase != "train" and costs.flops is not None else None


def counted(trials: Sequence[TrialRecord], read: Callable[[Costs], float | None]) -> float | None:
    """A static cost of one configuration, from the first trial that has it."""
    return next((v for t in trials if (v := read(t.costs)) is not None), None)


def families(task: Task) -> tuple[str, ...]:
    """The domains that the task's energy objectives name, taken together; every one where they name none."""
    named = dict.fromkeys(d for o in task.objectives.values() for d in o.domains or ())
    return tuple(d for d in EVERY_FAMILY if d in named) or EVERY_FAMILY


def varied(task: Task, configurations: Sequence[Params]) -> list[str]:
    """The parameters that differ between configurations, in the task's order."""
    names = [n for n, p in task.parameters.items() if p.scope == "task"]
    return [n for n in names if len({(type(c.get(n)), c.get(n)) for c in configurations}) > 1]
