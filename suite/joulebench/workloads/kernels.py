"""Arithmetic of the kernels that a model calls, seen below Python, so that it does not matter what calls them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Shape = Sequence[int]


def _with_vector(factor: Shape, *_: Any, **__: Any) -> int:
    """FLOPs of (…, k) · (k)."""
    return 2 * int(prod(factor))


def _added_with_vector(_: Shape, factor: Shape, *__: Any, **___: Any) -> int:
    return _with_vector(factor)


def _added_batches(_: Shape, a: Shape, b: Shape, *__: Any, **___: Any) -> int:
    return 2 * int(prod(a)) * b[-1]


def _recurrent(inputs: Shape, *weights: Any, **_: Any) -> int:
    """FLOPs of recurrent layers: every step of every sequence multiplies every weight of a matrix once."""
    listed = weights[0] if isinstance(weights[0][0], Sequence) else weights[:2]
    return 2 * int(prod(inputs[:-1])) * sum(int(prod(shape)) for shape in listed if len(shape) == 2)


def _convolution_backward(grad: Shape, inputs: Shape, weight: Shape, *others: Any, **_: Any) -> int:
    """FLOPs of the gradients that are asked for, of the input and of the weights: each as many as forward.

    torch's own formula takes a convolution in groups for one over all channels.
    """
    transposed, wanted = others[4], others[7]
    places = (inputs if transposed else grad)[2:]
    return 2 * int(inputs[0] * prod(places) * prod(weight)) * sum(map(bool, wanted[:2]))


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """FLOPs of query · keyᵀ and of the weights · value; a key may serve several heads of the query."""
    return 2 * int(prod(query[:-1])) * key[-2] * (query[-1] + value[-1])


def _attention_backward(_: Shape, query: Shape, key: Shape, value: Shape, *__: Any, **___: Any) -> int:
    """FLOPs of the scores made again, and of the gradients of scores, query, key (as wide) and of value."""
    return 2 * int(prod(query[:-1])) * key[-2] * (3 * query[-1] + 2 * value[-1])


_aten = torch.ops.aten
#: FLOPs by the shapes of a kernel's arguments, for kernels that torch's counter does not know: two a MAC.
FORMULAS: dict[Any, Callable[..., int]] = {
    _aten.mv: _with_vector,
    _aten.dot: _with_vector,
    _aten.vdot: _with_vector,
    _aten.addmv: _added_with_vector,
    _aten.addbmm: _added_batches,
    _aten.convolution_backward: _convolution_backward,
    _aten.mkldnn_rnn_layer: _recurrent,
    _aten._cudnn_rnn: _recurrent,
    # newer releases of torch know these two themselves
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}

# their gradient of a matrix is an outer product, which reaches a counter as an elementwise multiplication
_UNCOUNTED_GRADIENTS = frozenset({"mv", "addmv", "dot", "vdot"})

_CHEAP_TAGS = frozenset({"pointwise", "reduction"})
#: Elementwise kernels that bear no tag, kernels that look up, fill, move, mask, draw or sort, and pooling.
_CHEAP = frozenset(
    (
        "_fused_rms_norm", "_log_softmax", "_masked_softmax", "_prelu_kernel", "_safe_softmax", "_softmax",
        "_thnn_fused_gru_cell", "_thnn_fused_lstm_cell", "_transform_bias_rescale_qkv", "_weight_norm_interface",
        "glu", "hardswish", "log_sigmoid_forward", "threshold", "_embedding_bag", "_embedding_bag_forward_only",
        "embedding", "gather", "index", "index_select", "take", "_index_put_impl", "_unsafe_index",
        "_unsafe_index_put", "index_add", "index_copy", "index_fill", "index_put", "masked_fill",
        "masked_scatter", "masked_select", "scatter", "scatter_add", "scatter_reduce", "slice_scatter",
        "select_scatter", "diagonal_scatter", "nonzero", "one_hot", "_copy_from", "_pack_padded_sequence",
        "_pin_memory", "_to_copy", "_unsafe_view", "as_strided", "cat", "channel_shuffle", "col2im",
        "constant_pad_nd", "copy", "diag_embed", "fill", "flip", "im2col", "pixel_shuffle", "pixel_unshuffle",
        "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "repeat",
        "repeat_interleave", "resize", "roll", "set", "squeeze", "stack", "t", "transpose", "tril", "triu",
        "unsafe_split", "unsafe_split_with_sizes", "unsqueeze", "zero", "_efficientzerotensor", "arange", "empty",
        "empty_like", "empty_permuted", "empty_strided", "eye", "full", "full_like", "linspace", "new_empty",
        "new_empty_strided", "new_full", "new_ones", "new_zeros", "ones", "ones_like", "scalar_tensor",
        "tril_indices", "triu_indices", "zeros", "zeros_like", "bernoulli", "exponential", "multinomial",
        "native_dropout", "normal", "rand", "rand_like", "randint", "randint_like", "randn", "randn_like",
        "random", "randperm", "uniform", "_cummax_helper", "_cummin_helper", "_unique2", "bucketize", "cumprod",
        "cumsum", "isin", "kthvalue", "median", "mode", "searchsorted", "sort", "topk", "adaptive_max_pool2d",
        "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
        "mkldnn_max_pool2d", "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "_local_scalar_dense",
        "lift", "lift_fresh", "embedding_dense_backward", "nll_loss", "nll_loss_forward", "nll_loss2d",
        "nll_loss2d_forward",
    )
)  # fmt: skip
# norms with the position of their weight: 5 FLOPs an element with it and 4 without, as fvcore counts them; a batch
# norm of known statistics is one multiply-add, 2 or 1
_NORMS = {"native_layer_norm": 2, "native_group_norm": 1}
_BATCH_NORMS = frozenset(
    (
        "native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm",
        "miopen_batch_norm", "_batch_norm_no_update", "_batch_norm_with_update",
    )
)  # fmt: skip
_INTERPOLATIONS = {
    "upsample_nearest2d": 1, "upsample_bilinear2d": 4, "grid_sampler_2d": 4, "cudnn_grid_sampler": 4
}  # fmt: skip
# kernels whose backward pass has no product, beside the cheap ones
_NO_PRODUCT = frozenset(
    (*_NORMS, *_BATCH_NORMS, *_INTERPOLATIONS, "_adaptive_avg_pool2d", "batch_norm", "diagonal", "select", "slice",
     "unfold")
)  # fmt: skip

_EXITS = (torch.Tensor.numpy, torch.Tensor.__array__, torch.Tensor.__dlpack__, torch.Tensor.data_ptr)


class Kernels(TorchDispatchMode):
    """Kernels called inside the context, below those of torch's counter: their other arithmetic, and the unknown.

    Args:
        training: the context holds a backward pass too, on the meta device.

    Attributes:
        other_flops: of norms, adaptive pooling and interpolation; forward only.
        unknown: calls of kernels that neither torch's counter nor this module knows, or knows in part.
    """

    def __init__(self, training: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._training = training
        self.other_flops = 0
        self.unknown: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        flops = _other_flops(func, args, out)
        if flops is not None:
            self.other_flops += flops
        elif (self._training and _name(func) in _UNCOUNTED_GRADIENTS) or not _is_known(func, args):
            self.unknown[func._schema.name] += 1
        return out


class Exits(TorchFunctionMode):
    """Calls inside the context by which values leave torch, with whatever is then done to them."""

    def __init__(self, unknown: Counter[str]) -> None:
        super().__init__()
        self._unknown = unknown

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        if func in _EXITS:
            self._unknown[f"Tensor.{func.__name__}"] += 1
        return func(*args, **(kwargs or {}))


def _other_flops(func: Any, args: tuple[Any, ...], out: Any) -> int | None:
    """FLOPs of a norm, of adaptive pooling or of interpolation; None for another kernel."""
    name = _name(func)
    if name in _NORMS:
        return int(args[0].numel()) * (4 if args[_NORMS[name]] is None else 5)
    if name in _BATCH_NORMS:
        batch_statistics = any(value is True for value in args[3:6])
        return int(args[0].numel()) * ((4 if batch_statistics else 1) + (args[1] is not None))
    if name in _INTERPOLATIONS:
        return int(out.numel()) * _INTERPOLATIONS[name]
    # pooling to one pixel is a mean over the last two dimensions
    if name == "_adaptive_avg_pool2d" or (name == "mean" and list(args[1:3]) == [[-1, -2], True]):
        return int(args[0].numel())
    return None


def _is_known(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether a kernel is counted by torch's counter or by a formula above, or counts 0 by the counting rule."""
    packet, name = func._overloadpacket, _name(func)
    if packet in flop_registry or packet in FORMULAS:  # whose factors are taken to be real: complex ones make four
        return not any(isinstance(value, torch.Tensor) and value.is_complex() for value in args)
    if func.is_view or _is_cheap(func):
        return True
    if func.namespace not in ("aten", "prim"):
        return False
    forward = name.removesuffix("_data").removesuffix("_backward")
    if forward != name and (forward in _CHEAP or forward in _NO_PRODUCT):
        return True  # of a backward pass only products count
    return name in _CHEAP or any(_is_cheap(getattr(of, o)) for of in _twins(func, name) for o in of.overloads())


def _twins(func: Any, name: str) -> list[Any]:
    """A kernel with all its overloads, and the one that does the same not in place: not each bears the tag."""
    return [func._overloadpacket, *([getattr(_aten, name)] if hasattr(_aten, name) else [])]


def _is_cheap(func: Any) -> bool:
    return not _CHEAP_TAGS.isdisjoint(tag.name for tag in func.tags)


def _name(func: Any) -> str:
    """A kernel's name without its namespace and without the underscore of one that works in place."""
    return str(func._schema.name).split("::")[-1].removesuffix("_")
