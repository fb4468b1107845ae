"""Do figures that need no meter tell energy? Parameters, MACs, activations, bytes moved and runtime against joules.

Every configuration with a measured phase is one pair: joules per unit of work, gross and (where idle power is
known) net, against each figure. Configurations are taken together and by `family`, where the task has it:
a figure that is right within each family and wrong across them is no proxy for choosing between families. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, get_args

from joulebench.records.model import Kind, TrialRecord, Window, combined
from joulebench.results.outcome import Configuration, configurations, idle_windows
from joulebench.results.phase_cost import PhaseCost, counted, families, phase_cost, varied
from joulebench.spec.conditions import condition
from joulebench.spec.parameters import ChoiceParameter, Params
from joulebench.spec.task import Task
from joulebench.stats.correlation import METHODS, Correlation, Method, correlation

FAMILY = "family"  # the parameter that groups configurations
Figure = Literal["parameters", "macs", "activations", "bytes_moved", "runtime"]
FIGURES: tuple[Figure, ...] = get_args(Figure)
#: What is known of a model before it runs.
STATIC: tuple[Figure, ...] = FIGURES[:-1]
Target = Literal["gross", "net", "runtime"]
TARGETS: tuple[Target, ...] = get_args(Target)
#: |r| below this is masked where coefficients are shown side by side.
WEAK = 0.7


@dataclass(frozen=True)
class Subject:
    """One configuration: its figures (per unit of work; absent where unknown) and what the phase costs it.

    `names` are the parameters that tell it from others and matter to it.
    """

    params: Params
    names: tuple[str, ...]
    family: str | None
    trials: tuple[int, ...]
    figures: Mapping[Figure, float]
    cost: PhaseCost

    def target(self, name: Target) -> float | None:
        if name == "runtime":
            return self.cost.unit_s.mean
        found = self.cost.gross if name == "gross" else self.cost.net
        return None if found is None else found.mean

    @property
    def power_w(self) -> float:
        return self.cost.gross.mean / self.cost.unit_s.mean


@dataclass(frozen=True)
class Reach:
    """How far a quantity goes over the configurations."""

    low: float
    high: float

    @property
    def ratio(self) -> float | None:
        return self.high / self.low if self.low > 0 else None

    @property
    def varies(self) -> bool:
        return self.high > self.low


@dataclass(frozen=True)
class Proxies:
    """Every configuration, and how its figures go with its cost; `families` is empty where the task has none."""

    phase: str
    unit: str
    subjects: tuple[Subject, ...]  # by family, least energy first
    families: tuple[str, ...]
    correlations: Mapping[tuple[str | None, Figure, Target, Method], Correlation]  # family None: all together
    domains: tuple[str, ...]
    kind: Kind
    trials: int
    lost: int  # trials without a value

    def of(self, figure: Figure, target: Target, method: Method, family: str | None = None) -> Correlation | None:
        """None where it does not exist: too few configurations, or a side that does not vary."""
        return self.correlations.get((family, figure, target, method))

    def reach(self, read: Callable[[Subject], float | None]) -> Reach | None:
        known = [v for s in self.subjects if (v := read(s)) is not None]
        return Reach(min(known), max(known)) if known else None

    def joules_per(self, figure: Figure, family: str) -> float | None:
        """Median over a family of gross joules divided by the figure."""
        own = [s for s in self.subjects if s.family == family and s.figures.get(figure)]
        return median(s.cost.gross.mean / s.figures[figure] for s in own) if own else None


def proxies(task: Task, trials: Sequence[TrialRecord]) -> Proxies | None:
    """Of a run's records; None where the task measures no phase, or no configuration has one."""
    if task.measured is None or task.measured.phase is None:
        return None
    idle, phase = idle_windows(trials), task.measured.phase
    found = configurations(task, trials)
    names = varied(task, [c.params for c in found])
    made = [s for c in found if (s := _subject(task, c, names, phase, idle)) is not None]
    if not made:
        return None
    groups = _families(task, made)
    subjects = tuple(
        sorted(made, key=lambda s: (groups.index(s.family) if s.family in groups else 0, s.cost.gross.mean))
    )
    used = {trial for s in subjects for trial in s.trials}
    return Proxies(
        phase=phase,
        unit=subjects[0].cost.unit,
        subjects=subjects,
        families=groups,
        correlations=_correlations(subjects, (None, *groups)),
        domains=tuple(sorted({d for s in subjects for d in s.cost.domains})),
        kind=combined(s.cost.kind for s in subjects),
        trials=len(trials),
        lost=len(trials) - len(used),
    )


def _families(task: Task, subjects: Sequence[Subject]) -> tuple[str, ...]:
    """Those there are, in the task's order."""
    parameter = task.parameters.get(FAMILY)
    values = [str(v) for v in parameter.values] if isinstance(parameter, ChoiceParameter) else []
    there = {s.family for s in subjects if s.family is not None}
    return (*(v for v in values if v in there), *sorted(there - set(values)))


def _matters(task: Task, name: str, params: Params) -> bool:
    only_if = task.parameters[name].only_if
    return only_if is None or condition(only_if).holds(params)


def _subject(
    task: Task, found: Configuration, names: Sequence[str], phase: str, idle: Sequence[Window]
) -> Subject | None:
    usable = [t for t in found.trials if t.status == "ok"]
    cost = phase_cost(task.protocol, usable, phase, families(task), idle)
    if cost is None:
        return None
    known: dict[Figure, float | None] = {
        "parameters": counted(usable, lambda c: c.parameters),
        "macs": counted(usable, lambda c: c.macs) if cost.unit == "sample" else None,
        "activations": _metric(usable, "activations"),
        "bytes_moved": _metric(usable, "bytes_moved"),
        "runtime": cost.unit_s.mean,
    }
    own = found.params.get(FAMILY)
    return Subject(
        params=found.params,
        names=tuple(n for n in names if _matters(task, n, found.params)),
        family=None if own is None else str(own),
        trials=tuple(t.trial for t in usable),
        figures={name: value for name, value in known.items() if value is not None},
        cost=cost,
    )


def _metric(trials: Sequence[TrialRecord], name: str) -> float | None:
    return next((t.metrics[name] for t in trials if name in t.metrics), None)


def _correlations(
    subjects: Sequence[Subject], groups: Sequence[str | None]
) -> dict[tuple[str | None, Figure, Target, Method], Correlation]:
    """Net energy that is not above 0 somewhere has none: its sources do not tell idle from load, and what they give
    is noise."""
    net = [v for s in subjects if (v := s.target("net")) is not None]
    targets = [t for t in TARGETS if t != "net" or (net and min(net) > 0)]
    found = {}
    for group in groups:
        members = [s for s in subjects if group is None or s.family == group]
        for figure in FIGURES:
            for target in targets:
                if figure == target:
                    continue
                known = [(s.figures.get(figure), s.target(target)) for s in members]
                pairs = [(a, b) for a, b in known if a is not None and b is not None]
                for method in METHODS:
                    value = correlation([a for a, _ in pairs], [b for _, b in pairs], method)
                    if value is not None:
                        found[group, figure, target, method] = value
    return found
