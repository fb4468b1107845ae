"""What to measure: a task and its parts, as frozen data read from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.conditions import condition
from joulebench.spec.objectives import AnyConstraint, Constraint, Objective, Quantity
from joulebench.spec.parameters import (
    ChoiceParameter,
    Count,
    FixedParameter,
    FloatParameter,
    IntParameter,
    Name,
    Parameter,
    Params,
    Seconds,
    Value,
)
from joulebench.spec.registry import DATASETS, PATTERN, STUDIES, WORKLOADS
from joulebench.spec.stage import Stage
from joulebench.spec.toml import Definition, digest, merge, read_toml, validate

#: Budgets that narrow what a task asks, so that it takes minutes.
NARROWED = ("quick", "short")
#: The report's own part among `analyses`; all others are studies.
FRONTIER = "frontier"
#: The study that judges a task's `gate`.
GATE_STUDY = "consistency"


#: A short name, or code of the user's own as `package.module:Class`.
Named = Annotated[str, Field(pattern=PATTERN, max_length=200)]


class Dataset(Definition):
    """Which data, how much of it, and how it is split."""

    name: Named  # one that ships, or package.module:function
    # images: a stratified subset of this size; text: bytes; all when absent
    train: Annotated[int, Field(ge=1)] | None = None
    validation: Annotated[int, Field(ge=1)]  # images, or bytes of text
    search_split: Literal["validation", "test"] = "validation"
    augment: tuple[Literal["crop", "flip"], ...] = ()
    shape: tuple[int, int, int] | None = None  # synthetic: channels, height, width
    # synthetic: images in all; grammar: bytes in all; text: bytes read at most, all when absent
    n: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    classes: Annotated[int, Field(ge=2, le=10_000)] | None = None  # synthetic
    seed: Count = 0  # of the images' split, and of what is generated; the split of text is by place

    @model_validator(mode="after")
    def _says_what_its_data_need(self) -> Dataset:
        given = [field for field in ("shape", "n", "classes") if getattr(self, field) is not None]
        if self.name == "synthetic" and len(given) < 3:
            raise ValueError("synthetic data need shape, n and classes")
        if self.name == "grammar" and self.n is None:
            raise ValueError("grammar data need n, the bytes in all")
        taken: tuple[str, ...] = ("shape", "n", "classes")
        if self.name in DATASETS.shipped:
            taken = {"synthetic": taken, "grammar": ("n",), "text": ("n",)}.get(self.name, ())
        refused = [field for field in given if field not in taken]
        if self.is_text and self.augment:
            refused.append("augment")
        if refused:
            raise ValueError(
                f"data set '{self.name}' does not take {', '.join(refused)} (synthetic takes shape, n and classes; "
                "grammar and text take n; images take augment)"
            )
        if self.shape is not None and not all(1 <= side <= 4096 for side in self.shape):
            raise ValueError(f"shape sides must lie within 1 … 4096 (got {list(self.shape)})")
        return self

    @property
    def is_text(self) -> bool:
        """Bytes in a row, not labelled images."""
        return self.name in ("grammar", "text")

    def with_text(self) -> Dataset:
        """The user's text in the place of generated text: no more bytes of it than of that, split alike."""
        return self.model_copy(update={"name": "text"})


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
    memory_limit_bytes: Annotated[int, Field(ge=1 << 20)] | None = None  # as if the device had no more

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


class Stopping(Definition):
    """When a run ends before its stages do."""

    max_energy_j: Annotated[float, Field(gt=0)] | None = None  # of the whole run, everything counted
    inferences: Annotated[float, Field(gt=0)] | None = None  # units of work the chosen model will do: searching
    # on has to pay for itself at that volume
    extrapolate: bool = False  # tell a training's cost from its first epochs; end one that breaks max_energy_j


class Cluster(Definition):
    """What a run on several kinds of hardware does; on one kind it changes nothing.

    `search`: "each": every kind of hardware has a search of its own, by its own records. "shared": one search over
    one space; it sees what the first kind measured, and every other kind measures the same configurations.
    """

    search: Literal["each", "shared"] = "each"


#: Windows that the harness names; a workload's phases have other names.
RESERVED_PHASES = frozenset(
    {
        "start", "data", "precheck", "propose", "build", "train", "validate", "score", "cooldown", "settle", "idle",
        "count", "prepare", "warmup", "release", "failed", "record", "wait", "end", "unfinished",
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
    workload: Annotated[Named, BeforeValidator(_workload_path)]
    options: dict[str, Any] = {}
    analyses: Annotated[tuple[Named, ...], Field(min_length=1, max_length=100)] = (
        "frontier",
    )  # what its report holds
    gate: Gate | None = None
    deviations: tuple[str, ...] = ()  # where the task departs, on purpose, from what always holds
    dataset: Dataset | None = None
    parameters: Annotated[dict[Name, Parameter], Field(min_length=1, max_length=1000)]
    objectives: Annotated[dict[Name, Objective], Field(min_length=1, max_length=10)]
    constraints: dict[Name, AnyConstraint] = {}  # on parameters, or on measured outcomes and costs
    on_oom: Literal["learn", "zero"] = "learn"  # zero: a trial out of memory scores 0, the rule of ECOpt
    stages: Annotated[dict[Name, Stage], Field(min_length=1, max_length=100)]
    training: Training = Training()
    protocol: Protocol = Protocol()
    stopping: Stopping = Stopping()
    cluster: Cluster = Cluster()
    max_consecutive_failures: Annotated[int, Field(ge=1, le=100_000)] = 5
    budgets: dict[Name, dict[str, Any]] = {}

    @model_validator(mode="after")
    def _quantities_can_be_had(self) -> Task:
        for where, name, quantity in self.quantities():
            try:
                quantity.check_name(name)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if quantity.phase in RESERVED_PHASES - {"train"}:
                raise ValueError(f"{where}.phase: '{quantity.phase}' is the harness's own, not a workload's")
            if quantity.is_latency and quantity.phase == "train":
                raise ValueError(f"{where}.phase: training has no latency")
            if quantity.basis == "net" and quantity.phase == "train":
                raise ValueError(f"{where}.basis: training has no net energy; take 'gross'")
            if quantity.basis == "net" and self.protocol.idle_s == 0:
                raise ValueError(f"{where}.basis: 'net' needs an idle baseline; set protocol.idle_s above 0")
        if self.on_oom == "zero" and any(o.goal == "minimize" for o in self.objectives.values()):
            raise ValueError(
                "on_oom = 'zero' needs objectives that are all maximised: 0 would be the best of others"
            )
        return self

    def quantities(self) -> list[tuple[str, str, Quantity]]:
        """Everything the task asks of a configuration: where it is written, its name, and what it is."""
        objectives = [(f"objectives.{n}", n, o) for n, o in self.objectives.items()]
        return [*objectives, *((f"constraints.{n}", n, c) for n, c in self.outcome_constraints.items())]

    @model_validator(mode="after")
    def _conditions_are_of_parameters(self) -> Task:
        conditions = {f"constraints.{n}": c for n, c in self.constraints.items() if isinstance(c, str)}
        own = {n: p.only_if for n, p in self.parameters.items() if p.only_if is not None}
        conditions |= {f"parameters.{n}.only_if": c for n, c in own.items()}
        for where, text in conditions.items():
            for name in sorted(condition(text).names):
                self._known(name, where)
                if name in own and where.endswith(".only_if"):
                    raise ValueError(f"{where}: '{name}' depends on a condition itself")
            try:
                holds = condition(text).holds(self.defaults)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if not holds and where.startswith("constraints"):
                raise ValueError(f"{where}: the default configuration breaks it")
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
        if self.gate and GATE_STUDY not in self.analyses:
            raise ValueError(f"gate: needs '{GATE_STUDY}' among analyses, which judges it")
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
        """Fingerprint of the task as it runs; budgets not chosen do not count, nor who searches for whom."""
        return digest(self.model_dump(mode="json", exclude={"budgets", "cluster"}))

    @property
    def outcome_constraints(self) -> dict[str, Constraint]:
        """Bounds on what is measured or counted."""
        return {n: c for n, c in self.constraints.items() if isinstance(c, Constraint)}

    def allows(self, params: Mapping[str, Value]) -> bool:
        """Whether a complete configuration keeps every constraint on parameters."""
        return all(condition(c).holds(params) for c in self.constraints.values() if isinstance(c, str))

    def _canonical(self, params: Params) -> Params:
        """A parameter that cannot matter stands at its default, so that equal models are one configuration."""
        for name, parameter in self.parameters.items():
            if parameter.only_if is not None and not condition(parameter.only_if).holds(params):
                params[name] = parameter.default
        return params

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
        return FRONTIER in self.analyses

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
        return self._canonical(
            {
                # 1 and 1.0 are the same point of a float parameter
                name: float(value) if isinstance(parameter, FloatParameter) else value
                for name, parameter in self.parameters.items()
                for value in [point.get(name, parameter.default)]
            }
        )

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


def check_names(task: Task) -> None:
    """Refuse short names that nothing here has. A record is read without: another machine may have had more.

    Raises:
        InputError: field, name, the nearest and what is allowed.
    """
    WORKLOADS.target(task.workload, "workload")
    if task.dataset is not None:
        DATASETS.target(task.dataset.name, "dataset.name")
    for name in task.analyses:
        if name != FRONTIER:
            STUDIES.target(name, "analyses")


def load_task(path: Path) -> Task:
    """The task in a TOML file; each of its budgets is merged and checked too.

    Raises:
        InputError: one line with file, field and what is allowed.
    """
    task = validate(Task, read_toml(path), path)
    try:
        check_names(task)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for budget in task.budgets:
        try:
            task.with_budget(budget)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    if task.name != path.stem:
        raise InputError(f"{path}: name: must match the file's name (got '{task.name}', file '{path.stem}')")
    return task
