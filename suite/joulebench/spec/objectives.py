"""Objectives and constraints of a task, and the quantities that they are about."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from joulebench.spec.parameters import ConditionText, Name
from joulebench.spec.toml import TAG, Definition

_ENERGY_NAME = re.compile(r"^(?P<unit>[a-z_]+)s_per_j$|^j_per_(?P<per>[a-z_]+)$")

#: Static costs in `joulebench.records.model.Costs`; a constraint may name one.
COSTS = ("parameters", "macs", "flops", "peak_memory_bytes")


class Quantity(Definition):
    """A number of a trial: a metric or static cost by its name; with `phase`, energy per unit of the phase's work
    (`domains`, `basis`) or the time one step of it takes (`quantile`)."""

    phase: Name | None = None
    domains: Annotated[tuple[Literal["gpu", "cpu", "ram"], ...], Field(min_length=1)] | None = None
    basis: Literal["gross", "net"] | None = None
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None  # of the seconds a step takes: 0.5, 0.95, …

    @model_validator(mode="after")
    def _explicit(self) -> Quantity:
        if self.quantile is not None:
            if self.phase is None or self.domains is not None or self.basis is not None:
                raise ValueError("a latency names phase and quantile, and neither domains nor basis")
            return self
        named = [field for field in ("phase", "domains", "basis") if getattr(self, field) is not None]
        if named and len(named) < 3:
            missing = {"phase", "domains", "basis"} - set(named)
            raise ValueError(
                f"energy names phase, domains and basis; missing: {sorted(missing)} (a latency: phase and quantile)"
            )
        return self

    @property
    def is_energy(self) -> bool:
        return self.domains is not None

    @property
    def is_latency(self) -> bool:
        return self.quantile is not None

    @property
    def is_relative(self) -> bool:
        """Whether spreads and differences are relative to the value: energy and latency vary in proportion."""
        return self.is_energy or self.is_latency

    def check_name(self, name: str) -> None:
        """Check that `name` fits the quantity.

        Raises:
            ValueError: energy not named <unit>s_per_j or j_per_<unit>, a latency not named …_s, or a plain number
                under a name that only energy has.
        """
        named = _ENERGY_NAME.match(name)
        if self.is_energy and not named:
            raise ValueError(f"'{name}' is energy, so its name must read <unit>s_per_j or j_per_<unit>")
        if named and not self.is_energy:
            raise ValueError(f"'{name}' is energy, so it must name phase, domains and basis")
        if self.is_latency and not name.endswith("_s"):
            raise ValueError(f"'{name}' is a latency in seconds, so its name must end in _s")


class Objective(Quantity):
    """A number to maximise or minimise."""

    goal: Literal["maximize", "minimize"]
    reference: float | None = None  # the anti-ideal value: hypervolume is counted from here


class Constraint(Quantity):
    """A bound on a measured number: a configuration that violates it is not in the frontier."""

    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("a constraint gives either at_most or at_least")
        return self

    @property
    def bound(self) -> float:
        value = self.at_most if self.at_most is not None else self.at_least
        assert value is not None
        return value

    def met_by(self, value: float) -> bool:
        return value <= self.bound if self.at_most is not None else value >= self.bound


#: A condition over parameters as text, or a bound on what is measured as a table.
AnyConstraint = Annotated[
    Annotated[ConditionText, Tag(f"{TAG}condition")] | Annotated[Constraint, Tag(f"{TAG}bound")],
    Discriminator(lambda given: f"{TAG}condition" if isinstance(given, str) else f"{TAG}bound"),
]


def energy_unit(objective_name: str) -> tuple[str, bool]:
    """Split an energy objective's name: its unit of work, and whether it is work per joule (else joules per work).

    Raises:
        ValueError: not the name of an energy objective.
    """
    named = _ENERGY_NAME.match(objective_name)
    if named is None:
        raise ValueError(f"'{objective_name}' is not an energy objective")
    return (named["unit"], True) if named["unit"] else (named["per"], False)
