"""Every task and profile that is dropped into the catalogue is checked here."""

from __future__ import annotations

import contextlib
import itertools

import numpy as np
import pytest

from joulebench import search
from joulebench.data import ImageArrays, TextBytes, stage
from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.spec.catalog import find_task, task_files
from joulebench.spec.objectives import COSTS
from joulebench.spec.parameters import ChoiceParameter
from joulebench.spec.task import Dataset, Task
from joulebench.workloads.architectures import read_architecture
from joulebench.workloads.base import Context, InfeasibleError, workload_class
from joulebench.workloads.model import Model
from joulebench.workloads.transformer import Transformer

TASKS = list(task_files())
CASES = [(name, budget) for name in TASKS for budget in [None, *find_task(name).budgets]]
#: Images of published data sets, which tests do not load; synthetic ones say their shape themselves.
SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}


def merged(name: str, budget: str | None) -> Task:
    return find_task(name).with_budget(budget)


def stand_in(dataset: Dataset):
    """Random images of the data set's shape."""
    if dataset.is_text:
        content = np.random.default_rng(0).integers(0, 256, 4096, dtype=np.uint8)
        short = dataset.model_copy(update={"train": None, "validation": 1024})
        return stage(TextBytes(content, "stand-in"), short, "cpu")
    channels, height, width = dataset.shape or SHAPES[dataset.name]
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (80, height, width, channels), dtype=np.uint8)
    y = np.arange(80, dtype=np.int64) % 10
    arrays = ImageArrays(x, y, x[:20], y[:20], tuple("0123456789"), "stand-in")
    return stage(arrays, dataset.model_copy(update={"train": None, "validation": 20}), "cpu")


@pytest.mark.parametrize(("name", "budget"), CASES)
def test_it_says_what_it_is(name, budget):
    task = merged(name, budget)
    assert task.title
    assert task.description
    assert search.planned_trials(task) >= 1
    assert len(task.objectives) >= (2 if task.has_frontier else 1)


def small(task: Task) -> Task:
    """A published language model at an eighth of its width, two layers and few words: the task is checked.

    Likewise a small network in place of ResNet-18.
    """
    if workload_class(task.workload) is Model:
        for name in ("onnx", "onnxruntime", "torchao"):
            pytest.importorskip(name, reason=f"{name} is not installed: pip install 'joulebench[models]'")
        options = {"model": "torchvision:shufflenet_v2_x0_5", "input": [3, 32, 32]}
        return task.model_copy(update={"options": task.options | options})
    if workload_class(task.workload) is not Transformer:
        return task
    sizes = dict(task.defaults)
    width = sizes.get("hidden_size") or read_architecture(str(sizes["architecture"])).config["hidden_size"]
    sizes |= {"hidden_size": max(64, int(width) // 8), "layers": 2, "vocabulary": 512, "batch_size": 2, "heads": 4}
    if sizes["architecture"] != "custom":
        del sizes["heads"]
    fixed = {n: {"type": "fixed", "value": v} for n, v in sizes.items()}
    stages = {"default": {"method": "default", "repeats": 1}}
    return Task.model_validate(
        task.model_dump(mode="json") | {"parameters": fixed, "stages": stages, "budgets": {}}
    )


@pytest.mark.parametrize(("name", "budget"), CASES)
def test_its_default_builds_trains_and_steps(name, budget):
    task = small(merged(name, budget))
    stops = itertools.count()
    data = stand_in(task.dataset) if task.dataset else None
    context = Context("cpu", 0, RealClock(), data, task.options, should_stop=lambda: next(stops) >= 1)
    workload = workload_class(task.workload)(context)
    workload.build(task.defaults)
    epochs = list(workload.train())
    assert len(epochs) <= 2
    metrics = {f"val_{n}": v for n, v in workload.evaluate("validation").items()}
    metrics |= {f"test_{n}": v for n, v in workload.evaluate("test").items()} | workload.outcomes()
    phases = workload.phases()
    for _, quantity_name, quantity in task.quantities():
        if quantity.phase is None:
            assert quantity_name in metrics or quantity_name in COSTS
        else:
            assert quantity.phase in {*phases, "train"}
            assert not quantity.is_latency or phases[quantity.phase].timed
    for phase in phases.values():
        phase.prepare()
        phase.step()
        assert phase.units >= 1
    workload.close()


@pytest.mark.parametrize(("name", "budget"), CASES)
def test_every_corner_of_its_space_builds(name, budget):
    task = merged(name, budget)
    if workload_class(task.workload) is Model:
        task = small(task)
    data = stand_in(task.dataset) if task.dataset else None
    # a language model of billions of parameters is laid out without memory
    device = "meta" if workload_class(task.workload) is Transformer else "cpu"
    ends = {
        n: (p.values[0], p.values[-1]) if isinstance(p, ChoiceParameter) else (p.low, p.high)
        for n, p in task.free.items()
    }
    for corner in itertools.product(*ends.values()):
        params = task.resolve(dict(zip(ends, corner, strict=True)))
        if not task.allows(params):
            continue
        workload = workload_class(task.workload)(Context(device, 0, RealClock(), data, task.options))
        with contextlib.suppress(InfeasibleError):  # a row that a table does not have
            workload.build(params)
        workload.close()


def test_the_paper_budgets_are_the_papers():
    for name in ("cifar10", "cifar10_ecopt"):
        task = merged(name, "paper")
        space = dict(task.free.items())
        assert (space["width"].low, space["width"].high, task.defaults["width"]) == (1, 128, 51)
        assert (space["depth"].low, space["depth"].high, task.defaults["depth"]) == (1, 6, 6)
        assert space["kernel"].values == (1, 3, 5, 7, 9)
        assert space["pool"].values == (True, False)
        assert task.space_size == 128 * 6 * 5 * 2
        assert (task.stages["init"].trials, task.stages["search"].trials) == (40, 160)
        assert task.defaults | {"width": 0, "depth": 0} == {
            "width": 0, "depth": 0, "kernel": 3, "pool": True,
            "batch_size": 64, "learning_rate": 0.001, "epochs": 500,
        }  # fmt: skip
        assert (task.training.patience, task.training.min_delta, task.training.monitor) == (3, 0.001, "val_loss")
        assert (task.dataset.train, task.dataset.validation, task.dataset.augment) == (None, 10000, ())


def test_only_the_ecopt_task_searches_on_the_test_split():
    splits = {name: find_task(name).dataset.search_split for name in TASKS if find_task(name).dataset}
    assert [name for name, split in splits.items() if split == "test"] == ["cifar10_ecopt"]
    assert find_task("cifar10_ecopt").deviations


def test_standard_is_the_20_and_50_study():
    task = merged("cifar10", "standard")
    assert (task.stages["init"].trials, task.stages["search"].trials) == (20, 50)
    assert task.space_size == 7680


def test_an_unknown_task_names_the_nearest():
    with pytest.raises(InputError, match="no task 'cifar'; did you mean 'cifar10'"):
        find_task("cifar")
