"""A run in one plain sentence, for the end of the command line's run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from suite.reporting.cost import SearchCost
from suite.reporting.members import Member
from suite.reporting.quantities import joules, number, seconds
from suite.reporting.units import objective_unit, scaled
from suite.task import Task


def headline(task: Task, statuses: Mapping[str, int], members: Sequence[Member], cost: SearchCost) -> str:
    """`Frontier of 5 configurations: val_accuracy 0.61…0.97 at 210…5 800 samples/J (estimated); …`."""
    spent = f"{joules(cost.energy_j)} in" if cost.energy_j is not None else "energy not measured,"
    price = f"{spent} {seconds(cost.duration_s)}"
    if not members:
        total = sum(statuses.values())
        if statuses.get("ok"):
            return f"No trial of {total} beats the reference in every objective; cost so far {price}."
        bad = ", ".join(f"{n} {s}" for s, n in statuses.items() if n)
        return f"No usable trial of {total}{f' ({bad})' if bad else ''}; cost so far {price}."
    noun = "configuration" if len(members) == 1 else "configurations"
    what = "Best of one objective" if len(task.objectives) == 1 else f"Frontier of {len(members)} {noun}"
    quality = [_range(task, n, members) for n, o in task.objectives.items() if not o.is_energy]
    energy = [_range(task, n, members) for n, o in task.objectives.items() if o.is_energy]
    values = " at ".join(", ".join(part) for part in (quality, energy) if part)
    return f"{what}: {values}; search cost {price}."


def _range(task: Task, name: str, members: Sequence[Member]) -> str:
    values = [m.outcomes[name].value.mean for m in members]
    kinds = {m.outcomes[name].kind for m in members} - {None}
    label = f" ({'measured' if kinds == {'measured'} else 'estimated'})" if kinds else ""
    low, high = min(values), max(values)
    factor, unit = scaled(name, high, task.objectives[name].is_energy)
    ends = list(dict.fromkeys(number(v / factor, 3) for v in (low, high)))
    if not objective_unit(name, task.objectives[name].is_energy):
        return f"{name} {'…'.join(ends)}"
    return f"{'…'.join(ends)} {unit}{label}"
