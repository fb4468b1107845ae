"""What one request to a language model is: parameters of a task, read, checked and completed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.parameters import Params
from joulebench.workloads.base import InfeasibleError

DTYPES = ("float32", "bfloat16", "float16")
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")
CACHES = ("dynamic", "static")
WEIGHTS = ("random", "pretrained")


@dataclass(frozen=True)
class Settings:
    """One request, and how it is computed. The defaults are those of parameters that a task leaves out."""

    architecture: str = "tiny"
    batch_size: int = 1  # prompts answered together
    prompt_tokens: int = 32  # of each prompt
    new_tokens: int = 16  # made for each prompt, neither fewer nor more
    dtype: str = "float32"
    attention: str = "sdpa"
    cache: str = "dynamic"  # grows with every token, or lies ready at its full length
    compile: bool = False
    weights: str = "random"

    @property
    def positions(self) -> int:
        """Positions that a request fills in the cache: the last new token is never fed back."""
        return self.prompt_tokens + self.new_tokens - 1

    def check_feasible(self, device: str) -> None:
        """Whether these go together on this device.

        Raises:
            InfeasibleError: they do not.
        """
        if self.compile and self.cache != "static":
            raise InfeasibleError(
                "compile needs cache = 'static': a dynamic one has another shape at every token, and each would be "
                "compiled anew"
            )
        if self.attention == "flash_attention_2":
            if not device.startswith("cuda"):
                raise InfeasibleError(f"attention = 'flash_attention_2' runs on CUDA only, not on {device}")
            if self.dtype == "float32" or self.cache == "static":
                raise InfeasibleError("attention = 'flash_attention_2' needs 16-bit weights and cache = 'dynamic'")


def read_settings(params: Params) -> Settings:
    """`params` as settings; those that are not of a request are others' and left alone.

    Raises:
        InputError: a value that is not allowed.
    """
    default = Settings()
    return Settings(
        architecture=_text(params, "architecture", default.architecture),
        batch_size=read_count(params, "batch_size", default.batch_size),
        prompt_tokens=read_count(params, "prompt_tokens", default.prompt_tokens),
        new_tokens=read_count(params, "new_tokens", default.new_tokens),
        dtype=read_choice(params, "dtype", DTYPES, default.dtype),
        attention=read_choice(params, "attention", ATTENTIONS, default.attention),
        cache=read_choice(params, "cache", CACHES, default.cache),
        compile=_flag(params, "compile", default.compile),
        weights=read_choice(params, "weights", WEIGHTS, default.weights),
    )


def refuse_misspelt(params: Params, known: Iterable[str]) -> None:
    """A parameter almost called like a known one would be ignored, and the default measured under its name.

    Raises:
        InputError: there is one.
    """
    names = list(known)
    for name in params:
        if name not in names and (near := get_close_matches(name, names, n=1, cutoff=0.8)):
            raise InputError(f"parameters.{name}: no such parameter of this workload; did you mean '{near[0]}'?")


def read_count(params: Params, name: str, default: int) -> int:
    """A whole number of at least 1.

    Raises:
        InputError: it is something else.
    """
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InputError(f"parameters.{name}: must be a whole number of at least 1 (got {value!r})")
    return value


def read_choice(params: Params, name: str, allowed: Iterable[str], default: str) -> str:
    """One of `allowed`.

    Raises:
        InputError: it is something else.
    """
    value, names = params.get(name, default), list(allowed)
    if value not in names:
        hint = did_you_mean(str(value), names)
        raise InputError(f"parameters.{name}: {value!r} is not allowed{hint} (allowed: {', '.join(names)})")
    return str(value)


def _text(params: Params, name: str, default: str) -> str:
    value = params.get(name, default)
    if not isinstance(value, str) or not value:
        raise InputError(f"parameters.{name}: must be a name (got {value!r})")
    return value


def _flag(params: Params, name: str, default: bool) -> bool:
    value = params.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"parameters.{name}: must be true or false (got {value!r})")
    return value
