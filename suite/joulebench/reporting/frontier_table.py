"""The frontier's members as a table: parameters, objectives, joules, what is constrained, costs, scores. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from joulebench.presentation.numbers import NOT_MEASURED, count, octets, prefix, si
from joulebench.presentation.table import Cell, Column, Table, show, value_cell
from joulebench.presentation.units import bound, plain, scaled
from joulebench.reporting.summary import Summary
from joulebench.results.members import Member, Target, UnitEnergy
from joulebench.results.outcome import Outcome
from joulebench.spec.objectives import COSTS, Quantity
from joulebench.spec.task import Protocol

Read = Callable[[Member], Cell]


def frontier_table(summary: Summary) -> Table:
    """One row a member, best in the first objective first."""
    columns: list[tuple[str, Read]] = [*_asked(summary), *_joules(summary), *_costs(summary), *_scores(summary)]
    rows = tuple((Cell(", ".join(map(str, m.trials))), *(read(m) for _, read in columns)) for m in summary.members)
    titles = (Column("Trials"), *(Column(title, numeric=True) for title, _ in columns))
    return Table("Frontier, best in the first objective first", titles, rows)


def _asked(summary: Summary) -> Iterator[tuple[str, Read]]:
    """Parameters, objectives, and the quantities that only a constraint names."""
    task = summary.task
    for name in task.free:
        yield name, _parameter(name)
    for name, objective in task.objectives.items():
        arrow = "↑" if objective.goal == "maximize" else "↓"
        basis = f" ({objective.basis})" if objective.is_energy else ""
        yield f"{name} {arrow}{basis}", _outcome(name, objective, task.protocol, lambda m: m.outcomes)
    for name, constraint in task.outcome_constraints.items():
        if name not in task.objectives and name not in COSTS:  # these have columns of their own
            title = f"{name} {bound(name, constraint)}"
            yield title, _outcome(name, constraint, task.protocol, lambda m: m.constraints)


def _parameter(name: str) -> Read:
    return lambda m: Cell(show(m.params.get(name)))


def _outcome(
    name: str, quantity: Quantity, protocol: Protocol, of: Callable[[Member], Mapping[str, Outcome]]
) -> Read:
    def read(m: Member) -> Cell:
        outcome = of(m).get(name)
        if outcome is None:
            return Cell(NOT_MEASURED)
        factor, unit = scaled(name, outcome.value.mean, quantity)
        return value_cell(outcome.value, protocol, factor, unit, outcome.kind or "")

    return read


def _joules(summary: Summary) -> Iterator[tuple[str, Read]]:
    """Joules per unit of work of each target, gross and net."""
    protocol = summary.task.protocol
    for target in summary.targets:
        work = _work(summary, target)
        yield f"{work}, gross", _energy(target, protocol, net=False)
        yield f"{work}, net", _energy(target, protocol, net=True)


def _energy(target: Target, protocol: Protocol, net: bool) -> Read:
    def read(m: Member) -> Cell:
        energy: UnitEnergy | None = m.energy_of(target)
        value = None if energy is None else energy.net if net else energy.gross
        if energy is None or value is None:
            return Cell(NOT_MEASURED)
        factor, letter = prefix(value.mean)
        return value_cell(value, protocol, factor, f"{letter}J/{plain(target.unit)}", energy.kind)

    return read


def _work(summary: Summary, target: Target) -> str:
    """`J per sample`, with phase and domains where several targets share the unit."""
    alike = [t for t in summary.targets if t.unit == target.unit]
    if len(alike) == 1:
        return f"J per {plain(target.unit)}"
    same_phase = [t for t in alike if t.phase == target.phase]
    domains = f" ({' + '.join(target.families)})" if len(same_phase) > 1 else ""
    return f"J per {plain(target.unit)} of {target.phase}{domains}"


def _costs(summary: Summary) -> Iterator[tuple[str, Read]]:
    """What was counted, and peak memory; of FLOPs, a phase's own where the workload counts them."""
    by_phase = [t for t in summary.targets if any(t.phase in m.costs.phase_flops for m in summary.members)]
    yield _bounded(summary, "Parameters", "parameters"), lambda m: Cell(count(m.costs.parameters))
    if not by_phase or any(m.costs.flops is not None for m in summary.members):
        yield _bounded(summary, "MACs", "macs"), lambda m: Cell(si(m.costs.macs, ""))
        yield _bounded(summary, "FLOPs", "flops"), lambda m: Cell(si(m.costs.flops, ""))
    for target in {t.phase: t for t in by_phase}.values():
        yield f"FLOPs per {plain(target.unit)} of {target.phase}", _phase_flops(target.phase)
    title = _bounded(summary, "Peak memory", "peak_memory_bytes")
    yield title, lambda m: Cell(octets(m.costs.peak_memory_bytes))


def _phase_flops(phase: str) -> Read:
    return lambda m: Cell(si(m.costs.phase_flops.get(phase), ""))


def _bounded(summary: Summary, title: str, cost: str) -> str:
    constraint = summary.task.outcome_constraints.get(cost)
    return title if constraint is None else f"{title} {bound(cost, constraint)}"


def _scores(summary: Summary) -> Iterator[tuple[str, Read]]:
    for name in sorted({name for m in summary.members for name in m.scores}):
        yield name, _score(name, summary.task.protocol)


def _score(name: str, protocol: Protocol) -> Read:
    return lambda m: value_cell(m.scores.get(name), protocol)
