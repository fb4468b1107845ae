"""What to measure: a task and its parts, as frozen data read from TOML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from suite.definition import Definition, digest, merge, read_toml, validate
from suite.errors import InputError, did_you_mean

Value = bool | int | float | str
Params = dict[str, Value]

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
SafeInt = Annotated[int, Field(ge=-(2**53), le=2**53)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=1_000_000)]


class _Parameter(Definition):
    scope: Literal["task", "device"] = "task"  # "device": belongs to the machine, not to the configuration


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
        # bool is an int to Python, so `1` and `true` are told apart by type
        if len({(type(v), v) for v in self.values}) < len(self.values):
            raise ValueError("values must differ from one another")
        if not self.contains(self.default):
            raise ValueError(f"default must be one of values {list(self.values)} (got {self.default!r})")
        if self.ordered and not all(isinstance(v, int | float) for v in self.values):
            raise ValueError("ordered values must be numbers")
        return self

    def contains(self, value: Value) -> bool:
        return any(type(v) is type(value) and v == value for v in self.values)


class FixedParameter(_Parameter):
    """A value that the search does not touch but the record keeps."""

    type: Literal["fixed"] = "fixed"
    value: Value

    @property
    def default(self) -> Value:
        return self.value

    def contains(self, value: Value) -> bool:
        return type(value) is type(self.value) and value == self.value


Parameter = Annotated[IntParameter | FloatParameter | ChoiceParameter | FixedParameter, Field(discriminator="type")]

_ENERGY_NAME = re.compile(r"^(?P<unit>[a-z_]+)s_per_j$|^j_per_(?P<per>[a-z_]+)$")


class Objective(Definition):
    """A number to maximise or minimise: a metric of the trial, or, with `phase`, energy per unit of work."""

    goal: Literal["maximize", "minimize"]
    reference: float | None = None  # the anti-ideal value: hypervolume is counted from here
    phase: Name | None = None
    domains: Annotated[tuple[Literal["gpu", "cpu", "ram"], ...], Field(min_length=1)] | None = None
    basis: Literal["gross", "net"] | None = None

    @model_validator(mode="after")
    def _energy_is_explicit(self) -> Objective:
        named = [field for field in ("phase", "domains", "basis") if getattr(self, field) is not None]
        if named and len(named) < 3:
            missing = {"phase", "domains", "basis"} - set(named)
            raise ValueError(f"an energy objective names phase, domains and basis; missing: {sorted(missing)}")
        return self

    @property
    def is_energy(self) -> bool:
        return self.phase is not None


class Dataset(Definition):
    """Which data, how much of it, and how it is split."""

    name: Literal["digits", "mnist", "cifar10", "synthetic"]
    train: Annotated[int, Field(ge=1)] | None = None  # a stratified subset of this size; all when absent
    validation: Annotated[int, Field(ge=1)]
    search_split: Literal["validation", "test"] = "validation"
    augment: tuple[Literal["crop", "flip"], ...] = ()
    shape: tuple[int, int, int] | None = None  # synthetic: channels, height, width
    n: Annotated[int, Field(ge=2, le=10_000_000)] | None = None  # synthetic: images in all
    classes: Annotated[int, Field(ge=2, le=10_000)] | None = None  # synthetic
    seed: Count = 0  # of the split, and of synthetic images

    @model_validator(mode="after")
    def _synthetic_is_described(self) -> Dataset:
        given = [field for field in ("shape", "n", "classes") if getattr(self, field) is not None]
        if self.name == "synthetic" and len(given) < 3:
            raise ValueError("synthetic data need shape, n and classes")
        if self.name != "synthetic" and given:
            raise ValueError(f"{', '.join(given)} belong to synthetic data only (got name = '{self.name}')")
        if self.shape is not None and not all(1 <= side <= 4096 for side in self.shape):
            raise ValueError(f"shape sides must lie within 1 … 4096 (got {list(self.shape)})")
        return self


class Training(Definition):
    """Early stopping; the best weights seen are restored at the end."""

    monitor: Name = "val_loss"  # minimised
    patience: Annotated[int, Field(ge=1, le=100_000)] | None = None  # epochs without improvement; none: never
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class Protocol(Definition):
    """How energy is measured."""

    cooldown_s: Seconds = 0.0  # after training, before anything is measured
    warmup_s: Seconds = 2.0  # at least; longer until the pace has settled
    max_warmup_s: Seconds = 20.0
    settled_rel: Annotated[float, Field(gt=0, le=1)] = 0.05  # three successive paces within this of one another
    window_s: Annotated[float, Field(gt=0, le=100_000)] = 5.0
    repeats: Annotated[int, Field(ge=2, le=10_000)] = 5
    max_repeats: Annotated[int, Field(ge=2, le=10_000)] = 15
    target_rel_ci: Annotated[float, Field(gt=0, le=1)] = 0.02
    idle_s: Seconds = 10.0
    idle_every: Annotated[int, Field(ge=1, le=1_000_000)] = 10  # trials
    max_train_s: Annotated[float, Field(gt=0, le=10_000_000)] = 3600.0

    @model_validator(mode="after")
    def _repeats(self) -> Protocol:
        if self.max_repeats < self.repeats:
            raise ValueError(f"max_repeats must be at least repeats = {self.repeats} (got {self.max_repeats})")
        if self.max_warmup_s < self.warmup_s:
            raise ValueError(f"max_warmup_s must be at least warmup_s = {self.warmup_s} (got {self.max_warmup_s})")
        return self


class Gate(Definition):
    """What the run must meet, or it ends with exit code 1; the analysis `consistency` judges it."""

    max_rsd: Annotated[float, Field(gt=0, le=1)]  # of joules per unit of work over the windows; 0.02 is 2 %


Analysis = Literal["frontier", "consistency", "repeatability"]
Method = Literal["default", "random", "sobol", "grid", "points", "qnehvi"]


class Stage(Definition):
    """One step of a study: where its configurations come from, and how many."""

    method: Method
    trials: Annotated[int, Field(ge=0, le=100_000)] | None = None
    repeats: Annotated[int, Field(ge=1, le=10_000)] | None = None
    points: tuple[dict[str, Value], ...] | None = None
    levels: Annotated[int, Field(ge=2, le=10_000)] | None = None  # grid: per int or float parameter
    vary: tuple[str, ...] | None = None  # the others stay at their default

    @model_validator(mode="after")
    def _fits_method(self) -> Stage:
        needs: dict[str, set[str]] = {"default": {"repeats"}, "points": {"points"}, "grid": set()}
        may: dict[str, set[str]] = {"grid": {"levels", "vary"}, "points": {"repeats"}, "default": set()}
        required = needs.get(self.method, {"trials"})
        allowed = required | may.get(self.method, {"vary"})
        given = {f for f in ("trials", "repeats", "points", "levels", "vary") if getattr(self, f) is not None}
        if missing := required - given:
            raise ValueError(f"method '{self.method}' needs {', '.join(sorted(missing))}")
        if extra := given - allowed:
            names = ", ".join(sorted(allowed)) or "nothing else"
            raise ValueError(f"method '{self.method}' does not take {', '.join(sorted(extra))} (allowed: {names})")
        return self


#: Windows that the harness names; a workload's phases have other names.
RESERVED_PHASES = frozenset(
    {
        "start", "data", "precheck", "propose", "build", "train", "validate", "score", "cooldown", "settle", "idle",
        "count", "prepare", "warmup", "release", "failed", "record", "end", "unfinished",
    }
)  # fmt: skip


def _workload_path(value: object) -> object:
    return f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else value


class Task(Definition):
    """Everything about a measurement that is not the machine it runs on.

    `workload` names one that ships with joulebench, or `package.module:Class`; in Python the class itself
    may be given. `options` are the workload's own.
    """

    name: Name
    version: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    title: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    workload: Annotated[
        str, BeforeValidator(_workload_path), Field(pattern=r"^[a-z_]+$|^[\w.]+:[\w.]+$", max_length=200)
    ]
    options: dict[str, Any] = {}
    analyses: Annotated[tuple[Analysis, ...], Field(min_length=1)] = ("frontier",)  # what its report holds
    gate: Gate | None = None
    deviations: tuple[str, ...] = ()  # where the task departs, on purpose, from what always holds
    dataset: Dataset | None = None
    parameters: Annotated[dict[Name, Parameter], Field(min_length=1, max_length=1000)]
    objectives: Annotated[dict[Name, Objective], Field(min_length=1, max_length=10)]
    stages: Annotated[dict[Name, Stage], Field(min_length=1, max_length=100)]
    training: Training = Training()
    protocol: Protocol = Protocol()
    max_consecutive_failures: Annotated[int, Field(ge=1, le=100_000)] = 5
    budgets: dict[Name, dict[str, Any]] = {}

    @field_validator("objectives")
    @classmethod
    def _energy_names(cls, objectives: dict[str, Objective]) -> dict[str, Objective]:
        for name, objective in objectives.items():
            named = _ENERGY_NAME.match(name)
            if objective.is_energy and not named:
                raise ValueError(f"'{name}' has a phase, so its name must read <unit>s_per_j or j_per_<unit>")
            if named and not objective.is_energy:
                raise ValueError(f"'{name}' is energy, so it must name phase, domains and basis")
        return objectives

    @model_validator(mode="after")
    def _energy_can_be_had(self) -> Task:
        for name, objective in self.objectives.items():
            if objective.phase in RESERVED_PHASES - {"train"}:
                raise ValueError(
                    f"objectives.{name}.phase: '{objective.phase}' is the harness's own, not a workload's"
                )
            if objective.basis == "net" and objective.phase == "train":
                raise ValueError(f"objectives.{name}.basis: training has no net energy; take 'gross'")
            if objective.basis == "net" and self.protocol.idle_s == 0:
                raise ValueError(
                    f"objectives.{name}.basis: 'net' needs an idle baseline; set protocol.idle_s above 0"
                )
        return self

    @model_validator(mode="after")
    def _whole(self) -> Task:
        for stage_name, stage in self.stages.items():
            where = f"stages.{stage_name}"
            for name in stage.vary or ():
                self._known(name, f"{where}.vary")
            for number, point in enumerate(stage.points or ()):
                self._check_point(point, f"{where}.points[{number}]")
        if self.dataset and self.dataset.search_split == "test" and not self.deviations:
            raise ValueError("dataset.search_split = 'test' must be explained under deviations")
        if self.gate and "consistency" not in self.analyses:
            raise ValueError("gate: needs 'consistency' among analyses, which judges it")
        if "consistency" in self.analyses and self.measured is None:
            raise ValueError("analyses: 'consistency' needs an energy objective of a phase other than train")
        return self

    def _known(self, name: str, where: str) -> Parameter:
        if name not in self.parameters:
            hint = did_you_mean(name, self.parameters)
            raise ValueError(f"{where}: no parameter '{name}'{hint} (allowed: {', '.join(self.parameters)})")
        return self.parameters[name]

    def _check_point(self, point: Mapping[str, Value], where: str) -> None:
        for name, value in point.items():
            parameter = self._known(name, where)
            if not parameter.contains(value):
                allowed = parameter.model_dump(exclude={"type", "scope"}, exclude_defaults=True)
                raise ValueError(f"{where}.{name}: {value!r} is outside the parameter's {allowed}")

    @property
    def digest(self) -> str:
        """Fingerprint of the task as it runs; budgets that were not chosen do not count."""
        return digest(self.model_dump(mode="json", exclude={"budgets"}))

    @property
    def defaults(self) -> Params:
        return {name: parameter.default for name, parameter in self.parameters.items()}

    @property
    def free(self) -> dict[str, IntParameter | FloatParameter | ChoiceParameter]:
        """The parameters a search may vary."""
        return {n: p for n, p in self.parameters.items() if not isinstance(p, FixedParameter)}

    @property
    def has_frontier(self) -> bool:
        """Whether the run looks for a frontier; where not, no weights are kept and no test scores taken."""
        return "frontier" in self.analyses

    @property
    def measured(self) -> Objective | None:
        """The first energy objective of a phase in windows of its own: all but training."""
        return next((o for o in self.objectives.values() if o.is_energy and o.phase != "train"), None)

    @property
    def space_size(self) -> int | None:
        """How many configurations there are; None where a parameter is continuous."""
        if any(isinstance(p, FloatParameter) for p in self.free.values()):
            return None
        return prod(
            len(p.values) if isinstance(p, ChoiceParameter) else int(p.high - p.low + 1) for p in self.free.values()
        )

    def resolve(self, point: Mapping[str, Value]) -> Params:
        """`point` completed with defaults, in the task's order.

        Raises:
            InputError: an unknown parameter or a value outside its range.
        """
        try:
            self._check_point(point, f"task '{self.name}'")
        except ValueError as error:
            raise InputError(str(error)) from None
        return {
            # 1 and 1.0 are the same point of a float parameter
            name: float(value) if isinstance(parameter, FloatParameter) else value
            for name, parameter in self.parameters.items()
            for value in [point.get(name, parameter.default)]
        }

    def with_budget(self, budget: str | None) -> Task:
        """This task with the named budget merged over it; `None` leaves it as it stands.

        Raises:
            InputError: no such budget, or the merged task does not hold together.
        """
        data = self.model_dump(mode="json")
        budgets = data.pop("budgets", {})
        if budget is None:
            return validate(Task, data, f"task '{self.name}'")
        if budget not in budgets:
            allowed = ", ".join(budgets) or "none"
            hint = did_you_mean(budget, budgets)
            raise InputError(f"task '{self.name}' has no budget '{budget}'{hint} (allowed: {allowed})")
        return validate(Task, merge(data, budgets[budget]), f"task '{self.name}', budget '{budget}'")


def energy_unit(objective_name: str) -> tuple[str, bool]:
    """The unit of work an energy objective counts, and whether it is work per joule (else joules per work)."""
    named = _ENERGY_NAME.match(objective_name)
    if named is None:
        raise ValueError(f"'{objective_name}' is not an energy objective")
    return (named["unit"], True) if named["unit"] else (named["per"], False)


def load_task(path: Path) -> Task:
    """The task in a TOML file; each of its budgets is merged and checked too.

    Raises:
        InputError: one line with file, field and what is allowed.
    """
    task = validate(Task, read_toml(path), path)
    for budget in task.budgets:
        try:
            task.with_budget(budget)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    if task.name != path.stem:
        raise InputError(f"{path}: name: must match the file's name (got '{task.name}', file '{path.stem}')")
    return task
