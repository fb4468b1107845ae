"""Proposals that need no model: default, points, grid, random, sobol. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod

import numpy as np

from joulebench.errors import InputError
from joulebench.search.space import Space, distinct, has_conditions
from joulebench.search.values import grid_values
from joulebench.spec.parameters import Params, Value
from joulebench.spec.stage import Stage
from joulebench.spec.task import Task

#: Draws before a discrete space is searched through in order: nearly all of it has been tried by then.
MAX_DRAWS = 1 << 14


@dataclass(frozen=True)
class Proposal:
    """The next configuration, complete, and what proposed it."""

    params: Params
    origin: str  # the method: default, random, sobol, grid, points, doubling, nsga2 or qnehvi
    expected: dict[str, float] = field(default_factory=dict)  # of a model: see `joulebench.search.model`
    fallback: str | None = None  # why it was not the stage's own method


def default(task: Task, stage: Stage, done: int) -> Proposal | None:
    """The default configuration, `repeats` times."""
    return Proposal(task.defaults, "default") if done < (stage.repeats or 1) else None


def points(task: Task, stage: Stage, stage_name: str, done: int, seed: int) -> Proposal | None:
    """Every given point, completed with defaults; the whole list `repeats` times over.

    Rounds rather than blocks, each in an order of its own: a slow drift of the machine then shows as noise, not as
    a difference of points.
    """
    given = stage.points or ()
    if done >= len(given) * (stage.repeats or 1):
        return None
    round_, place = divmod(done, len(given))
    if stage.order != "given":
        place = shuffled(len(given), stage_name, round_, seed)[place]
    return Proposal(task.resolve(given[place]), "points")


def grid(task: Task, stage: Stage, stage_name: str, done: int, seed: int) -> Proposal | None:
    """The product of the parameters' values, as far as the task allows it, in a random order.

    In the order "given" the last parameter counts fastest.

    Raises:
        InputError: a float parameter without levels.
    """
    axes, size = grid_axes(task, stage), grid_size(task, stage)
    if done >= size:
        return None
    place = done if stage.order == "given" else shuffled(size, stage_name, 0, seed)[done]
    if has_conditions(task):
        return Proposal(next(islice(_grid_points(task, axes), place, None)), "grid")
    point: dict[str, Value] = {}
    for name, values in reversed(axes.items()):
        place, digit = divmod(place, len(values))
        point[name] = values[digit]
    return Proposal(task.resolve(point), "grid")


def shuffled(count: int, stage_name: str, round_: int, seed: int) -> list[int]:
    """The numbers below `count` in the random order of one round of a stage."""
    order: list[int] = np.random.default_rng([seed, number(stage_name), round_]).permutation(count).tolist()
    return order


def grid_size(task: Task, stage: Stage) -> int:
    """Number of points of a grid.

    Raises:
        InputError: a float parameter without levels.
    """
    axes = grid_axes(task, stage)
    if has_conditions(task):
        return sum(1 for _ in _grid_points(task, axes))
    return prod(map(len, axes.values()))


def _grid_points(task: Task, axes: dict[str, Sequence[Value]]) -> Iterator[Params]:
    combined = (task.resolve(dict(zip(axes, values, strict=True))) for values in product(*axes.values()))
    return distinct(task, combined)


def grid_axes(task: Task, stage: Stage) -> dict[str, Sequence[Value]]:
    """The values of each parameter on the stage's grid.

    Unlike a search, a grid may vary a parameter of scope "device", if asked to by name.

    Raises:
        InputError: a float parameter without levels.
    """
    free = {n: p for n, p in task.free.items() if (p.scope == "task" if stage.vary is None else n in stage.vary)}
    return {name: grid_values(name, parameter, stage.levels) for name, parameter in free.items()}


def random(space: Space, stage_name: str, done: int, tried: Sequence[Params], seed: int) -> Proposal | None:
    """A uniform draw among the configurations not tried; None when all are.

    Uniform over combinations of values: a configuration that several of them resolve to is drawn more often.
    """
    entropy = [seed, number(stage_name), done]
    rng = np.random.default_rng(entropy)
    drawn = (space.at(rng.random(len(space.names)).tolist()) for _ in range(MAX_DRAWS))
    return _first(space, drawn, tried, "random", entropy)


def sobol(space: Space, stage_name: str, tried: Sequence[Params], seed: int) -> Proposal | None:
    """The first point of a scrambled Sobol sequence that has not been tried; None when all have.

    The sequence depends on seed and stage only, and what was tried is in the records, so it goes on where it
    stood (Owen scrambling; `scipy.stats.qmc.Sobol`).
    """
    entropy = [seed, number(stage_name)]
    return _first(space, sobol_points(space, entropy), tried, "sobol", entropy)


def sobol_points(space: Space, entropy: Sequence[int]) -> Iterator[Params]:
    """A scrambled Sobol sequence mapped into the space; the task need not allow every point of it."""
    from scipy.stats import qmc  # a second to import, and only searches need it

    if not space.names:
        yield space.complete([])
        return
    engine = qmc.Sobol(len(space.names), scramble=True, seed=np.random.default_rng(list(entropy)))
    size = 64
    while engine.num_generated < 2**29:
        # in powers of two from the start on, else scipy warns that the balance is lost
        for unit in engine.random(size):
            yield space.at(unit.tolist())
        size = engine.num_generated


def _first(
    space: Space, drawn: Iterator[Params], tried: Sequence[Params], origin: str, entropy: Sequence[int]
) -> Proposal | None:
    if space.exhausted(tried):
        return None
    keys = {space.key(params) for params in tried}
    params = space.first_untried(drawn, keys, MAX_DRAWS)
    if params is None and space.size is not None:
        start = int(np.random.default_rng(list(entropy)).integers(space.size))
        params = space.first_untried(space.everything(start), keys, space.size)
    if params is None:
        raise InputError(f"task '{space.task.name}': no new configuration among {MAX_DRAWS} draws")
    return Proposal(params, origin)


def number(stage_name: str) -> int:
    """Hash of a stage's name, the same in every process (Python's hash() is not)."""
    return zlib.crc32(stage_name.encode())
