"""Published architectures of language models by name, optionally resized.

Each file in `architectures/` holds one: where it was published, the parameters it has, and the arguments of its
transformers configuration under transformers 5's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from transformers import AutoConfig

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.toml import Definition, read_toml, validate
from joulebench.workloads.base import InfeasibleError

FOLDER = Path(__file__).parent / "architectures"


class Architecture(Definition):
    """A published configuration: the content of one file in `architectures/`."""

    model_type: str  # transformers' name for the code that runs it
    source: str  # the document its configuration is from
    published: str  # year and month
    hub: str | None = None  # the Hugging Face model that has trained weights for it
    parameters: int  # of the model as published, tied weights counted once
    mlp_matrices: Literal[2, 3]  # a feed-forward layer's weight matrices: up, down, and a gate where there is one
    config: dict[str, Any]


Size = Annotated[int, Field(ge=1)] | None


class Sizes(Definition):
    """Sizes that a task sets in place of the published ones; None keeps the published size."""

    hidden_size: Size = None
    layers: Size = None
    heads: Size = None
    vocabulary: Size = None


def architecture_names() -> list[str]:
    """Names that `read_architecture` accepts, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_architecture(name: str) -> Architecture:
    """The shipped architecture of that name.

    Raises:
        InputError: there is none.
    """
    names = architecture_names()
    if name not in names:
        raise InputError(
            f"architecture: no architecture '{name}'{did_you_mean(name, names)} (allowed: {', '.join(names)}; "
            "with weights = 'pretrained' also a folder or a Hugging Face model)"
        )
    path = FOLDER / f"{name}.toml"
    return validate(Architecture, read_toml(path), path)


def make_config(name: str, sizes: Sizes | None = None) -> Any:
    """The transformers configuration of a shipped architecture, resized where `sizes` says so.

    Raises:
        InputError: no such architecture.
        InfeasibleError: it cannot have these sizes.
    """
    architecture = read_architecture(name)
    return AutoConfig.for_model(architecture.model_type, **_resized(name, architecture.config, sizes or Sizes()))


def _resized(name: str, config: Mapping[str, Any], sizes: Sizes) -> dict[str, Any]:
    """Resize `config`, keeping its proportions.

    The widths of attention and feed-forward layers keep their ratio to `hidden_size`, and the number of query
    heads per key-value head stays.
    """
    values = dict(config)
    if sizes.vocabulary is not None:
        values["vocab_size"] = sizes.vocabulary
        for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
            values[token] = None  # the published ones may lie beyond it; generation stops at none of them
    if sizes.layers is not None:
        values["num_hidden_layers"] = sizes.layers
    if sizes.hidden_size is None and sizes.heads is None:
        return values
    old_hidden, old_heads = config["hidden_size"], config["num_attention_heads"]
    hidden = old_hidden if sizes.hidden_size is None else sizes.hidden_size
    heads = old_heads if sizes.heads is None else sizes.heads
    group = old_heads // config.get("num_key_value_heads", old_heads)
    if heads % group:
        raise InfeasibleError(
            f"{name} shares a key-value head among {group} heads, so heads = {heads} is impossible"
        )
    values |= {"hidden_size": hidden, "num_attention_heads": heads}
    old_head = config.get("head_dim", old_hidden // old_heads)
    width = old_head * old_heads * hidden / old_hidden
    head = _head_dim(name, width, hidden, heads, multiple=2 if "rope_parameters" in config else 1)
    if "num_key_value_heads" in config:
        values["num_key_value_heads"] = heads // group
    if "head_dim" in config:
        values["head_dim"] = head
    if "query_pre_attn_scalar" in config:
        values["query_pre_attn_scalar"] = max(1, round(config["query_pre_attn_scalar"] * head / old_head))
    if "intermediate_size" in config:
        values["intermediate_size"] = max(1, round(config["intermediate_size"] * hidden / old_hidden))
    return values


def _head_dim(name: str, width: float, hidden: int, heads: int, multiple: int) -> int:
    """Channels per head of attention `width` channels wide; rotary position embeddings need an even number."""
    if hidden % heads:
        raise InfeasibleError(f"heads = {heads} does not divide hidden_size = {hidden}")
    if width % (multiple * heads):
        raise InfeasibleError(
            f"{name} at hidden_size = {hidden} and heads = {heads} has heads of {width / heads:g} channels; "
            f"it needs a multiple of {multiple}"
        )
    return int(width) // heads
