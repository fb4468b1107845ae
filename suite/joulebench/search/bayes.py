"""Bayesian optimisation by noisy expected hypervolume improvement (qNEHVI)."""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from joulebench.errors import InputError
from joulebench.records.model import TrialRecord
from joulebench.results.promises import RECENTLY_KEPT, promises
from joulebench.search import samplers
from joulebench.search.encoding import Array
from joulebench.search.observations import Observations, observations
from joulebench.search.samplers import Proposal
from joulebench.search.space import LISTED, Space
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task

if TYPE_CHECKING:
    from joulebench.search.acquisition import Scorer

POOL = 1024  # candidates of a space too large to list
MAX_FRONT = 12  # members of the frontier whose neighbours join the pool
CLIMBERS, ROUNDS = 8, 8  # then: neighbours of the best few, and of theirs, as long as they are better
SCREEN_FRONTS, SCREENED = 4, 1024  # what is listed is first judged by fewer fronts
SHORTLIST = 64  # best by the closed form, to be judged by Monte Carlo
POLISHED, APART = 6, 0.05  # best of these, in different places, to be moved uphill where parameters are continuous
MIN_OBSERVATIONS = 2  # a model of less says nothing
#: Where its last `PATIENCE` proposals gained less than this share of what the model promised, every other explores.
PATIENCE, LEAST_KEPT = 8, 0.02
HALVINGS = 6  # of the way back from a polished point that the task does not allow


def prepare(task: Task) -> dict[str, Any]:
    """Import Ax and BoTorch; versions and settings for the run's manifest."""
    return {
        **_model().settings(task),
        "candidates": f"every untried configuration of at most {LISTED}, else {POOL} (neighbours of the frontier,"
        f" Sobol) and climbs from the best {CLIMBERS}; ranked by expected hypervolume improvement in closed form;"
        f" the best {SHORTLIST} by the acquisition function, the best {POLISHED} polished where continuous",
        "noise": "sem² + for energy (run-to-run rsd × mean)²; where not known for all: inferred",
        "logarithms": "energy: where it predicts better, leave one out; bounds on it, latency, costs: if positive"
        + ("; objectives on a log scale: always" if task.log_scaled else ""),
        "refused": "failed, infeasible: a constraint, runs >= 0.5; oom: peak memory below the limit, where known",
    }


def _model() -> ModuleType:
    """Import `joulebench.search.model`, and Ax with it, which takes seconds."""
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
    says so and why. So is every other one where the model's last proposals gained next to nothing of what it
    promised of them: it is wrong there, and a configuration unlike them tells it more than one beside them.

    Args:
        trials: those that the model may use.
        pending: configurations whose trials are not recorded, or may not be used yet.
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
    if (kept := _broken(space.task, trials)) is not None:
        why = f"the last {PATIENCE} proposals gained {kept:.1%} of the hypervolume that the model promised"
        with suppress(
            InputError
        ):  # nothing new among the points drawn of a narrow space: the model still finds some
            if (explored := _sampled(space, stage, tried, seed, why)) is not None:
                return replace(explored, expected={RECENTLY_KEPT: kept})
    own_seed = zlib.crc32(f"{seed}/{stage}/{number}".encode())
    taken = {space.key(params) for params in tried}
    model = _model()
    with model.fitted(space.task, space.encoding, known, pending, own_seed, trials) as scorer:
        params = _best(space, known, taken, own_seed, scorer)
        if params is None:
            return _sampled(space, stage, tried, seed, "no untried candidate was found")
        expected = model.expected(space, known, trials, scorer, space.encoding.encode([params]))
    return Proposal(dict(params), "qnehvi", expected)


def _broken(task: Task, trials: Sequence[TrialRecord]) -> float | None:
    """Share of its promises that the model's last `PATIENCE` proposals kept, if that is too little; None if not.

    None, too, after a trial that was made for this reason: only every other one is.
    """
    if trials and RECENTLY_KEPT in trials[-1].expected:
        return None
    last = promises(task, trials, PATIENCE)
    if last.proposals < PATIENCE or last.kept is None or last.kept >= LEAST_KEPT:
        return None
    return last.kept


def _sampled(space: Space, stage: str, tried: Sequence[Params], seed: int, reason: str) -> Proposal | None:
    proposal = samplers.sobol(space, stage, tried, seed)
    return proposal and Proposal(proposal.params, "sobol", fallback=reason)


def _best(space: Space, known: Observations, taken: set[str], seed: int, scorer: Scorer) -> Params | None:
    if space.listed is not None:
        candidates = _listed(space, taken, scorer)
    else:
        candidates = _climbed(space, known, taken, seed, scorer)
    if not candidates:
        return None
    rows = space.encoding.encode(candidates)
    values = scorer.monte_carlo(rows) + np.log(scorer.trust(rows))
    moving = [column for column, name in space.encoding.floats.items() if name in space.names]
    if moving:
        start = _diverse(rows, np.argsort(-values, kind="stable"))
        moved = _moved(space, [candidates[i] for i in start], scorer.polished(rows[start], moving), moving)
        fresh = list(_distinct(space, moved, taken, len(moved)).values()) if moved else []
        if fresh:
            candidates = [*candidates, *fresh]
            rows = space.encoding.encode(fresh)
            values = np.append(values, scorer.monte_carlo(rows) + np.log(scorer.trust(rows)))
    return candidates[int(np.argmax(values))]  # the first of equals


def _diverse(rows: Array, order: NDArray[np.intp]) -> list[int]:
    """The first `POLISHED` in this order that lie more than `APART` from one another."""
    chosen: list[int] = []
    for i in order:
        if len(chosen) < POLISHED and all(np.abs(rows[i] - rows[j]).max() > APART for j in chosen):
            chosen.append(int(i))
    return chosen


def _trusted(scorer: Scorer, rows: Array, fronts: int) -> Array:
    """The closed form, less what such promises have lacked; what promises nothing stays in its order."""
    values = scorer.closed_form(rows, fronts)
    return np.where(values > 0, values * scorer.trust(rows), values)


def _listed(space: Space, taken: set[str], scorer: Scorer) -> list[Params]:
    """The untried members of a listed space that are best by the closed form."""
    assert space.listed is not None
    open_ = np.array([key not in taken for key in space.listed_keys])
    members = np.flatnonzero(open_)
    for fronts, count in ((SCREEN_FRONTS, SCREENED), (scorer.samples.fronts, SHORTLIST)):
        scores = _trusted(scorer, space.listed_rows[members], fronts)
        members = members[np.argsort(-scores, kind="stable")[:count]]
    return [space.listed[i] for i in members]


def _climbed(space: Space, known: Observations, taken: set[str], seed: int, scorer: Scorer) -> list[Params]:
    """The best by the closed form among a pool and the local searches that start from its best."""
    scored: dict[str, tuple[float, Params]] = {}

    def score(candidates: Iterable[Params], limit: int) -> None:
        fresh = _distinct(space, candidates, taken | scored.keys(), limit)
        if fresh:
            scores = _trusted(scorer, space.encoding.encode(list(fresh.values())), scorer.samples.fronts)
            scored.update({k: (float(s), p) for (k, p), s in zip(fresh.items(), scores, strict=True)})

    def best(count: int) -> list[Params]:
        ranked = sorted(scored.values(), key=lambda pair: -pair[0])
        return [params for _, params in ranked[:count]]

    score(_pool(space, known, seed), POOL)
    climbers: list[Params] = []
    for _ in range(ROUNDS):
        before, climbers = climbers, best(CLIMBERS)
        if climbers == before:
            break
        score((n for params in climbers if params not in before for n in space.neighbours(params)), POOL)
    return best(SHORTLIST)


def _distinct(space: Space, candidates: Iterable[Params], known: set[str], limit: int) -> dict[str, Params]:
    """The first `limit` allowed candidates by key, without those known; stops after 16 times as many."""
    fresh: dict[str, Params] = {}
    for params in islice(candidates, 16 * limit):
        key = space.key(params)
        if key not in known and space.task.allows(params):
            fresh[key] = params
        if len(fresh) == limit:
            break
    return fresh


def _pool(space: Space, known: Observations, seed: int) -> Iterator[Params]:
    """Neighbours of the non-dominated observations, then a Sobol sequence over the space."""
    front = [params for params in _front(space.task, known) if space.covers(params)]
    for params in front[-MAX_FRONT:]:
        yield from space.neighbours(params)
    yield from samplers.sobol_points(space, [seed])


def _front(task: Task, known: Observations) -> list[Params]:
    """Feasible configurations that no other exceeds in every objective."""
    signs = np.array([1.0 if o.goal == "maximize" else -1.0 for o in task.objectives.values()])
    values = np.array([o.means for o in known.feasible]) * signs
    return [o.params for o, v in zip(known.feasible, values, strict=True) if not (values > v).all(axis=1).any()]


def _moved(space: Space, starts: Sequence[Params], rows: Array, columns: Sequence[int]) -> list[Params]:
    """Configurations at polished rows, backtracking towards the start where one is not allowed."""
    moved = []
    for start, begin, end in zip(starts, space.encoding.encode(starts), rows, strict=True):
        for halving in range(HALVINGS):
            row = begin + (end - begin) / 2**halving
            values = {space.encoding.floats[c]: space.encoding.float_at(c, row[c]) for c in columns}
            params = space.task.resolve({n: {**start, **values}[n] for n in space.names})
            if space.task.allows(params):
                moved.append(params)
                break
    return moved
