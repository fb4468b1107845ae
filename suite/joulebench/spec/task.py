"""Tasks: the definition of a measurement, as frozen data read from TOML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.conditions import condition
from joulebench.spec.hardware import kg_co2e_per_j
from joulebench.spec.objectives import CARBON, AnyConstraint, Constraint, Form, Objective, Quantity, energy_form
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
from joulebench.spec.registry import DATASETS, PATTERN, STUDIES, WORKLOADS, is_own
from joulebench.spec.stage import Stage
from joulebench.spec.toml import Definition, digest, merge, read_toml, validate

#: Budgets that reduce a task so that it takes minutes, or an hour.
NARROWED = ("quick", "short", "subset")
#: Stage of the trials that confirm what the stages found.
CONFIRM = "confirm"
#: The Pareto frontier among `analyses`; all others are studies.
FRONTIER = "frontier"
#: The parameter that names a model, and its value that stands for what a search found.
MODEL, FOUND = "model", "found"
#: The study that evaluates a task's `gate`.
GATE_STUDY = "consistency"


#: A short name, or code of the user's own as `package.module:Class`.
Named = Annotated[str, Field(pattern=PATTERN, max_length=200)]


class Dataset(Definition):
    """The data set, its size and its splits."""

    name: Named  # one that ships, or package.module:function
    # images: a stratified subset of this size; text: bytes; all when absent
    train: Annotated[int, Field(ge=1)] | None = None
    validation: Annotated[int, Field(ge=1)]  # images, or bytes of text
    search_split: Literal["validation", "test"] = "validation"
    augment: tuple[Literal["crop", "flip"], ...] = ()
    # channels, height, width: of synthetic images; what images, table and torchvision: scale theirs to
    shape: tuple[int, int, int] | None = None
    label: Annotated[str, Field(min_length=1, max_length=200)] | None = None  # table: the column of classes
    text: Annotated[str, Field(min_length=1, max_length=200)] | None = None  # table: the column of texts
    # synthetic: images in all; grammar: bytes in all; text: bytes read at most, all when absent
    n: Annotated[int, Field(ge=2, le=10_000_000)] | None = None
    classes: Annotated[int, Field(ge=2, le=10_000)] | None = None  # synthetic
    seed: Count = 0  # of the images' split, and of what is generated; the split of text is by place

    @model_validator(mode="after")
    def _check_fields(self) -> Dataset:
        present = [
            field for field in ("shape", "n", "classes", "label", "text") if getattr(self, field) is not None
        ]
        if self.name == "synthetic" and not {"shape", "n", "classes"} <= set(present):
            raise ValueError("synthetic data need shape, n and classes")
        if self.name == "grammar" and self.n is None:
            raise ValueError("grammar data need n, the bytes in all")
        taken: tuple[str, ...] = ("shape", "n", "classes")
        if self.name in DATASETS.shipped:
            takes = {"synthetic": taken, "grammar": ("n",), "text": ("n",)}
            taken = {**takes, "images": ("shape",), "table": ("shape", "label", "text")}.get(self.name, ())
        elif not is_own(self.name) and ":" in self.name:
            taken = ("shape",)
        refused = [field for field in present if field not in taken]
        if (self.is_text or self.name == "table") and self.augment:
            refused.append("augment")
        if refused:
            raise ValueError(
                f"data set '{self.name}' does not take {', '.join(refused)} (synthetic takes shape, n and classes; "
                "grammar and text take n; images, table and torchvision: take shape; table takes label and text; "
                "images take augment)"
            )
        if self.text is not None and (self.shape is not None or self.text == (self.label or "label")):
            raise ValueError("a table of texts takes no shape, and its label is another column")
        scaled = self.name != "synthetic" and not is_own(self.name)
        if self.shape is not None and scaled and self.shape[0] not in (1, 3):
            raise ValueError(f"shape is channels, height, width; channels must be 1 or 3 (got {list(self.shape)})")
        if self.shape is not None and not all(1 <= side <= 4096 for side in self.shape):
            raise ValueError(f"shape sides must lie within 1 … 4096 (got {list(self.shape)})")
        return self

    @property
    def is_text(self) -> bool:
        """Whether the data are text (bytes) rather than labelled images."""
        return self.name in ("grammar", "text")

    def with_text(self) -> Dataset:
        """The same data set with the user's text in place of generated text: at most as many bytes, split alike."""
        return self.model_copy(update={"name": "text"})


class Training(Definition):
    """Early stopping; the best weights seen are restored at the end."""

    monitor: Name = "val_loss"  # minimised
    patience: Annotated[int, Field(ge=1, le=100_000)] | None = None  # epochs without improvement; none: never
    min_delta: Annotated[float, Field(ge=0)] = 0.0


class Protocol(Definition):
    """Settings of the energy measurement."""

    cooldown_s: Seconds = 0.0  # after training, before anything is measured
    max_cooldown_s: Seconds = 0.0  # longer than cooldown_s: at most this until temperature or power has settled
    warmup_s: Seconds = 2.0  # at least; longer until step time and power are stable; none where max_warmup_s is 0
    max_warmup_s: Seconds = 20.0
    settled_rel: Annotated[float, Field(gt=0, le=1)] = 0.05  # three successive step times within this fraction
    window_s: Annotated[float, Field(gt=0, le=100_000)] = 5.0
    repeats: Annotated[int, Field(ge=1, le=10_000)] = (
        5  # 1: of trials that are repeated themselves; no interval each
    )
    min_windows: Annotated[int, Field(ge=1, le=10_000)] = 2  # of a trial that another one clearly beats
    max_repeats: Annotated[int, Field(ge=1, le=10_000)] = 15
    target_rel_ci: Annotated[float, Field(gt=0, le=1)] = 0.02
    idle_s: Seconds = 10.0
    idle_every: Annotated[int, Field(ge=1, le=1_000_000)] = 10  # trials
    control: bool = True  # with each idle baseline the default is measured again, untrained: the machine's drift
    max_other_cpus: Annotated[float, Field(gt=0, le=1e6)] = 0.05  # that others may keep busy, or a hypervisor take
    max_quiet_wait_s: Seconds = 10.0  # for each phase: how long to wait until others are quiet again
    allow_busy: bool = False  # windows count whatever else runs; every report says so
    max_train_s: Annotated[float, Field(gt=0, le=10_000_000)] = 3600.0
    max_trial_s: Annotated[float, Field(gt=0, le=10_000_000)] | None = (
        None  # one that takes longer ends the process
    )
    skip_train: bool = False  # models are measured and scored as they are built; every report says so
    isolate: bool = False  # each trial in a process of its own: whatever ends it, the run goes on
    memory_limit_bytes: Annotated[int, Field(ge=1 << 20)] | None = None  # a limit below the device's memory

    @property
    def overdue(self) -> str:
        """What is said of a trial, a meter check or a test score that took longer than `max_trial_s`."""
        return f"took longer than protocol.max_trial_s = {self.max_trial_s:g} s"

    @model_validator(mode="after")
    def _repeats(self) -> Protocol:
        if self.max_repeats < self.repeats:
            raise ValueError(f"max_repeats must be at least repeats = {self.repeats} (got {self.max_repeats})")
        if self.min_windows > self.repeats:
            raise ValueError(f"min_windows must be at most repeats = {self.repeats} (got {self.min_windows})")
        if 0 < self.max_cooldown_s < self.cooldown_s:
            raise ValueError(
                f"max_cooldown_s must be 0, or at least cooldown_s = {self.cooldown_s} (got {self.max_cooldown_s})"
            )
        if self.max_warmup_s < self.warmup_s:
            raise ValueError(f"max_warmup_s must be at least warmup_s = {self.warmup_s} (got {self.max_warmup_s})")
        return self


class Confirm(Definition):
    """Confirmation of what a search found: its best configurations are trained and measured again, with new seeds.

    Only tasks with a frontier, or whose analyses look for an optimum, have something to confirm.
    """

    repeats: Annotated[int, Field(ge=0, le=1_000)] = 2  # runs of each configuration; 0: none is confirmed
    members: Annotated[int, Field(ge=1, le=1_000)] = 6  # of the frontier, at most


class Gate(Definition):
    """Acceptance criterion of a run, evaluated by the study `consistency`; exit code 1 if it fails."""

    max_rsd: Annotated[float, Field(gt=0, le=1)]  # of joules per unit of work over the windows; 0.02 is 2 %


#: A correlation coefficient.
Coefficient = Annotated[float, Field(ge=-1, le=1)]


class Coefficients(Definition):
    """Correlation coefficients of proxies with energy per unit of work."""

    parameters: Coefficient | None = None
    macs: Coefficient | None = None
    flops: Coefficient | None = None
    activations: Coefficient | None = None
    bytes_moved: Coefficient | None = None
    utilisation: Coefficient | None = None
    runtime: Coefficient | None = None


class Published(Definition):
    """Correlations that others published, shown beside the run's own by the study `proxies`."""

    pearson: Coefficients
    sample: Annotated[str, Field(min_length=1)]  # what they are over
    source: Annotated[str, Field(min_length=1)]
    secondary: bool = False  # the source itself was not seen


class Stopping(Definition):
    """Early stopping of a run."""

    max_energy_j: Annotated[float, Field(gt=0)] | None = None  # of the whole run, everything counted
    # expected number of inferences (units of work) after the search: it stops once it cannot pay back its energy
    inferences: Annotated[float, Field(gt=0)] | None = None
    extrapolate: bool = False  # forecast a training's energy; stop one that would break max_energy_j


class Cluster(Definition):
    """Trials on several machines, or on several GPUs of one; a run that does one trial at a time does not read it.

    Attributes:
        search: on several kinds of hardware. "each": a search of its own for every kind, on its own records.
            "shared": one search on the records of the first; every other kind measures the same configurations.
        gpu_alone: on several GPUs of one machine: energy is that of the GPU alone, whatever `domains` an objective
            or constraint names, and times are taken although the trials share the CPU.
    """

    search: Literal["each", "shared"] = "each"
    gpu_alone: bool = False


#: Names of the harness's own windows, which a workload's phases cannot have.
RESERVED_PHASES = frozenset(
    {
        "start", "data", "precheck", "propose", "build", "train", "validate", "score", "cooldown", "settle", "idle",
        "count", "prepare", "warmup", "release", "failed", "record", "wait", "end", "unfinished", "control", "busy",
    }
)  # fmt: skip


def _workload_path(value: object) -> object:
    if isinstance(value, type) and "<locals>" in value.__qualname__:
        raise ValueError(f"'{value.__name__}' is defined within a function: define it outside of any")
    return f"{value.__module__}:{value.__qualname__}" if isinstance(value, type) else value


class Task(Definition):
    """Definition of a measurement, independent of the machine that it runs on.

    `workload` is a shipped name or `package.module:Class`; in Python also the class itself. `options` are passed to
    the workload.
    """

    name: Name
    version: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    title: Annotated[str, Field(min_length=1, max_length=200)]
    description: str = ""
    workload: Annotated[Named, BeforeValidator(_workload_path)]
    options: dict[str, Any] = {}
    analyses: Annotated[tuple[Named, ...], Field(min_length=1, max_length=100)] = (
        "frontier",
    )  # sections of the report
    gate: Gate | None = None
    published: Published | None = None  # what others found
    deviations: tuple[str, ...] = ()  # intended exceptions from joulebench's rules
    dataset: Dataset | None = None
    parameters: Annotated[dict[Name, Parameter], Field(min_length=1, max_length=1000)]
    objectives: Annotated[dict[Name, Objective], Field(min_length=1, max_length=10)]
    constraints: dict[Name, AnyConstraint] = {}  # on parameters, or on measured outcomes and costs
    on_oom: Literal["learn", "zero"] = "learn"  # zero: a trial out of memory scores 0, the rule of ECOpt
    # whose models are scored on the test split; "all" only where nothing is chosen by what was measured
    test_scores: Literal["frontier", "all"] = "frontier"
    stages: Annotated[dict[Name, Stage], Field(min_length=1, max_length=100)]
    training: Training = Training()
    protocol: Protocol = Protocol()
    confirm: Confirm = Confirm()
    stopping: Stopping = Stopping()
    cluster: Cluster = Cluster()
    max_consecutive_failures: Annotated[int, Field(ge=1, le=100_000)] = 5
    budgets: dict[Name, dict[str, Any]] = {}
    _kg_co2e_per_j: float | None = PrivateAttr(default=None)  # where the task runs: `at`

    def at(self, hardware: Mapping[str, Any]) -> Task:
        """The task on a machine, by its recorded hardware profile: with the carbon of a joule, where known."""
        placed = self.model_copy()
        placed._kg_co2e_per_j = kg_co2e_per_j(hardware)
        return placed

    def energy_form(self, name: str) -> Form:
        """The form of an energy objective or constraint; that of carbon has a scale only where a grid is known."""
        form = energy_form(name)
        known = form.measure == CARBON and self._kg_co2e_per_j
        return replace(form, scale=1 / known) if known else form

    @property
    def without_carbon(self) -> str | None:
        """The first quantity per kg CO2e that has no value, as no grid intensity is known: its path; else None."""
        energies = ((where, n) for where, n, q in self.quantities() if q.is_energy)
        return next((where for where, name in energies if self.energy_form(name).scale is None), None)

    @model_validator(mode="after")
    def _check_quantities(self) -> Task:
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
            if quantity.phase == "train" and self.protocol.skip_train:
                raise ValueError(f"{where}.phase: protocol.skip_train leaves out the training that '{name}' is of")
            if quantity.basis == "net" and self.protocol.idle_s == 0:
                raise ValueError(f"{where}.basis: 'net' needs an idle baseline; set protocol.idle_s above 0")
        if self.on_oom == "zero" and any(o.goal == "minimize" for o in self.objectives.values()):
            raise ValueError(
                "on_oom = 'zero' needs objectives that are all maximised: 0 would be the best of others"
            )
        if self.on_oom == "zero" and self.log_scaled:
            raise ValueError("on_oom = 'zero' needs objectives with scale = 'linear': 0 has no logarithm")
        return self

    def quantities(self) -> list[tuple[str, str, Quantity]]:
        """All objectives and outcome constraints: path in the task, name, quantity."""
        objectives = [(f"objectives.{n}", n, o) for n, o in self.objectives.items()]
        return [*objectives, *((f"constraints.{n}", n, c) for n, c in self.outcome_constraints.items())]

    @model_validator(mode="after")
    def _check_conditions(self) -> Task:
        conditions = {f"constraints.{n}": c for n, c in self.constraints.items() if isinstance(c, str)}
        own = {n: p.only_if for n, p in self.parameters.items() if p.only_if is not None}
        kinds = {name: parameter.kinds for name, parameter in self.parameters.items()}
        conditions |= {f"parameters.{n}.only_if": c for n, c in own.items()}
        for where, text in conditions.items():
            for name in sorted(condition(text).names):
                self._known(name, where)
                if name in own and where.endswith(".only_if"):
                    raise ValueError(f"{where}: '{name}' depends on a condition itself")
            try:
                condition(text).check(kinds)
                holds = condition(text).holds(self.defaults)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
            if not holds and where.startswith("constraints"):
                raise ValueError(f"{where}: the default configuration breaks it")
        return self

    @model_validator(mode="after")
    def _check_stages(self) -> Task:
        if CONFIRM in self.stages:
            raise ValueError(f"stages.{CONFIRM}: the name is taken; [confirm] says how results are confirmed")
        for stage_name, stage in self.stages.items():
            where = f"stages.{stage_name}"
            for name in stage.vary or ():
                self._known(name, f"{where}.vary")
            for number, point in enumerate(stage.points or ()):
                self._check_point(point, f"{where}.points[{number}]")
        if self.dataset and self.dataset.search_split == "test" and not self.deviations:
            raise ValueError("dataset.search_split = 'test' must be explained under deviations")
        if self.test_scores == "all":
            chosen = [name for name, stage in self.stages.items() if stage.adapts]
            if self.dataset is None or self.has_frontier or chosen:
                why = "the task has no data set" if self.dataset is None else "its analyses choose a frontier"
                why = f"stage '{chosen[0]}' chooses by what was measured" if chosen else why
                raise ValueError(f"test_scores = 'all' is for a comparison of given configurations: {why}")
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
        """Fingerprint of the task as it runs, without `budgets` and `cluster`."""
        return digest(self.model_dump(mode="json", exclude={"budgets", "cluster"}))

    @property
    def outcome_constraints(self) -> dict[str, Constraint]:
        """Constraints on measured outcomes and static costs."""
        return {n: c for n, c in self.constraints.items() if isinstance(c, Constraint)}

    def allows(self, params: Mapping[str, Value]) -> bool:
        """Whether a complete configuration satisfies every constraint on parameters."""
        return all(condition(c).holds(params) for c in self.constraints.values() if isinstance(c, str))

    def in_effect(self, name: str, params: Mapping[str, Value]) -> bool:
        """Whether a parameter matters in a complete configuration: it has no `only_if`, or that holds."""
        only_if = self.parameters[name].only_if
        return only_if is None or condition(only_if).holds(params)

    def _canonical(self, params: Params) -> Params:
        """Reset parameters whose `only_if` does not hold, so that equal models are one configuration."""
        for name, parameter in self.parameters.items():
            if not self.in_effect(name, params):
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
        """Whether the run reports a Pareto frontier; if not, weights are kept, and test scores computed, only where
        `test_scores` says so."""
        return FRONTIER in self.analyses

    @property
    def log_scaled(self) -> dict[str, Objective]:
        """The objectives that the hypervolume takes on a log scale, by name."""
        return {name: objective for name, objective in self.objectives.items() if objective.scale == "log"}

    @property
    def measured(self) -> Objective | None:
        """The first energy objective of a measured phase (any but training)."""
        return next((o for o in self.objectives.values() if o.is_energy and o.phase != "train"), None)

    @property
    def space_size(self) -> int | None:
        """The number of configurations; None if a parameter is continuous."""
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
            InputError: no such budget, or the merged task is not valid.
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
    """Check the short names of workload, data set and studies, and the goals. Records are read without this check.

    Raises:
        InputError: a name that is not known here, or a goal that is the worse direction.
    """
    for name, objective in task.objectives.items():
        try:
            objective.check_goal(name)
        except ValueError as error:
            raise InputError(f"objectives: {error}") from None
    WORKLOADS.target(task.workload, "workload")
    if task.dataset is not None:
        DATASETS.target(task.dataset.name, "dataset.name")
    for name in task.analyses:
        if name != FRONTIER:
            STUDIES.target(name, "analyses", beside=(FRONTIER,))


def load_task(path: Path) -> Task:
    """Load the task in a TOML file; each of its budgets is merged and checked too.

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
