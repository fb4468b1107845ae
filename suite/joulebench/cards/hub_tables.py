"""The tables of a hub's card: task, quality, joules, hardware, method and provenance in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.cards.quality import Quality
from joulebench.cards.subject import Subject, Training, hardware_used
from joulebench.cards.values import NOT_KNOWN
from joulebench.presentation.numbers import NOT_MEASURED, count, octets, percent, seconds, si
from joulebench.presentation.table import Cell, Column, Table, flatten, prefixed_cell, show, value_cell
from joulebench.presentation.units import plain
from joulebench.reporting import tables
from joulebench.reporting.summary import Summary
from joulebench.results.phase_cost import EVERY_FAMILY
from joulebench.spec.task import Protocol, Task
from joulebench.stats.estimate import Estimate

Facts = tuple[tuple[str, str], ...]


def facts(subject: Subject) -> Facts:
    """What was measured: task, data, configuration."""
    manifest, task = subject.records.manifest, subject.records.task
    params = ", ".join(f"{name} = {show(value)}" for name, value in subject.member.params.items())
    seeds = ", ".join(str(t.seed) for t in subject.trials)
    return (
        ("Task", f"{task.name}, version {task.version}, digest {manifest.digest}"),
        ("Workload", task.workload),
        ("Budget", manifest.budget or "none named: the task as it stands"),
        ("Data", "; ".join(f"{k}: {v}" for k, v in flatten(manifest.data)) or "none"),
        ("Configuration", params),
        ("Trials", f"{', '.join(map(str, subject.member.trials))} (seeds {seeds})"),
        ("Measured", manifest.created_utc),
        ("joulebench", manifest.joulebench),
    )


def quality_table(found: Sequence[Quality], protocol: Protocol) -> Table:
    rows = tuple(
        (Cell(q.metric), Cell(q.split or "as the workload defines it"), value_cell(q.value, protocol), Cell(q.seen))
        for q in found
    )
    columns = (Column("Metric"), Column("Split"), Column("Value", numeric=True), Column("Who saw it"))
    return Table("Metrics by split", columns, rows)


def energy_table(subject: Subject) -> Table:
    """Joules per unit of work by phase, gross and net, over the domains that the task counts."""
    protocol = subject.records.task.protocol
    rows = []
    for energy in subject.member.energies:
        unit = f"J/{plain(energy.target.unit)}"
        label = f"{energy.kind}, measured share {percent(energy.measured_share)}"
        rows.append(
            (
                Cell(energy.target.phase),
                Cell(" + ".join(energy.domains), (label,)),
                _labelled(energy.gross, unit, protocol, energy.kind),
                _labelled(energy.net, unit, protocol, energy.kind),
                prefixed_cell(energy.unit_s, f"s/{plain(energy.target.unit)}", protocol),
            )
        )
    titles = ("Phase", "Domains", "Gross", "Net of idle", "Time")
    columns = tuple(Column(t, numeric=t not in ("Phase", "Domains")) for t in titles)
    return Table("Energy of the work, with 95 % intervals", columns, tuple(rows))


def _labelled(value: Estimate | None, unit: str, protocol: Protocol, kind: str) -> Cell:
    cell = prefixed_cell(value, unit, protocol)
    return cell if value is None else Cell(cell.text, (*cell.details, kind), cell.flag)


def domain_table(subject: Subject) -> Table:
    """The same work, domain by domain: gross joules, how they were obtained."""
    protocol = subject.records.task.protocol
    rows = []
    for phase, unit in subject.phases.items():
        for name in EVERY_FAMILY:
            cost = subject.cost(phase, (name,))
            if cost is not None:
                value = prefixed_cell(cost.gross, f"J/{plain(unit)}", protocol)
                rows.append(
                    (Cell(phase), Cell(name), value, Cell(cost.kind), Cell(", ".join(subject.sources(phase, name))))
                )
    columns = (Column("Phase"), Column("Domain"), Column("Gross", True), Column("Kind"), Column("Source"))
    return Table("The same by domain", columns, tuple(rows))


def training_table(subject: Subject, trained: Training | None) -> Table:
    columns = (
        Column("Domains"),
        Column("Energy of a training", True),
        Column("Time of its steps", True),
        Column("Work", True),
    )
    if trained is None:
        return Table("Energy of training", columns, ())
    protocol = subject.records.task.protocol
    row = (
        Cell(" + ".join(trained.domains), (f"measured share {percent(trained.measured_share)}",)),
        _labelled(trained.energy_j, "J", protocol, trained.kind),
        _time(trained.duration_s),
        Cell(f"{count(trained.units)} {_trained_unit(subject)}"),
    )
    return Table("Energy of training", columns, (row,))


def _trained_unit(subject: Subject) -> str:
    dataset = subject.records.task.dataset
    return "units of work" if dataset is None else "tokens" if dataset.is_text else "samples"


def _time(value: Estimate) -> Cell:
    ends = () if value.low is None or value.high is None else (f"[{seconds(value.low)}, {seconds(value.high)}]",)
    return Cell(seconds(value.mean), ends)


def cost_facts(subject: Subject) -> Facts:
    """Static costs, as far as they were counted."""
    costs = subject.member.costs
    rows = [
        ("Parameters", None if costs.parameters is None else count(costs.parameters)),
        ("MACs of one sample", None if costs.macs is None else si(costs.macs, "")),
        ("FLOPs of one sample", None if costs.flops is None else si(costs.flops, "")),
        *((f"FLOPs of one unit of {p}", si(flops, "")) for p, flops in costs.phase_flops.items()),
        ("Peak memory", None if costs.peak_memory_bytes is None else octets(costs.peak_memory_bytes)),
    ]
    return tuple((name, value) for name, value in rows if value is not None)


def hardware_facts(subject: Subject) -> Facts:
    """The machine, as its profile and the host itself name it."""
    manifest = subject.records.manifest
    profile = manifest.hardware
    rows = [
        ("Profile", str(profile.get("title") or profile.get("name") or NOT_KNOWN)),
        ("Device", hardware_used(subject) or NOT_KNOWN),
    ]
    rows += [(f"Host: {key}", value) for key, value in flatten(_table(manifest.environment.get("host")))]
    versions = [(key, value) for key, value in flatten(_table(manifest.environment.get("packages")))]
    rows += [("Software", ", ".join(f"{name} {version}" for name, version in versions))] if versions else []
    return tuple(rows)


def _table(given: object) -> dict[str, object]:
    return given if isinstance(given, dict) else {}


def method_facts(task: Task) -> Facts:
    """How energy was measured, from the task's protocol."""
    protocol = task.protocol
    most = f"{protocol.repeats} to {protocol.max_repeats} windows of at least {protocol.window_s:g} s"
    idle = "none measured" if protocol.idle_s == 0 else f"{protocol.idle_s:g} s every {protocol.idle_every} trials"
    return (
        ("Warm-up", f"at least {protocol.warmup_s:g} s, until the pace has settled"),
        ("Windows", f"{most}, until the 95 % half-width is {percent(protocol.target_rel_ci)} of the mean"),
        ("Interval", "Student's t over windows; between runs where a configuration ran more than once"),
        ("Idle baseline", idle),
        ("Net", "gross − idle power × time; not clipped at 0; absent where idle was not measured or not quiet"),
    )


def provenance(summary: Summary) -> Table:
    """Domain, source and kind of every joule of the run."""
    found = tables.provenance_table(summary)
    return Table(found.caption, found.columns, found.rows) if found.rows else Table(NOT_MEASURED, found.columns, ())
