"""Models that people have: each form loads and runs, variants keep quality, impossible ones are refused by name."""

from __future__ import annotations

import joblib
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from joulebench.data import load_arrays, stage
from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.spec.task import Dataset, Task
from joulebench.workloads.base import Context, InfeasibleError, workload_class
from tests.workloads.test_model_sources import onnx_needed

OWN = "tests.workloads.test_model:Small"
WEIGHTS = 8 * 9 + 8 + 288 * 10 + 10  # of Small


class Small(nn.Sequential):
    """A CNN for 8×8 images."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


@pytest.fixture(scope="module")
def digits():
    dataset = Dataset(name="digits", validation=300)
    return stage(load_arrays(dataset), dataset, "cpu")


@pytest.fixture(scope="module")
def trained(digits, tmp_path_factory):
    """The file of Small's weights, trained on the digits, and its accuracy on the validation images."""
    torch.manual_seed(0)
    model = Small()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(digits.train.x), digits.train.y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("model") / "small.pt"
    torch.save(model.state_dict(), path)
    with torch.inference_mode():
        accuracy = float((model(digits.validation.x).argmax(1) == digits.validation.y).double().mean())
    assert accuracy > 0.8
    return path, accuracy


def built(data, params=None, **options):
    workload = workload_class("model")(Context("cpu", 0, RealClock(), data, options))
    workload.build({"batch_size": 64} | (params or {}))
    return workload


def test_a_class_of_ones_own_with_its_weights(digits, trained):
    path, accuracy = trained
    model = built(digits, model=OWN, weights=str(path))
    scores = model.evaluate("validation")
    assert scores["accuracy"] == pytest.approx(accuracy, abs=1e-9)
    assert (scores["agreement"], scores["relative_error"]) == (1, 0)
    assert model.outcomes() == {"weight_bytes": 4 * WEIGHTS}
    assert model.costs().parameters == WEIGHTS
    phase = model.phases()["inference"]
    phase.prepare()
    phase.step()
    assert (phase.units, phase.unit, phase.timed) == (64, "sample", True)


def test_onnx_runtime_is_as_accurate(digits, trained, tmp_path):
    onnx_needed()
    path, accuracy = trained
    by_engine = built(digits, {"engine": "onnxruntime"}, model=OWN, weights=str(path))
    assert by_engine.evaluate("validation")["accuracy"] == pytest.approx(accuracy, abs=1e-3)
    assert 0 < by_engine.evaluate("validation")["relative_error"] < 1e-4
    assert by_engine.outcomes()["weight_bytes"] == 4 * WEIGHTS
    model = Small()
    model.load_state_dict(torch.load(path, weights_only=True))
    file = tmp_path / "small.onnx"
    shape = {"input": {0: "n"}, "output": {0: "n"}}
    torch.onnx.export(
        model.eval(), (digits.validation.x[:2],), file, dynamo=False, input_names=["input"],
        output_names=["output"], dynamic_axes=shape,
    )  # fmt: skip
    by_file = built(digits, model=f"onnx:{file}")
    assert by_file.evaluate("validation")["accuracy"] == pytest.approx(accuracy, abs=1e-3)
    small = built(digits, {"quantization": "int8_dynamic"}, model=f"onnx:{file}")
    assert small.evaluate("validation")["agreement"] > 0.97
    assert small.outcomes()["weight_bytes"] < 2 * WEIGHTS
    with pytest.raises(InfeasibleError, match="ONNX model runs with engine = 'onnxruntime', not 'eager'"):
        built(digits, {"engine": "eager"}, model=f"onnx:{file}")


def test_an_onnx_model_of_another_batch_is_refused(digits, tmp_path):
    onnx_needed()
    file = tmp_path / "two.onnx"
    torch.onnx.export(Small().eval(), (digits.validation.x[:2],), file, dynamo=False)
    with pytest.raises(InfeasibleError, match="batch_size = 64: the ONNX model takes batches of 2"):
        built(digits, model=f"onnx:{file}")


def test_variants_of_a_torch_model(digits, trained):
    path, accuracy = trained
    half = built(digits, {"precision": "bf16", "channels_last": True}, model=OWN, weights=str(path))
    assert half.evaluate("validation")["accuracy"] == pytest.approx(accuracy, abs=0.02)
    assert 1e-4 < half.evaluate("validation")["relative_error"] < 0.05
    assert half.outcomes()["weight_bytes"] == 2 * WEIGHTS
    small = built(digits, {"quantization": "int8_dynamic"}, model=OWN, weights=str(path))
    assert small.evaluate("validation")["agreement"] > 0.97
    assert 2880 <= small.outcomes()["weight_bytes"] < 2 * WEIGHTS


def test_threads_are_set_and_put_back(digits):
    before = torch.get_num_threads()
    model = built(digits, {"threads": before + 1}, model=OWN)
    assert torch.get_num_threads() == before + 1
    model.close()
    assert torch.get_num_threads() == before


def test_resnet18_in_its_variants():
    options = {"model": "torchvision:resnet18", "input": [3, 32, 32]}
    plain = built(None, {"batch_size": 8}, **options)
    assert plain.outcomes()["weight_bytes"] == pytest.approx(4 * 11_689_512, rel=1e-3)  # and the norms' statistics
    assert "accuracy" not in plain.evaluate("validation")
    layout = built(None, {"batch_size": 8, "channels_last": True}, **options)
    assert layout.evaluate("validation")["relative_error"] < 1e-4
    small = built(None, {"batch_size": 8, "quantization": "int8_dynamic"}, **options)
    saved = plain.outcomes()["weight_bytes"] - small.outcomes()["weight_bytes"]
    assert saved == pytest.approx(3 * 512 * 1000, rel=0.01)  # the last layer: a byte a weight in place of four


def test_scikit_learn_by_its_class_and_from_a_file(digits, tmp_path):
    x, y = digits.train.x.flatten(1).numpy(), digits.train.y.numpy()
    fitted = LogisticRegression(max_iter=200).fit(x, y)
    expected = fitted.score(digits.validation.x.flatten(1).numpy(), digits.validation.y.numpy())
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    read = built(digits, model=f"sklearn:{tmp_path / 'fitted.joblib'}")
    assert read.evaluate("validation")["accuracy"] == pytest.approx(expected)
    made = built(digits, model="sklearn:sklearn.linear_model:LogisticRegression", arguments={"max_iter": 200})
    assert [epoch.units for epoch in made.train()] == [len(y)]
    assert made.evaluate("validation")["accuracy"] == pytest.approx(expected)
    made.phases()["inference"].step()
    with pytest.raises(InfeasibleError, match="threads and batch_size only"):
        built(digits, {"precision": "bf16"}, model=f"sklearn:{tmp_path / 'fitted.joblib'}")


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"precision": "tf32"}, "'tf32' runs on CUDA only"),
        ({"precision": "bf16", "quantization": "int8_dynamic"}, "'int8_dynamic' needs precision = 'fp32'"),
        ({"engine": "onnxruntime", "channels_last": True}, "channels_last = true is torch's"),
        ({"engine": "onnxruntime", "precision": "fp16"}, "'onnxruntime' needs precision = 'fp32'"),
        ({"engine": "onnxruntime", "compile": True}, "compile = true is torch's"),
    ],
)
def test_impossible_combinations_are_refused_by_name(digits, params, reason):
    with pytest.raises(InfeasibleError, match=reason):
        built(digits, params, model=OWN)


def test_weights_that_do_not_fit_are_refused_by_name(digits, tmp_path):
    state = Small().state_dict()
    torch.save({k: v for k, v in state.items() if k != "3.bias"}, tmp_path / "less.pt")
    with pytest.raises(InputError, match=r"has no fitting weights for 3\.bias$"):
        built(digits, model=OWN, weights=str(tmp_path / "less.pt"))
    torch.save(state | {"head.bias": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(InputError, match=r"weights that the model lacks: head\.bias$"):
        built(digits, model=OWN, weights=str(tmp_path / "more.pt"))


def task(options, **parameters):
    return Task.model_validate(
        {
            "name": "t", "version": 1, "title": "t", "description": "t", "workload": "model", "options": options,
            "parameters": {n: {"type": "fixed", "value": v} for n, v in ({"batch_size": 64} | parameters).items()},
            "objectives": {
                "j_per_sample": {"goal": "minimize", "phase": "inference", "domains": ["cpu"], "basis": "gross"}
            },
            "stages": {"default": {"method": "default", "repeats": 1}},
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "parameters", "reason"),
    [
        ({"model": "resnet18"}, {}, "options.model: must name a model"),
        ({"model": "onnx:nowhere.onnx"}, {}, "there is no 'nowhere.onnx'"),
        ({"model": "hf:translation:x"}, {}, "no task 'translation' of hf"),
        ({"model": OWN, "weights": "nowhere.pt"}, {}, "options.weights: there is no 'nowhere.pt'"),
        ({"model": OWN}, {}, "options.input: without a data set"),
        ({"model": OWN, "input": [1, 8, 8]}, {"precision": "fp8"}, "no precision 'fp8'"),
        ({"model": OWN, "input": [1, 8, 8]}, {"threads": 0}, "parameters.threads: must be a whole number from 1"),
        ({"model": OWN, "input": [1, 8, 8]}, {"compile": True, "engine": "compile"}, "give one of the two"),
    ],
)
def test_a_task_that_no_trial_could_run_is_refused(options, parameters, reason):
    with pytest.raises(InputError, match=reason):
        workload_class("model").check_task(task(options, **parameters))


def test_an_unknown_torchvision_model_names_the_nearest():
    with pytest.raises(InputError, match="torchvision has no 'resnet19'; did you mean 'resnet1"):
        built(None, model="torchvision:resnet19", input=[3, 32, 32])


def test_a_missing_library_names_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'joulebench\[models\]' .*'timm'"):
        built(None, model="timm:resnet18", input=[3, 32, 32])
