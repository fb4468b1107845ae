"""Static costs of a model: parameters, multiply-accumulates and FLOPs by fvcore.

The counting rule: fvcore counts one fused multiply-add of a convolution or matrix product as one; that is our MAC.
FLOPs = 2 × MACs + fvcore's arithmetic of every other operator it knows (norms, pooling, interpolation).
Operators that it does not know are listed with how often they occur, never silently left out.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from suite.record import Costs

if TYPE_CHECKING:
    import torch

_MAC_OPERATORS = frozenset({"conv", "linear", "addmm", "matmul", "bmm", "einsum", "mm", "baddbmm"})

# Elementwise work that every model has; fvcore leaves it out by design, and so does the rule.
_NEGLIGIBLE = frozenset(
    {
        "aten::add", "aten::add_", "aten::sub", "aten::mul", "aten::mul_", "aten::div", "aten::relu",
        "aten::relu_", "aten::argmax", "aten::max_pool2d", "aten::dropout", "aten::flatten",
    }
)  # fmt: skip


def load_counter() -> Any:
    """fvcore's counter. Importing it takes seconds: a run does so before its first trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # fvcore's own imports use torch.jit.script
        from fvcore.nn import FlopCountAnalysis
    return FlopCountAnalysis


def count(model: torch.nn.Module, example: torch.Tensor) -> Costs:
    """Costs of one forward pass of `example` (one sample, on the model's device).

    Runs the model outside any window; its mode is restored.
    """
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            analysis = load_counter()(model, example)
            analysis.unsupported_ops_warnings(False)
            analysis.uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            by_operator = analysis.by_operator()
            unsupported = analysis.unsupported_ops()
    finally:
        model.train(training)
    macs = sum(n for operator, n in by_operator.items() if operator in _MAC_OPERATORS)
    other = sum(n for operator, n in by_operator.items() if operator not in _MAC_OPERATORS)
    return Costs(
        parameters=sum(p.numel() for p in model.parameters()),
        macs=int(macs),
        flops=int(2 * macs + other),
        unsupported_ops={op: int(n) for op, n in sorted(unsupported.items()) if op not in _NEGLIGIBLE},
    )
