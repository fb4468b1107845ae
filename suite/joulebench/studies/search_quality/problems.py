"""Problems to search: built in, or any task whose trials are looked up or computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from joulebench.errors import InputError, did_you_mean
from joulebench.host.clock import VirtualClock
from joulebench.results.frontier import MAX_HYPERVOLUME_OBJECTIVES, task_hypervolume
from joulebench.results.outcome import configuration_key
from joulebench.spec import catalog
from joulebench.spec.parameters import ChoiceParameter, FloatParameter, IntParameter, Params, Value
from joulebench.spec.registry import add_import_folders
from joulebench.spec.task import Task
from joulebench.workloads.base import Context, InfeasibleError, workload_class
from joulebench.workloads.simulated import Simulated

#: Up to this many configurations all are evaluated, once a process (seconds), for the best hypervolume.
ENUMERABLE = 200_000

Settings = Mapping[str, Value]
Point = tuple[float, ...]


@dataclass(frozen=True)
class Problem:
    """A task to be searched; `best` is the true front's hypervolume, None where it is not known."""

    name: str
    task: Task
    best: float | None

    def simulated(self, seed: int) -> Simulated:
        """Return the workload of one trial, on a clock of its own.

        Raises:
            InputError: the task's trials are run, not looked up or computed.
        """
        kind = workload_class(self.task.workload)
        if not issubclass(kind, Simulated):
            raise InputError(
                f"problem '{self.name}': workload '{self.task.workload}' runs its trials; "
                "a search is judged on what is looked up or computed: table, function"
            )
        return kind(Context("cpu", seed, VirtualClock(), None, self.task.options))

    def true_point(self, params: Params) -> Point | None:
        """Return the objectives without noise; None for a configuration that is infeasible or breaks a bound."""
        workload = self.simulated(0)
        try:
            workload.build(params)
        except InfeasibleError:
            return None
        values = workload.noise_free()
        bounds = self.task.outcome_constraints
        for name in (*self.task.objectives, *bounds):
            if name not in values:
                hint, given = did_you_mean(name, values), ", ".join(values)
                raise InputError(f"problem '{self.name}': its trials give no '{name}'{hint} (they give: {given})")
        if not all(bound.met_by(values[name]) for name, bound in bounds.items()):
            return None
        return tuple(values[name] for name in self.task.objectives)

    def hypervolume(self, points: list[Point]) -> float:
        """Return the hypervolume of true values beyond the task's references, on the task's scales.

        Raises:
            InputError: there is none.
        """
        volume = task_hypervolume(self.task, points)
        if volume is None:
            raise InputError(
                f"problem '{self.name}': no hypervolume: a value on a log scale is not positive, or there are more "
                f"than {MAX_HYPERVOLUME_OBJECTIVES} objectives"
            )
        return volume


def find_problem(name: str, settings: Settings) -> Problem:
    """Return a built-in problem with its settings, or a task by name or file.

    Raises:
        InputError: there is neither, it lacks a setting, or the task's objectives are metered or have no reference.
    """
    return _problem(name, tuple(sorted(settings.items())))


@lru_cache(maxsize=64)
def _problem(name: str, settings: tuple[tuple[str, Value], ...]) -> Problem:
    known = None
    if name in BUILT_IN:
        task, known = _built_in(name, dict(settings))
    else:
        if settings:
            given = ", ".join(key for key, _ in settings)
            raise InputError(f"problem '{name}' is a task, which takes no settings (got {given})")
        if not catalog.is_path(name) and name not in catalog.task_files():
            hint = did_you_mean(name, [*BUILT_IN, *catalog.task_files()])
            raise InputError(f"no problem '{name}'{hint} (built in: {', '.join(BUILT_IN)}; or a task)")
        add_import_folders(*([Path(name).parent] if catalog.is_path(name) else []))
        task = catalog.find_task(name)
    problem = Problem(name, task, known)
    _check(problem)
    return problem if known else Problem(name, task, _enumerated(problem))


def _check(problem: Problem) -> None:
    for name, objective in problem.task.objectives.items():
        if objective.phase is not None:
            raise InputError(
                f"problem '{problem.name}': objective '{name}' has a phase, but simulated trials are not metered"
            )
        if objective.reference is None:
            raise InputError(f"problem '{problem.name}': objective '{name}' needs a reference for the hypervolume")
    problem.true_point(problem.task.defaults)


def _enumerated(problem: Problem) -> float | None:
    size = problem.task.space_size
    if size is None or size > ENUMERABLE:
        return None
    every = configurations(problem.task)
    points = [point for params in every if (point := problem.true_point(params)) is not None]
    return problem.hypervolume(points)


def configurations(task: Task) -> Iterator[Params]:
    """Yield every configuration that a task without float parameters allows, once."""
    seen: set[str] = set()
    for values in product(*map(_values, task.free.values())):
        params = task.resolve(dict(zip(task.free, values, strict=True)))
        key = configuration_key(task, params)
        if key not in seen and task.allows(params):
            seen.add(key)
            yield params


def _values(parameter: IntParameter | FloatParameter | ChoiceParameter) -> tuple[Value, ...]:
    if isinstance(parameter, ChoiceParameter):
        return parameter.values
    assert isinstance(parameter, IntParameter), "a float has no values to list"
    return tuple(range(parameter.low, parameter.high + 1))


def _built_in(name: str, settings: dict[str, Any]) -> tuple[Task, float | None]:
    maker, takes = BUILT_IN[name]
    for key, value in settings.items():
        if key not in takes:
            hint = did_you_mean(key, takes)
            raise InputError(f"problem '{name}' has no setting '{key}'{hint} (allowed: {', '.join(takes)})")
        if not takes[key].contains(value):
            allowed = takes[key].model_dump(exclude={"type", "scope"}, exclude_defaults=True)
            raise InputError(f"problem '{name}': {key} = {value!r} is outside {allowed}")
    return maker({key: parameter.default for key, parameter in takes.items()} | settings)


def _task(
    name: str,
    function: str,
    parameters: Mapping[str, Any],
    objectives: Mapping[str, tuple[str, float]],
    sds: Mapping[str, float | str],
    settings: Mapping[str, Any],
) -> Task:
    """Return a task over a function of `functions`; `sds` are its metrics' standard deviations at noise 1.

    One given as a name is the metric in which the function returns it.
    """
    noise = {m: sd if isinstance(sd, str) else sd * settings["noise"] for m, sd in sds.items()}
    return Task.model_validate(
        {
            "name": name,
            "title": function,
            "workload": "function",
            "options": {
                "function": f"joulebench.studies.search_quality.functions:{function}",
                "noise": noise if settings["noise"] > 0 else {},
                "standard_errors": noise if settings["noise_known"] else {},
            },
            "parameters": dict(parameters),
            "objectives": {m: {"goal": goal, "reference": ref} for m, (goal, ref) in objectives.items()},
            "stages": {"search": {"method": "sobol", "trials": 1}},
        }
    )


def _unit_cube(dimension: int) -> dict[str, Any]:
    return {f"x{i}": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.5} for i in range(1, dimension + 1)}


def _branin_currin(settings: dict[str, Any]) -> tuple[Task, float]:
    """The hypervolume is BoTorch's (`BraninCurrin._max_hv`, by dense sampling of the front)."""
    objectives = {"branin": ("minimize", 18.0), "currin": ("minimize", 6.0)}
    sds = {"branin": 15.19, "currin": 0.63}
    task = _task("branin_currin", "branin_currin", _unit_cube(2), objectives, sds, settings)
    return task, 59.36011874867746


def _dtlz2(settings: dict[str, Any]) -> tuple[Task, float]:
    """From the reference (r, r) the unit quarter circle leaves r² − π/4."""
    objectives, sds = {"f1": ("minimize", 1.1), "f2": ("minimize", 1.1)}, {"f1": 0.05, "f2": 0.05}
    task = _task("dtlz2", "dtlz2", _unit_cube(settings["dimension"]), objectives, sds, settings)
    return task, 1.1**2 - math.pi / 4


def _cliffs(settings: dict[str, Any]) -> tuple[Task, float]:
    objectives, sds = {"f1": ("minimize", 1.5), "f2": ("minimize", 1.5)}, {"f1": 1.0, "f2": 1.0}
    parameters = _unit_cube(settings["dimension"]) | {"jump": {"type": "fixed", "value": settings["jump"]}}
    return _task("cliffs", "cliffs", parameters, objectives, sds, settings), 1.5**2 - math.pi / 4


def _architecture(settings: dict[str, Any]) -> tuple[Task, None]:
    parameters = {
        "width": {"type": "int", "low": 1, "high": 128, "default": 51},
        "depth": {"type": "int", "low": 1, "high": 6, "default": 6},
        "kernel": {"type": "choice", "values": [1, 3, 5, 7, 9], "ordered": True, "default": 3},
        "pool": {"type": "choice", "values": [True, False], "default": True},
        "noise": {"type": "fixed", "value": settings["noise"]},
    }
    objectives = {"accuracy": ("maximize", 0.1), "samples_per_joule": ("maximize", 0.0)}
    sds: dict[str, float | str] = {"accuracy": 0.01, "samples_per_joule": "samples_per_joule_sd"}
    return _task("architecture", "architecture", parameters, objectives, sds, settings), None


def _recipe(settings: dict[str, Any]) -> tuple[Task, None]:
    choice = {"type": "choice", "values": list("abcde"), "default": "a"}
    objectives = {"quality": ("maximize", 0.1), "energy": ("minimize", 12.0)}
    sds = {"quality": 0.005, "energy": 0.1}
    return _task("recipe", "recipe", {f"choice{i}": choice for i in range(6)}, objectives, sds, settings), None


def _serving(settings: dict[str, Any]) -> tuple[Task, None]:
    parameters = {
        "batch": {"type": "int", "low": 1, "high": 64, "default": 1, "scale": "log"},
        "threads": {"type": "int", "low": 1, "high": 8, "default": 4},
        "precision": {"type": "choice", "values": ["fp32", "bf16", "int8"], "default": "fp32"},
        "compiled": {"type": "choice", "values": [True, False], "default": False},
        "cache": {"type": "choice", "values": [0, 1, 3, 7, 15], "ordered": True, "default": 0},
    }
    objectives = {"latency_ms": ("minimize", 20.0), "energy_mj": ("minimize", 60.0)}
    sds = {"latency_ms": 0.2, "energy_mj": 1.0}
    return _task("serving", "serving", parameters, objectives, sds, settings), None


def _settings(noise: float, **more: Any) -> dict[str, Any]:
    """Return settings of a built-in problem: `noise` scales its standard deviations; with `noise_known` the search
    is given them."""
    return {
        "noise": FloatParameter(low=0.0, high=1000.0, default=noise),
        "noise_known": ChoiceParameter(values=(False, True), default=False),
        **more,
    }


_Maker = Callable[[dict[str, Any]], tuple[Task, float | None]]
_DIMENSION = IntParameter(low=2, high=100, default=6)
_JUMP = FloatParameter(low=0.0, high=100.0, default=0.0)

#: Each problem's constructor and settings.
BUILT_IN: dict[str, tuple[_Maker, dict[str, Any]]] = {
    "branin_currin": (_branin_currin, _settings(1.0)),
    "dtlz2": (_dtlz2, _settings(0.0, dimension=_DIMENSION)),
    "cliffs": (_cliffs, _settings(0.0, dimension=_DIMENSION, jump=_JUMP)),
    "architecture": (_architecture, _settings(1.0)),
    "recipe": (_recipe, _settings(1.0)),
    "serving": (_serving, _settings(1.0)),
}
