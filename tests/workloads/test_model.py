"""Models that people have: each form loads and runs, variants keep quality, impossible ones are refused by name."""

from __future__ import annotations

import joblib
import numpy as np
import pytest
import threadpoolctl
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from joulebench.data import load_arrays, stage
from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.spec.task import Dataset, Task
from joulebench.workloads.base import Context, InfeasibleError, workload_class
from joulebench.workloads.model import Model
from joulebench.workloads.model_variants import Ready
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


@pytest.mark.parametrize(("quantization", "bits", "error"), [("int8_weight", 8, 0.02), ("int4_weight", 4, 0.2)])
def test_weights_alone_are_quantised(quantization, bits, error):
    pytest.importorskip("torchao", reason="pip install 'joulebench[models]'")
    options = {"model": "torch.nn:Linear", "arguments": {"in_features": 64, "out_features": 32}, "input": [64]}
    small = built(None, {"quantization": quantization}, **options)
    scores = small.evaluate("validation")
    assert scores["agreement"] > 0.8
    assert error / 20 < scores["relative_error"] < error
    packed = 64 * 32 * bits / 8 + 32 * 4  # and the bias; at most a scale and a zero for every 32 weights
    assert packed < small.outcomes()["weight_bytes"] <= packed + 2 * 32 * 8
    with pytest.raises(InfeasibleError, match=f"'{quantization}' quantises linear layers.* the model has none"):
        built(None, {"quantization": quantization}, **options | {"arguments": {}, "model": "torch.nn:ReLU"})


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


@pytest.mark.parametrize("labels", [lambda y: y + 1, lambda y: [f"digit {n}" for n in y]])
def test_an_estimator_of_other_classes_is_refused(digits, tmp_path, labels):
    """Its accuracy would be that of labels that mean something else, or none."""
    x, y = digits.train.x.flatten(1).numpy(), digits.train.y.numpy()
    joblib.dump(LogisticRegression(max_iter=5).fit(x[:100], labels(y[:100])), tmp_path / "other.joblib")
    with pytest.raises(InputError, match=r"fitted on the class .*; the data set's are 0 … 9, in the order of 0, 1"):
        built(digits, model=f"sklearn:{tmp_path / 'other.joblib'}")


def test_inputs_on_a_gpu_come_to_an_estimator_outside_the_window(digits):
    class OnGpu:
        """A tensor that NumPy cannot read where it is."""

        def flatten(self, _):
            return self

        def cpu(self):
            return torch.zeros(2, 64)

    model = built(digits, model="sklearn:sklearn.linear_model:LogisticRegression", arguments={"max_iter": 5})
    list(model.train())
    assert len(model._built.predict(model._built.prepared(OnGpu()))) == 2


class Threads:
    """An estimator that says how many threads libraries may take while it predicts."""

    def predict(self, x):
        most = max((pool["num_threads"] for pool in threadpoolctl.threadpool_info()), default=0)
        return np.full(len(x), most)


def test_a_step_of_scikit_learn_is_its_prediction_alone(digits, tmp_path, monkeypatch):
    """Limits of threads take milliseconds to set, which a prediction of 0.1 ms must not be charged with."""
    joblib.dump(Threads(), tmp_path / "threads.joblib")
    before = {p["filepath"]: p["num_threads"] for p in threadpoolctl.threadpool_info()}
    for params in ({}, {"threads": max(before.values()) + 1}):
        model = built(digits, params, model=f"sklearn:{tmp_path / 'threads.joblib'}")
        found = model._built.predict(digits.validation.x[:1])
        assert int(found) == params.get("threads", max(before.values()))
        step = model.phases()["inference"].step
        with monkeypatch.context() as patched:
            patched.setattr(threadpoolctl, "ThreadpoolController", None)  # what sets them
            patched.setattr(Threads, "predict", lambda _, x: np.zeros(len(x)))
            step()
        model.close()
        after = {p["filepath"]: p["num_threads"] for p in threadpoolctl.threadpool_info()}
        assert {path: after[path] for path in before} == before


def test_a_variant_in_tf32_is_compared_with_fp32(digits, monkeypatch):
    """Torch's switch is one of the process: the plain model must not run in TF32 as well."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before, seen = (matmul.allow_tf32, cudnn.allow_tf32), []

    def made(_, variant):
        def predict(x):
            seen.append((variant.precision, matmul.allow_tf32, cudnn.allow_tf32))
            return torch.eye(10)[: len(x) % 10 + 1].repeat(len(x), 1)[: len(x)]

        return Ready(predict, lambda x: x, 0)

    monkeypatch.setattr(Model, "_made", made)
    model = workload_class("model")(Context("cuda:0", 0, RealClock(), digits, {"model": OWN}))
    model.build({"batch_size": 300, "precision": "tf32"})
    model.evaluate("validation")
    model.phases()["inference"].step()
    assert seen == [("tf32", True, True), ("fp32", False, False), ("tf32", True, True)]
    model.close()
    assert (matmul.allow_tf32, cudnn.allow_tf32) == before


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
