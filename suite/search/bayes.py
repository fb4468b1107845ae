"""qNEHVI: the configuration whose measurement should enlarge the hypervolume most, by a model of what was seen."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np

from suite.record import TrialRecord
from suite.search import samplers
from suite.search.observations import Observation, observations
from suite.search.samplers import Proposal
from suite.search.space import Space
from suite.task import Params, Task

POOL = 1024  # candidates scored first; a space this small is scored whole
MAX_FRONT = 12  # members of the frontier whose neighbours join the pool
ROUNDS, CLIMBERS = 2, 4  # then: neighbours of the best few, and of theirs
MIN_OBSERVATIONS = 2  # a model of less says nothing


def prepare(task: Task) -> dict[str, Any]:
    """Import Ax and BoTorch; versions and settings for the run's manifest."""
    return {
        **_model().settings(task),
        "candidates": f"{POOL} untried (Sobol, and neighbours of the frontier), then {ROUNDS} rounds of neighbours"
        f" of the best {CLIMBERS}; at most {POOL} untried: all",
        "noise": "energy: sem² + (run-to-run rsd × mean)², modelled on a log scale; other metrics: inferred",
        "refused": "oom and failed: an outcome constraint, runs >= 0.5; no objective values",
    }


def _model() -> ModuleType:
    """Ax and what needs it, imported when first asked for: it takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and Ax warn of their own deprecations
        from suite.search import model
    return model


def qnehvi(space: Space, stage: str, trials: Sequence[TrialRecord], seed: int) -> Proposal | None:
    """The untried configuration with the highest acquisition value; None when all have been tried.

    Before there are two configurations with values there is no model, and where no candidate scores above
    zero there is no preference: the proposal is Sobol's, and its origin says so and why.

    Raises:
        RuntimeError: the model failed.
    """
    tried = [trial.params for trial in trials]
    if space.exhausted(tried):
        return None
    seen = observations(space.task, trials)
    usable = sum(1 for o in seen if o.means)
    if usable < MIN_OBSERVATIONS:
        return _fallback(
            space, stage, tried, seed, f"no model yet: {usable} of {MIN_OBSERVATIONS} configurations with values"
        )
    own_seed = zlib.crc32(f"{seed}/{stage}/{len(trials)}".encode())
    taken = {space.key(params) for params in tried}
    with _model().fitted(space.task, seen, own_seed) as score:
        value, params = _best(space, seen, taken, own_seed, score)
    if value == 0.0 and len(space.task.objectives) > 1:  # hypervolume; with one objective it is a logarithm
        return _fallback(space, stage, tried, seed, f"no improvement expected after {usable} configurations")
    return Proposal(params, "qnehvi")


def _fallback(space: Space, stage: str, tried: Sequence[Params], seed: int, reason: str) -> Proposal | None:
    proposal = samplers.sobol(space, stage, tried, seed)
    return proposal and Proposal(proposal.params, f"sobol ({reason})")


def _best(
    space: Space,
    seen: Sequence[Observation],
    taken: set[str],
    seed: int,
    score: Callable[[Sequence[Params]], list[float]],
) -> tuple[float, Params]:
    scored: dict[str, tuple[float, Params]] = {}

    def look(candidates: Iterable[Params], limit: int) -> bool:
        fresh = _distinct(space, candidates, taken | scored.keys(), limit)
        values = score(list(fresh.values())) if fresh else []
        scored.update({key: (v, fresh[key]) for key, v in zip(fresh, values, strict=True)})
        return bool(fresh)

    whole = space.size is not None and space.size - len(taken) <= POOL and space.size <= 16 * POOL
    if whole:
        look(space.everything(), space.size or 0)
    else:
        look(_pool(space, seen, seed), POOL)
        for _ in range(ROUNDS):
            best = sorted(scored.values(), key=lambda found: -found[0])[:CLIMBERS]
            if not look((n for _, params in best for n in space.neighbours(params)), POOL):
                break
    return max(scored.values(), key=lambda found: found[0])  # the first of equals


def _distinct(space: Space, candidates: Iterable[Params], known: set[str], limit: int) -> dict[str, Params]:
    """The first `limit` candidates, each once, without those known; gives up after 16 times as many."""
    fresh: dict[str, Params] = {}
    for params in islice(candidates, 16 * limit):
        key = space.key(params)
        if key not in known:
            fresh[key] = params
        if len(fresh) == limit:
            break
    return fresh


def _pool(space: Space, seen: Sequence[Observation], seed: int) -> Iterator[Params]:
    """Neighbours of what is non-dominated so far, then a Sobol sequence over the space."""
    front = [params for params in _front(space.task, seen) if space.covers(params)]
    for params in front[-MAX_FRONT:]:
        yield from space.neighbours(params)
    yield from samplers.sobol_points(space, [seed])


def _front(task: Task, seen: Sequence[Observation]) -> list[Params]:
    """Configurations that no other is better than in every objective."""
    signs = np.array([1.0 if o.goal == "maximize" else -1.0 for o in task.objectives.values()])
    usable = [o for o in seen if o.means]
    values = np.array([o.means for o in usable]) * signs
    return [o.params for o, v in zip(usable, values, strict=True) if not (values > v).all(axis=1).any()]
