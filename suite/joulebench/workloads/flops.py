"""Static costs of a model: parameters, multiply-accumulates (MACs) and FLOPs.

Counting rule: one fused multiply-add of a convolution, a matrix product or a recurrent layer is one MAC. FLOPs =
2 × MACs + the arithmetic of norms, adaptive pooling and interpolation. Scaled-dot-product attention counts as its
two matrix products: every query with every key it is given, whether or not a mask hides the result. Elementwise
operators, reductions and data movement count 0. All other operators are listed with their number of calls
(`unsupported_ops`): the model then takes at least what is counted.

fvcore counts, by the operators of a trace. A second count checks it, by the kernels that one forward pass calls
(torch's own `FlopCounterMode`, with formulas of `joulebench.workloads.kernels` for kernels that it does not know).
Where fvcore cannot trace the model, lacks an operator or has other MACs, that second count stands.

FLOPs of training are those of the kernels of one step's forward pass, by the same rule, plus the products of its
backward pass: a layer's gradient of its weights and that of its input, each as large as its forward product, where
they are needed. (The first layer needs none of its input, so it is less than 3 × forward.) The rest of the backward
pass, and the optimiser, are elementwise or as good as that and count 0. Nothing is computed: a copy of the model is
differentiated on the meta device, where attention is its products. A fused kernel that computes its scores again in
the backward pass does more than is counted.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from operator import index
from typing import TYPE_CHECKING, Any

from joulebench.errors import described
from joulebench.host.memory import is_out_of_memory
from joulebench.records.model import Costs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Tally:
    """MACs and FLOPs of one call of a model, and the operators that are not counted, with their number of calls."""

    macs: int
    flops: int
    unsupported_ops: dict[str, int]


def tally(
    model: torch.nn.Module, inputs: tuple[torch.Tensor, ...], reset: Callable[[], object] = lambda: None
) -> Tally:
    """Count the MACs and FLOPs of `model(*inputs)`, which is called twice.

    Model and inputs may lie on the meta device, where nothing is computed. The model's mode is restored.

    Args:
        reset: undoes what a call leaves in the model, such as a filled cache.
    """
    checked = _by_kernels(model, inputs)
    reset()
    counted = _by_fvcore(model, inputs)
    agree = counted is not None and not counted.unsupported_ops and counted.macs == checked.macs
    return counted if counted is not None and agree and not checked.unsupported_ops else checked


_ATTENTION = "scaled_dot_product_attention"
_MAC_OPERATORS = frozenset({"conv", "linear", "addmm", "matmul", "bmm", "einsum", "mm", "baddbmm", _ATTENTION})
# Elementwise operators and data movement, which fvcore leaves out by design.
_NEGLIGIBLE = frozenset(
    "aten::" + name
    for name in (
        "add", "add_", "sub", "mul", "mul_", "div", "relu", "relu_", "argmax", "max_pool2d", "dropout", "flatten",
        "pow", "mean", "rsqrt", "neg", "cos", "sin", "tanh", "silu", "silu_", "sigmoid", "gelu", "softmax",
        "avg_pool2d", "embedding", "le", "where", "new_ones", "index_copy_",
    )
)  # fmt: skip


def load_counter() -> Any:
    """Import fvcore's counter, which takes seconds: a run does so before its first trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore's own imports use torch.jit.script
        from fvcore.nn import FlopCountAnalysis
    return FlopCountAnalysis


def _by_fvcore(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Tally | None:
    """fvcore's count; None where it cannot trace the model or fails."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad(), warnings.catch_warnings():
            analysis = load_counter()(model, inputs)
            analysis.set_op_handle(f"aten::{_ATTENTION}", _attention_macs)
            analysis.unsupported_ops_warnings(False)
            analysis.uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            by_operator = analysis.by_operator()
            unsupported = analysis.unsupported_ops()
    except Exception as failure:  # whatever it stumbles over, the other count stands
        if is_out_of_memory(failure):
            raise
        return None
    finally:
        model.train(training)
    macs = int(sum(n for operator, n in by_operator.items() if operator in _MAC_OPERATORS))
    other = int(sum(n for operator, n in by_operator.items() if operator not in _MAC_OPERATORS))
    unknown = {op: int(n) for op, n in sorted(unsupported.items()) if op not in _NEGLIGIBLE}
    return Tally(macs, 2 * macs + other, unknown)


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:  # noqa: ARG001
    """MACs of attention over queries (batch, heads, q, d), keys (batch, key heads, k, d) and values (…, k, e)."""
    (batch, heads, q, d), keys, values = (value.type().sizes() for value in inputs[:3])
    return int(batch * heads * q * keys[2] * (d + values[3]))


def _by_kernels(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Tally:
    """Count of the kernels that are called."""
    import torch
    from torch.backends import mha
    from torch.utils.flop_counter import FlopCounterMode

    from joulebench.workloads.kernels import FORMULAS, Exits, Kernels

    training, fused = model.training, mha.get_fastpath_enabled()
    kernels, products = Kernels(), FlopCounterMode(display=False, custom_mapping=FORMULAS)
    model.eval()
    mha.set_fastpath_enabled(False)  # one kernel for a whole layer of an encoder, with the same arithmetic
    try:
        with torch.no_grad(), kernels, Exits(kernels.unknown), products:
            model(*inputs)
    finally:
        mha.set_fastpath_enabled(fused)
        model.train(training)
    flops = products.get_total_flops()
    return Tally(flops // 2, flops + kernels.other_flops, dict(sorted(kernels.unknown.items())))


def count(model: torch.nn.Module, example: torch.Tensor) -> Costs:
    """Static costs of one forward pass of `example`: one sample, on the model's device.

    MACs and FLOPs are absent where operators are unknown and nothing else is counted.
    """
    tallied = tally(model, (example,))
    parameters = sum(p.numel() for p in model.parameters())
    if tallied.unsupported_ops and not tallied.macs:
        unknown = ", ".join(tallied.unsupported_ops)
        return Costs(parameters=parameters, uncounted=f"no counting rule for {unknown}, and nothing else to count")
    return Costs(
        parameters=parameters,
        macs=tallied.macs,
        flops=tallied.flops,
        unsupported_ops=tallied.unsupported_ops,
    )


def with_training(
    costs: Costs, model: torch.nn.Module, loss: Callable[[torch.nn.Module], tuple[torch.Tensor, int] | None]
) -> Costs:
    """Add the FLOPs of training on one unit of work, and the kernels without a counting rule.

    The model is left as it is, with its gradients, statistics and random numbers.

    Args:
        loss: of one training step of a copy of the model on the meta device, and the step's units of work; None
            where it is not known how the model trains, and nothing is added. What it raises is the reason why there
            is no count.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from joulebench.workloads.kernels import FORMULAS, Exits, Kernels

    kernels, products = Kernels(training=True), FlopCounterMode(display=False, custom_mapping=FORMULAS)
    try:
        copy = _on_meta(model).train()
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), kernels, Exits(kernels.unknown), products:
            step = loss(copy)
            if step is None:
                return costs
            step[0].backward()
        if (units := index(step[1])) < 1:
            raise ValueError(f"training_loss: a step has at least 1 unit of work (got {units})")
        flops = (products.get_total_flops() + kernels.other_flops) / units
    except Exception as failure:  # a model that cannot be copied or asks for values; energy needs no count
        if is_out_of_memory(failure):
            raise
        return costs.model_copy(update={"train_uncounted": described(failure)})
    unknown = dict(sorted(kernels.unknown.items()))
    if unknown and not flops:
        return costs.model_copy(update={"train_uncounted": f"no counting rule for {', '.join(unknown)}"})
    return costs.model_copy(
        update={"phase_flops": {**costs.phase_flops, "train": flops}, "train_unsupported_ops": unknown}
    )


def _on_meta(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of a model on the meta device: shapes and layouts without values."""
    import torch

    def meta(tensor: torch.Tensor) -> torch.Tensor:
        empty = torch.empty_like(tensor, device="meta")
        if isinstance(tensor, torch.nn.Parameter):
            return torch.nn.Parameter(empty, tensor.requires_grad)
        return empty.requires_grad_(tensor.requires_grad)

    held = (value for module in model.modules() for value in vars(module).values())  # beside parameters and buffers
    tensors = [*model.parameters(), *model.buffers(), *(v for v in held if isinstance(v, torch.Tensor))]
    return deepcopy(model, {id(tensor): meta(tensor) for tensor in tensors})
