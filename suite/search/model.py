"""The model of a search: Ax and BoTorch. Imported when a qnehvi stage needs it, never with the package."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import torch
from ax.adapter.registry import Generators, MBM_X_trans
from ax.core.arm import Arm
from ax.core.data import Data, DataRow
from ax.core.experiment import Experiment
from ax.core.metric import Metric
from ax.core.objective import Objective
from ax.core.observation import ObservationFeatures
from ax.core.optimization_config import MultiObjectiveOptimizationConfig, OptimizationConfig
from ax.core.outcome_constraint import OutcomeConstraint
from ax.core.parameter import ChoiceParameter as AxChoice
from ax.core.parameter import ParameterType, RangeParameter
from ax.core.search_space import SearchSpace
from ax.generators.torch.botorch_modular.acquisition import Acquisition
from ax.generators.torch.botorch_modular.surrogate import SurrogateSpec
from ax.generators.torch.botorch_modular.utils import ModelConfig
from botorch.acquisition.logei import qLogNoisyExpectedImprovement
from botorch.acquisition.multi_objective.monte_carlo import qNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.acquisition.objective import GenericMCObjective
from botorch.models.transforms.outcome import Standardize
from botorch.utils.multi_objective.hypervolume import infer_reference_point
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor

from suite.search.observations import Observation
from suite.search.space import Free, position
from suite.task import ChoiceParameter, Params, Task, Value

MC_SAMPLES = 128
CHUNK = 256  # candidates evaluated at once; bounds memory where a front has many cells
RUNS = "runs"  # the outcome that says whether a configuration runs: 1, or 0 for one refused
HELD = "held"  # the option under which an acquisition function is kept from call to call
THREADS = 1  # the matrices are small: a second thread gains little, and one keeps sums in one order
LOG_ENERGY = True  # 10 + 20 trials of tests/synthetic_search.py, 8 seeds: 0.86 of the best hypervolume; raw, 0.84

Score = Callable[[Sequence[Params]], list[float]]


def settings(task: Task) -> dict[str, Any]:
    """Versions and settings, for the run's manifest."""
    return {
        "versions": {name: version(name) for name in ("ax-platform", "botorch", "gpytorch", "torch")},
        "acquisition": _acquisition(task).__name__,
        "mc_samples": MC_SAMPLES,
        "threads": THREADS,
    }


def _acquisition(task: Task) -> type:
    # The plain form, not qLogNEHVI: the logarithm is there for gradients, and candidates are scored, not
    # followed uphill. On tests/synthetic_search.py both proposed the same, the logarithm at three times the
    # cost, and it compiles a C++ kernel at first use (37 s), which no proposal should depend on.
    single = len(task.objectives) == 1
    return qLogNoisyExpectedImprovement if single else qNoisyExpectedHypervolumeImprovement  # type: ignore[no-any-return]


@contextmanager
def fitted(task: Task, seen: Sequence[Observation], seed: int) -> Iterator[Score]:
    """A model of what has been seen, as a function that scores configurations: the higher, the sooner to try.

    Raises:
        RuntimeError: the model could not be fitted or evaluated.
    """
    with _quiet(), torch.random.fork_rng(devices=[]), _threads(THREADS):
        torch.manual_seed(seed)
        try:
            adapter, held = _adapter(task, seen), {HELD: dict[str, Any]()}

            def score(candidates: Sequence[Params]) -> list[float]:
                features = [ObservationFeatures(_encode(task, params)) for params in candidates]
                with torch.no_grad():
                    found: list[float] = adapter.evaluate_acquisition_function(features, acq_options=held)
                return found

            yield score
        except Exception as error:
            raise RuntimeError(
                f"search of task '{task.name}': the model failed after {len(seen)} configurations:"
                f" {type(error).__name__}: {error}"
            ) from error


class _Chunked(Acquisition):  # type: ignore[misc]
    """Evaluates candidates in chunks, always by the acquisition function that the first call built.

    Partitioning the objective space costs more than evaluating; and with the same draws, scores compare.
    """

    acqf: Any

    def _instantiate_acquisition(self) -> None:
        held = self.options[HELD]
        if "acqf" not in held:
            super()._instantiate_acquisition()
            held["acqf"] = self.acqf
        self.acqf = held["acqf"]

    def evaluate(self, X: Tensor) -> Tensor:  # noqa: N803
        return torch.cat([self.acqf(part) for part in X.split(CHUNK)])


def _adapter(task: Task, seen: Sequence[Observation]) -> Any:
    names = [f"objective_{i}" for i in range(len(task.objectives))]  # in this order also when sorted
    logs = _modelled_as_log(task, seen)
    experiment = Experiment(
        name=task.name, search_space=_search_space(task), optimization_config=_config(task, names, seen)
    )
    trial = experiment.new_batch_trial()
    for number, observation in enumerate(seen):
        trial.add_arm(Arm(_encode(task, observation.params), name=f"0_{number}"))
    trial.mark_running(no_runner_required=True)
    data = Data(data_rows=list(_rows(names, seen, logs)))
    experiment.attach_data(data)
    trial.mark_completed()
    return Generators.BOTORCH_MODULAR(
        experiment=experiment,
        data=data,
        transforms=MBM_X_trans,
        surrogate_spec=SurrogateSpec(
            model_configs=[
                ModelConfig(
                    outcome_transform_classes=[Standardize],
                    outcome_transform_options={"Standardize": {"m": 1}},
                    name="joulebench",
                )
            ],
            allow_batched_models=False,
        ),
        acquisition_class=_Chunked,
        botorch_acqf_class=_acquisition(task),
        botorch_acqf_options=_acquisition_options(task, seen, logs),
    )


def _search_space(task: Task) -> SearchSpace:
    """Every free parameter, also those a stage leaves at their default: other stages may have varied them."""
    free = {n: p for n, p in task.free.items() if p.scope == "task"}
    return SearchSpace([_parameter(name, parameter) for name, parameter in free.items()])


def _parameter(name: str, parameter: Free) -> Any:
    """Numbers are modelled as reals, whole ones too: candidates are configurations, so none needs rounding."""
    if not isinstance(parameter, ChoiceParameter):
        low, high, log = parameter.low, parameter.high, parameter.scale == "log"
        return RangeParameter(name, ParameterType.FLOAT, float(low), float(high), log_scale=log)
    if parameter.ordered:
        numbers = [float(v) for v in parameter.values]
        return RangeParameter(name, ParameterType.FLOAT, min(numbers), max(numbers))
    if len(parameter.values) == 2:
        return RangeParameter(name, ParameterType.FLOAT, 0.0, 1.0)
    labels = [str(i) for i in range(len(parameter.values))]  # by number: `1` and `true` are different choices
    return AxChoice(name, ParameterType.STRING, labels, is_ordered=False, sort_values=False)


def _encode(task: Task, params: Params) -> dict[str, Any]:
    free = {n: p for n, p in task.free.items() if p.scope == "task"}
    return {name: _encoded(parameter, params[name]) for name, parameter in free.items()}


def _encoded(parameter: Free, value: Value) -> float | str:
    if not isinstance(parameter, ChoiceParameter) or parameter.ordered:
        return float(value)
    index = position(parameter.values, value)
    return float(index) if len(parameter.values) == 2 else str(index)


def _config(task: Task, names: Sequence[str], seen: Sequence[Observation]) -> OptimizationConfig:
    metrics = {name: Metric(name) for name in names}
    signs = _signs(task)
    expression = ", ".join(name if sign > 0 else f"-{name}" for name, sign in zip(names, signs, strict=True))
    objective = Objective(expression, metric_name_to_signature={n: m.signature for n, m in metrics.items()})
    constraints = []
    if any(observation.refused for observation in seen):
        constraints.append(OutcomeConstraint(expression=f"{RUNS} >= 0.5", metric_name_to_signature={RUNS: RUNS}))
    kind = OptimizationConfig if len(names) == 1 else MultiObjectiveOptimizationConfig
    return kind(objective=objective, outcome_constraints=constraints)


def _signs(task: Task) -> list[float]:
    return [1.0 if objective.goal == "maximize" else -1.0 for objective in task.objectives.values()]


def _modelled_as_log(task: Task, seen: Sequence[Observation]) -> list[bool]:
    values = [[o.means[i] for o in seen if o.means] for i in range(len(task.objectives))]
    return [
        LOG_ENERGY and objective.is_energy and all(v > 0 for v in column)
        for objective, column in zip(task.objectives.values(), values, strict=True)
    ]


def _rows(names: Sequence[str], seen: Sequence[Observation], logs: Sequence[bool]) -> Iterator[Any]:
    """Ax's rows: a mean and a standard error per arm and metric; NaN where the noise is to be inferred."""
    # a noise known for some configurations only would be mixed with an inferred one: then all is inferred
    known = [all(o.variances[i] is not None for o in seen if o.means) for i in range(len(names))]
    refusals = any(o.refused for o in seen)
    for number, observation in enumerate(seen):
        arm = f"0_{number}"
        for i, mean in enumerate(observation.means):
            sem = math.sqrt(observation.variances[i] or 0.0) if known[i] else math.nan
            if logs[i]:
                mean, sem = math.log(mean), sem / mean  # the delta method
            yield DataRow(0, arm, names[i], names[i], mean, sem)
        if refusals:
            yield DataRow(0, arm, RUNS, RUNS, 0.0 if observation.refused else 1.0, math.nan)


def _acquisition_options(task: Task, seen: Sequence[Observation], logs: Sequence[bool]) -> dict[str, Any]:
    """Objectives taken back from logarithms and turned to be maximised, and the reference in those terms.

    So energy is modelled on a log scale, and yet the hypervolume is that of the raw values.
    """
    signs = _signs(task)

    def raw(samples: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: ARG001, N803
        columns = [samples[..., i].exp() if log else samples[..., i] for i, log in enumerate(logs)]
        return torch.stack([c * s for c, s in zip(columns, signs, strict=True)], dim=-1)

    def single(samples: Tensor, X: Tensor | None = None) -> Tensor:  # noqa: N803
        return raw(samples, X)[..., 0]

    if len(signs) == 1:
        # Ax would turn the posterior too: the sign would be taken twice
        return {"objective": GenericMCObjective(single), "posterior_transform": None}
    return {"objective": GenericMCMultiOutputObjective(raw), "ref_point": _reference(task, seen)}


def _reference(task: Task, seen: Sequence[Observation]) -> Tensor:
    """The task's references; one it does not give is the nadir of what is non-dominated, less a tenth of its range.

    As long as nothing seen is better than the reference in every objective, that nadir, where it is lower,
    stands in: from an unreached reference no step would count as an improvement. Formula:
    `botorch.utils.multi_objective.hypervolume.infer_reference_point` (Ishibuchi et al. 2011).
    """
    signs = torch.tensor(_signs(task), dtype=torch.double)
    values = torch.tensor([o.means for o in seen if o.means], dtype=torch.double) * signs
    references = [o.reference for o in task.objectives.values()]
    given = torch.tensor([math.nan if r is None else r for r in references], dtype=torch.double) * signs
    front = values[is_non_dominated(values)]
    filled = torch.where(given.isnan(), infer_reference_point(front, scale=0.1), given)
    reference: Tensor = infer_reference_point(front, max_ref_point=filled, scale=0.1)
    return reference


@contextmanager
def _quiet() -> Iterator[None]:
    """Ax and BoTorch warn of routine things; what really fails raises."""
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
