"""The frontier as CSV: full precision, an empty cell where there is no value. Pure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from suite.energy import Estimate
from suite.reporting.diagnosis import is_wide
from suite.reporting.members import Member
from suite.reporting.summary import Summary
from suite.task import Protocol

Value = str | int | float | None
COSTS = ("parameters", "macs", "flops", "peak_memory_bytes")


def frontier_csv(summary: Summary) -> str:
    """One line a member: trials, parameters, objectives with `_low` and `_high`, joules, costs, test scores.

    `_n` is how many values a mean has, `_wide` whether its interval misses the protocol's target, `_kind`
    whether its joules were measured or estimated.
    """
    columns = _columns(summary)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for member in summary.members:
        writer.writerow(["" if (v := read(member)) is None else _cell(v) for read in columns.values()])
    return text.getvalue()


def _columns(summary: Summary) -> dict[str, Callable[[Member], Value]]:
    task = summary.task
    columns: dict[str, Callable[[Member], Value]] = {"trials": lambda m: " ".join(map(str, m.trials))}
    for name in task.parameters:
        # a parameter may share its name with a cost (`parameters`, `flops`): the later would hide the earlier
        columns[f"param_{name}" if name in COSTS else name] = lambda m, name=name: m.params.get(name)  # type: ignore[misc]
    for name, objective in task.objectives.items():
        columns |= _estimate(name, lambda m, name=name: m.outcomes[name].value, task.protocol)  # type: ignore[misc]
        if objective.is_energy:
            columns[f"{name}_kind"] = lambda m, name=name: m.outcomes[name].kind  # type: ignore[misc]
    for target in summary.targets:
        for basis in ("gross", "net"):
            stem = f"{target.phase}_j_per_{target.unit}_{basis}"
            if stem in columns:  # the same phase over other domains
                stem = f"{stem}_{'_'.join(target.families)}"

            def energy(m: Member, target: object = target, basis: str = basis) -> Estimate | None:
                found = next((e for e in m.energies if e.target == target), None)
                return (found.gross if basis == "gross" else found.net) if found else None

            columns |= _estimate(stem, energy, task.protocol)
    for cost in COSTS:
        columns[cost] = lambda m, cost=cost: getattr(m.costs, cost)  # type: ignore[misc]
    for name in sorted({n for m in summary.members for n in m.scores}):
        columns |= _estimate(name, lambda m, name=name: m.scores.get(name), task.protocol)  # type: ignore[misc]
    return columns


def _estimate(
    name: str, read: Callable[[Member], Estimate | None], protocol: Protocol
) -> dict[str, Callable[[Member], Value]]:
    def part(attribute: str) -> Callable[[Member], Value]:
        return lambda m: getattr(value, attribute) if (value := read(m)) is not None else None

    def wide(m: Member) -> Value:
        value = read(m)
        return None if value is None else is_wide(value, protocol)

    return {name: part("mean"), f"{name}_low": part("low"), f"{name}_high": part("high"), f"{name}_n": part("n"),
            f"{name}_wide": wide}  # fmt: skip


def _cell(value: str | int | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
