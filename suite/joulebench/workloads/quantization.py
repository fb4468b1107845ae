"""Quantised linear layers, by torch and torchao, and the bytes that weights take."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from joulebench.workloads.base import InfeasibleError
from joulebench.workloads.model_sources import needed

WEIGHT_ONLY = ("int8_weight", "int4_weight")
QUANTIZATIONS = ("none", "int8_dynamic", *WEIGHT_ONLY)
#: Libraries that values need.
LIBRARIES: dict[str, tuple[str, ...]] = dict.fromkeys(WEIGHT_ONLY, ("torchao",))
INT4_GROUP = 32  # inputs that share a scale
INT4_OUTPUTS = 16  # the CPU's kernel takes multiples


def quantized(module: nn.Module, quantization: str) -> nn.Module:
    """The module with its linear layers quantised; the module itself is changed.

    Raises:
        InfeasibleError: it has no layer that can be.
        MissingExtraError: torchao is not installed.
    """
    if quantization == "none":
        return module
    if quantization == "int8_dynamic":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the function is to move to torchao
            packed: nn.Module = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)
        if not any("quantized" in type(part).__module__ for part in packed.modules()):
            raise InfeasibleError("quantization = 'int8_dynamic' quantises linear layers, and the model has none")
        return packed
    fits = _fits_int4 if quantization == "int4_weight" else _is_linear
    if not any(fits(part, "") for part in module.modules()):
        kind = "linear layers"
        if quantization == "int4_weight":
            kind += f" of a multiple of {INT4_GROUP} inputs and of {INT4_OUTPUTS} outputs"
        raise InfeasibleError(f"quantization = '{quantization}' quantises {kind}, and the model has none")
    on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
    needed("torchao.quantization").quantize_(module, _torchao(quantization, on_cpu=on_cpu), filter_fn=fits)
    return module


def _is_linear(module: nn.Module, _: str) -> bool:
    return isinstance(module, nn.Linear)


def _fits_int4(module: nn.Module, _: str) -> bool:
    return (
        isinstance(module, nn.Linear)
        and module.in_features % INT4_GROUP == 0
        and module.out_features % INT4_OUTPUTS == 0
    )


def _torchao(quantization: str, *, on_cpu: bool) -> Any:
    """torchao's configuration; none changes the settings of the process."""
    library = needed("torchao.quantization")
    if quantization == "int8_weight":
        return library.Int8WeightOnlyConfig(set_inductor_config=False)
    if on_cpu:  # packed for the CPU's own kernel, which torchao keeps among its prototypes
        return needed("torchao.prototype.quantization.int4").PrototypeInt4WeightOnlyConfig(
            group_size=INT4_GROUP, set_inductor_config=False
        )
    return library.Int4WeightOnlyConfig(
        group_size=INT4_GROUP, int4_packing_format="tile_packed_to_4d", set_inductor_config=False
    )


def weight_bytes(module: nn.Module) -> int:
    """Bytes of all weights and buffers, each counted once; of packed ones, those that they are packed into."""
    return _bytes(module.state_dict(keep_vars=True).values())


def _bytes(values: Iterable[Any]) -> int:
    total, seen = 0, set[int]()
    for value in values:
        if isinstance(value, tuple | list):
            total += _bytes(value)
        elif isinstance(value, torch.Tensor) and id(value) not in seen:
            seen.add(id(value))
            if hasattr(value, "__tensor_flatten__"):
                names, _ = value.__tensor_flatten__()
                total += _bytes(getattr(value, name) for name in names)
            else:
                total += value.numel() * value.element_size()
    return total
