"""Values of a card: the user's fields, rounded numbers, and deterministic JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from joulebench.errors import InputError, did_you_mean
from joulebench.spec.parameters import Value
from joulebench.stats.estimate import Estimate
from joulebench.text import one_line

DIGITS = 6  # significant, of a number that is stored
NOT_KNOWN = "not known"


def checked(given: Mapping[str, Value], allowed: Collection[str], card: str) -> Mapping[str, Value]:
    """The fields given with --set, all of which the card has.

    Raises:
        InputError: one it does not have; the nearest is named.
    """
    for name in given:
        if name not in allowed:
            fields = ", ".join(allowed)
            raise InputError(
                f"--set {name}: no field of the {card} card{did_you_mean(name, allowed)} (allowed: {fields})"
            )
    return given


def text_of(given: Mapping[str, Value], name: str) -> str | None:
    """A field given as text; None where it is not given.

    Raises:
        InputError: it is empty.
    """
    if name not in given:
        return None
    text = one_line(str(given[name]))
    if not text:
        raise InputError(f"--set {name}: must not be empty")
    return text


def texts_of(given: Mapping[str, Value], name: str) -> str | list[str] | None:
    """A field given as text, or as a JSON list of texts; None where it is not given.

    Raises:
        InputError: it, or a part of the list, is empty or no text.
    """
    text = text_of(given, name)
    if text is None or not text.startswith("["):
        return text
    try:
        parts = json.loads(text)
    except (ValueError, RecursionError):
        parts = None
    texts = [one_line(part) for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
    if not texts or not all(texts) or len(texts) != len(parts):
        example = '["a", "b"]'
        raise InputError(f"--set {name}: must be text or a JSON list of texts, as {example} (got '{text[:60]}')")
    return texts


def number_of(given: Mapping[str, Value], name: str, low: float, high: float = math.inf) -> float | None:
    """A field given as a number above `low` and at most `high`; None where it is not given.

    Raises:
        InputError: it is no such number.
    """
    if name not in given:
        return None
    value = given[name]
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low < value <= high
        or math.isinf(value)
    ):
        most = "" if math.isinf(high) else f" and at most {high:g}"
        raise InputError(f"--set {name}: must be a number above {low:g}{most} (got {value!r})")
    return float(value)


def estimated(value: Estimate, unit: str) -> dict[str, Any]:
    """A value with its interval, its n and what varied; a single value has no interval."""
    return {
        "value": value.mean, "low": value.low, "high": value.high, "n": value.n, "varied": value.varied,
        "unit": unit,
    }  # fmt: skip


def rounded(value: float | None) -> float | None:
    """Round to six significant digits; None for None, NaN and infinities, which JSON does not have."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{DIGITS}g}")


def to_json(tree: Mapping[str, Any]) -> str:
    """Keys in order, numbers rounded, text on one line, no nulls: the same tree gives the same bytes."""
    return json.dumps(_clean(tree), indent=2, sort_keys=True, allow_nan=False) + "\n"


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        pairs = ((one_line(str(k)), _clean(v)) for k, v in value.items())
        return {k: v for k, v in pairs if v is not None}
    if isinstance(value, str):
        return one_line(value)
    if isinstance(value, Sequence):
        return [v for v in map(_clean, value) if v is not None]
    return rounded(value) if isinstance(value, float) else value
