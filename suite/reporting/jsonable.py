"""Anything a report holds as JSON: the same bytes from the same records, wherever it is made. Pure."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Sums in another order, or of another library, differ in the last bits; none of these digits is one of them.
DIGITS = 6


def rounded(value: float) -> float:
    """A decimal to six significant digits."""
    return float(f"{value:.{DIGITS - 1}e}")


def jsonable(value: Any) -> Any:
    """Dataclasses and mappings as objects without their absent fields, decimals rounded, no NaN or infinity."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return jsonable({f.name: getattr(value, f.name) for f in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return {str(k): jsonable(v) for k, v in value.items() if v is not None}
    if isinstance(value, float):
        return rounded(value) if math.isfinite(value) else str(value)
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        return value
    return [jsonable(v) for v in value]


def dumps(value: Any) -> str:
    """JSON text of it, one field a line, ending in a newline."""
    text = json.dumps(jsonable(value), indent=1, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace").decode() + "\n"
