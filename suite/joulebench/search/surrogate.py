"""Gaussian process surrogates, one a quantity, fitted by Ax. Imported when a model is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ax.adapter.registry import Generators
from ax.core.arm import Arm
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment
from ax.core.metric import Metric
from ax.core.parameter import ParameterType, RangeParameter
from ax.core.search_space import SearchSpace
from ax.generators.torch.botorch_modular.surrogate import SurrogateSpec
from ax.generators.torch.botorch_modular.utils import ModelConfig
from botorch.cross_validation import efficient_loo_cv
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms.outcome import Standardize
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel, ScaleKernel
from gpytorch.priors import GammaPrior, LogNormalPrior
from torch import Tensor
from torch.distributions import Normal
from torch.special import log_ndtr

from joulebench.search.encoding import Array
from joulebench.search.observations import Observations, Value
from joulebench.search.process import Process
from joulebench.spec.objectives import COSTS
from joulebench.spec.task import Task

RUNS = "runs"  # whether a configuration runs: 1, or 0 for one refused; the constraint is runs >= 0.5
MEMORY = "memory"
MIN_KNOWN = 2  # values of a constraint before it can be modelled


@dataclass(frozen=True)
class Series:
    """Values of one quantity on the modelled scale, one an observation; None where it is not known."""

    name: str
    log: bool
    values: tuple[Value | None, ...]

    @property
    def noise_known(self) -> bool:
        """Whether every value has a known variance; otherwise the noise is inferred for all."""
        return all(v.variance is not None for v in self.values if v is not None)

    def logged(self) -> Series:
        """The logarithms; their noise by the delta method."""
        values = (v and Value(math.log(v.mean), v.variance and v.variance / v.mean**2) for v in self.values)
        return Series(f"log_{self.name}", True, tuple(values))


@dataclass(frozen=True)
class Modelled:
    """One quantity with its model; `sign` is +1 where more is better or, of a constraint, if `bound` is a least."""

    name: str
    log: bool
    sign: float
    gp: SingleTaskGP
    bound: float | None = None  # of constraints, on the modelled scale


@dataclass(frozen=True)
class Surrogate:
    """The models of all objectives, and of what is bounded."""

    objectives: tuple[Modelled, ...]
    constraints: tuple[Modelled, ...]

    @property
    def all(self) -> tuple[Modelled, ...]:
        return self.objectives + self.constraints

    @property
    def model(self) -> ModelListGP:
        return ModelListGP(*(m.gp for m in self.all))


def fit(task: Task, known: Observations, rows: Array, groups: Sequence[int], device: torch.device) -> Surrogate:
    """Models of every objective and constraint; `rows` are the observations in the unit cube.

    A positive energy is modelled as it is and as its logarithm, and the one that predicts better is kept: by the
    log density of each value given all others (leave-one-out; Rasmussen & Williams 2006, eq. 5.10–5.12), in
    terms of the value itself. Bounded energies, latencies, static costs and memory are modelled as logarithms
    where they are positive.
    """
    raw = [
        Series(f"objective_{i}", False, tuple(o.objectives[i] if o.objectives else None for o in known.seen))
        for i in range(len(task.objectives))
    ]
    logs = [s.logged() if o.is_energy and _positive(s) else None
            for s, o in zip(raw, task.objectives.values(), strict=True)]  # fmt: skip
    bounded = list(_constraints(task, known))
    series = [*raw, *(s for s in logs if s is not None), *(s for s, _, _ in bounded)]
    gps = _fitted(series, rows, groups, device)
    if known.memory_limit_bytes is not None:
        imputed = _imputed_memory(known, gps[f"log_{MEMORY}"], rows)
        gps |= _fitted([imputed], rows, groups, device)
    objectives = []
    for plain, logged, objective in zip(raw, logs, task.objectives.values(), strict=True):
        chosen = plain
        if logged is not None and _density(gps[logged.name], log=True) > _density(gps[plain.name], log=False):
            chosen = logged
        sign = 1.0 if objective.goal == "maximize" else -1.0
        objectives.append(Modelled(plain.name, chosen.log, sign, gps[chosen.name]))
    constraints = (Modelled(s.name, s.log, sign, gps[s.name], bound) for s, sign, bound in bounded)
    return Surrogate(tuple(objectives), tuple(constraints))


def _constraints(task: Task, known: Observations) -> Iterator[tuple[Series, float, float]]:
    """Series, sign and bound of every constraint, on the modelled scale."""
    for i, (name, constraint) in enumerate(task.outcome_constraints.items()):
        series = Series(f"constraint_{i}", False, tuple(o.constraints[i] for o in known.seen))
        if sum(v is not None for v in series.values) < MIN_KNOWN:
            continue
        sign, bound = (1.0 if constraint.at_least is not None else -1.0), constraint.bound
        amount = constraint.is_energy or constraint.is_latency or name in COSTS
        if amount and _positive(series) and bound > 0:
            series, bound = series.logged(), math.log(bound)
        yield series, sign, bound
    if known.memory_limit_bytes is not None:  # at first of what ran
        peaks = (Value(o.memory_bytes, None) if o.memory_bytes and o.objectives else None for o in known.seen)
        yield Series(MEMORY, False, tuple(peaks)).logged(), -1.0, math.log(known.memory_limit_bytes)
    if any(o.refused for o in known.seen):
        runs = (Value(0.0 if o.refused else 1.0, None) for o in known.seen)
        yield Series(RUNS, False, tuple(runs)), 1.0, 0.5


def _imputed_memory(known: Observations, ran: SingleTaskGP, rows: Array) -> Series:
    """Logarithms of memory; an out-of-memory configuration stands at its expected need, not at its lower bound b.

    Of a normal distribution with mean μ and deviation σ, as what ran
    predicts it, the mean beyond b is μ + σ φ(a) / Φ(-a) with a = (b - μ) / σ. b itself would say that it
    had just about fitted, and the search would keep trying there.
    """
    inputs: Tensor = ran.train_inputs[0]
    process = Process(ran, inputs[:0])
    with torch.no_grad():
        mean, sd = process.marginals(torch.as_tensor(rows, dtype=inputs.dtype, device=inputs.device))
    values: list[Value | None] = []
    for observation, mu, sigma in zip(known.seen, mean, sd, strict=True):
        if observation.memory_bytes is None:
            values.append(None)
            continue
        value = torch.tensor(math.log(observation.memory_bytes), dtype=mu.dtype, device=mu.device)
        if not observation.objectives:
            beyond = (value - mu) / sigma
            value = mu + sigma * torch.exp(-0.5 * beyond**2 - log_ndtr(-beyond)) / math.sqrt(2 * math.pi)
        values.append(Value(float(value), None))
    return Series(f"log_{MEMORY}", True, tuple(values))


def _positive(series: Series) -> bool:
    return all(v.mean > 0 for v in series.values if v is not None)


def _fitted(
    series: Sequence[Series], rows: Array, groups: Sequence[int], device: torch.device
) -> dict[str, SingleTaskGP]:
    """Maximum a posteriori fits by series name, each with its own hyperparameters."""
    names = [f"x{i}" for i in range(rows.shape[1])]
    experiment = Experiment(
        name="search",
        search_space=SearchSpace([RangeParameter(n, ParameterType.FLOAT, 0.0, 1.0) for n in names]),
        tracking_metrics=[Metric(s.name) for s in series],
    )
    arms = [Arm(dict(zip(names, row.tolist(), strict=True)), name=f"0_{n}") for n, row in enumerate(rows)]
    trial = experiment.new_batch_trial()
    trial.add_arms_and_weights(arms=arms)
    trial.mark_running(no_runner_required=True)
    data = Data(data_rows=[row for s in series for row in _data(s)])
    experiment.attach_data(data)
    trial.mark_completed()
    config, trended = (
        ModelConfig(
            covar_module_class=kernel,
            covar_module_options={"groups": tuple(groups)},
            outcome_transform_classes=[Standardize],
            outcome_transform_options={"Standardize": {"m": 1}},
            name=kernel.__name__,
        )
        for kernel in (Covariance, Trended)
    )
    adapter = Generators.BOTORCH_MODULAR(
        experiment=experiment,
        data=data,
        transforms=[],  # the unit cube is where the model lives
        surrogate_spec=SurrogateSpec(
            model_configs=[config], metric_to_model_configs={f"log_{MEMORY}": [trended]}, allow_batched_models=False
        ),
        torch_device=device,
    )
    surrogate = adapter.generator.surrogate
    models = list(surrogate.model.models) if len(surrogate.outcomes) > 1 else [surrogate.model]
    return dict(zip(surrogate.outcomes, models, strict=True))


def _data(series: Series) -> Iterator[DataRow]:
    """Ax data rows: mean and standard error; NaN where the noise is to be inferred."""
    for number, value in enumerate(series.values):
        if value is not None:
            sem = math.sqrt(value.variance or 0.0) if series.noise_known else math.nan
            yield DataRow(0, f"0_{number}", series.name, series.name, value.mean, sem)


@torch.no_grad()
def _density(gp: SingleTaskGP, log: bool) -> float:
    """Σ log p(value | all others), noise included, of the values before any logarithm."""
    loo = efficient_loo_cv(gp)
    expected, seen = loo.posterior, loo.observed_Y
    density = Normal(expected.mean, expected.variance.sqrt(), validate_args=False).log_prob(seen)
    return float(density.sum() - (seen.sum() if log else 0.0))


class Matern52(torch.autograd.Function):
    """(1 + r + r²/3) e^(-r) of 5 times a squared distance, r²; its derivative by that is -(1 + r) e^(-r) / 6.

    In one step: the derivative by way of the root takes longer, and is undefined at 0.
    """

    @staticmethod
    def forward(context: Any, squared: Tensor) -> Tensor:
        root = squared.sqrt()
        fading = torch.exp(-root)
        context.save_for_backward(root, fading)
        value: Tensor = (1 + root + squared / 3) * fading
        return value

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        root, fading = context.saved_tensors
        gradient: Tensor = gradients[0] * (1 + root) * fading / -6
        return gradient


class SharedMatern(Kernel):  # type: ignore[misc]
    """Matérn 5/2 of the distance √Σ (x_i - x'_i)² / ℓ_g(i)², the columns of one parameter sharing a length scale.

    So unordered choices, one-hot, are equally alike: what differs counts (a Hamming distance), and one number says
    how much. Prior of the length scales: log-normal with location √2 + ½ log d over d parameters and scale √3
    (Hvarfner et al. 2024), as BoTorch's own default.
    """

    has_lengthscale = True

    def __init__(self, groups: Sequence[int]) -> None:
        number = max(groups) + 1
        prior = LogNormalPrior(loc=math.sqrt(2) + math.log(number) * 0.5, scale=math.sqrt(3))
        smallest = GreaterThan(2.5e-2, transform=None, initial_value=prior.mode)
        super().__init__(ard_num_dims=number, lengthscale_prior=prior, lengthscale_constraint=smallest)
        self.ard_num_dims = None  # there are more columns than length scales, which it would refuse
        self.register_buffer("groups", torch.tensor(list(groups), dtype=torch.long))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        scale = self.lengthscale[..., self.groups]
        squared = self.covar_dist(x1 / scale, x2 / scale, diag=diag, square_dist=True, **params)
        value: Tensor = Matern52.apply(5 * squared)
        return value


class Covariance(ScaleKernel):  # type: ignore[misc]
    """`SharedMatern` times a variance: a few standardised observations do not settle it at 1."""

    def __init__(self, groups: Sequence[int]) -> None:
        super().__init__(SharedMatern(groups), outputscale_prior=GammaPrior(2.0, 0.15))


class Trended(Covariance):
    """`Covariance` and a plane: k + v/d Σ (x_i - ½)(x'_i - ½), whose slopes have the prior variance v/d.

    For quantities that grow outside the observed range, as memory does: a stationary process alone returns to the
    mean there, and would predict that memory suffices beyond where it ran out.
    """

    SLOPE_VARIANCE = 9.0  # of a standardised value, over the whole range of one parameter

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        near: Tensor = super().forward(x1, x2, diag=diag, **params)
        left, right = x1 - 0.5, x2 - 0.5
        plane = (left * right).sum(-1) if diag else left @ right.transpose(-1, -2)
        return near + self.SLOPE_VARIANCE / x1.shape[-1] * plane
