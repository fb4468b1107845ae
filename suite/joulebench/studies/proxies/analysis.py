"""Correlation of energy with proxies that need no energy meter: model figures, utilisation and runtime. Pure.

Each configuration with a measured phase gives one pair per proxy: joules per unit of work (gross, and net where
idle power is known) against the proxy. Correlations are over all configurations and by `family`, where the task has
that parameter: a proxy that works within each family may still fail between families.

FLOPs are a proxy of their own where they are not MACs times a constant. Utilisation is that of the GPU where it was
recorded, else of the CPUs, in the windows that count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import median
from typing import Literal, get_args

from joulebench.records.model import Kind, combined
from joulebench.results.phase_runs import PhaseRuns, flops_per_unit
from joulebench.results.run import Run
from joulebench.spec.parameters import ChoiceParameter
from joulebench.stats.correlation import METHODS, Correlation, Method, correlation
from joulebench.studies.configured import Configured

FAMILY = "family"  # parameter that groups configurations
Proxy = Literal["parameters", "macs", "flops", "activations", "bytes_moved", "utilisation", "runtime"]
PROXIES: tuple[Proxy, ...] = get_args(Proxy)
#: Proxies that are known before a model runs.
STATIC: tuple[Proxy, ...] = PROXIES[:5]
Target = Literal["gross", "net", "runtime"]
TARGETS: tuple[Target, ...] = get_args(Target)
#: Coefficients of a smaller size are masked in tables of many.
WEAK = 0.7


@dataclass(frozen=True, eq=False)
class Subject(Configured):
    """Configuration with the energy of its measured phase; `names` are its distinguishing parameters in effect."""

    names: tuple[str, ...]
    cost: PhaseRuns

    @property
    def family(self) -> str | None:
        family = self.params.get(FAMILY)
        return None if family is None else str(family)

    @cached_property
    def figures(self) -> Mapping[Proxy, float]:
        """Proxies by name, per unit of work except parameters; unknown ones are absent."""
        known: dict[Proxy, float | None] = {
            "parameters": self.parameters,
            "macs": self.macs if self.cost.unit == "sample" else None,
            "flops": flops_per_unit(self.configuration.costs, self.cost.phase, self.cost.unit),
            "activations": self.metric("activations"),
            "bytes_moved": self.metric("bytes_moved"),
            "utilisation": self.cost.utilisation(self.run.device),
            "runtime": self.cost.unit_s.mean,
        }
        return {name: value for name, value in known.items() if value is not None}

    def target(self, name: Target) -> float | None:
        """Read joules (gross, net) or seconds per unit of work; None if unknown."""
        value = {"runtime": self.cost.unit_s, "gross": self.cost.gross, "net": self.cost.net}[name]
        return None if value is None else value.mean


@dataclass(frozen=True)
class Range:
    """Smallest and largest value of a quantity over the configurations."""

    low: float
    high: float

    @classmethod
    def of(cls, values: Collection[float]) -> Range:
        """Range of at least one value."""
        return cls(min(values), max(values))

    @property
    def ratio(self) -> float | None:
        return self.high / self.low if self.low > 0 else None

    @property
    def varies(self) -> bool:
        return self.high > self.low


@dataclass(frozen=True)
class Beside:
    """Published coefficient beside the run's own of the same proxy, which is None where it is not defined."""

    proxy: Proxy
    published: float
    here: Correlation | None

    @property
    def within(self) -> bool | None:
        """Whether the published value lies in the 95 % interval here; None without an interval."""
        if self.here is None or self.here.low is None or self.here.high is None:
            return None
        return self.here.low <= self.published <= self.here.high


@dataclass(frozen=True, eq=False)
class Proxies:
    """Configurations of a run with the measured phase, and the correlations of their proxies with its energy."""

    run: Run
    phase: str
    measured: tuple[Subject, ...]

    @property
    def unit(self) -> str:
        return self.subjects[0].cost.unit

    @cached_property
    def families(self) -> tuple[str, ...]:
        """Families measured, in the task's order; empty if the task has none."""
        parameter = self.run.task.parameters.get(FAMILY)
        values = [str(v) for v in parameter.values] if isinstance(parameter, ChoiceParameter) else []
        measured = {s.family for s in self.measured if s.family is not None}
        return (*(v for v in values if v in measured), *sorted(measured - set(values)))

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """Configurations by family, least energy first."""
        place = {family: number for number, family in enumerate(self.families)}
        return tuple(sorted(self.measured, key=lambda s: (place.get(s.family or "", 0), s.cost.gross.mean)))

    @cached_property
    def known(self) -> tuple[Proxy, ...]:
        """Proxies to show: FLOPs where they are not proportional to MACs, utilisation where it was recorded."""
        hidden = {p for p in ("flops", "utilisation") if not any(p in s.figures for s in self.measured)}
        hidden |= set() if self.flops_per_mac is None else {"flops"}
        return tuple(p for p in PROXIES if p not in hidden)

    @property
    def static(self) -> tuple[Proxy, ...]:
        """Those of them that are known before a model runs."""
        return tuple(p for p in STATIC if p in self.known)

    @cached_property
    def flops_per_mac(self) -> float | None:
        """FLOPs / MACs where it is one value for all configurations; None where it varies or is not known."""
        known = [(f, m) for s in self.measured if (f := s.figures.get("flops")) and (m := s.figures.get("macs"))]
        (flops, macs), *others = known or [(0.0, 0.0)]
        return flops / macs if macs and all(f * macs == flops * m for f, m in others) else None

    @property
    def beside(self) -> tuple[Beside, ...]:
        """Published Pearson coefficients beside those here, with gross energy."""
        if (published := self.run.task.published) is None:
            return ()
        values = published.pearson.model_dump(exclude_none=True)
        return tuple(
            Beside(p, values[p], self.of("macs" if p not in self.known and p == "flops" else p, "gross", "pearson"))
            for p in PROXIES
            if p in values
        )

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
    def left_out(self) -> int:
        """Trials without a value."""
        return self.trials - sum(len(s.trials) for s in self.measured)

    @cached_property
    def correlations(self) -> Mapping[tuple[str | None, Proxy, Target, Method], Correlation]:
        """Correlations by family (None: all), proxy, target and method; those that are undefined are absent.

        Net energy has none if a value is not above 0: its source does not register the load, so it is noise.
        """
        net = [v for s in self.subjects if (v := s.target("net")) is not None]
        targets = [t for t in TARGETS if t != "net" or (net and min(net) > 0)]
        return {
            (family, proxy, target, method): value
            for family, proxy, target in product((None, *self.families), self.known, targets)
            if proxy != target
            for pairs in [self._pairs(family, proxy, target)]
            for method in METHODS
            if (value := correlation([a for a, _ in pairs], [b for _, b in pairs], method)) is not None
        }

    def _pairs(self, family: str | None, proxy: Proxy, target: Target) -> list[tuple[float, float]]:
        members = [s for s in self.subjects if family is None or s.family == family]
        known = [(s.figures.get(proxy), s.target(target)) for s in members]
        return [(a, b) for a, b in known if a is not None and b is not None]

    def of(self, proxy: Proxy, target: Target, method: Method, family: str | None = None) -> Correlation | None:
        """Find a correlation; None if undefined (too few configurations, or a constant variable)."""
        return self.correlations.get((family, proxy, target, method))

    def range_of(self, proxy: Proxy) -> Range | None:
        """Range of a proxy; None if it is unknown throughout."""
        known = [s.figures[proxy] for s in self.subjects if proxy in s.figures]
        return Range.of(known) if known else None

    @property
    def energy_j(self) -> Range:
        """Range of gross joules per unit of work."""
        return Range.of([s.cost.gross.mean for s in self.subjects])

    @property
    def power_w(self) -> Range:
        """Range of mean power in watts."""
        return Range.of([s.cost.power_w for s in self.subjects])

    @property
    def constant(self) -> dict[Proxy, float]:
        """Static proxies that are equal in every configuration, with their value."""
        ranges = ((f, self.range_of(f)) for f in self.static)
        return {f: r.low for f, r in ranges if r is not None and not r.varies}

    @property
    def ranked(self) -> list[tuple[Proxy, Correlation]]:
        """Static proxies with their Pearson correlation with gross energy, largest |r| first."""
        known = [(f, r) for f in self.static if (r := self.of(f, "gross", "pearson")) is not None]
        return sorted(known, key=lambda pair: -abs(pair[1].value))

    def joules_per(self, proxy: Proxy, family: str) -> float | None:
        """Median over a family of gross joules / proxy; None if the proxy is unknown or 0."""
        members = [s for s in self.subjects if s.family == family and s.figures.get(proxy)]
        return median(s.cost.gross.mean / s.figures[proxy] for s in members) if members else None


def proxies(run: Run) -> Proxies | None:
    """Read the proxies of a run; None if the task measures no phase, or no configuration has it."""
    if run.task.measured is None or run.task.measured.phase is None:
        return None
    phase = run.task.measured.phase
    measured = tuple(
        Subject(run, c, tuple(n for n in run.varied if run.task.in_effect(n, c.params)), cost)
        for c in run.configurations
        if (cost := run.phase(c.usable, phase)) is not None
    )
    return Proxies(run, phase, measured) if measured else None
