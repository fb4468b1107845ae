"""NSGA-II (Deb et al. 2002) by pymoo's operators: the model-free baseline of a search. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import numpy as np

from joulebench.records.model import TrialRecord, Window
from joulebench.results.outcome import idle_windows, trial_constraints, trial_outcomes
from joulebench.search import samplers
from joulebench.search.samplers import Proposal
from joulebench.search.space import Space
from joulebench.search.values import Free, level, position, unit_at, value_at
from joulebench.spec.parameters import ChoiceParameter, FloatParameter, Params, Value
from joulebench.spec.stage import Stage
from joulebench.spec.task import Task

POPULATION = 20  # where the stage gives none; a quarter of its trials, if that is less
MATINGS = 100  # rounds before what is missing of a generation is drawn instead
NO_VALUES = 1e30  # the violation of a trial without values: worse than any that has them


def prepare() -> dict[str, Any]:
    """Import pymoo; its version for the run's manifest."""
    import pymoo.algorithms.moo.nsga2  # noqa: F401

    return {"nsga2": f"pymoo {version('pymoo')}: mixed-variable mating, rank and crowding, as it ships them"}


def nsga2(
    space: Space, stage: str, plan: Stage, trials: Sequence[TrialRecord], pending: Sequence[Params], seed: int
) -> Proposal | None:
    """The next member of the current generation; None when all configurations have been tried.

    The first generation is Sobol's. A later one is bred, all at once, from the survivors of those before: it is
    a function of the stage's records up to its beginning, replayed each time. Nothing is bred that was tried, in
    whatever stage, or that the task does not allow; what is missing then is drawn. A trial that breaks an
    outcome's bound is worse than one that does not, by how much; one without values is the worst.

    Args:
        pending: configurations whose trials are not recorded yet; those of an earlier generation are no parents.

    Raises:
        InputError: nothing untried was found.
    """
    own = [trial for trial in trials if trial.stage == stage]
    tried = [*(trial.params for trial in trials), *pending]
    size = population(plan)
    generation, index = divmod(len(own) + len(pending), size)
    bred: list[Params] = []
    if generation > 0 and not space.exhausted(tried):
        current = [*(trial.params for trial in own), *pending][generation * size :]
        taken = {space.key(params) for params in tried} - {space.key(params) for params in current}
        parents = _survivors(space, stage, own[: generation * size], size, seed)
        bred = _bred(space, stage, parents, taken, size, seed)
    if index < len(bred):
        return Proposal(bred[index], "nsga2")
    drawn = samplers.sobol(space, stage, tried, seed)
    return drawn and Proposal(drawn.params, "nsga2")


def population(plan: Stage) -> int:
    """Population size of the stage."""
    return plan.population or max(2, min(POPULATION, (plan.trials or 0) // 4))


def _survivors(space: Space, stage: str, own: Sequence[TrialRecord], size: int, seed: int) -> Any:
    """Parents of the next generation: the best of all before, by rank and crowding distance."""
    from pymoo.core.population import Population
    from pymoo.operators.survival.rank_and_crowding import RankAndCrowding

    idle, problem, parents = idle_windows(own, space.task.protocol), _problem(space), Population()
    for begin in range(0, len(own), size):
        members = own[begin : begin + size]
        fitness = [_fitness(space.task, trial, idle) for trial in members]
        newer = Population.new(
            X=[{n: _gene(p, t.params[n]) for n, p in space.parameters.items()} for t in members],
            F=np.array([costs for costs, _ in fitness]),
            G=np.array([[violation] for _, violation in fitness]),
        )
        rng = np.random.default_rng([seed, samplers.number(stage), begin])
        merged = Population.merge(parents, newer)
        parents = RankAndCrowding().do(problem, merged, n_survive=size, random_state=rng)
    return parents


def _fitness(task: Task, trial: TrialRecord, idle: Sequence[Window]) -> tuple[list[float], float]:
    """Objectives to be minimised, and the constraint violations, each relative to its bound, summed."""
    outcomes = trial_outcomes(task, trial, idle)
    if trial.status == "oom" and task.on_oom == "zero":
        return [0.0] * len(task.objectives), 0.0
    if not outcomes:
        return [0.0] * len(task.objectives), NO_VALUES
    costs = [outcomes[n].value.mean * (-1 if o.goal == "maximize" else 1) for n, o in task.objectives.items()]
    broken = 0.0
    for name, outcome in trial_constraints(task, trial, idle).items():
        constraint = task.outcome_constraints[name]
        if not constraint.met_by(outcome.value.mean):
            broken += abs(outcome.value.mean - constraint.bound) / (abs(constraint.bound) or 1.0)
    return costs, broken


def _bred(space: Space, stage: str, parents: Any, taken: set[str], size: int, seed: int) -> list[Params]:
    """Up to `size` new configurations by crossover and mutation of parents chosen in tournaments."""
    from pymoo.algorithms.moo.nsga2 import binary_tournament
    from pymoo.core.mixed import MixedVariableMating
    from pymoo.operators.selection.tournament import TournamentSelection

    rng = np.random.default_rng([seed, samplers.number(stage), len(taken)])
    mating = MixedVariableMating(TournamentSelection(binary_tournament), eliminate_duplicates=None)
    nsga2_of_pymoo = SimpleNamespace(tournament_type="comp_by_dom_and_crowding", random_state=rng)
    problem, children = _problem(space), dict[str, Params]()
    for _ in range(MATINGS):
        for child in mating.do(problem, parents, size, random_state=rng, algorithm=nsga2_of_pymoo):
            params = space.complete([_expressed(p, child.X[name]) for name, p in space.parameters.items()])
            key = space.key(params)
            if key not in taken and space.task.allows(params) and len(children) < size:
                children[key] = params
        if len(children) == size:
            break
    return list(children.values())


def _problem(space: Space) -> Any:
    """The space as a pymoo problem: reals on [0, 1], ordered choices by rank, unordered ones by number."""
    from pymoo.core.problem import Problem
    from pymoo.core.variable import Choice, Integer, Real

    variables: dict[str, Any] = {}
    for name, parameter in space.parameters.items():
        if not isinstance(parameter, ChoiceParameter):
            variables[name] = Real(bounds=(0.0, 1.0))
        elif parameter.ordered:
            variables[name] = Integer(bounds=(0, len(parameter.values) - 1))
        else:
            variables[name] = Choice(options=list(range(len(parameter.values))))
    return Problem(vars=variables, n_obj=len(space.task.objectives), n_ieq_constr=1)


def _gene(parameter: Free, value: Value) -> float | int:
    match parameter:
        case ChoiceParameter():
            return position(_ranked(parameter), value)
        case FloatParameter():
            return unit_at(parameter, float(value))
        case _:  # a whole number: the middle of its share of the range
            low, above, middle = parameter.low, parameter.high + 1, float(value) + 0.5
            if parameter.scale == "log":
                return math.log(middle / low) / math.log(above / low)
            return (middle - low) / (above - low)


def _expressed(parameter: Free, gene: Any) -> Value:
    match parameter:
        case ChoiceParameter():
            return _ranked(parameter)[int(gene)]
        case FloatParameter():
            return level(parameter, min(1.0, max(0.0, float(gene))))
        case _:
            return value_at(parameter, float(gene))


def _ranked(parameter: ChoiceParameter) -> Sequence[Value]:
    return sorted(parameter.values, key=float) if parameter.ordered else parameter.values
