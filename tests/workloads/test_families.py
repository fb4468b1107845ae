"""Networks of the studies of proxies: their figures are the published ones, or recomputed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import f1_score, recall_score
from torch import nn

from joulebench.data import load_arrays, stage
from joulebench.host.clock import RealClock
from joulebench.spec.task import Dataset
from joulebench.workloads.base import Context, InfeasibleError, workload_class
from joulebench.workloads.classifier import make_optimizer, make_schedule
from joulebench.workloads.cnn import make_cnn
from joulebench.workloads.families import FAMILIES, make_mlp
from joulebench.workloads.flops import count
from joulebench.workloads.traffic import traffic

IMAGE = (1, 28, 28)


@pytest.fixture(scope="module")
def data():
    dataset = Dataset(name="synthetic", shape=(3, 32, 32), n=60, classes=10, validation=20)
    return stage(load_arrays(dataset), dataset, "cpu")


def built(name, data, **params):
    torch.manual_seed(0)
    workload = workload_class(name)(Context("cpu", 0, RealClock(), data))
    workload.build({"batch_size": 4, "epochs": 0, **params})
    return workload


def test_scores_are_those_of_the_predictions(data):
    """Accuracy and F1 over all batches, against scikit-learn; those of each class only in the final scores."""
    workload = built("recurrent", data, cell="gru", width=8, depth=1)
    split = data.split("train")
    with torch.inference_mode():
        predicted = workload.built_model.eval()(split.x).argmax(1)
    scores = workload.evaluate("train")
    assert set(scores) == {"accuracy", "loss", "f1_weighted", "f1_macro"}
    assert scores["accuracy"] == pytest.approx(float((predicted == split.y).float().mean()))
    assert scores["f1_weighted"] == pytest.approx(f1_score(split.y, predicted, average="weighted"))
    assert scores["f1_macro"] == pytest.approx(f1_score(split.y, predicted, average="macro"))
    final = workload.final_scores("train")
    assert scores.items() <= final.items()
    for index, name in enumerate(data.classes):
        expected = recall_score(split.y, predicted, labels=[index], average=None, zero_division=0.0)[0]
        assert final.get(f"recall.{name}", 0.0) == pytest.approx(expected)


@pytest.mark.parametrize(("stride", "macs_m"), [(2, 44.69), (3, 16.16), (4, 7.19), (5, 7.16), (6, 5.37), (7, 5.35)])
def test_ecopts_study_of_stride(stride, macs_m):
    """The paper's figures: parameters stay while the work falls eightfold."""
    model = make_cnn(IMAGE, 10, width=256, depth=10, kernel=3, pool=False, stride=stride)
    costs = count(model, torch.zeros(1, *IMAGE))
    assert costs.parameters == 5_315_850
    assert round(costs.macs / 1e6, 2) == macs_m


def test_ecopts_study_of_depth():
    """Each hidden layer but the first adds 7840 · 7841 parameters and 7840² MACs."""
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in make_mlp(IMAGE, 10, 7840, depth).parameters()) for depth in (1, 2, 30)]
    first, head = 785 * 7840, 7841 * 10
    assert sizes == [first + head, first + 7840 * 7841 + head, first + 29 * 7840 * 7841 + head]
    costs = count(make_mlp(IMAGE, 10, 64, 3), torch.zeros(1, *IMAGE))
    assert costs.macs == 784 * 64 + 2 * 64 * 64 + 640


@pytest.mark.parametrize(("cell", "gates"), [("lstm", 4), ("gru", 3)])
def test_recurrent_layers_are_counted(data, cell, gates):
    workload = built("recurrent", data, cell=cell, width=16, depth=2)
    costs = workload.costs()
    assert costs.macs == 32 * gates * 16 * ((96 + 16) + (16 + 16)) + 160  # 32 rows of 3 · 32 pixels
    assert costs.flops == 2 * costs.macs
    assert costs.unsupported_ops == {}
    assert costs.parameters == sum(p.numel() for p in workload.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_and_infers(data, family):
    params = {"family": family, "width": 32, "depth": 2, "cell": "gru", "learning_rate": 0.01}
    workload = built("families", data, epochs=1, **params)
    assert [e.units for e in workload.train()] == [28]
    phase = workload.phases()["inference"]
    phase.prepare()
    phase.step()
    assert workload.evaluate("test")["accuracy"] <= 1
    assert workload.costs().macs > 0
    assert {"activations", "bytes_moved"} == set(workload.outcomes())


def test_what_a_family_does_not_have_is_infeasible(data):
    with pytest.raises(InfeasibleError, match=r"attention: width .* 32"):
        built("families", data, family="attention", width=8, depth=1)
    with pytest.raises(InfeasibleError, match=r"pooled: depth 8 "):
        built("families", data, family="pooled", width=8, depth=8)
    with pytest.raises(ValueError, match="no family 'convolution'; did you mean 'convolutional'"):
        built("families", data, family="convolution", width=8, depth=1)


def test_traffic_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(256, 10)
    )  # fmt: skip
    model.train()
    found = traffic(model, torch.zeros(1, 3, 8, 8))
    assert found.written == 256 + 256 + 10
    assert found.read == 192 + 256 + 256
    parameters = 4 * 27 + 4 + 2570
    assert found.bytes_moved(8) == 4 * (522 + 704) + 4 * parameters / 8
    assert model.training  # its mode is restored
    assert not any(m._forward_hooks for m in model.modules())


def test_traffic_sees_what_recurrent_layers_give(data):
    moved = traffic(built("recurrent", data, cell="gru", width=16, depth=1).model, torch.zeros(1, 3, 32, 32))
    assert moved.written == 32 * 16 + 16 + 10  # every step, the last state, the logits


def test_an_untrained_model_has_no_weights_worth_keeping(data):
    assert built("mlp", data, width=8, depth=1).state() is None
    assert built("mlp", data, width=8, depth=1, epochs=1).state()


def test_the_rate_follows_a_cosine():
    model = nn.Linear(2, 2)
    params = {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "epochs": 3,
              "schedule": "cosine", "schedule_epochs": 200}  # fmt: skip
    optimizer = make_optimizer(model, params)
    schedule = make_schedule(optimizer, params)
    rates = []
    for _ in range(3):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * e / 200)) / 2 for e in range(3)])
    group = optimizer.param_groups[0]
    assert (type(optimizer), group["momentum"], group["weight_decay"]) == (torch.optim.SGD, 0.9, 5e-4)


def test_adam_without_a_schedule_if_nothing_else_is_said():
    optimizer = make_optimizer(nn.Linear(2, 2), {"learning_rate": 0.01, "epochs": 1})
    assert (type(optimizer), optimizer.param_groups[0]["weight_decay"]) == (torch.optim.Adam, 0)
    assert make_schedule(optimizer, {"epochs": 1}) is None


@pytest.mark.parametrize(
    ("make", "params", "message"),
    [
        (make_optimizer, {"optimizer": "lion", "learning_rate": 1}, "no optimizer 'lion'"),
        (
            lambda m, p: make_schedule(make_optimizer(m, p), p),
            {"schedule": "step", "learning_rate": 1},
            "no schedule",
        ),
    ],
)
def test_what_is_not_known_is_refused(make, params, message):
    with pytest.raises(ValueError, match=message):
        make(nn.Linear(2, 2), params)
