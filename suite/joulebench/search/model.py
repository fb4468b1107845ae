"""Surrogate model of a search: fitting, expectations. Imported when a qnehvi stage needs it, not before.

Always on the CPU: an accelerator may be what is measured, and the matrices are small.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.special import ndtr, ndtri

from joulebench.records.model import TrialRecord
from joulebench.results.promises import GAIN, MODEL_GAIN, each_promise, median_of, trust
from joulebench.search import acquisition, surrogate
from joulebench.search.acquisition import Scorer
from joulebench.search.closed_form import lognormal_shortfall, normal_excess
from joulebench.search.encoding import Array, Encoding
from joulebench.search.observations import Observation, Observations
from joulebench.search.space import Space
from joulebench.search.surrogate import Modelled
from joulebench.spec.objectives import Form
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task

THREADS = 1  # the matrices are small: a second thread gains little, and one keeps sums in one order


def settings(task: Task) -> dict[str, Any]:
    """Versions and settings, for the run's manifest."""
    return {
        "versions": {name: version(name) for name in ("ax-platform", "botorch", "gpytorch", "torch")},
        "acquisition": "qlognei" if len(task.objectives) == 1 else acquisition.ACQUISITION,
        "mc_samples": acquisition.Samples.of(len(task.objectives)).acquisition,
        "threads": THREADS,
    }


@contextmanager
def fitted(
    task: Task,
    encoding: Encoding,
    known: Observations,
    pending: Sequence[Params],
    seed: int,
    trials: Sequence[TrialRecord] = (),
) -> Iterator[Scorer]:
    """Scorer of candidates, by a model fitted to the observations.

    Args:
        trials: those whose promises are compared with what came of them.

    Raises:
        RuntimeError: the model could not be fitted or evaluated.
    """
    with _quiet(), torch.random.fork_rng(devices=[]), _threads(THREADS):
        rows = encoding.encode([o.params for o in known.seen])
        try:
            fit = _fit(task, known, rows, encoding)
            torch.manual_seed(seed)
            made = each_promise(task, trials, MODEL_GAIN)
            yield Scorer(task, known, fit, rows, encoding.encode(pending), seed, made)
        except Exception as error:
            raise RuntimeError(
                f"search of task '{task.name}': the model failed after {len(known.seen)} configurations:"
                f" {type(error).__name__}: {error}"
            ) from error


#: The last fit by task digest: observations, their rows and the models, for the next proposal of a batch.
_fits: dict[str, tuple[Observations, bytes, surrogate.Surrogate]] = {}


def _fit(task: Task, known: Observations, rows: Array, encoding: Encoding) -> surrogate.Surrogate:
    """Models of the observations; fitted once for the proposals of one batch.

    A copy each time: caches of a used model must not pass from one proposal to the next.
    """
    last, seen = _fits.get(task.digest), rows.tobytes()  # rows too: to Python, choices `1` and `true` are equal
    if last is None or last[:2] != (known, seen):
        last = known, seen, surrogate.fit(task, known, rows, encoding.groups)
        _fits.clear()
        _fits[task.digest] = last
    return deepcopy(last[2])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Ax's and BoTorch's routine warnings; what really fails raises."""
    logger = logging.getLogger("ax")
    handlers = {handler: handler.level for handler in logger.handlers}
    for handler in handlers:
        handler.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for handler, level in handlers.items():
            handler.setLevel(level)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


LEVELS = 4096  # quantiles over which a mean without closed form is taken


def expected(
    space: Space, known: Observations, trials: Sequence[TrialRecord], scorer: Scorer, row: Array
) -> dict[str, float]:
    """Expectations at one candidate, `row` (1 × columns) in the unit cube.

    - `hypervolume_gain`: E[hypervolume with it - hypervolume without], of feasible configurations, as the models
      believe them, in the product of the objectives' units (nats on a log scale) and from the reference that the
      search uses (see `acquisition.scale`): noisy expected hypervolume improvement. With one objective: of the best
      value. Times the share of such expectations that the search's earlier proposals kept, see
      `results.promises.trust`: the best of thousands of candidates is one of which the model expects too much.
    - `model_gain`: the same before that share.
    - `median_NAME`: the median of each objective.
    - `saving_j_per_unit`, where the task has an energy objective other than of training:

          E[(e* - e(x))⁺] · P(q(x) ≥ q₀) · P(every constraint is met)

      where e are joules per unit of work, also where the objective is units per joule, Wh or kg CO2e, and q all
      other objectives. q₀ is what the default configuration reached in each; e* the lowest among known
      configurations that are feasible and at least as good in q. As long as the default has not been measured, q₀
      are the references that the task gives. Absent where no configuration is that good, and where the objective
      is an energy-delay product, from which e does not follow.
    """
    gain = max(0.0, float(scorer.closed_form(row, scorer.samples.expected)[0])) * scorer.scale.volume
    saving = _saving(space, known, scorer, row)
    gains = {GAIN: gain * trust(space.task, trials), MODEL_GAIN: gain}
    medians = zip(space.task.objectives, scorer.medians(row)[0], strict=True)
    outcome = {median_of(name): float(median) for name, median in medians}
    return gains | outcome | ({} if saving is None else {"saving_j_per_unit": saving})


def _saving(space: Space, known: Observations, scorer: Scorer, row: Array) -> float | None:
    task = space.task
    name = next((n for n, o in task.objectives.items() if o is task.measured), None)
    if name is None or space.task.objectives[name].share is not None:
        return None
    position, form = list(task.objectives).index(name), task.energy_form(name)
    floors = _floors(space, known, position)
    good = [o.means[position] for o in known.seen if o.feasible and _reaches(task, o, floors)]
    joules = [energy_j for value in good if (energy_j := form.joules(value)) is not None]
    if not joules:
        return None
    point = scorer.tensor(row)
    with torch.no_grad():
        marginals = [process.marginals(point) for process in scorer.processes]
        saving = _mean_saving(scorer.surrogate.objectives[position], *marginals[position], min(joules), form)
        for i, floor in floors.items():
            modelled, (mean, sd) = scorer.surrogate.objectives[i], marginals[i]
            if not modelled.log:
                saving = saving * ndtr(modelled.sign * (mean - floor) / sd)
            elif floor > 0:
                saving = saving * ndtr(modelled.sign * (mean - math.log(floor)) / sd)
            elif modelled.sign < 0:  # positive, and asked to be at most 0
                return 0.0
        return float(saving * scorer.feasibility(point))


def _floors(space: Space, known: Observations, energy: int) -> dict[int, float]:
    """Thresholds of the objectives other than energy, by position."""
    task, key = space.task, space.key(space.task.defaults)
    default = next((o for o in known.usable if space.key(o.params) == key), None)
    thresholds = default.means if default is not None else [o.reference for o in task.objectives.values()]
    return {i: value for i, value in enumerate(thresholds) if i != energy and value is not None}


def _reaches(task: Task, observation: Observation, floors: dict[int, float]) -> bool:
    goals = [objective.goal for objective in task.objectives.values()]
    means = observation.means
    return all(means[i] >= f if goals[i] == "maximize" else means[i] <= f for i, f in floors.items())


def _mean_saving(modelled: Modelled, mean: Tensor, sd: Tensor, best: float, form: Form) -> Tensor:
    """E[(best - e)⁺]; units per joule that are not positive, which a raw model allows, save nothing."""
    bound, scale = torch.full_like(mean, best), form.scale or 1.0
    if modelled.log:
        return lognormal_shortfall(math.log(scale) - mean if form.inverse else mean, sd, bound)
    if not form.inverse:
        return normal_excess(-mean, sd, -bound)
    levels = (torch.arange(LEVELS, dtype=mean.dtype, device=mean.device) + 0.5) / LEVELS
    units = mean + sd * ndtri(levels)
    saved = torch.where(units > 0, best - scale / units, torch.zeros_like(units)).clamp_min(0.0)
    return saved.mean(dim=-1, keepdim=True)
