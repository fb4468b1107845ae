"""Workload `zoo`: image classifiers by the parameter `model`: published ones, one's own, and found ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.parameters import Params
from joulebench.spec.registry import import_object, is_own
from joulebench.spec.task import FOUND, Task
from joulebench.workloads.base import Context, InfeasibleError, check_values, workload_class
from joulebench.workloads.classifier import ImageClassifier
from joulebench.workloads.networks.aggregate import make_densenet121, make_dpn26, make_simple_dla
from joulebench.workloads.networks.blocks import Shape
from joulebench.workloads.networks.mobile import make_efficientnet_b0, make_mobilenet, make_mobilenet_v2
from joulebench.workloads.networks.plain import make_googlenet, make_lenet5, make_vgg19
from joulebench.workloads.networks.residual import (
    make_preactresnet18,
    make_regnetx_200mf,
    make_resnet18,
    make_resnext29_2x64d,
    make_senet18,
)

MODELS: dict[str, Callable[[Shape, int], nn.Module]] = {
    "lenet5": make_lenet5,
    "lenet5_unpadded": partial(make_lenet5, padding=0),
    "efficientnet_b0": make_efficientnet_b0,
    "mobilenet": make_mobilenet,
    "mobilenet_v2": make_mobilenet_v2,
    "regnetx_200mf": make_regnetx_200mf,
    "vgg19": make_vgg19,
    "resnet18": make_resnet18,
    "preactresnet18": make_preactresnet18,
    "senet18": make_senet18,
    "dpn26": make_dpn26,
    "densenet121": make_densenet121,
    "simple_dla": make_simple_dla,
    "resnext29_2x64d": make_resnext29_2x64d,
    "googlenet": make_googlenet,
}


class Zoo(ImageClassifier):
    """Workload `zoo`: the network that the parameter `model` names.

    One of `MODELS`; `package.module:name`, which is called with the images' shape (channels, height, width) and the
    number of classes, and returns a module; or `found`, which the workload of a search makes from the other
    parameters. That workload is the option `found`, with its own options in `found_options`.
    """

    OPTIONS = ("found", "found_options")

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._search: ImageClassifier | None = None
        if (name := context.options.get("found")) is not None:
            made = workload_class(str(name))
            if not issubclass(made, ImageClassifier):
                raise InputError(f"options.found: the workload '{name}' makes no image classifiers")
            self._search = made(replace(context, options=context.options.get("found_options", {})))

    @classmethod
    def check_task(cls, task: Task) -> None:
        super().check_task(task)
        given = task.parameters["model"].given if "model" in task.parameters else ()
        check_values(task, "model", [*MODELS, *(v for v in given if v == FOUND or is_own(str(v)))])

    def make_model(self, params: Params) -> nn.Module:
        name = str(params["model"])
        if name == FOUND:
            if self._search is None:
                raise InfeasibleError("no search was named whose models these are (--found RUN)")
            self._search.params = params
            return self._search.make_model(params)
        make = import_object(name, "parameters.model") if is_own(name) else MODELS.get(name)
        if make is None:
            raise ValueError(f"no model '{name}'{did_you_mean(name, MODELS)} (allowed: {', '.join(MODELS)})")
        model = make(self.data.shape, len(self.data.classes))
        if not isinstance(model, nn.Module):
            raise ValueError(f"'{name}' must return a torch module (got {type(model).__name__})")
        return model
