"""What a task's constraints and conditions are, and which configurations they shut out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joulebench.presentation.units import bound, quantile_name
from joulebench.results.findings import Code, Finding
from joulebench.results.outcome import Configuration
from joulebench.spec.task import Task


def constraint_facts(task: Task) -> list[tuple[str, str]]:
    """Label and words for the facts at a report's head; nothing where the task has none."""
    rows = []
    measured = [f"{n} {bound(n, c)}{_of(task, n)}" for n, c in task.outcome_constraints.items()]
    if measured:
        rows.append(("Constraints", "; ".join(measured)))
    conditions = [c for c in task.constraints.values() if isinstance(c, str)]
    if conditions:
        rows.append(("Constraints on parameters", "; ".join(conditions)))
    only = [f"{n} only if {p.only_if}" for n, p in task.parameters.items() if p.only_if is not None]
    if only:
        rows.append(("Parameters that depend on others", "; ".join(only)))
    return rows


def _of(task: Task, name: str) -> str:
    """What a constrained quantity is a number of, where its name does not tell."""
    constraint = task.outcome_constraints[name]
    if constraint.quantile is not None:
        return f" ({quantile_name(constraint.quantile)} of {constraint.phase} steps)"
    if constraint.is_energy:
        return f" ({constraint.phase}, {' + '.join(constraint.domains or ())}, {constraint.basis})"
    return ""


def broken_by(task: Task, configuration: Configuration) -> tuple[str, ...]:
    """The constraints that a configuration does not keep."""
    bounds, known = task.outcome_constraints, configuration.constraints
    return tuple(n for n, c in bounds.items() if n in known and not c.met_by(known[n].value.mean))


def broken(task: Task, found: Sequence[Configuration]) -> dict[str, int]:
    """How many complete configurations break each constraint; those that none breaks are left out."""
    names = [name for c in found if c.complete for name in broken_by(task, c)]
    return {name: names.count(name) for name in task.outcome_constraints if name in names}


def constraint_findings(task: Task, complete: int, feasible: int, counts: Mapping[str, int]) -> tuple[Finding, ...]:
    """That configurations were shut out, by which constraint; a warning where none is left."""
    if not counts:
        return ()
    parts = []
    for name, n in counts.items():
        configurations = "configuration completes but breaks" if n == 1 else "configurations complete but break"
        parts.append(f"{n} {configurations} {name} {bound(name, task.outcome_constraints[name])}")
    text = f"Of {complete}, {', '.join(parts)}."
    if feasible:
        return (
            Finding(
                "note",
                Code.CONSTRAINTS,
                "Constraints",
                f"{text} The figures show them; the frontier has none of them.",
            ),
        )
    advice = "None keeps every constraint, so nothing can be recommended: loosen a bound, or widen the space."
    return (Finding("warning", Code.NONE_FEASIBLE, "No configuration keeps the constraints", f"{text} {advice}"),)
