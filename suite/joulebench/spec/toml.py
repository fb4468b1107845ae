"""Reading and validation of definitions (tasks, hardware profiles) in TOML, with one-line errors."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.reading import read_text
from joulebench.text import short

MAX_BYTES = 1_000_000
#: First character of the tag of a union's member that has no discriminator field; no key of a file begins so.
TAG = "="


class Definition(BaseModel):
    """Base class of the parts of a definition: frozen, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


D = TypeVar("D", bound=Definition)


def read_toml(path: Path) -> dict[str, Any]:
    """Read the table in a TOML file.

    Raises:
        InputError: no such file, not text, not TOML, or larger than 1 MB.
    """
    try:
        return tomllib.loads(read_text(path, MAX_BYTES, follow=True))
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: not TOML: {short(str(error), 200)}") from None


def validate(model: type[D], data: Mapping[str, Any], origin: str | Path) -> D:
    """Validate `data` as a `model`, without type conversion.

    Raises:
        InputError: one line with origin, field, what is wrong, and what is allowed.
    """
    try:
        valid = model.model_validate_json(json.dumps(data), strict=True)
    except TypeError as error:
        raise InputError(f"{origin}: dates and times are not used in definitions ({error})") from None
    except ValidationError as error:
        raise InputError(f"{origin}: {explain(error, model)}") from None
    if (field := no_number(data)) is not None:  # in a table whose values may be of any kind
        raise InputError(f"{origin}: {field}: must be a finite number")
    return valid


def no_number(tree: Any, path: str = "") -> str | None:
    """Path of the first number of a tree that is NaN or infinite; None if there is none."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return path
    parts = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    found = (no_number(part, f"{path}.{name}" if path else str(name)) for name, part in parts)
    return next((where for where in found if where is not None), None)


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Format the first problem of a pydantic error as `field: problem (got value)`, with the number of others.

    An unknown key comes first: a missing key beside it is often the same key, misspelt.
    """
    problems = sorted(error.errors(include_url=False), key=lambda p: p["type"] != "extra_forbidden")
    first = problems[0]
    field, _ = _follow(model, first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    got = ""
    if first["type"] == "extra_forbidden":
        _, models = _follow(model, first["loc"][:-1])
        allowed = list(dict.fromkeys(name for candidate in models for name in candidate.model_fields))
        message = f"unknown key{did_you_mean(str(first['loc'][-1]), allowed)} (allowed: {', '.join(allowed)})"
    elif not isinstance(value, Mapping | list | tuple) and first["type"] != "missing":
        got = f" (got {short(repr(value), 200)}{_literal_hint(first, value)})"
    more = f" [and {len(problems) - 1} more]" if len(problems) > 1 else ""
    return short(f"{field}: {message}{got}{more}", 600)


def _follow(model: type[BaseModel], location: tuple[int | str, ...]) -> tuple[str, list[type[BaseModel]]]:
    """Convert pydantic's location to the path written in the file, and the models allowed there.

    pydantic's location also holds the tag of a union's member, which is not a table in the file.
    """
    written: list[str] = []
    models: list[type[BaseModel]] = [model]
    for part in location:
        if inner := [m.model_fields[str(part)].annotation for m in models if part in m.model_fields]:
            models = [inner_model for annotation in inner for inner_model in _models(annotation)]
        elif tagged := [m for m in models if "type" in m.model_fields and m.model_fields["type"].default == part]:
            models = tagged
            continue
        elif str(part).startswith(TAG):
            continue
        written.append(str(part))
    return ".".join(written) or "definition", models


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]


def _literal_hint(problem: Any, value: Any) -> str:
    expected = str(problem.get("ctx", {}).get("expected", "")) if problem["type"] == "literal_error" else ""
    return did_you_mean(str(value), expected.replace("'", "").replace(" or ", ", ").split(", "))


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merge `over` into `base`, table by table; lists and scalars are replaced.

    A table with another `type` or `method` than that of `base` replaces it whole.
    """
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and not _other_kind(below, value):
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def _other_kind(below: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    return any(isinstance(over.get(key), str) and over[key] != below.get(key) for key in ("type", "method"))


def digest(data: Any) -> str:
    """SHA-256 of `data`'s JSON, first 16 hexadecimal digits; the order of keys counts, as for stages."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
