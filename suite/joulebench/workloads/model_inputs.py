"""Inputs of a model that somebody has: a data set's images, lines of text, or random ones of a stated shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from joulebench.data import StagedImages
from joulebench.errors import InputError, first_line
from joulebench.host.files import expanded
from joulebench.spec.reading import MAX_LOG_BYTES, read_text
from joulebench.workloads.base import Context

#: Inputs of a stated shape, where there is no data set.
RANDOM_INPUTS = 64


def input_shape(options: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The option `input`; None where it is left out.

    Raises:
        InputError: it is no shape, or the options `input`, `texts` and `vocabulary` do not go together.
    """
    given, texts, least = (options.get(name) for name in ("input", "texts", "vocabulary"))
    if given is not None and (
        not isinstance(given, list | tuple) or not given or not all(type(n) is int and n > 0 for n in given)
    ):
        raise InputError(f"options.input: must be the shape of one sample, such as [3, 224, 224] (got {given!r})")
    if texts is not None:
        if not isinstance(texts, str):
            raise InputError(f"options.texts: must name a file of a text a line (got {texts!r})")
        if given is not None and len(given) != 1:
            raise InputError(f"options.input: with texts, the most tokens, such as [128] (got {given!r})")
    if least is not None and (type(least) is not int or least < 2):
        raise InputError(f"options.vocabulary: must be a whole number from 2 (got {least!r})")
    return None if given is None else tuple(given)


def check_inputs(options: Mapping[str, Any], *, dataset: bool) -> None:
    """Check that there are inputs, from one place.

    Raises:
        InputError: there are none, or from two places.
    """
    shape = input_shape(options)
    named = [name for name in ("input", "texts", "vocabulary") if name in options]
    if dataset and named:
        raise InputError(f"options.{named[0]}: the data set gives the inputs (leave one of the two out)")
    if not dataset and shape is None and "texts" not in options:
        raise InputError("options.input: without a data set, the shape of one sample is needed, or options.texts")
    if "texts" in options:
        read_lines(options["texts"], "texts", "text")


def read_lines(path: object, option: str, what: str) -> list[str]:
    """The texts of a file, one a line; empty lines are skipped.

    Raises:
        InputError: it cannot be read or holds none.
    """
    try:
        text = read_text(expanded(Path(str(path))), MAX_LOG_BYTES, follow=True)
    except InputError as error:
        raise InputError(f"options.{option}: {error}") from None
    if not (lines := [line for line in text.splitlines() if line.strip()]):
        raise InputError(f"options.{option}: {path}: holds no {what}; write one per line")
    return lines


def load_tokenizer(name: str, refusal: str) -> Any:
    """The tokenizer in a folder or on the Hugging Face hub; no code of a folder is run.

    Raises:
        InputError: there is none; the message is `refusal` and why.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise InputError(f"{refusal}: {first_line(error)}") from None


def images_of(context: Context) -> StagedImages | None:
    """The context's data set.

    Raises:
        InputError: it is text.
    """
    if context.data is not None and not isinstance(context.data, StagedImages):
        raise InputError("dataset: the workload 'model' needs images, not text")
    return context.data


def random_inputs(shape: tuple[int, ...], count: int, vocabulary: int | None, pad: int | None) -> torch.Tensor:
    """Normal numbers, or token ids below `vocabulary` without `pad`; the same at every call."""
    generator = torch.Generator().manual_seed(0)
    if vocabulary is None:
        return torch.randn(count, *shape, generator=generator)
    if pad is None or not 0 <= pad < vocabulary:
        return torch.randint(vocabulary, (count, *shape), generator=generator)
    ids = torch.randint(vocabulary - 1, (count, *shape), generator=generator)
    return ids + (ids >= pad).long()
