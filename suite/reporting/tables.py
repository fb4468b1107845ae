"""The summary's numbers as tables of words, the same for HTML and Markdown. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.energy import Estimate
from suite.reporting.diagnosis import is_wide
from suite.reporting.ledger import GROUPS, SourceShare
from suite.reporting.members import Member, Target, UnitEnergy
from suite.reporting.quantities import (
    ABSENT,
    NOT_MEASURED,
    count,
    joules,
    number,
    octets,
    percent,
    prefix,
    seconds,
    si,
    watts,
)
from suite.reporting.summary import Summary
from suite.reporting.units import interval, objective_unit, sample_size, scaled
from suite.task import Protocol

WIDE = "wide interval"


@dataclass(frozen=True)
class Cell:
    """A value in words; `details` are its interval, n and kind, `flag` a warning that belongs to it."""

    text: str
    details: tuple[str, ...] = ()
    flag: str = ""


@dataclass(frozen=True)
class Column:
    title: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under columns; the first cell of a row names it. `total` marks the last row as a sum."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    total: bool = False


def facts(summary: Summary) -> tuple[tuple[str, str], ...]:
    """What the run is: label and value."""
    manifest, task = summary.manifest, summary.task
    hardware = manifest.hardware
    counts = ", ".join(f"{n} {s}" for s, n in summary.statuses.items() if n) or "none yet"
    data = "; ".join(f"{k}: {v}" for k, v in flatten(manifest.data)) or "none"
    rows = [
        ("Task", f"{task.name}, version {task.version}"),
        ("Budget", manifest.budget or "none named: the task as it stands"),
        ("Data", data),
        ("Hardware", str(hardware.get("title") or hardware.get("name") or "not stated")),
        ("Started", manifest.created_utc),
        ("Seed", str(manifest.seed)),
        ("Digest of the task", manifest.digest),
        ("Trials", f"{len(summary.points)} ({counts})" if summary.points else counts),
        ("Configurations", f"{summary.complete} with a value for every objective"),
        ("joulebench", manifest.joulebench),
    ]
    if manifest.trials_from:
        rows.append(("Trials taken from", manifest.trials_from))
    if fixed := [(n, v) for n, v in task.defaults.items() if n not in task.free]:
        rows.append(("Fixed parameters", ", ".join(f"{n} = {show(v)}" for n, v in fixed)))
    return tuple(rows)


def frontier_table(summary: Summary) -> Table:
    """The frontier's members: parameters, objectives, joules, costs, test scores."""
    task = summary.task
    params = list(task.free)
    scores = sorted({name for m in summary.members for name in m.scores})
    columns = [
        Column("Trials"),
        *(Column(name, numeric=True) for name in params),
        *(Column(_objective_title(summary, name), numeric=True) for name in task.objectives),
    ]
    for target in summary.targets:
        columns += [Column(f"{_work(summary, target)}, {basis}", numeric=True) for basis in ("gross", "net")]
    names = ("Parameters", "MACs", "FLOPs", "Peak memory", *scores)
    columns += [Column(name, numeric=True) for name in names]
    rows = [_member_row(summary, m, params, scores) for m in summary.members]
    return Table("Frontier, best in the first objective first", tuple(columns), tuple(rows))


def _member_row(summary: Summary, member: Member, params: Sequence[str], scores: Sequence[str]) -> tuple[Cell, ...]:
    protocol = summary.task.protocol
    cells = [Cell(", ".join(map(str, member.trials)))]
    cells += [Cell(show(member.params.get(name))) for name in params]
    for name, objective in summary.task.objectives.items():
        outcome = member.outcomes[name]
        factor, unit = scaled(name, outcome.value.mean, objective.is_energy)
        cells.append(value_cell(outcome.value, protocol, factor, unit, outcome.kind or ""))
    for target in summary.targets:
        cells += _energy_cells(member.energy_of(target), protocol)
    costs = member.costs
    cells += [Cell(count(costs.parameters)), Cell(si(costs.macs, "")), Cell(si(costs.flops, ""))]
    cells.append(Cell(octets(costs.peak_memory_bytes)))
    cells += [value_cell(member.scores.get(name), protocol) for name in scores]
    return tuple(cells)


def _energy_cells(energy: UnitEnergy | None, protocol: Protocol) -> list[Cell]:
    return [
        energy_cell(energy.gross if energy else None, energy, protocol),
        energy_cell(energy.net if energy else None, energy, protocol),
    ]


def energy_cell(value: Estimate | None, energy: UnitEnergy | None, protocol: Protocol) -> Cell:
    """Joules per unit of work with an SI prefix, labelled measured or estimated."""
    if value is None or energy is None:
        return Cell(NOT_MEASURED)
    factor, letter = prefix(value.mean)
    return value_cell(value, protocol, factor, f"{letter}J/{energy.target.unit}", energy.kind)


def value_cell(
    value: Estimate | None, protocol: Protocol, factor: float = 1.0, unit: str = "", kind: str = ""
) -> Cell:
    """Mean with unit; interval, n, what varied and kind below; flagged where the interval is wide."""
    if value is None:
        return Cell(NOT_MEASURED)
    sample = ", ".join(p for p in (sample_size(value), kind) if p)
    parts = tuple(p for p in (interval(value, factor), sample) if p)
    text = f"{number(value.mean / factor)} {unit}".rstrip()
    return Cell(text, parts, WIDE if is_wide(value, protocol) else "")


def provenance_table(summary: Summary) -> Table:
    """Domain, source and kind of every joule, its share, how it was read, and idle power."""
    methods = {(m.get("domain"), m.get("source")): m.get("method", "") for m in summary.manifest.meters}
    rows = []
    for source in summary.ledger.sources:
        rows.append(
            (
                Cell(source.domain),
                Cell(source.source + (" (check, never summed)" if source.role == "check" else "")),
                Cell(source.kind),
                Cell(joules(source.energy_j)),
                Cell(ABSENT if source.share is None else percent(source.share)),
                _idle_cell(summary, source),
                Cell(methods.get((source.domain, source.source)) or "not described by its meter"),
            )
        )
    titles = ("Domain", "Source", "Kind", "Energy", "Share", "Idle power", "Method")
    columns = tuple(Column(t, numeric=t in ("Energy", "Share", "Idle power")) for t in titles)
    return Table("How each joule was obtained", columns, tuple(rows))


def _idle_cell(summary: Summary, source: SourceShare) -> Cell:
    if source.role == "check":
        return Cell(ABSENT)
    idle = summary.idle_w.get(source.domain)
    if idle is None:
        tried = any(account.name == "idle" for account in summary.ledger.accounts)
        return Cell("no quiet baseline" if tried else NOT_MEASURED)
    factor, letter = prefix(idle.mean)
    return Cell(watts(idle.mean), (f"{interval(idle, factor)} {letter}W", sample_size(idle)))


def ledger_table(summary: Summary) -> Table:
    """Every account of the run and their total."""
    ledger = summary.ledger
    families = list(ledger.by_family)
    columns = [Column("Account"), Column("Group"), Column("Energy", True), Column("Share", True)]
    columns += [Column(name.upper(), True) for name in families]
    columns += [Column("Time", True), Column("Windows", True)]
    rows = []
    for account in ledger.accounts:
        share = account.energy_j / ledger.total_j if account.energy_j is not None and ledger.total_j else None
        row = [Cell(account.name, (account.about,)), Cell(GROUPS[account.group])]
        row += [Cell(joules(account.energy_j)), Cell(percent(share))]
        row += [Cell(joules(account.by_family.get(name))) for name in families]
        rows.append((*row, Cell(seconds(account.duration_s)), Cell(count(account.windows))))
    total = [
        Cell("Total"),
        Cell(""),
        Cell(joules(ledger.total_j)),
        Cell("100 %" if ledger.total_j else NOT_MEASURED),
    ]
    total += [Cell(joules(energy_j)) for energy_j in ledger.by_family.values()]
    total += [Cell(seconds(ledger.duration_s)), Cell(count(sum(a.windows for a in ledger.accounts)))]
    return Table("Every joule of the run", tuple(columns), (*rows, tuple(total)), total=True)


def groups_table(summary: Summary) -> Table:
    """Training, measured phases, protocol and overhead side by side."""
    ledger = summary.ledger
    rows = []
    for group, title in GROUPS.items():
        energy_j = ledger.group_j(group)
        share = energy_j / ledger.total_j if energy_j is not None and ledger.total_j else None
        rows.append(
            (Cell(title), Cell(joules(energy_j)), Cell(percent(share)), Cell(seconds(ledger.group_s(group))))
        )
    columns = (Column("Group"), Column("Energy", True), Column("Share", True), Column("Time", True))
    return Table("Overhead, training and measured work", columns, tuple(rows))


def failures_table(summary: Summary) -> Table:
    """Trials without a value, by status and reason."""
    rows = [
        (Cell(f.status), Cell(count(len(f.trials))), Cell(f.reason), Cell(_some(f.trials)))
        for f in summary.failures
    ]
    columns = (Column("Status"), Column("Trials", True), Column("Reason"), Column("Which"))
    return Table("Trials without a value", columns, tuple(rows))


def environment_table(summary: Summary) -> Table:
    """Versions, device and settings, as the manifest has them."""
    parts = [("", summary.manifest.environment), ("search.", summary.manifest.search)]
    rows = [(Cell(start + key), Cell(value)) for start, part in parts for key, value in flatten(part)]
    return Table("Environment", (Column("What"), Column("Value")), tuple(rows))


def flatten(tree: Mapping[str, Any], start: str = "") -> Iterable[tuple[str, str]]:
    """Leaves of nested tables, in order: dotted key and value in words."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{start}{key}.")
        else:
            yield f"{start}{key}", show(value)


def show(value: Any) -> str:
    """A parameter or setting as a task file would have it."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(show(v) for v in value) or "none"
    return str(value)


def _some(trials: Sequence[int], most: int = 12) -> str:
    more = f", … ({len(trials) - most} more)" if len(trials) > most else ""
    return ", ".join(map(str, trials[:most])) + more


def _objective_title(summary: Summary, name: str) -> str:
    objective = summary.task.objectives[name]
    arrow = "↑" if objective.goal == "maximize" else "↓"
    return (
        f"{name} {arrow}"
        if not objective_unit(name, objective.is_energy)
        else f"{name} {arrow} ({objective.basis})"
    )


def _work(summary: Summary, target: Target) -> str:
    """`J per sample`, with phase and domains where several targets share the unit."""
    alike = [t for t in summary.targets if t.unit == target.unit]
    if len(alike) == 1:
        return f"J per {target.unit}"
    same_phase = [t for t in alike if t.phase == target.phase]
    domains = f" ({' + '.join(target.families)})" if len(same_phase) > 1 else ""
    return f"J per {target.unit} of {target.phase}{domains}"
