"""Pretrained language models from a folder or the Hugging Face hub: safetensors only, no remote code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from joulebench.errors import InputError
from joulebench.workloads.architectures import architecture_names, read_architecture


def model_source(name: str) -> str:
    """Resolve `name` to a folder or hub model: a shipped architecture's hub model, a folder, or a hub model.

    Raises:
        InputError: it is none of these.
    """
    if name in architecture_names():
        hub = read_architecture(name).hub
        if hub is None:
            raise InputError(f"architecture: '{name}' has no published weights; set weights = 'random'")
        return hub
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        read_architecture(name)  # raises, with the allowed names
    return name


def pretrained_config(source: str) -> Any:
    """The transformers configuration of a pretrained model.

    Raises:
        InputError: there is no such model, or it cannot be reached.
    """
    return _loaded(source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))


def pretrained_model(source: str, config: Any, dtype: torch.dtype, attention: str) -> Any:
    """Load a pretrained model into host memory, its weights in `dtype`.

    Raises:
        InputError: there is no such model, it cannot be reached, or it has no safetensors.
    """
    logging.disable_progress_bar()
    return _loaded(
        source,
        lambda: AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
        ),
    )


def _loaded(source: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, ImportError) as error:
        reason = str(error).strip().split("\n")[0]
        remedy = "a folder that holds it needs no network, weights = 'random' no download"
        raise InputError(f"architecture: '{source}' cannot be loaded: {reason}; {remedy}") from None
