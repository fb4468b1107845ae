"""The fields of a BoAmps report, which of them are required, and what they may hold.

Fields and their types are those of CodeCarbon's model of the report. What is required and allowed is written after
the public JSON schemas of the BoAmps data model, release 1.1.0 (Boavizta, CC BY 4.0):
https://github.com/Boavizta/BoAmps/tree/main/model. Energy is in kWh, durations in seconds, memory in GB, parameters
in billions, carbon intensity in g CO2e/kWh.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

from codecarbon.output_methods.boamps.models import BoAmpsReport, snake_to_camel

from joulebench.errors import InputError, did_you_mean
from joulebench.results.energy import MAX_VALUE
from joulebench.spec.parameters import Value

FORMAT_VERSION = "1.1.0"
FORMAT_URI = "https://github.com/Boavizta/BoAmps/tree/main/model"

#: By part: what it must hold. Parts that are lists stand here, and in the paths below, with their first place.
REQUIRED = {
    "header": ("reportDatetime",),
    "header.publisher": ("confidentialityLevel",),
    "task": ("taskStage", "taskFamily"),
    "task.dataset.0": ("dataUsage", "dataType"),
    "measures.0": ("measurementMethod", "powerConsumption"),
    "system": ("os",),
    "software": ("language",),
    "infrastructure": ("infraType",),
    "infrastructure.components.0": ("componentType", "nbComponent"),
    "environment": ("country",),
}
#: By name: the values of a field that has a list of them. BoAmps leaves the stage free; these are what is measured.
ALLOWED = {
    "reportStatus": ("draft", "final", "corrective", "other"),
    "confidentialityLevel": ("public", "internal", "confidential", "secret"),
    "taskStage": ("inference", "training"),
    "dataUsage": ("input", "output"),
    "dataType": ("tabular", "audio", "boolean", "image", "video", "object", "text", "token", "word", "other"),
    "source": ("public", "private", "other"),
    "estimatedAccuracy": ("veryPoor", "poor", "average", "good", "veryGood"),
    "infraType": ("publicCloud", "privateCloud", "onPremise", "other"),
    "powerSupplierType": ("public", "private", "internal", "other"),
    "powerSource": ("solar", "wind", "nuclear", "hydroelectric", "gas", "coal", "other"),
    "quality": ("high", "medium", "low"),
}
#: By name: the range of a number, where it is not everything from 0.
RANGES = {
    "measuredAccuracy": (0, 1),
    "averageUtilizationCpu": (0, 1),
    "averageUtilizationGpu": (0, 1),
    "share": (0, 1),
    "nbComponent": (1, MAX_VALUE),
    "latitude": (-90, 90),
    "longitude": (-180, 180),
}


def _leaves(part: Any, at: str = "") -> Iterator[tuple[str, type]]:
    """Every field of a dataclass and of the dataclasses in it, by its dotted path, and its type."""
    for name, optional in get_type_hints(part).items():
        kind = get_args(optional)[0]
        inner = get_args(kind)  # of a list
        path = f"{at}{snake_to_camel(name)}{'.0' if inner else ''}"
        leaf = inner[0] if inner else kind
        if is_dataclass(leaf):
            yield from _leaves(leaf, f"{path}.")
        else:
            yield path, leaf


#: Every field by its path. CodeCarbon has memory as a float, the data model as an integer.
FIELDS = dict(_leaves(BoAmpsReport)) | {"infrastructure.components.0.memorySize": int}


def check_field(path: str, value: Value) -> None:
    """Refuse a field that the data model does not have, or a value that it does not allow there.

    Raises:
        InputError: it is one; the nearest is named.
    """
    known = _first_place(path)
    if known not in FIELDS:
        beside = _beside(known)
        raise InputError(
            f"--set {path}: no field of the boamps card{did_you_mean(known, beside)} (allowed: {', '.join(beside)})"
        )
    name, kind = path.rpartition(".")[2], FIELDS[known]
    low, high = RANGES.get(name, (0, MAX_VALUE))
    if name in ALLOWED:
        fits = value in ALLOWED[name]
        wanted = f"one of {', '.join(ALLOWED[name])}{did_you_mean(str(value), ALLOWED[name])}"
    elif name.lower().endswith("datetime"):
        fits = re.fullmatch(r"[0-9]{4}(-[0-9]{2}){2} [0-9]{2}(:[0-9]{2}){2}", str(value)) is not None
        wanted = "a time as YYYY-MM-DD HH:MM:SS"
    elif kind is str:
        fits, wanted = isinstance(value, str), 'text, and a number in quotes, as "3.10"'
    else:
        fits = isinstance(value, int | float) and type(value) in (int, kind) and low <= value <= high
        wanted = f"a {'whole ' if kind is int else ''}number from {low} to {high:g}"
    if not fits:
        raise InputError(f"{path}: must be {wanted} (got {value!r})")


def _first_place(path: str) -> str:
    return re.sub(r"\.[0-9]{1,4}(?=\.|$)", ".0", path)


def _beside(path: str) -> list[str]:
    """What is in the innermost part of the data model that the path leads to."""
    part = f"{path}."
    while part and not any(field.startswith(part) for field in FIELDS):
        part = part[: part.rfind(".", 0, -1) + 1]
    inner = (field.removeprefix(part).partition(".")[0] for field in FIELDS if field.startswith(part))
    return list(dict.fromkeys(part + name for name in inner))


def check_report(report: Mapping[str, Any]) -> None:
    """Refuse a report with a field as above, or a part without what is required of it.

    Raises:
        InputError: it is one; the line says how to give what is missing.
    """
    for path, part in _parts(report):
        for name in REQUIRED.get(_first_place(path), ()):
            if part.get(name, "") == "":
                field, allowed = f"{path}.{name}", ", ".join(ALLOWED.get(name, ()))
                raise InputError(
                    f"{field}: the boamps card requires it and the records do not hold it; give --set {field}=…"
                    f"{f' (allowed: {allowed})' if allowed else ''}"
                )
        for name, value in part.items():
            if not isinstance(value, dict | list):
                check_field(f"{path}.{name}".removeprefix("."), value)


def _parts(tree: Any, path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(tree, dict):
        yield path, tree
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for step, value in inner:
        yield from _parts(value, f"{path}.{step}".removeprefix("."))
