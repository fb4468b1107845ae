"""Other search methods on one problem: the configurations that each tries. Imports nothing of joulebench.

    python rivals.py JOB.json OUT.jsonl

Runs in an environment of its own with Optuna, pymoo and Ax. Every method starts from the configurations it is
given, and gets the same noise for the trial of the same number. An infeasible trial is told as each learns from it:
Optuna and pymoo as a violated constraint, with the reference as its values (of `TrialState.FAIL` Optuna's samplers
take no note, and propose the same again), Ax by `mark_trial_failed`. Ordered parameters are whole numbers (Ax:
ordered choices), others categories. Settings are the defaults, but populations of 20; nobody is told the noise.

JOB: `{problem: {parameters: [{name, values, ordered}], objectives: [{name, goal, reference, noise, relative}],
values: [[…] | null, …], noisy}, budget, runs: [{method, seed, start: [number, …], draws: [[…], …]}]}`. A
configuration's number is its place in the product of the parameters' values, the last counting fastest.
OUT: a line for each run as it ends: `{method, seed, version, tried: [number, …], seconds: [CPU s a proposal, …]}`.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

POPULATION = 20
FAILED = "failed"  # a trial's own attribute in Optuna


@dataclass(frozen=True)
class Parameter:
    name: str
    values: list[Any]
    ordered: bool


@dataclass(frozen=True)
class Objective:
    name: str
    goal: str
    reference: float
    noise: float
    relative: bool

    @property
    def sign(self) -> float:
        """+1 where less is better."""
        return 1.0 if self.goal == "minimize" else -1.0


@dataclass(frozen=True)
class Problem:
    parameters: list[Parameter]
    objectives: list[Objective]
    values: list[list[float] | None]
    noisy: bool

    @classmethod
    def read(cls, given: dict[str, Any]) -> Problem:
        parameters = [Parameter(**p) for p in given["parameters"]]
        objectives = [Objective(**o) for o in given["objectives"]]
        if math.prod(len(p.values) for p in parameters) != len(given["values"]):
            raise ValueError(f"{len(given['values'])} values do not fit the parameters")
        return cls(parameters, objectives, given["values"], given["noisy"])

    def places(self, number: int) -> list[int]:
        """The place of each parameter's value."""
        found = []
        for parameter in reversed(self.parameters):
            number, place = divmod(number, len(parameter.values))
            found.append(place)
        return found[::-1]

    def number(self, places: Sequence[int]) -> int:
        number = 0
        for parameter, place in zip(self.parameters, places, strict=True):
            number = number * len(parameter.values) + int(place)
        return number

    def measured(self, number: int, draws: Sequence[float]) -> list[float] | None:
        """What a trial gives: true values and noise; None where it does not run."""
        values = self.values[number]
        if values is None or not self.noisy:
            return values
        spreads = (o.noise * (abs(v) if o.relative else 1.0) for o, v in zip(self.objectives, values, strict=True))
        return [v + sd * z for v, sd, z in zip(values, spreads, draws, strict=True)]


class Rival(Protocol):
    """A method: it is asked for a configuration and told what came of it, in turn."""

    def attach(self, number: int, values: list[float] | None) -> None:
        """Take a configuration that it did not choose, with its values."""

    def ask(self) -> int: ...

    def tell(self, values: list[float] | None) -> None:
        """Take the values of what was asked last."""


class Optuna:
    """A sampler of Optuna by `study.ask` and `study.tell`."""

    def __init__(self, problem: Problem, sampler: Callable[..., Any], **settings: Any) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._problem = problem
        if any(v is None for v in problem.values):
            settings["constraints_func"] = _violation
        directions = [o.goal for o in problem.objectives]
        self._study = optuna.create_study(directions=directions, sampler=sampler(**settings))
        self._trial: Any = None

    def attach(self, number: int, values: list[float] | None) -> None:
        named = zip(self._problem.parameters, self._problem.places(number), strict=True)
        self._study.enqueue_trial({p.name: place if p.ordered else p.values[place] for p, place in named})
        if self.ask() != number:
            raise RuntimeError("Optuna did not take the configuration that it was given")
        self.tell(values)

    def ask(self) -> int:
        self._trial = self._study.ask()
        return self._problem.number([self._place(p) for p in self._problem.parameters])

    def _place(self, parameter: Parameter) -> int:
        if parameter.ordered:
            return int(self._trial.suggest_int(parameter.name, 0, len(parameter.values) - 1))
        return parameter.values.index(self._trial.suggest_categorical(parameter.name, parameter.values))

    def tell(self, values: list[float] | None) -> None:
        self._trial.set_user_attr(FAILED, values is None)
        self._study.tell(self._trial, [o.reference for o in self._problem.objectives] if values is None else values)


def _violation(trial: Any) -> tuple[float]:
    """By how much a trial breaks Optuna's constraint: more than 0 is infeasible."""
    return (1.0 if trial.user_attrs[FAILED] else -1.0,)


def tpe(problem: Problem, seed: int) -> Rival:
    import optuna

    return Optuna(problem, optuna.samplers.TPESampler, seed=seed)


def gp(problem: Problem, seed: int) -> Rival:
    import optuna

    return Optuna(problem, optuna.samplers.GPSampler, seed=seed)


def nsga2(problem: Problem, seed: int) -> Rival:
    import optuna

    return Optuna(problem, optuna.samplers.NSGAIISampler, population_size=POPULATION, seed=seed)


class Pymoo:
    """NSGA-II for mixed variables; the first population is the start, filled up at random."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from pymoo.core.problem import Problem as Base
        from pymoo.core.variable import Choice, Integer

        self._problem, self._seed = problem, seed
        variables = {
            p.name: Integer(bounds=(0, len(p.values) - 1)) if p.ordered else Choice(options=range(len(p.values)))
            for p in problem.parameters
        }
        self._base = Base(vars=variables, n_obj=len(problem.objectives), n_ieq_constr=1)
        self._start: list[tuple[int, list[float] | None]] = []
        self._algorithm: Any = None
        self._waiting: list[int] = []
        self._told: list[list[float] | None] = []
        self._infills: Any = None

    def attach(self, number: int, values: list[float] | None) -> None:
        self._start.append((number, values))

    def ask(self) -> int:
        if self._algorithm is None:
            self._begin()
        if len(self._told) == len(self._waiting):
            self._advance()
        return self._waiting[len(self._told)]

    def tell(self, values: list[float] | None) -> None:
        self._told.append(values)

    def _begin(self) -> None:
        from pymoo.core.mixed import MixedVariableGA
        from pymoo.core.population import Population
        from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

        draw, first = random.Random(self._seed), [number for number, _ in self._start]
        while len(first) < POPULATION:
            number = draw.randrange(len(self._problem.values))
            if number not in first:
                first.append(number)
        start = Population.new(X=[self._named(number) for number in first])
        self._algorithm = MixedVariableGA(pop_size=POPULATION, sampling=start, survival=RankAndCrowding())
        self._algorithm.setup(self._base, termination=("n_gen", 1000), seed=self._seed, verbose=False)
        self._next()
        self._told = [values for _, values in self._start]

    def _named(self, number: int) -> dict[str, int]:
        names = (p.name for p in self._problem.parameters)
        return dict(zip(names, self._problem.places(number), strict=True))

    def _next(self) -> None:
        self._infills = self._algorithm.ask()
        if self._infills is None or len(self._infills) == 0:
            raise RuntimeError("pymoo proposed nothing")
        names = [p.name for p in self._problem.parameters]
        self._waiting = [self._problem.number([x.X[n] for n in names]) for x in self._infills]
        self._told = []

    def _advance(self) -> None:
        import numpy as np
        from pymoo.core.evaluator import Evaluator
        from pymoo.problems.static import StaticProblem

        signs = [o.sign for o in self._problem.objectives]
        rows = [[s * v for s, v in zip(signs, t, strict=True)] if t else [0.0] * len(signs) for t in self._told]
        broken = [[-1.0 if t else 1.0] for t in self._told]
        Evaluator().eval(StaticProblem(self._base, F=np.array(rows), G=np.array(broken)), self._infills)
        self._algorithm.tell(infills=self._infills)
        self._next()


class Ax:
    """`ax.api.client.Client` with its own choice of methods; references as thresholds of the objectives."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from ax.api.client import Client
        from ax.api.configs import ChoiceParameterConfig

        self._problem, self._trial = problem, -1
        self._client = Client(random_seed=seed)
        kinds = {bool: "bool", int: "int", float: "float", str: "str"}
        self._client.configure_experiment(
            [
                ChoiceParameterConfig(p.name, p.values, kinds[type(p.values[0])], is_ordered=p.ordered)
                for p in problem.parameters
            ]
        )
        objective = ", ".join(f"-{o.name}" if o.goal == "minimize" else o.name for o in problem.objectives)
        bounds = [f"{o.name} {'<=' if o.goal == 'minimize' else '>='} {o.reference}" for o in problem.objectives]
        self._client.configure_optimization(objective, bounds)

    def attach(self, number: int, values: list[float] | None) -> None:
        named = zip(self._problem.parameters, self._problem.places(number), strict=True)
        self._trial = self._client.attach_trial({p.name: p.values[place] for p, place in named})
        self.tell(values)

    def ask(self) -> int:
        ((self._trial, params),) = self._client.get_next_trials(1).items()
        return self._problem.number([p.values.index(params[p.name]) for p in self._problem.parameters])

    def tell(self, values: list[float] | None) -> None:
        if values is None:
            self._client.mark_trial_failed(self._trial)
        else:
            named = zip(self._problem.objectives, values, strict=True)
            self._client.complete_trial(self._trial, {o.name: v for o, v in named})


#: Method -> how it is made, and the package that it comes from.
METHODS: dict[str, tuple[Callable[[Problem, int], Rival], str]] = {
    "tpe": (tpe, "optuna"),
    "nsga2": (nsga2, "optuna"),
    "gp": (gp, "optuna"),
    "pymoo": (Pymoo, "pymoo"),
    "ax": (Ax, "ax-platform"),
}


def search(
    rival: Rival, problem: Problem, start: Sequence[int], draws: Sequence[Sequence[float]], budget: int
) -> tuple[list[int], list[float]]:
    """Numbers of the configurations tried, and CPU seconds of each proposal after the start."""
    tried, seconds = list(start), list[float]()
    for trial, number in enumerate(start):
        rival.attach(number, problem.measured(number, draws[trial]))
    for trial in range(len(start), budget):
        begin = time.process_time()
        number = rival.ask()
        asked = time.process_time() - begin
        values = problem.measured(number, draws[trial])
        begin = time.process_time()
        rival.tell(values)
        seconds.append(asked + time.process_time() - begin)
        tried.append(number)
    return tried, seconds


def runs(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Results of a job's runs, one after the other; each method is tried out once before it is timed."""
    problem, warm = Problem.read(job["problem"]), set[str]()
    for run in job["runs"]:
        method, seed = run["method"], run["seed"]
        make, package = METHODS[method]
        if method not in warm:
            search(make(problem, seed), problem, run["start"], run["draws"], len(run["start"]) + 2)
            warm.add(method)
        tried, seconds = search(make(problem, seed), problem, run["start"], run["draws"], job["budget"])
        about = f"{package} {version(package)}"
        yield {"method": method, "seed": seed, "version": about, "tried": tried, "seconds": seconds}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("job", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with given.out.open("a", encoding="utf-8") as out:
        for result in runs(json.loads(given.job.read_text(encoding="utf-8"))):
            out.write(json.dumps(result) + "\n")
            out.flush()
            print(f"{result['method']} seed {result['seed']}: {sum(result['seconds']):.1f} CPU s", file=sys.stderr)


if __name__ == "__main__":
    main()
