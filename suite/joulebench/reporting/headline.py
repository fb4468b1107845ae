"""A run in one plain sentence, for the end of the command line's run. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joulebench.presentation.numbers import joules, number, seconds
from joulebench.presentation.units import scaled
from joulebench.results.cost import SearchCost
from joulebench.results.members import Member
from joulebench.spec.task import Task


def headline(
    task: Task, statuses: Mapping[str, int], members: Sequence[Member], cost: SearchCost, shut_out: bool = False
) -> str:
    """`Frontier of 5 configurations: val_accuracy 0.61…0.97 at 210…5 800 samples/J (estimated); …`.

    `shut_out`: every configuration with values breaks a constraint.
    """
    spent = f"{joules(cost.energy_j)} in" if cost.energy_j is not None else "energy not measured,"
    price = f"{spent} {seconds(cost.duration_s)}"
    if not members:
        total = sum(statuses.values())
        if shut_out:
            return f"No configuration of {total} trials keeps every constraint; cost so far {price}."
        if statuses.get("ok"):
            return f"No trial of {total} beats the reference in every objective; cost so far {price}."
        bad = ", ".join(f"{n} {s}" for s, n in statuses.items() if n)
        return f"No usable trial of {total}{f' ({bad})' if bad else ''}; cost so far {price}."
    noun = "configuration" if len(members) == 1 else "configurations"
    what = "Best of one objective" if len(task.objectives) == 1 else f"Frontier of {len(members)} {noun}"
    found = task.objectives.items()
    quality = [_range(task, n, members) for n, o in found if not o.is_energy and not o.is_latency]
    taken = [_range(task, n, members) for n, o in found if o.is_energy]
    taken += [_range(task, n, members) for n, o in found if o.is_latency]
    values = " at ".join(", ".join(part) for part in (quality, taken) if part)
    return f"{what}: {values}; search cost {price}."


def _range(task: Task, name: str, members: Sequence[Member]) -> str:
    values = [m.outcomes[name].value.mean for m in members]
    kinds = {m.outcomes[name].kind for m in members} - {None}
    label = f" ({'measured' if kinds == {'measured'} else 'estimated'})" if kinds else ""
    low, high = min(values), max(values)
    objective = task.objectives[name]
    factor, unit = scaled(name, high, objective)
    ends = list(dict.fromkeys(number(v / factor, 3) for v in (low, high)))
    value = f"{'…'.join(ends)} {unit}".rstrip()
    return f"{value}{label}" if objective.is_energy else f"{name} {value}"
