"""Static costs of a model: parameters, multiply-accumulates (MACs) and FLOPs by fvcore.

Counting rule: one fused multiply-add of a convolution or matrix product, which fvcore counts as one, is one MAC.
FLOPs = 2 × MACs + fvcore's arithmetic of every other operator it knows (norms, pooling, interpolation).
Scaled-dot-product attention, which fvcore does not know, counts as its two matrix products: every query with every
key it is given, whether or not a mask hides the result. Elementwise operators and data movement count 0. All other
operators are listed with their number of calls (`unsupported_ops`).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joulebench.records.model import Costs

if TYPE_CHECKING:
    import torch

_ATTENTION = "scaled_dot_product_attention"
_MAC_OPERATORS = frozenset({"conv", "linear", "addmm", "matmul", "bmm", "einsum", "mm", "baddbmm", _ATTENTION})

# Elementwise operators and data movement, which fvcore leaves out by design.
_NEGLIGIBLE = frozenset(
    "aten::" + name
    for name in (
        "add", "add_", "sub", "mul", "mul_", "div", "relu", "relu_", "argmax", "max_pool2d", "dropout", "flatten",
        "pow", "mean", "rsqrt", "neg", "cos", "sin", "tanh", "silu", "silu_", "sigmoid", "gelu", "softmax",
        "avg_pool2d",
        "embedding", "le", "where", "new_ones", "index_copy_",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Tally:
    """MACs and FLOPs of one call of a model, and the operators that are not counted, with their number of calls."""

    macs: int
    flops: int
    unsupported_ops: dict[str, int]


def load_counter() -> Any:
    """Import fvcore's counter, which takes seconds: a run does so before its first trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore's own imports use torch.jit.script
        from fvcore.nn import FlopCountAnalysis
    return FlopCountAnalysis


def tally(model: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> Tally:
    """Count the MACs and FLOPs of `model(*inputs)`.

    Model and inputs may lie on the meta device, where nothing is computed. The model's mode is restored.
    """
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            analysis = load_counter()(model, inputs)
            analysis.set_op_handle(f"aten::{_ATTENTION}", _attention_macs)
            analysis.unsupported_ops_warnings(False)
            analysis.uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            by_operator = analysis.by_operator()
            unsupported = analysis.unsupported_ops()
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


def count(model: torch.nn.Module, example: torch.Tensor) -> Costs:
    """Static costs of one forward pass of `example`: one sample, on the model's device."""
    tallied = tally(model, (example,))
    return Costs(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=tallied.macs,
        flops=tallied.flops,
        unsupported_ops=tallied.unsupported_ops,
    )
