"""Checks that what a workload returns is what `Workload` promises: numbers by name, epochs, phases, costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import index

from joulebench.errors import described
from joulebench.measurement.training import TrialFailedError
from joulebench.records.model import Costs
from joulebench.workloads.base import Epoch, Phase

MAX_NAME = 200  # characters
MAX_COUNT = 10**15


def numbers(returned: object, method: str) -> dict[str, float]:
    """Numbers by name, as a method of a workload gives them; a tensor of one element is a number.

    Raises:
        TrialFailedError: they are something else.
    """
    return {_name(name, method): _number(value, f"{method}: {name}") for name, value in _items(returned, method)}


def checked_epoch(returned: object) -> Epoch:
    """An epoch with its metrics as numbers.

    Raises:
        TrialFailedError: it is none, or its index or units count nothing.
    """
    if not isinstance(returned, Epoch):
        raise TrialFailedError(f"train: yields {_kind(returned)} instead of an Epoch")
    number, units = (
        _count(n, f"train: an epoch's {w}", 0) for n, w in ((returned.index, "index"), (returned.units, "units"))
    )
    return Epoch(number, units, numbers(returned.metrics, "train"), bool(returned.complete))


def checked_phases(returned: object) -> dict[str, Phase]:
    """Phases by name.

    Raises:
        TrialFailedError: they are something else, or a step does no unit of work.
    """
    phases = {}
    for name, phase in _items(returned, "phases"):
        if not isinstance(phase, Phase):
            raise TrialFailedError(f"phases: {_name(name, 'phases')} is {_kind(phase)} instead of a Phase")
        phases[_name(name, "phases")] = replace(phase, units=_count(phase.units, f"phases: {name}: units", 1))
    return phases


def checked_costs(returned: object) -> Costs:
    """Static costs, validated.

    Raises:
        TypeError: they are something else.
        ValueError: a count is none.
    """
    if not isinstance(returned, Costs):
        raise TypeError(f"costs: gives {_kind(returned)} instead of Costs")
    return Costs.model_validate(vars(returned))


def _items(returned: object, method: str) -> list[tuple[object, object]]:
    if not isinstance(returned, Mapping):
        raise TrialFailedError(f"{method}: gives {_kind(returned)} instead of a dict")
    return list(returned.items())


def _name(name: object, method: str) -> str:
    if not (isinstance(name, str) and name.isprintable() and 0 < len(name) <= MAX_NAME):
        raise TrialFailedError(f"{method}: a name must be text of one line (got {_shown(name)})")
    return str(name)


def _count(value: object, what: str, least: int) -> int:
    try:
        count = index(value)  # type: ignore[arg-type]
    except TypeError:
        count = -1
    if isinstance(value, bool) or not least <= count <= MAX_COUNT:
        raise TrialFailedError(f"{what} must be a whole number from {least} to {MAX_COUNT:g} (got {_shown(value)})")
    return count


def _number(value: object, where: str) -> float:
    try:
        if isinstance(value, str | bytes):
            raise TypeError("text")
        return float(value)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise TrialFailedError(f"{where} is no number ({described(error)})") from None


def _kind(returned: object) -> str:
    return f"a {type(returned).__name__}"


def _shown(value: object) -> str:
    """A value as messages quote it, whatever its own text is."""
    return ascii(value)[:80] if isinstance(value, str | int | float | None) else _kind(value)
