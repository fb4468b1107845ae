"""Objectives and constraints of a task, and the quantities that they are about."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from joulebench.errors import did_you_mean
from joulebench.spec.parameters import ConditionText, Name
from joulebench.spec.toml import TAG, Definition

CARBON = "kg CO2e"


@dataclass(frozen=True)
class Form:
    """How an objective's value follows from joules e and seconds t per unit of work: scale / e, or e · t^delays.

    Attributes:
        unit: of work.
        measure: what the value is stated in, per unit of work or, where `inverse`, the other way round.
        inverse: work per `measure`, so that more is better.
        scale: joules in one `measure`; None for carbon where no grid intensity is known.
        delays: 1 for the energy-delay product e · t (Gonzalez and Horowitz, IEEE JSSC 31, 1996), 2 for e · t².
    """

    unit: str
    measure: str
    inverse: bool = False
    scale: float | None = 1.0
    delays: int = 0

    def joules(self, value: float) -> float | None:
        """Joules per unit of work of a value; infinite where it is not positive, None where they do not follow."""
        if self.delays or self.scale is None:
            return None
        if not self.inverse:
            return value
        return self.scale / value if value > 0 else math.inf


#: Energy by the names of its forms.
_FORMS = {
    "<unit>s_per_j": Form("", "J", inverse=True),
    "j_per_<unit>": Form("", "J"),
    "<unit>s_per_wh": Form("", "Wh", inverse=True, scale=3600.0),
    "<unit>s_per_kgco2e": Form("", CARBON, inverse=True, scale=None),
    "edp_js_per_<unit>": Form("", "J·s", delays=1),
    "ed2p_js2_per_<unit>": Form("", "J·s²", delays=2),
}
_RATE = "<unit>s_per_s"


def _unit(name: str, form: str) -> str | None:
    named = re.fullmatch(form.replace("<unit>", "([a-z_]+)"), name)
    return None if named is None else named[1]


def _form(name: str) -> Form | None:
    return next((replace(f, unit=u) for text, f in _FORMS.items() if (u := _unit(name, text)) is not None), None)


#: Static costs in `joulebench.records.model.Costs`; a constraint may name one.
COSTS = ("parameters", "macs", "flops", "peak_memory_bytes")


class Quantity(Definition):
    """A number of a trial: a metric or static cost by its name; with `phase`, energy per unit of the phase's work
    (`domains`, `basis`), the time one step of it takes (`quantile`), or its units of work per second (neither).

    Energy with `share`, a metric from 0 to 1, is per unit that counts: joules per answer over the share of correct
    answers are joules per correct answer."""

    phase: Name | None = None
    domains: Annotated[tuple[Literal["gpu", "cpu", "ram"], ...], Field(min_length=1)] | None = None
    basis: Literal["gross", "net"] | None = None
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None  # of the seconds a step takes: 0.5, 0.95, …
    share: Name | None = None  # the metric that says which share of the phase's units counts: val_accuracy

    @model_validator(mode="after")
    def _explicit(self) -> Quantity:
        if self.share is not None and (self.domains is None or self.phase == "train"):
            raise ValueError(
                "share divides the energy of a phase other than training; name phase, domains and basis"
            )
        if self.quantile is not None:
            if self.phase is None or self.domains is not None or self.basis is not None:
                raise ValueError("a latency names phase and quantile, and neither domains nor basis")
            return self
        named = [field for field in ("phase", "domains", "basis") if getattr(self, field) is not None]
        if named and len(named) < 3 and named != ["phase"]:
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
    def is_rate(self) -> bool:
        return self.phase is not None and not self.is_energy and not self.is_latency

    def holds_time(self, name: str) -> bool:
        """Whether seconds are in its value: a latency, a rate, or joules times seconds, as `name` says."""
        form = _form(name) if self.is_energy else None
        return self.is_latency or self.is_rate or (form is not None and form.delays > 0)

    @property
    def is_relative(self) -> bool:
        """Whether spreads and differences are relative to the value: all that is measured varies in proportion."""
        return self.phase is not None

    def check_name(self, name: str) -> None:
        """Check that `name` fits the quantity.

        Raises:
            ValueError: energy not named by one of its forms, a rate not named <unit>s_per_s, a latency not named
                …_s, or a plain number under a name that only energy has.
        """
        form = _form(name)
        if self.is_energy and _unit(name, _RATE) is not None:
            raise ValueError(f"'{name}' is work per second, so it names its phase, and neither domains nor basis")
        if self.is_energy and form is None:
            raise ValueError(f"'{name}' is energy, so its name must read {_one_of(_FORMS)}{_nearest(name, _FORMS)}")
        if form is not None and not self.is_energy:
            missing = "domains and basis" if self.phase is not None else "all three"
            raise ValueError(f"'{name}' is energy, so it must name phase, domains and basis; missing: {missing}")
        if self.is_rate and _unit(name, _RATE) is None:
            raise ValueError(
                f"'{name}' names a phase alone, so it is work per second and its name must read {_RATE}"
                f"{_nearest(name, [_RATE])} (energy names domains and basis too, a latency a quantile)"
            )
        if self.is_latency and not name.endswith("_s"):
            raise ValueError(f"'{name}' is a latency in seconds, so its name must end in _s")


class Objective(Quantity):
    """A number to maximise or minimise."""

    goal: Literal["maximize", "minimize"]
    reference: float | None = None  # the anti-ideal value: hypervolume is counted from here
    scale: Literal["linear", "log"] = "linear"  # of the hypervolume: differences, or ratios as natural logarithms

    @field_validator("scale")
    @classmethod
    def _has_a_logarithm(cls, scale: str, info: ValidationInfo) -> str:
        reference = info.data.get("reference", math.inf)  # infinity: there is an error about it already
        if scale == "log" and (reference is None or reference <= 0):
            stated = "none is stated" if reference is None else f"it is {reference:g}"
            raise ValueError(f"needs a reference above 0, the worst value worth having; {stated}")
        return scale

    def check_goal(self, name: str) -> None:
        """Check that the goal is the better direction of what `name` says.

        Raises:
            ValueError: more joules or a longer latency as the goal, or less work per joule or second.
        """
        form = _form(name)
        better = "maximize" if self.is_rate or (form is not None and form.inverse) else "minimize"
        if self.is_relative and self.goal != better:
            raise ValueError(f"'{name}': the goal must be {better} (got {self.goal})")


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


def energy_form(objective_name: str) -> Form:
    """The form of an energy objective, by its name; `Task.energy_form` knows the carbon of a joule too.

    Raises:
        ValueError: not the name of an energy objective.
    """
    form = _form(objective_name)
    if form is None:
        raise ValueError(f"'{objective_name}' is not an energy objective")
    return form


def work_unit(name: str) -> str:
    """The unit of work of an energy objective or a rate.

    Raises:
        ValueError: the name of neither.
    """
    rate = _unit(name, _RATE)
    return energy_form(name).unit if rate is None else rate


def _one_of(forms: Iterable[str]) -> str:
    *others, last = forms
    return f"{', '.join(others)} or {last}"


def _nearest(name: str, forms: Iterable[str]) -> str:
    """A suggestion: the nearest name in one of the forms, of the unit that `name` seems to have."""
    head, _, tail = name.partition("_per_")
    units = {head.removesuffix("s"), tail} if tail else set()
    return did_you_mean(name, [form.replace("<unit>", unit) for unit in sorted(units) for form in forms])
