"""qNEHVI: the configuration whose measurement should enlarge the hypervolume most, by a model of what was seen."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from joulebench.records.model import TrialRecord
from joulebench.search import samplers
from joulebench.search.encoding import Array
from joulebench.search.observations import Observations, observations
from joulebench.search.samplers import Proposal
from joulebench.search.space import LISTED, Space
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task

if TYPE_CHECKING:
    from joulebench.search.acquisition import Judge

POOL = 1024  # candidates of a space too large to list
MAX_FRONT = 12  # members of the frontier whose neighbours join the pool
CLIMBERS, ROUNDS = 8, 8  # then: neighbours of the best few, and of theirs, as long as they are better
SCREEN_FRONTS, SCREENED = 4, 1024  # what is listed is first judged by fewer fronts
SHORTLIST = 64  # best by the closed form, to be judged by Monte Carlo
POLISHED, APART = 6, 0.05  # best of these, in different places, to be moved uphill where parameters are continuous
MIN_OBSERVATIONS = 2  # a model of less says nothing
HALVINGS = 6  # of the way back from a polished point that the task does not allow


def prepare(task: Task) -> dict[str, Any]:
    """Import Ax and BoTorch; versions and settings for the run's manifest."""
    return {
        **_model().settings(task),
        "candidates": f"every untried configuration of at most {LISTED}, else {POOL} (neighbours of the frontier,"
        f" Sobol) and climbs from the best {CLIMBERS}; ranked by expected hypervolume improvement in closed form;"
        f" the best {SHORTLIST} by the acquisition function, the best {POLISHED} polished where continuous",
        "noise": "sem² + for energy (run-to-run rsd × mean)²; where not known for all: inferred",
        "logarithms": "energy: where it predicts better, leave one out; bounds on it, latency, costs: if positive",
        "refused": "failed, infeasible: a constraint, runs >= 0.5; oom: peak memory below the limit, where known",
    }


def _model() -> ModuleType:
    """Ax and what needs it, imported when first asked for: it takes seconds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch and Ax warn of their own deprecations
        logging.disable(logging.INFO)  # Ax greets on stderr where SQLAlchemy is installed
        try:
            from joulebench.search import model
        finally:
            logging.disable(logging.NOTSET)
    return model


def qnehvi(
    space: Space, stage: str, trials: Sequence[TrialRecord], pending: Sequence[Params], number: int, seed: int
) -> Proposal | None:
    """The untried configuration with the highest acquisition value; None when all have been tried.

    Before there are two configurations with values there is no model: the proposal is Sobol's, and its origin
    says so and why.

    Args:
        trials: what is known.
        pending: configurations handed out, whose trials are not known or not to be used yet.
        number: of the proposal; with the seed it decides every draw.

    Raises:
        RuntimeError: the model failed.
    """
    tried = [*(trial.params for trial in trials), *pending]
    if space.exhausted(tried):
        return None
    known = observations(space.task, trials)
    usable = len(known.usable)
    if usable < MIN_OBSERVATIONS:
        reason = f"no model yet: {usable} of {MIN_OBSERVATIONS} configurations with values"
        return _sampled(space, stage, tried, seed, reason)
    own_seed = zlib.crc32(f"{seed}/{stage}/{number}".encode())
    taken = {space.key(params) for params in tried}
    model = _model()
    with model.fitted(space.task, space.encoding, known, pending, own_seed) as judge:
        params = _best(space, known, taken, own_seed, judge)
        if params is None:
            return _sampled(space, stage, tried, seed, "no untried candidate was found")
        expected = model.expected(space, known, judge, space.encoding.encode([params]))
    return Proposal(dict(params), "qnehvi", expected)


def _sampled(space: Space, stage: str, tried: Sequence[Params], seed: int, reason: str) -> Proposal | None:
    proposal = samplers.sobol(space, stage, tried, seed)
    return proposal and Proposal(proposal.params, "sobol", fallback=reason)


def _best(space: Space, known: Observations, taken: set[str], seed: int, judge: Judge) -> Params | None:
    found = _listed(space, taken, judge) if space.listed is not None else _climbed(space, known, taken, seed, judge)
    if not found:
        return None
    rows = space.encoding.encode(found)
    values = judge.exact(rows)
    moving = [column for column, name in space.encoding.floats.items() if name in space.names]
    if moving:
        start = _apart(rows, np.argsort(-values, kind="stable"))
        moved = _moved(space, [found[i] for i in start], judge.polished(rows[start], moving), moving)
        fresh = list(_distinct(space, moved, taken, len(moved)).values()) if moved else []
        if fresh:
            found, values = [*found, *fresh], np.append(values, judge.exact(space.encoding.encode(fresh)))
    return found[int(np.argmax(values))]  # the first of equals


def _apart(rows: Array, order: NDArray[np.intp]) -> list[int]:
    """The first few in this order that are not close to one another."""
    chosen: list[int] = []
    for i in order:
        if len(chosen) < POLISHED and all(np.abs(rows[i] - rows[j]).max() > APART for j in chosen):
            chosen.append(int(i))
    return chosen


def _listed(space: Space, taken: set[str], judge: Judge) -> list[Params]:
    """The best by the closed form of all that is untried."""
    assert space.listed is not None
    open_ = np.array([key not in taken for key in space.listed_keys])
    members = np.flatnonzero(open_)
    for fronts, count in ((SCREEN_FRONTS, SCREENED), (judge.samples.fronts, SHORTLIST)):
        scores = judge.rough(space.listed_rows[members], fronts)
        members = members[np.argsort(-scores, kind="stable")[:count]]
    return [space.listed[i] for i in members]


def _climbed(space: Space, known: Observations, taken: set[str], seed: int, judge: Judge) -> list[Params]:
    """The best by the closed form of a pool, and of what lies uphill from its best."""
    scored: dict[str, tuple[float, Params]] = {}

    def look(candidates: Iterable[Params], limit: int) -> None:
        fresh = _distinct(space, candidates, taken | scored.keys(), limit)
        if fresh:
            scores = judge.rough(space.encoding.encode(list(fresh.values())), judge.samples.fronts)
            scored.update({k: (float(s), p) for (k, p), s in zip(fresh.items(), scores, strict=True)})

    def best(count: int) -> list[Params]:
        ranked = sorted(scored.values(), key=lambda found: -found[0])
        return [params for _, params in ranked[:count]]

    look(_pool(space, known, seed), POOL)
    climbers: list[Params] = []
    for _ in range(ROUNDS):
        before, climbers = climbers, best(CLIMBERS)
        if climbers == before:
            break
        look((n for params in climbers if params not in before for n in space.neighbours(params)), POOL)
    return best(SHORTLIST)


def _distinct(space: Space, candidates: Iterable[Params], known: set[str], limit: int) -> dict[str, Params]:
    """The first `limit` allowed candidates, each once, without those known; gives up after 16 times as many."""
    fresh: dict[str, Params] = {}
    for params in islice(candidates, 16 * limit):
        key = space.key(params)
        if key not in known and space.task.allows(params):
            fresh[key] = params
        if len(fresh) == limit:
            break
    return fresh


def _pool(space: Space, known: Observations, seed: int) -> Iterator[Params]:
    """Neighbours of what is non-dominated so far, then a Sobol sequence over the space."""
    front = [params for params in _front(space.task, known) if space.covers(params)]
    for params in front[-MAX_FRONT:]:
        yield from space.neighbours(params)
    yield from samplers.sobol_points(space, [seed])


def _front(task: Task, known: Observations) -> list[Params]:
    """Feasible configurations that no other is better than in every objective."""
    signs = np.array([1.0 if o.goal == "maximize" else -1.0 for o in task.objectives.values()])
    values = np.array([o.means for o in known.feasible]) * signs
    return [o.params for o, v in zip(known.feasible, values, strict=True) if not (values > v).all(axis=1).any()]


def _moved(space: Space, starts: Sequence[Params], rows: Array, columns: Sequence[int]) -> list[Params]:
    """Configurations at polished rows; instead of one not allowed, the nearest on the way to it."""
    found = []
    for start, begun, ended in zip(starts, space.encoding.encode(starts), rows, strict=True):
        for halving in range(HALVINGS):
            row = begun + (ended - begun) / 2**halving
            values = {space.encoding.floats[c]: space.encoding.float_at(c, row[c]) for c in columns}
            params = space.task.resolve({n: {**start, **values}[n] for n in space.names})
            if space.task.allows(params):
                found.append(params)
                break
    return found
