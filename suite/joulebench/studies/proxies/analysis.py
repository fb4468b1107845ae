"""Do figures that need no meter tell energy? Parameters, MACs, activations, bytes moved and runtime against joules.

Every configuration with a measured phase is one pair: joules per unit of work, gross and (where idle power is
known) net, against each figure. Configurations are taken together and by `family`, where the task has it:
a figure that is right within each family and wrong across them is no proxy for choosing between families. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import median
from typing import Literal, get_args

from joulebench.records.model import Kind, combined
from joulebench.results.phase_runs import PhaseRuns
from joulebench.results.run import Run
from joulebench.spec.conditions import condition
from joulebench.spec.parameters import ChoiceParameter, Params
from joulebench.spec.task import Task
from joulebench.stats.correlation import METHODS, Correlation, Method, correlation
from joulebench.studies.configured import Configured

FAMILY = "family"  # the parameter that groups configurations
Figure = Literal["parameters", "macs", "activations", "bytes_moved", "runtime"]
FIGURES: tuple[Figure, ...] = get_args(Figure)
#: What is known of a model before it runs.
STATIC: tuple[Figure, ...] = FIGURES[:-1]
Target = Literal["gross", "net", "runtime"]
TARGETS: tuple[Target, ...] = get_args(Target)
#: |r| below this is masked where coefficients are shown side by side.
WEAK = 0.7


@dataclass(frozen=True, eq=False)
class Subject(Configured):
    """One configuration and what the phase takes of it.

    `names` are the parameters that tell it from others and matter to it.
    """

    names: tuple[str, ...]
    cost: PhaseRuns

    @property
    def family(self) -> str | None:
        own = self.params.get(FAMILY)
        return None if own is None else str(own)

    @cached_property
    def figures(self) -> Mapping[Figure, float]:
        """Figures per unit of work; absent where unknown."""
        known: dict[Figure, float | None] = {
            "parameters": self.parameters,
            "macs": self.macs if self.cost.unit == "sample" else None,
            "activations": self.metric("activations"),
            "bytes_moved": self.metric("bytes_moved"),
            "runtime": self.cost.unit_s.mean,
        }
        return {name: value for name, value in known.items() if value is not None}

    def target(self, name: Target) -> float | None:
        value = {"runtime": self.cost.unit_s, "gross": self.cost.gross, "net": self.cost.net}[name]
        return None if value is None else value.mean

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


@dataclass(frozen=True, eq=False)
class Proxies:
    """Every configuration of a run with the measured phase, and how its figures go with what that takes."""

    run: Run
    phase: str
    measured: tuple[Subject, ...]

    @property
    def unit(self) -> str:
        return self.subjects[0].cost.unit

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Those there are, in the task's order; empty where the task has none."""
        parameter = self.run.task.parameters.get(FAMILY)
        values = [str(v) for v in parameter.values] if isinstance(parameter, ChoiceParameter) else []
        there = {s.family for s in self.measured if s.family is not None}
        return (*(v for v in values if v in there), *sorted(there - set(values)))

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """The configurations by family, least energy first."""
        place = {family: number for number, family in enumerate(self.families)}
        return tuple(sorted(self.measured, key=lambda s: (place.get(s.family or "", 0), s.cost.gross.mean)))

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(sorted({d for s in self.measured for d in s.cost.domains}))

    @property
    def kind(self) -> Kind:
        return combined(s.cost.kind for s in self.measured)

    @property
    def trials(self) -> int:
        return len(self.run.trials)

    @property
    def lost(self) -> int:
        """Trials without a value."""
        return self.trials - sum(len(s.trials) for s in self.measured)

    @cached_property
    def correlations(self) -> Mapping[tuple[str | None, Figure, Target, Method], Correlation]:
        """By family (None: all together), figure and target. Net energy that is not above 0 somewhere has none: its
        sources do not tell idle from load, and what they give is noise."""
        net = [v for s in self.subjects if (v := s.target("net")) is not None]
        targets = [t for t in TARGETS if t != "net" or (net and min(net) > 0)]
        return {
            (family, figure, target, method): value
            for family, figure, target in product((None, *self.families), FIGURES, targets)
            if figure != target
            for pairs in [self._pairs(family, figure, target)]
            for method in METHODS
            if (value := correlation([a for a, _ in pairs], [b for _, b in pairs], method)) is not None
        }

    def _pairs(self, family: str | None, figure: Figure, target: Target) -> list[tuple[float, float]]:
        members = [s for s in self.subjects if family is None or s.family == family]
        known = [(s.figures.get(figure), s.target(target)) for s in members]
        return [(a, b) for a, b in known if a is not None and b is not None]

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


def proxies(run: Run) -> Proxies | None:
    """The proxies of a run; None where the task measures no phase, or no configuration has one."""
    if run.task.measured is None or run.task.measured.phase is None:
        return None
    phase = run.task.measured.phase
    measured = tuple(
        Subject(run, c, tuple(n for n in run.varied if _matters(run.task, n, c.params)), cost)
        for c in run.configurations
        if (cost := run.phase(c.trials, phase)) is not None
    )
    return Proxies(run, phase, measured) if measured else None


def _matters(task: Task, name: str, params: Params) -> bool:
    only_if = task.parameters[name].only_if
    return only_if is None or condition(only_if).holds(params)
