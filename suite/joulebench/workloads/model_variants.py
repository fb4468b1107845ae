"""Ways of running a model: precision, quantisation, memory layout, threads and engine; which go together."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from joulebench.spec.parameters import Params
from joulebench.workloads.base import InfeasibleError
from joulebench.workloads.model_sources import Form, needed

PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
QUANTIZATIONS = ("none", "int8_dynamic")
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

    @classmethod
    def of(cls, params: Params, form: Form, device: str) -> Variant:
        """The variant that parameters name; those that are absent are plain.

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
        variant._check(form, device)
        return variant

    def _check(self, form: Form, device: str) -> None:
        plain = (self.precision, self.quantization, self.channels_last) == ("fp32", "none", False)
        if form == "sklearn" and not (plain and self.engine == "eager"):
            raise InfeasibleError("a scikit-learn model takes threads and batch_size only, no other way of running")
        if form == "onnx" and self.engine != "onnxruntime":
            raise InfeasibleError(f"an ONNX model runs with engine = 'onnxruntime', not '{self.engine}'")
        on_cpu = device == "cpu"
        if self.precision == "tf32" and on_cpu:
            raise InfeasibleError("precision = 'tf32' runs on CUDA only, not on cpu")
        if self.quantization == "int8_dynamic":
            if not on_cpu:
                raise InfeasibleError(f"quantization = 'int8_dynamic' runs on the CPU only, not on {device}")
            if self.precision != "fp32":
                raise InfeasibleError(
                    f"quantization = 'int8_dynamic' needs precision = 'fp32' (got '{self.precision}')"
                )
        if self.engine == "onnxruntime":
            if self.precision != "fp32":
                raise InfeasibleError(f"engine = 'onnxruntime' needs precision = 'fp32' (got '{self.precision}')")
            if self.channels_last:
                raise InfeasibleError("channels_last = true is torch's, and engine = 'onnxruntime' is not")
            if not on_cpu:
                raise InfeasibleError(f"engine = 'onnxruntime' runs on the CPU here, not on {device}")


@dataclass(frozen=True)
class Ready:
    """A model ready to run: inputs as `prepared` leaves them → outputs, on the variant's device."""

    predict: Predict
    prepared: Predict  # outside measured windows: layout and precision of the inputs
    weight_bytes: int
    module: nn.Module | None = None


def ready_module(module: nn.Module, variant: Variant, example: torch.Tensor, device: str) -> Ready:
    """A torch module in a variant; `example` is a batch of inputs."""
    if variant.engine == "onnxruntime":
        return ready_onnx(exported(module, example), variant)
    if variant.channels_last and example.dim() != 4:
        raise InfeasibleError(f"channels_last = true needs images, and inputs have {example.dim() - 1} dimensions")
    if variant.quantization == "int8_dynamic":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the function is to move to torchao
            quantized = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)
        if not any("quantized" in type(part).__module__ for part in quantized.modules()):
            raise InfeasibleError("quantization = 'int8_dynamic' quantises linear layers, and the model has none")
        module = quantized
    dtype = PRECISIONS[variant.precision]
    module = module.to(device, dtype)
    if variant.channels_last:
        module = module.to(memory_format=torch.channels_last)
    layout = torch.channels_last if variant.channels_last else torch.contiguous_format

    def prepared(x: torch.Tensor) -> torch.Tensor:
        x = x.to(dtype) if x.is_floating_point() else x
        return x.contiguous(memory_format=layout)

    run: Any = torch.compile(module) if variant.engine == "compile" else module

    def predict(x: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            output: torch.Tensor = run(x)
            return output

    # a quantised module has no weights that FLOPs could be counted with
    counted = module if variant.quantization == "none" and dtype is torch.float32 else None
    return Ready(predict, prepared, _bytes(module.state_dict().values()), counted)


def _bytes(values: Iterable[Any]) -> int:
    """Bytes of all tensors, those within tuples (packed weights) included."""
    total = 0
    for value in values:
        if isinstance(value, torch.Tensor):
            total += value.numel() * value.element_size()
        elif isinstance(value, tuple | list):
            total += _bytes(value)
    return total


def exported(module: nn.Module, example: torch.Tensor) -> bytes:
    """A module as ONNX, for batches of the example's size.

    Raises:
        InfeasibleError: it cannot be exported.
    """
    needed("onnx", "onnx", "engine = 'onnxruntime'")
    file: Any = io.BytesIO()  # torch's own exporter takes it, though its types say a path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module.cpu(), (example.cpu(),), file, dynamo=False, input_names=["input"], output_names=["output"]
            )
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise InfeasibleError(f"engine = 'onnxruntime': the model cannot be exported: {reason}") from None
    content: bytes = file.getvalue()
    return content


def ready_onnx(content: bytes, variant: Variant) -> Ready:
    """An ONNX model in a variant, on the CPU with ONNX Runtime; its first output counts.

    Raises:
        InfeasibleError: it cannot be loaded, or takes batches of another size.
    """
    runtime = needed("onnxruntime", "onnxruntime", "engine = 'onnxruntime'")
    onnx = needed("onnx", "onnx", "engine = 'onnxruntime'")
    try:
        if variant.quantization == "int8_dynamic":
            content = _quantized(onnx, content)
        settings = runtime.SessionOptions()
        settings.intra_op_num_threads = variant.threads or torch.get_num_threads()
        settings.log_severity_level = 3
        session = runtime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InfeasibleError(
            f"ONNX Runtime cannot load the model: {str(error).strip().split(chr(10))[0]}"
        ) from None
    if len(session.get_inputs()) != 1:
        raise InfeasibleError(f"an ONNX model with one input is needed (it has {len(session.get_inputs())})")
    taken = session.get_inputs()[0]
    if taken.shape and isinstance(taken.shape[0], int) and taken.shape[0] != variant.batch_size:
        raise InfeasibleError(
            f"batch_size = {variant.batch_size}: the ONNX model takes batches of {taken.shape[0]}"
        )
    output = session.get_outputs()[0].name

    def predict(x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(np.asarray(session.run([output], {taken.name: x.numpy()})[0]))

    stored = onnx.load_from_string(content).graph.initializer
    weights = sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in stored)
    return Ready(predict, lambda x: x.contiguous(), weights)


def _quantized(onnx: Any, content: bytes) -> bytes:
    import tempfile
    from pathlib import Path

    quantization = needed("onnxruntime.quantization", "onnxruntime", "quantization = 'int8_dynamic'")
    with tempfile.TemporaryDirectory(prefix="joulebench-onnx-") as folder:
        path = Path(folder) / "model.onnx"
        # convolutions on dynamic int8 have no kernel on every CPU: matrix products only, as torch does
        quantization.quantize_dynamic(onnx.load_from_string(content), path, op_types_to_quantize=["MatMul", "Gemm"])
        return path.read_bytes()
