"""Gaussian process surrogates, one a quantity, fitted by Ax. Imported when a model is needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

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
from gpytorch.kernels import Kernel
from torch import Tensor
from torch.distributions import Normal
from torch.special import log_ndtr

from joulebench.search.encoding import Array
from joulebench.search.fitting import FastGP
from joulebench.search.kernels import Covariance, Linear, Sparse, Trended
from joulebench.search.observations import Observations, Value
from joulebench.search.process import Process
from joulebench.search.space import MANY
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


#: Covariance functions to choose from; with more than `MANY` free parameters a sparse one, too.
KERNELS: tuple[type[Kernel], ...] = (Covariance, Linear)


def _kernels(groups: Sequence[int]) -> tuple[type[Kernel], ...]:
    return KERNELS if max(groups) < MANY else (*KERNELS, Sparse)


def fit(task: Task, known: Observations, rows: Array, groups: Sequence[int]) -> Surrogate:
    """Models of every objective and constraint; `rows` are the observations in the unit cube.

    Of each quantity several models are made, and the one that predicts best is kept: by the log density of each
    value given all others (leave-one-out; Rasmussen & Williams 2006, eq. 5.10–5.12), in terms of the value itself.
    First, with the `Linear` covariance, of the values and, where they are an objective's and positive, of their
    logarithms; then, of the better of these, with every covariance of `_kernels`. On a log scale it is always the
    logarithm. Bounded energies, rates, latencies, static costs and memory are modelled as logarithms where they are
    positive.
    """
    raw = [
        Series(f"objective_{i}", False, tuple(o.objectives[i] if o.objectives else None for o in known.seen))
        for i in range(len(task.objectives))
    ]
    forms = [_forms(s, o.scale) for s, o in zip(raw, task.objectives.values(), strict=True)]
    linear = _fitted([(s, Linear) for s in chain.from_iterable(forms)], rows, groups)
    chosen = [max(several, key=lambda s: _density(linear[s.name, Linear], s.log)) for several in forms]
    bounded = list(_constraints(task, known))
    memory = [s for s, _, _ in bounded if s.name == f"log_{MEMORY}"]
    others = [s for s, _, _ in bounded if s not in memory]
    kernels = _kernels(groups)
    wanted = [
        *((s, k) for s in chosen for k in kernels if k is not Linear),
        *((s, k) for s in others for k in kernels),
    ]
    plain = _fitted(wanted, rows, groups)
    fits, gps = linear | plain, {}
    for series in (*chosen, *others):
        gps[series.name] = max((fits[series.name, k] for k in kernels), key=partial(_density, log=series.log))
    for series in chosen:
        if not series.noise_known:  # told the noise, the search of `branin_currin` found less with it
            gps[series.name].widen()
    for series in memory:  # first of what ran
        ran = _fitted([(series, Trended)], rows, groups)[series.name, Trended]
        imputed = _imputed_memory(known, ran, rows)
        gps[series.name] = _fitted([(imputed, Trended)], rows, groups)[imputed.name, Trended]
    objectives = []
    for first, series, objective in zip(raw, chosen, task.objectives.values(), strict=True):
        sign = 1.0 if objective.goal == "maximize" else -1.0
        objectives.append(Modelled(first.name, series.log, sign, gps[series.name]))
    constraints = (Modelled(s.name, s.log, sign, gps[s.name], bound) for s, sign, bound in bounded)
    return Surrogate(tuple(objectives), tuple(constraints))


def _forms(series: Series, scale: str) -> list[Series]:
    """The values and their logarithms, as far as an objective allows them."""
    if scale == "log":
        return [series.logged()]
    return [series, series.logged()] if _positive(series) else [series]


def _constraints(task: Task, known: Observations) -> Iterator[tuple[Series, float, float]]:
    """Series, sign and bound of every constraint, on the modelled scale."""
    for i, (name, constraint) in enumerate(task.outcome_constraints.items()):
        series = Series(f"constraint_{i}", False, tuple(o.constraints[i] for o in known.seen))
        if sum(v is not None for v in series.values) < MIN_KNOWN:
            continue
        sign, bound = (1.0 if constraint.at_least is not None else -1.0), constraint.bound
        amount = constraint.is_relative or name in COSTS
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
    wanted: Sequence[tuple[Series, type[Kernel]]], rows: Array, groups: Sequence[int]
) -> dict[tuple[str, type[Kernel]], SingleTaskGP]:
    """Maximum a posteriori fits by series name and covariance, each with its own hyperparameters."""
    metrics = {f"{s.name}_{kernel.__name__}": (s, kernel) for s, kernel in wanted}
    names = [f"x{i}" for i in range(rows.shape[1])]
    experiment = Experiment(
        name="search",
        search_space=SearchSpace([RangeParameter(n, ParameterType.FLOAT, 0.0, 1.0) for n in names]),
        tracking_metrics=[Metric(name) for name in metrics],
    )
    arms = [Arm(dict(zip(names, row.tolist(), strict=True)), name=f"0_{n}") for n, row in enumerate(rows)]
    trial = experiment.new_batch_trial()
    trial.add_arms_and_weights(arms=arms)
    trial.mark_running(no_runner_required=True)
    data = Data(data_rows=[row for name, (s, _) in metrics.items() for row in _data(name, s)])
    experiment.attach_data(data)
    trial.mark_completed()
    configs = {kernel: _config(kernel, groups) for kernel in dict.fromkeys(kernel for _, kernel in wanted)}
    adapter = Generators.BOTORCH_MODULAR(
        experiment=experiment,
        data=data,
        transforms=[],  # the unit cube is where the model lives
        surrogate_spec=SurrogateSpec(
            metric_to_model_configs={name: [configs[kernel]] for name, (_, kernel) in metrics.items()},
            allow_batched_models=False,
        ),
        torch_device=torch.device("cpu"),
    )
    surrogate = adapter.generator.surrogate
    models = list(surrogate.model.models) if len(surrogate.outcomes) > 1 else [surrogate.model]
    return {(metrics[o][0].name, metrics[o][1]): gp for o, gp in zip(surrogate.outcomes, models, strict=True)}


def _config(kernel: type[Kernel], groups: Sequence[int]) -> ModelConfig:
    return ModelConfig(
        botorch_model_class=FastGP,
        covar_module_class=kernel,
        covar_module_options={"groups": tuple(groups)},
        outcome_transform_classes=[Standardize],
        outcome_transform_options={"Standardize": {"m": 1}},
        name=kernel.__name__,
    )


def _data(name: str, series: Series) -> Iterator[DataRow]:
    """Ax data rows: mean and standard error; NaN where the noise is to be inferred."""
    for number, value in enumerate(series.values):
        if value is not None:
            sem = math.sqrt(value.variance or 0.0) if series.noise_known else math.nan
            yield DataRow(0, f"0_{number}", name, name, value.mean, sem)


@torch.no_grad()
def _density(gp: SingleTaskGP, log: bool) -> float:
    """Σ log p(value | all others), noise included, of the values before any logarithm."""
    loo = efficient_loo_cv(gp)
    expected, seen = loo.posterior, loo.observed_Y
    density = Normal(expected.mean, expected.variance.sqrt(), validate_args=False).log_prob(seen)
    return float(density.sum() - (seen.sum() if log else 0.0))
