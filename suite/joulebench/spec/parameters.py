"""Parameters of a task: the search space and fixed values."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Annotated, Literal, TypeGuard

from pydantic import AfterValidator, Field, model_validator

from joulebench.spec.conditions import Kind, condition
from joulebench.spec.toml import Definition

Value = bool | int | float | str
Params = dict[str, Value]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
SafeInt = Annotated[int, Field(ge=-(2**53), le=2**53)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=1_000_000)]


def _readable(text: str) -> str:
    condition(text)
    return text


#: A comparison over parameters, checked when it is read: `depth > 1`.
ConditionText = Annotated[str, AfterValidator(_readable)]


class _Parameter(Definition):
    scope: Literal["task", "device"] = "task"  # "device": belongs to the machine, not to the configuration
    only_if: ConditionText | None = None  # where this does not hold it cannot matter, and stays at its default

    @property
    def kinds(self) -> Set[Kind]:
        """Kinds of its values, as conditions tell them apart."""
        return {"number"}


class _Range(_Parameter):
    @model_validator(mode="after")
    def _bounds(self) -> _Range:
        low, high, default = self.low, self.high, self.default  # type: ignore[attr-defined]
        if low >= high:
            raise ValueError(f"low must be below high (got low = {low}, high = {high})")
        if not low <= default <= high:
            raise ValueError(f"default must lie within low = {low} … high = {high} (got {default})")
        if self.scale == "log" and low <= 0:  # type: ignore[attr-defined]
            raise ValueError(f"scale = 'log' needs low > 0 (got {low})")
        return self

    @property
    def given(self) -> tuple[Value, ...]:
        """Its ends."""
        return self.low, self.high  # type: ignore[attr-defined]

    def contains(self, value: Value) -> bool:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return numeric and self.low <= value <= self.high  # type: ignore[attr-defined]


class IntParameter(_Range):
    """A whole number from `low` to `high`, both included."""

    type: Literal["int"] = "int"
    low: SafeInt
    high: SafeInt
    default: SafeInt
    scale: Literal["linear", "log"] = "linear"

    def contains(self, value: Value) -> bool:
        return isinstance(value, int) and super().contains(value)


class FloatParameter(_Range):
    """A real number from `low` to `high`."""

    type: Literal["float"] = "float"
    low: float
    high: float
    default: float
    scale: Literal["linear", "log"] = "linear"


class ChoiceParameter(_Parameter):
    """One of `values`; `ordered` numbers have a meaningful distance."""

    type: Literal["choice"] = "choice"
    values: Annotated[tuple[Value, ...], Field(min_length=2, max_length=10_000)]
    default: Value
    ordered: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> ChoiceParameter:
        # bool is an int to Python, so `1` and `true` are distinguished by type
        if len({(type(v), v) for v in self.values}) < len(self.values):
            raise ValueError("values must differ from one another")
        if not self.contains(self.default):
            raise ValueError(f"default must be one of values {list(self.values)} (got {self.default!r})")
        if self.ordered and not all(isinstance(v, int | float) for v in self.values):
            raise ValueError("ordered values must be numbers")
        return self

    @property
    def kinds(self) -> Set[Kind]:
        return _kinds(self.values)

    @property
    def given(self) -> tuple[Value, ...]:
        """Its values."""
        return self.values

    def contains(self, value: Value) -> bool:
        return any(type(v) is type(value) and v == value for v in self.values)


class FixedParameter(_Parameter):
    """A constant of the task that is kept in the records."""

    type: Literal["fixed"] = "fixed"
    value: Value

    @property
    def default(self) -> Value:
        return self.value

    @property
    def kinds(self) -> Set[Kind]:
        return _kinds([self.value])

    @property
    def given(self) -> tuple[Value, ...]:
        """Its value."""
        return (self.value,)

    def contains(self, value: Value) -> bool:
        return type(value) is type(self.value) and value == self.value


Parameter = Annotated[IntParameter | FloatParameter | ChoiceParameter | FixedParameter, Field(discriminator="type")]


def _kinds(values: Iterable[Value]) -> Set[Kind]:
    return {"text" if isinstance(value, str) else "number" for value in values}


def is_number(value: Value | None) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
