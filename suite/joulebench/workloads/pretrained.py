"""Pretrained language models from a folder or the Hugging Face hub: safetensors only, no remote code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

from joulebench.errors import InputError, first_line
from joulebench.host.files import expanded
from joulebench.workloads.architectures import architecture_names, read_architecture
from joulebench.workloads.base import InfeasibleError

REMEDY = (
    "architecture may name a folder or a Hugging Face model, options.models a folder of models; weights = 'random' "
    "needs none"
)


def model_source(name: str, models: str | None = None) -> str:
    """Resolve `name` to a folder or hub model: a shipped architecture's hub model, a folder, or a hub model.

    Args:
        models: a folder with a folder for each architecture, where nothing is to be downloaded.

    Raises:
        InputError: it is none of these, or there is no such folder of models.
        InfeasibleError: an architecture without published weights, or without a folder among `models`.
    """
    if models is not None:
        folder = models_folder(models)
        if not (folder / name).is_dir():
            raise InfeasibleError(f"options.models: '{models}' holds no folder '{name}'")
        return str(folder / name)
    if name in architecture_names():
        hub = read_architecture(name).hub
        if hub is None:
            raise InfeasibleError(f"architecture '{name}' has no published weights; {REMEDY}")
        return hub
    folder = expanded(Path(name))
    if folder.is_dir():
        return str(folder)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        read_architecture(name)  # raises, with the allowed names
    return name


def models_folder(models: str) -> Path:
    """The folder of the option `models`.

    Raises:
        InputError: there is none.
    """
    if not (folder := expanded(Path(models))).is_dir():
        raise InputError(f"options.models: no folder '{models}'")
    return folder


def pretrained_config(source: str) -> Any:
    """The transformers configuration of a pretrained model.

    Raises:
        InputError: there is no such model, or it cannot be reached.
    """
    return _loaded(source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))


def pretrained_model(source: str, config: Any, dtype: torch.dtype, attention: str) -> Any:
    """Load a pretrained model into host memory, its weights in `dtype`.

    Raises:
        InputError: there is no such model, it cannot be reached, it has no safetensors, it is no causal language
            model, or not all of its weights are there.
    """
    logging.disable_progress_bar()
    model, found = _loaded(
        source,
        lambda: AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        ),
    )
    stored, made = config.architectures or [], type(model).__name__
    if stored and made not in stored:
        raise InputError(f"architecture: '{source}' is a {stored[0]}, no causal language model (expected: {made})")
    if new := sorted([*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])]):
        more = f" and {len(new) - 1} more" if len(new) > 1 else ""
        raise InputError(f"architecture: '{source}' has no fitting weights for {new[0]}{more}")
    return model


def _loaded(source: str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"architecture: '{source}' cannot be loaded: {first_line(error)}; {REMEDY}") from None
