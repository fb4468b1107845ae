"""Acquisition functions: expected hypervolume improvement, in closed form and by Monte Carlo (BoTorch).

Imported when a search needs a model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective import logei
from botorch.acquisition.multi_objective.monte_carlo import qNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.sampling.normal import SobolQMCNormalSampler
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from botorch.utils.sampling import draw_sobol_normal_samples
from scipy.optimize import minimize
from torch import Tensor
from torch.special import ndtr

from joulebench.results.frontier import coordinates
from joulebench.results.promises import Promise
from joulebench.search.closed_form import cells, excess, undominated
from joulebench.search.encoding import Array
from joulebench.search.observations import Observations
from joulebench.search.process import Process
from joulebench.search.surrogate import Modelled, Surrogate
from joulebench.spec.task import Task

#: The acquisition functions for two objectives and more, by the name that a run's manifest records.
ACQUISITIONS: dict[str, Any] = {
    "qnehvi": qNoisyExpectedHypervolumeImprovement,
    "qlognehvi": logei.qLogNoisyExpectedHypervolumeImprovement,
}
#: The plain form. Candidates are scored by it, not followed uphill, for which the logarithm is made: on states of
#: the noisy Branin-Currin search both chose the same candidate of 1,300, the logarithm at six times the cost.
ACQUISITION = "qnehvi"
CHUNK = 64  # candidates evaluated at once by Monte Carlo; bounds memory where a front has many cells
MAX_TERMS = 1 << 19  # candidates × fronts × boxes worked out at once in the closed form
CLIMB = 30  # iterations of L-BFGS-B
TINY = 1e-300  # a logarithm must not be of 0
NEAR = 0.2  # standard deviation, in units of `Scale`, of how like two expected outcomes are


@dataclass(frozen=True)
class Samples:
    """Numbers of samples by purpose; fewer with three objectives or more, where each sampled front costs most."""

    acquisition: int  # Monte Carlo samples of the acquisition function
    fronts: int  # in the closed form
    expected: int  # in the closed form, of the one candidate proposed
    baseline: int  # decides which observations may be non-dominated

    @classmethod
    def of(cls, objectives: int) -> Samples:
        return cls(512, 64, 512, 256) if objectives <= 2 else cls(64, 16, 16, 256)


# BoTorch would compile a C++ kernel at first use: up to 37 s, and other sums where a compiler is at hand.
logei._load_attempted = True


@dataclass(frozen=True)
class Scale:
    """Normalisation of the objectives as the hypervolume counts them (`results.frontier.coordinates`): maximised,
    relative to the reference point, in units of `width`."""

    sign: Tensor
    reference: Tensor  # signed
    width: Tensor

    def of(self, coordinates: Tensor) -> Tensor:
        return (coordinates * self.sign - self.reference) / self.width

    @property
    def volume(self) -> float:
        """One unit of hypervolume in the product of the objectives' own units, or of nats on a log scale."""
        return float(self.width.prod())


def scale(task: Task, known: Observations, device: torch.device) -> Scale:
    """Normalisation relative to the reference point, in units of the best known value of each objective: of its
    logarithm on a log scale.

    A reference that the task does not give is the nadir of what is non-dominated, less a tenth of its range. As
    long as nothing seen is better than the reference in every objective, that nadir, where it is lower, stands
    in: from an unreached reference no step would count as an improvement. Formula:
    `botorch.utils.multi_objective.hypervolume.infer_reference_point` (Ishibuchi et al. 2011).
    """
    signs = [1.0 if o.goal == "maximize" else -1.0 for o in task.objectives.values()]
    references = [math.nan if o.reference is None else o.reference for o in task.objectives.values()]
    sign = torch.tensor(signs, dtype=torch.double, device=device)
    counted = coordinates(task, [references, *(o.means for o in known.feasible)])
    given, values = (torch.as_tensor(part, device=device) * sign for part in (counted[0], counted[1:]))
    front = values[is_non_dominated(values)]
    filled = torch.where(given.isnan(), infer_reference_point(front, scale=0.1), given)
    reference = infer_reference_point(front, max_ref_point=filled, scale=0.1)
    width = values.max(dim=0).values - reference
    return Scale(sign, reference, torch.where(width > 0, width, torch.ones_like(width)))


class Scorer:
    """Acquisition values of candidates, which are rows of the unit cube.

    Args:
        rows: the observations.
        pending: rows of configurations under evaluation: their expected improvement is not counted again.
        made: what the models of this search promised of earlier proposals, and what they gained.
    """

    def __init__(
        self,
        task: Task,
        known: Observations,
        surrogate: Surrogate,
        rows: Array,
        pending: Array,
        seed: int,
        made: Sequence[Promise] = (),
    ) -> None:
        self._task, self._made = task, [p for p in made if p.outcome is not None]
        self.surrogate, self.seed, self.samples = surrogate, seed, Samples.of(len(task.objectives))
        self.device = surrogate.all[0].gp.train_targets.device
        self.scale = scale(task, known, self.device)
        scales = [o.scale for o in task.objectives.values()]
        #: Whether an objective is modelled as its logarithm but counts as its value; on a log scale it does not.
        self._exponential = [m.log and s == "linear" for m, s in zip(surrogate.objectives, scales, strict=True)]
        self._pending = self.tensor(pending)
        self._baseline = self._plausible(self.tensor(rows[[bool(o.objectives) for o in known.seen]]))
        base = torch.cat([self._baseline, self._pending])
        self.processes = [Process(m.gp, base) for m in surrogate.all]

    def tensor(self, rows: Array) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(rows), dtype=torch.double, device=self.device)

    def _plausible(self, measured: Tensor) -> Tensor:
        """The observations that may be non-dominated; all, if none is likely to beat the reference."""
        if len(self.scale.sign) == 1:
            return measured
        generator = torch.Generator(self.device).manual_seed(self.seed)
        shape = (self.samples.baseline, len(measured))
        values = [
            Process(m.gp, measured).sample_base(
                torch.randn(shape, generator=generator, dtype=torch.double, device=self.device)
            )
            for m in self.surrogate.all
        ]
        plausible = measured[undominated(*self._normalised(values)).any(dim=0)]
        return plausible if len(plausible) else measured

    def closed_form(self, rows: Array, samples: int) -> Array:
        """Noisy expected hypervolume improvement times the probability that every constraint is met, one a row.

        The mean over `samples` sampled fronts; for each, the candidate's expectation is in closed form. Where it
        underflows, the value is negative and higher for candidates of higher posterior variance.
        """
        lower, upper, draws = self._fronts(samples)
        size, scores = max(1, MAX_TERMS // lower[..., 0].numel()), []
        with torch.no_grad():
            for points in self.tensor(rows).split(size):
                value = self._improvement(points, lower, upper, draws)
                none = value <= 0
                if none.any():
                    apart = (process.marginals(points[none])[1] / process.spread for process in self.processes)
                    value[none] = -torch.exp(-sum(apart))
                scores.append(value.cpu().numpy())
        return np.concatenate(scores)

    def medians(self, rows: Array) -> Array:
        """Expected outcomes: the median of each objective in its own unit (rows × objectives)."""
        points, columns = self.tensor(rows), []
        with torch.no_grad():
            for modelled, process in zip(self.surrogate.objectives, self.processes, strict=False):
                mean = process.marginals(points)[0]
                columns.append((mean.exp() if modelled.log else mean).cpu().numpy())
        return np.stack(columns, axis=-1)

    def trust(self, rows: Array) -> Array:
        """Share of the model's promises of such outcomes that were kept, one a row: (Σ w g + p̄) / (Σ w p + p̄).

        Sums over earlier proposals: p was promised, g gained, p̄ is the mean of p (one more that counts as kept). A
        weight w is e^(-d²/2), d the distance of the expected outcomes in units of `NEAR`. At most 1. So where a
        model keeps expecting what does not come (a plateau beside the best, a region that does not run), what it
        expects elsewhere is tried, and it is believed again where it is right.
        """
        if not self._made:
            return np.ones(len(rows))
        promised = np.array([p.promised for p in self._made])
        gained = np.array([p.gained for p in self._made])
        before = self._outcomes(np.array([p.outcome for p in self._made]))
        now = self._outcomes(self.medians(rows))
        squares = ((now[:, None] - before[None]) ** 2).sum(axis=-1)
        weights = np.exp(-0.5 * squares / NEAR**2)
        mean = promised.mean() or TINY
        kept: Array = (weights @ gained + mean) / (weights @ promised + mean)
        return np.minimum(kept, 1.0)

    def _outcomes(self, values: Array) -> Array:
        """Objectives in their own units (rows × objectives), in units of `Scale`."""
        normalised: Array = self.scale.of(torch.as_tensor(coordinates(self._task, values))).cpu().numpy()
        return normalised

    def _fronts(self, samples: int) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Boxes not dominated by each sampled front, and the normal draws that the fronts were sampled with."""
        if samples not in self._sampled_fronts:
            base, models = len(self._baseline) + len(self._pending), len(self.processes)
            every = draw_sobol_normal_samples(
                d=base * models, n=samples, device=self.device, dtype=torch.double, seed=self.seed
            )
            draws = list(every.split(base, dim=1))
            values = [process.sample_base(z) for process, z in zip(self.processes, draws, strict=True)]
            self._sampled_fronts[samples] = (*cells(*self._normalised(values)), draws)
        return self._sampled_fronts[samples]

    def _normalised(self, values: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Normalised objectives and a mask of met constraints, of each model's sampled values (samples × rows)."""
        scaled = self._scaled(torch.stack(list(values), dim=-1))
        met = torch.ones(scaled.shape[:2], dtype=torch.bool, device=self.device)
        for number, constraint in enumerate(self.surrogate.constraints, start=len(self.scale.sign)):
            met &= constraint.sign * (values[number] - (constraint.bound or 0.0)) >= 0
        return scaled, met

    @cached_property
    def _sampled_fronts(self) -> dict[int, tuple[Tensor, Tensor, list[Tensor]]]:
        return {}

    def _improvement(self, points: Tensor, lower: Tensor, upper: Tensor, draws: Sequence[Tensor]) -> Tensor:
        """Mean over fronts Σ over boxes Π over objectives E[(Y - l)⁺ - (Y - u)⁺].

        Of a box [l, u], a point y newly dominates a volume with sides min(y_j, u_j) - l_j, where all are positive.
        The expectation of the product is the product of expectations: objectives are modelled independently
        (Emmerich et al. 2006; Yang et al. 2019; averaged over fronts, Daulton et al. 2021).
        """
        product: Any = 1.0
        for j, (modelled, log) in enumerate(zip(self.surrogate.objectives, self._exponential, strict=True)):
            mean, sd = self.processes[j].conditioned(points, draws[j])
            mean, sd = mean.unsqueeze(-1), sd[:, None, None]  # candidates × fronts × boxes
            low, high = (self._threshold(bound[..., j], j) for bound in (lower, upper))
            gained = excess(mean, sd, low, modelled.sign, log)
            if not high.isinf().all():
                gained = gained - excess(mean, sd, high, modelled.sign, log)
            product = product * (gained / self.scale.width[j]).clamp_min(0.0)
        value: Tensor = product.sum(dim=-1).mean(dim=-1) * self.feasibility(points)
        return value

    def _threshold(self, bound: Tensor, j: int) -> Tensor:
        return self.scale.sign[j] * (bound * self.scale.width[j] + self.scale.reference[j])

    def feasibility(self, points: Tensor) -> Tensor:
        """Probability that every constraint is met."""
        probability = torch.ones(len(points), dtype=points.dtype, device=points.device)
        processes = self.processes[len(self.scale.sign) :]
        for modelled, process in zip(self.surrogate.constraints, processes, strict=True):
            mean, sd = process.marginals(points)
            probability = probability * ndtr(modelled.sign * (mean - (modelled.bound or 0.0)) / sd)
        return probability

    def monte_carlo(self, rows: Array) -> Array:
        """Logarithm of BoTorch's acquisition function: q(Log)NEHVI, or qLogNEI with one objective."""
        with torch.no_grad():
            parts = [self._acquisition(part.unsqueeze(1)) for part in self.tensor(rows).split(CHUNK)]
        return np.asarray(torch.cat(parts).cpu().numpy())

    @cached_property
    def _acquisition(self) -> Callable[[Tensor], Tensor]:
        options: dict[str, Any] = {
            "model": self.surrogate.model,
            "X_baseline": self._baseline,
            "X_pending": self._pending if len(self._pending) else None,
            "sampler": SobolQMCNormalSampler(torch.Size([self.samples.acquisition]), seed=self.seed),
            "objective": self._objective,
            "constraints": self._constraints,
            "prune_baseline": False,
        }
        if len(self.scale.sign) == 1:
            return qLogNoisyExpectedImprovement(**options)  # type: ignore[no-any-return]
        function = ACQUISITIONS[ACQUISITION](ref_point=torch.zeros_like(self.scale.reference), **options)
        return function if ACQUISITION == "qlognehvi" else lambda points: function(points).log()

    @cached_property
    def _objective(self) -> Any:
        if len(self.scale.sign) == 1:
            return GenericMCObjective(lambda samples, X=None: self._scaled(samples)[..., 0])  # noqa: ARG005, N803
        return GenericMCMultiOutputObjective(lambda samples, X=None: self._scaled(samples))  # noqa: ARG005, N803

    @cached_property
    def _constraints(self) -> list[Callable[[Tensor], Tensor]] | None:
        columns = enumerate(self.surrogate.constraints, start=len(self.scale.sign))
        return [_violation(modelled, column) for column, modelled in columns] or None

    def _scaled(self, modelled: Tensor) -> Tensor:
        """Normalised objectives, logarithms undone where the values themselves count."""
        columns = [modelled[..., i].exp() if log else modelled[..., i] for i, log in enumerate(self._exponential)]
        return self.scale.of(torch.stack(columns, dim=-1))

    def polished(self, rows: Array, columns: Sequence[int]) -> Array:
        """Rows after gradient ascent in the given columns: L-BFGS-B on the logarithm of the closed form."""
        start, free = self.tensor(rows), list(columns)

        def loss(flat: Array) -> tuple[float, Array]:
            moving = torch.tensor(flat.reshape(len(rows), len(free)), device=self.device, requires_grad=True)
            points = start.clone()
            points[:, free] = moving
            value = -self._improvement(points, *self._fronts(self.samples.fronts)).clamp_min(TINY).log().sum()
            (gradient,) = torch.autograd.grad(value, moving)
            return float(value), gradient.cpu().numpy().ravel()

        initial = rows[:, free].ravel()
        bounds = [(0.0, 1.0)] * len(initial)
        optimum = minimize(loss, initial, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": CLIMB})
        moved = rows.copy()
        moved[:, free] = np.clip(optimum.x, 0.0, 1.0).reshape(len(rows), len(free))
        return moved


def _violation(modelled: Modelled, column: int) -> Callable[[Tensor], Tensor]:
    """Constraint violation of samples, in observed standard deviations; not positive where it is met."""
    spread, bound = modelled.gp.outcome_transform.stdvs.squeeze(), modelled.bound or 0.0
    return lambda samples: modelled.sign * (bound - samples[..., column]) / spread
