"""Published networks: their size, and the classifier that trains and measures them."""

from __future__ import annotations

import pytest
import torch

from joulebench.data import load_arrays, stage
from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.spec.task import Dataset
from joulebench.workloads.base import Context, InfeasibleError, workload_class
from joulebench.workloads.classifier import ImageClassifier, full_batches
from joulebench.workloads.flops import count
from joulebench.workloads.networks.plain import make_lenet5
from joulebench.workloads.zoo import Zoo

PARAMS = {"model": "lenet5", "batch_size": 16, "learning_rate": 1e-3, "epochs": 2}


@pytest.fixture(scope="module")
def data():
    dataset = Dataset(name="synthetic", shape=(1, 28, 28), n=100, classes=10, validation=20)
    return stage(load_arrays(dataset), dataset, "cpu")


def built(data, **changes) -> Zoo:
    torch.manual_seed(0)
    workload = workload_class("zoo")(Context("cpu", 0, RealClock(), data))
    workload.build(PARAMS | changes)
    return workload


def test_lenet5_has_the_published_size():
    costs = count(make_lenet5((1, 28, 28), 10), torch.zeros(1, 1, 28, 28))
    # weights and biases by hand: 6·26 + 16·151 + 120·401 + 84·121 + 10·85
    assert costs.parameters == 6 * 26 + 16 * 151 + 120 * 401 + 84 * 121 + 10 * 85 == 61706
    # 28² · 6 · 25 + 10² · 16 · 150 + the dense layers
    assert costs.macs == 117600 + 240000 + 48000 + 10080 + 840


def test_an_image_too_small_for_it_is_refused():
    assert make_lenet5((3, 12, 12), 10)(torch.zeros(1, 3, 12, 12)).shape == (1, 10)
    with pytest.raises(ValueError, match=r"8×8 .*12×12"):
        make_lenet5((1, 8, 8), 10)


def test_an_unknown_model_names_the_nearest(data):
    with pytest.raises(ValueError, match="no model 'lenet'; did you mean 'lenet5'"):
        built(data, model="lenet")


class Own(ImageClassifier):
    """A search's workload of the user's own, with an option of its own."""

    OPTIONS = ("bias",)

    def make_model(self, params):
        assert self.params == params
        channels, height, width = self.data.shape
        bias = bool(self.context.options["bias"])
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(channels * height * width, 10, bias=bias))


def test_a_found_model_is_made_by_the_searchs_own_workload(data):
    options = {"found": "tests.workloads.test_zoo:Own", "found_options": {"bias": False}}
    zoo = Zoo(Context("cpu", 0, RealClock(), data, options))
    zoo.build(PARAMS | {"model": "found"})
    assert sum(p.numel() for p in zoo.built_model.parameters()) == 28 * 28 * 10
    assert len(list(zoo.train())) == 2
    with pytest.raises(InfeasibleError, match="--found RUN"):
        built(data, model="found")
    with pytest.raises(InputError, match="'transformer' makes no image classifiers"):
        Zoo(Context("cpu", 0, RealClock(), data, {"found": "transformer"}))


def test_it_trains_as_many_epochs_as_asked_and_none_for_0(data):
    workload = built(data)
    before = workload.state()
    assert [e.units for e in workload.train()] == [60, 60]
    assert any(not torch.equal(before[n], t) for n, t in workload.state().items())
    untrained = built(data, epochs=0)
    assert list(untrained.train()) == []
    assert set(untrained.evaluate("validation")) == {"accuracy", "loss", "f1_weighted", "f1_macro"}


@pytest.mark.parametrize("batch", [1, 8, 20, 50])
def test_a_step_does_the_batch_that_was_asked_for(data, batch):
    """Also where the validation split, of 20 images, is smaller."""
    phase = built(data, batch_size=batch).phases()["inference"]
    phase.prepare()
    phase.step()
    assert phase.units == batch


def test_full_batches_leave_out_the_rest():
    x = torch.arange(10.0).view(10, 1, 1, 1)
    assert [len(b) for b in full_batches(x, 4)] == [4, 4]
    (repeated,) = full_batches(x, 23)
    assert repeated.flatten().tolist() == [float(i % 10) for i in range(23)]


def test_a_classifier_of_ones_own_is_one_method(data):
    class Linear(ImageClassifier):
        def make_model(self, params):
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, len(self.data.classes)))

    workload = Linear(Context("cpu", 0, RealClock(), data))
    workload.build({"batch_size": 8, "learning_rate": 0.01, "epochs": 3})
    losses = [epoch.metrics["train_loss"] for epoch in workload.train()]
    assert losses[-1] < losses[0]
    with pytest.raises(ValueError, match="needs a data set"):
        _ = Linear(Context("cpu", 0, RealClock())).data
