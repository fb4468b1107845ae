"""Parameters of a request to a language model, read from a task's parameters and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from joulebench.errors import InputError
from joulebench.spec.parameters import Parameter, Params
from joulebench.spec.toml import Definition, explain
from joulebench.workloads.base import InfeasibleError

PositiveInt = Annotated[int, Field(ge=1)]


class Settings(Definition):
    """One request and how it is computed; a parameter that a task leaves out has the default given here."""

    architecture: Annotated[str, Field(min_length=1)] = "tiny"
    batch_size: PositiveInt = 1  # prompts answered together
    prompt_tokens: PositiveInt = 32  # of each prompt
    new_tokens: PositiveInt = 16  # generated for each prompt, neither fewer nor more
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantization: Literal["none", "int8_dynamic", "int8_weight", "int4_weight"] = "none"  # of linear layers
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    cache: Literal["dynamic", "static"] = "dynamic"  # grows with every token, or is allocated at its full length
    compile: bool = False
    weights: Literal["random", "pretrained"] = "random"
    answer_tokens: PositiveInt | None = None  # of a written answer to a question, at most; None: as its task says

    @property
    def positions(self) -> int:
        """Positions that a request fills in the cache: the last new token is never fed back."""
        return self.prompt_tokens + self.new_tokens - 1

    def check_feasible(self, device: str) -> None:
        """Check that the settings can be combined on `device`.

        Raises:
            InfeasibleError: they cannot.
        """
        if self.quantization == "int8_dynamic" and (self.dtype != "float32" or device.startswith("cuda")):
            raise InfeasibleError("quantization = 'int8_dynamic' needs dtype = 'float32' on the CPU")
        if self.quantization == "int4_weight" and self.dtype != "bfloat16" and device.startswith("cuda"):
            raise InfeasibleError("quantization = 'int4_weight' needs dtype = 'bfloat16' on a GPU")
        if self.compile and self.cache != "static":
            raise InfeasibleError(
                "compile needs cache = 'static': a dynamic cache has another shape at every token, and each shape "
                "would be compiled anew"
            )
        if self.attention == "flash_attention_2":
            if not device.startswith("cuda"):
                raise InfeasibleError(f"attention = 'flash_attention_2' runs on CUDA only, not on {device}")
            if self.dtype == "float32" or self.cache == "static":
                raise InfeasibleError("attention = 'flash_attention_2' needs 16-bit weights and cache = 'dynamic'")


D = TypeVar("D", bound=Definition)


def read_params(model: type[D], params: Params) -> D:
    """The fields of `model` from the parameters of those names; other parameters are ignored.

    Raises:
        InputError: a value that is not allowed.
    """
    try:
        return model.model_validate({n: params[n] for n in model.model_fields if n in params}, strict=True)
    except ValidationError as error:
        raise InputError(f"parameters.{explain(error, model)}") from None


def check_given(model: type[D], parameters: Mapping[str, Parameter]) -> None:
    """Check each value that a task gives to a parameter which is a field of `model`.

    Raises:
        InputError: a value that is not allowed.
    """
    for name in model.model_fields:
        for value in parameters[name].given if name in parameters else ():
            read_params(model, {name: value})


def refuse_misspelt(params: Iterable[str], known: Iterable[str]) -> None:
    """Refuse a parameter whose name is nearly a known one: it would be ignored and the default measured instead.

    Raises:
        InputError: there is one.
    """
    names = list(known)
    for name in params:
        if name not in names and (near := get_close_matches(name, names, n=1, cutoff=0.8)):
            raise InputError(f"parameters.{name}: no such parameter of this workload; did you mean '{near[0]}'?")
