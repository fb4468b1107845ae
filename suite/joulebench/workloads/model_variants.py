"""Ways of running a model: precision, quantisation, memory layout, threads and engine; which go together."""

from __future__ import annotations

import io
import logging
import math
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from joulebench.errors import InputError, described
from joulebench.host import memory
from joulebench.spec.parameters import Params
from joulebench.spec.task import Task
from joulebench.workloads.base import InfeasibleError
from joulebench.workloads.model_sources import Form, check_installed, needed
from joulebench.workloads.quantization import LIBRARIES, QUANTIZATIONS, WEIGHT_ONLY, quantized, weight_bytes

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ENGINES = ("eager", "compile", "onnxruntime")
#: Parameters that say how a model runs, and their allowed values (None: any number from 1).
ALLOWED: dict[str, tuple[Any, ...] | None] = {
    "precision": tuple(PRECISIONS),
    "quantization": QUANTIZATIONS,
    "compile": (True, False),
    "channels_last": (True, False),
    "engine": ENGINES,
    "threads": None,
    "batch_size": None,
}
#: Libraries that values of parameters need.
_LIBRARIES: dict[str, dict[str, tuple[str, ...]]] = {
    "engine": {"onnxruntime": ("onnx", "onnxruntime")},
    "quantization": LIBRARIES,
}
Predict = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Variant:
    """One way of running a model."""

    precision: str = "fp32"
    quantization: str = "none"
    engine: str = "eager"
    channels_last: bool = False
    threads: int | None = None  # None: as many as torch has
    batch_size: int = 1

    def __str__(self) -> str:
        """What sets it apart from the plain model."""
        plain = Variant()
        differing = [
            f"{name} = {value!r}"
            for name in ("precision", "quantization", "engine", "channels_last")
            if (value := getattr(self, name)) != getattr(plain, name)
        ]
        return ", ".join(differing).replace("True", "true") or "the plain model"

    @classmethod
    def of(cls, params: Params, form: Form, device: str | None) -> Variant:
        """The variant that parameters name; those that are absent are plain.

        Args:
            device: None where it is not known yet.

        Raises:
            InfeasibleError: values that cannot be combined, for this form of model on this device.
        """
        engine = str(params.get("engine", "onnxruntime" if form == "onnx" else "eager"))
        if params.get("compile", False):
            if engine == "onnxruntime":
                raise InfeasibleError("compile = true is torch's, and engine = 'onnxruntime' is not")
            engine = "compile"
        variant = cls(
            precision=str(params.get("precision", "fp32")),
            quantization=str(params.get("quantization", "none")),
            engine=engine,
            channels_last=bool(params.get("channels_last", False)),
            threads=int(params["threads"]) if "threads" in params else None,
            batch_size=int(params.get("batch_size", 1)),
        )
        variant._check(form)
        if device is not None:
            variant._check_device("cpu" if device == "cpu" else "cuda", device)
        return variant

    def _check(self, form: Form) -> None:
        plain = (self.precision, self.quantization, self.channels_last) == ("fp32", "none", False)
        if form == "sklearn" and not (plain and self.engine == "eager"):
            raise InfeasibleError("a scikit-learn model takes threads and batch_size only, no other way of running")
        if form == "onnx" and self.engine != "onnxruntime":
            raise InfeasibleError(f"an ONNX model runs with engine = 'onnxruntime', not '{self.engine}'")
        if self.quantization == "int8_dynamic" and self.precision != "fp32":
            raise InfeasibleError(
                f"quantization = 'int8_dynamic' needs precision = 'fp32' (got '{self.precision}')"
            )
        if self.engine == "onnxruntime":
            if self.precision != "fp32":
                raise InfeasibleError(f"engine = 'onnxruntime' needs precision = 'fp32' (got '{self.precision}')")
            if self.channels_last:
                raise InfeasibleError("channels_last = true is torch's, and engine = 'onnxruntime' is not")
            if self.quantization in WEIGHT_ONLY:
                raise InfeasibleError(
                    f"quantization = '{self.quantization}' is torch's, and engine = 'onnxruntime' is not"
                )

    def _check_device(self, kind: str, device: str) -> None:
        if kind == "cpu":
            if self.precision == "tf32":
                raise InfeasibleError("precision = 'tf32' runs on CUDA only, not on cpu")
            return
        if self.quantization == "int8_dynamic":
            raise InfeasibleError(f"quantization = 'int8_dynamic' runs on the CPU only, not on {device}")
        if self.quantization == "int4_weight" and self.precision != "bf16":
            raise InfeasibleError(
                f"quantization = 'int4_weight' needs precision = 'bf16' on {device} (got '{self.precision}')"
            )
        if self.engine == "onnxruntime":
            raise InfeasibleError(f"engine = 'onnxruntime' runs on the CPU here, not on {device}")


def check_packages(task: Task) -> None:
    """Look for the libraries that values of a task's parameters need.

    Raises:
        InputError: one is missing: what an installation lacks is no result of a search.
    """
    for name, by_value in _LIBRARIES.items():
        for value in task.parameters[name].given if name in task.parameters else ():
            check_installed(by_value.get(str(value), ()), f"parameters.{name}: '{value}'")


@dataclass(frozen=True)
class Ready:
    """A model ready to run: inputs as `prepared` leaves them → outputs, on the variant's device."""

    predict: Predict
    prepared: Predict  # outside measured windows: layout and precision of the inputs
    weight_bytes: int
    module: nn.Module | None = None
    graphs: int = 0  # that were compiled: 1, and one more for every break


def ready_module(module: nn.Module, variant: Variant, example: torch.Tensor, device: str) -> Ready:
    """A torch module in a variant, after one run; `example` is a batch of inputs.

    Raises:
        InfeasibleError: the module cannot run so.
        InputError: it cannot run at all, on such inputs.
    """
    if variant.engine == "onnxruntime":
        return ready_onnx(exported(module, example), variant, example)
    if variant.channels_last and example.dim() != 4:
        raise InfeasibleError(f"channels_last = true needs images, and inputs have {example.dim() - 1} dimensions")
    dtype = PRECISIONS[variant.precision]
    module = quantized(module.to(device, dtype), variant.quantization)
    if variant.channels_last:
        module = module.to(memory_format=torch.channels_last)
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format

    def prepared(x: torch.Tensor) -> torch.Tensor:
        x = x.to(dtype) if x.is_floating_point() else x
        return x.contiguous(memory_format=layout)

    compiles = variant.engine == "compile"
    if compiles:
        torch.compiler.reset()
        _compile_counters().clear()
    run: Any = torch.compile(module) if compiles else module

    def predict(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            output: torch.Tensor = run(x)
            return output

    output = _first(lambda: predict(prepared(example)), variant, example)
    graphs = _compile_counters()["stats"]["unique_graphs"] if compiles else 0
    if compiles and not graphs:
        raise InfeasibleError("engine = 'compile': nothing of the model was compiled, it runs as eager does")
    _check_output(output, example)
    # a quantised module has no weights that FLOPs could be counted with
    counted = module if variant.quantization == "none" and dtype is torch.float32 else None
    return Ready(predict, prepared, weight_bytes(module), counted, graphs)


def _compile_counters() -> Any:
    import torch._dynamo.utils  # slow to import, and needed by what compiles alone

    return torch._dynamo.utils.counters


def _first(run: Callable[[], Any], variant: Variant, example: torch.Tensor) -> Any:
    """The first run: what fails is the variant, or, of the plain model, what the user named."""
    try:
        return run()
    except Exception as error:
        if memory.is_out_of_memory(error):
            raise
        reason = described(error)[:300]
        if (name := str(variant)) != "the plain model":
            raise InfeasibleError(f"{name}: the model does not run so: {reason}") from None
        shape = list(example.shape[1:])
        raise InputError(f"options.model: the model does not run on inputs of shape {shape}: {reason}") from None


def _check_output(output: Any, example: torch.Tensor) -> None:
    """Refuse what is not one row a sample, since neither quality nor joules per sample could be told."""
    if not isinstance(output, torch.Tensor):
        raise InputError(f"options.model: the model must return one tensor (got {type(output).__name__})")
    if output.dim() == 0 or len(output) != len(example):
        raise InputError(
            f"options.model: the model must return a row for each of {len(example)} samples "
            f"(got shape {list(output.shape)})"
        )


def exported(module: nn.Module, example: torch.Tensor) -> bytes:
    """A module as ONNX, for batches of the example's size.

    Raises:
        InfeasibleError: it cannot be exported.
    """
    needed("onnx")
    file: Any = io.BytesIO()  # torch's own exporter takes it, though its types say a path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.cpu(), (example.cpu(),), file, dynamo=False, input_names=["input"], output_names=["output"]
            )
    except Exception as error:
        reason = described(error)[:300]
        raise InfeasibleError(f"engine = 'onnxruntime': the model cannot be exported: {reason}") from None
    content: bytes = file.getvalue()
    return content


def ready_onnx(model: Path | bytes, variant: Variant, example: torch.Tensor) -> Ready:
    """An ONNX model, from a file or exported, in a variant, on the CPU with ONNX Runtime; its first output counts.

    Raises:
        InfeasibleError: what was exported cannot be run, or the model takes batches of another size.
        InputError: a file that cannot be run on such inputs.
    """
    runtime, onnx = needed("onnxruntime"), needed("onnx")
    file = model if isinstance(model, Path) else None

    def refused(reason: str) -> Exception:
        if file is not None:
            return InputError(f"options.model: '{file}' {reason}")
        return InfeasibleError(f"engine = 'onnxruntime': the exported model {reason}")

    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = variant.threads or torch.get_num_threads()
    settings.log_severity_level = 4  # what is fatal is raised
    try:
        loaded = onnx.load(model) if isinstance(model, Path) else onnx.load_from_string(model)
        if variant.quantization == "int8_dynamic":
            model = _quantized_onnx(loaded)
            loaded = onnx.load_from_string(model)
        content = str(model) if isinstance(model, Path) else model  # a path: weights may lie in files beside it
        session = runtime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except InfeasibleError:
        raise
    except Exception as error:
        raise refused(f"cannot be loaded: {described(error)[:300]}") from None
    if len(session.get_inputs()) != 1:
        names = ", ".join(taken.name for taken in session.get_inputs())
        raise refused(f"has {len(session.get_inputs())} inputs ({names}); one is needed")
    taken = session.get_inputs()[0]
    dtype = _ONNX_TYPES.get(taken.type)
    if dtype is None:
        raise refused(f"takes {taken.type}; one of {', '.join(_ONNX_TYPES)} is needed")
    _check_onnx_shape(taken.shape, variant, example, refused)
    if example.is_floating_point() and not dtype.is_floating_point:
        raise refused("takes whole numbers: options.vocabulary has to say below which")
    output = session.get_outputs()[0].name

    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(session.run([output], {taken.name: x.numpy()})[0]))

    def prepared(x: torch.Tensor) -> torch.Tensor:
        return x.to(dtype).contiguous()

    try:
        found = predict(prepared(example))
    except Exception as error:
        shape = list(example.shape)
        raise refused(f"does not run on a batch {shape}: {described(error)[:300]}") from None
    _check_output(found, example)
    return Ready(predict, prepared, _graph_bytes(onnx, loaded.graph))


_ONNX_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(int32)": torch.int32,
    "tensor(int64)": torch.int64,
    "tensor(uint8)": torch.uint8,
}


def _check_onnx_shape(
    shape: list[Any], variant: Variant, example: torch.Tensor, refused: Callable[[str], Exception]
) -> None:
    if not shape:
        return
    if isinstance(shape[0], int) and shape[0] != variant.batch_size:
        raise InfeasibleError(f"batch_size = {variant.batch_size}: the ONNX model takes batches of {shape[0]}")
    own = list(example.shape[1:])
    fixed = [(n, m) for n, m in zip(shape[1:], own, strict=False) if isinstance(n, int)]
    if len(shape[1:]) != len(own) or any(n != m for n, m in fixed):
        wanted = ", ".join(str(n) if isinstance(n, int) else "any" for n in shape[1:])
        raise refused(f"takes samples of shape [{wanted}], and the inputs' is {own}")


def _graph_bytes(onnx: Any, graph: Any) -> int:
    """Bytes of the constant tensors of a graph and of those within it."""
    total = sum(_tensor_bytes(onnx, tensor) for tensor in graph.initializer)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                total += _tensor_bytes(onnx, attribute.t)
            if attribute.HasField("g"):
                total += _graph_bytes(onnx, attribute.g)
            total += sum(_graph_bytes(onnx, part) for part in attribute.graphs)
    return total


def _tensor_bytes(onnx: Any, tensor: Any) -> int:
    bits = 4
    if onnx.TensorProto.DataType.Name(tensor.data_type) not in ("INT4", "UINT4", "FLOAT4E2M1"):
        bits = 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    count: int = math.prod(tensor.dims)
    return math.ceil(count * bits / 8)


def _quantized_onnx(loaded: Any) -> bytes:
    # convolutions on dynamic int8 have no kernel on every CPU: matrix products only, as torch does
    kinds = ["MatMul", "Gemm"]
    if not any(node.op_type in kinds for node in loaded.graph.node):
        raise InfeasibleError("quantization = 'int8_dynamic' quantises matrix products, and the model has none")
    with tempfile.TemporaryDirectory(prefix="joulebench-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)  # advice on a step that changes no number here
        try:
            needed("onnxruntime.quantization").quantize_dynamic(loaded, path, op_types_to_quantize=kinds)
        finally:
            logging.disable(before)
        return path.read_bytes()
