"""A comparison's sections on machines: scaling, fraction of peak, sources of joules, differences of runs. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from joulebench.comparison.join import Joined, Machine
from joulebench.comparison.phases import MIN_SIZES, MachinePhase, machine_phases
from joulebench.presentation.numbers import ABSENT, NOT_MEASURED, count, number, percent, si
from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import estimates, power_law, value_axis
from joulebench.presentation.table import Cell, Column, Table, flatten, prefixed_cell, show, value_cell, worded_cell
from joulebench.presentation.units import plain
from joulebench.presentation.words import plural, with_ci
from joulebench.records.model import Kind, combined
from joulebench.results.ledger import family
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.runner.own_code import own_names
from joulebench.stats.regression import Line

#: Fields of a manifest that differ between any two runs, or are flattened by themselves.
_LEFT_OUT = (
    "created_utc",
    "task",
    "data_path",
    "task_file",
    "hardware_override",
    "meters",
    "data",
    "environment",
    "search",
    "own_code",
    "from_catalogue",
)

#: Prefixes of facts that change joules by themselves.
_CONFOUNDERS = (
    "protocol.",
    "options.",
    "budget",
    "joulebench",
    "environment.packages.torch",
    "environment.torch.threads",
    "meter",
    "code of ",
)


def machine_sections(joined: Joined) -> tuple[Section, ...]:
    """Return the sections; that on scaling only where a machine has a fit."""
    phases = machine_phases(joined)
    scaling = (_scaling(phases),) if any(p.line for p in phases) else ()
    return (*scaling, _efficiency(joined, phases), _provenance(joined), _differences(joined))


def _scaling(phases: Sequence[MachinePhase]) -> Section:
    names = dict.fromkeys(p.phase for p in phases)
    return Section(
        name="scaling",
        title="Energy against FLOPs",
        answer=_laws(phases),
        sentences=(
            "Least squares of log10(J/unit) = a + b · log10(FLOPs/unit), each configuration of a machine once, "
            f"gross, over the domains compared, with at least {MIN_SIZES} different sizes. b = 1 is proportional. "
            "Where lines cross, which machine needs less energy depends on the size.",
        ),
        plots=tuple(_scaling_plot(n, [p for p in phases if p.phase == n]) for n in names),
        tables=(_scaling_table(phases),),
        rows=tuple(row for p in phases for row in _scaling_rows(p)),
    )


def _law(phase: MachinePhase, line: Line) -> str:
    r2 = "" if line.r2 is None else f", R² {number(line.r2, 3)}"
    return f"{phase.label}, {phase.phase}: b = {with_ci(line.slope)}{r2} ({phase.kind}, n = {line.n})."


def _laws(phases: Sequence[MachinePhase]) -> str:
    return " ".join(_law(p, p.line) for p in phases if p.line)


def _scaling_plot(phase: str, machines: Sequence[MachinePhase]) -> Plot:
    """Draw joules of one phase against FLOPs, with each machine's line."""
    points = [point for p in machines for point in p.points]
    unit = plain(next((energy.per for _, energy in points if energy.per), "unit"))
    kind = combined(p.kind for p in machines)
    sizes, joules = [flops for flops, _ in points], [energy.mean for _, energy in points]
    x = value_axis(sizes, "FLOP", lambda u: f"{u} per {unit}", log_from=4.0)
    y = value_axis(joules, "J", lambda u: f"{u} per {unit} of {phase}, gross", log_from=4.0, detail=kind)
    series = [
        estimates(p.label, [f / x.factor for f, _ in p.points], [e for _, e in p.points], y) for p in machines
    ]
    ends = (min(sizes, default=1.0), max(sizes, default=1.0))
    lines = [power_law(f"line of {p.label}", p.line, *ends, x, y) for p in machines if p.line and sizes]
    alt = f"Joules per {unit} against FLOPs: {_laws(machines)}"
    return Plot(f"scaling-{phase}", f"Energy of {phase} against FLOPs", alt, x, y, (*series, *lines))


def _scaling_table(phases: Sequence[MachinePhase]) -> Table:
    rows = []
    for p in phases:
        if p.line is None:
            rows.append((Cell(p.label), Cell(p.phase), Cell("too few sizes"), Cell(ABSENT), Cell(ABSENT)))
            continue
        slope = p.line.slope
        exponent = worded_cell(lambda v: number(v, 3), slope.mean, slope.low, slope.high)
        r2 = ABSENT if p.line.r2 is None else number(p.line.r2, 3)
        rows.append((Cell(p.label), Cell(p.phase), exponent, Cell(r2), Cell(str(p.line.n))))
    titles = ("Machine", "Phase", "b", "R²", "Configurations")
    return Table.of("J per unit ∝ FLOPs^b", titles, rows, text=2)


def _scaling_rows(phase: MachinePhase) -> Iterator[dict[str, object]]:
    for c in phase.configurations:
        yield {
            "machine": phase.label,
            "phase": phase.phase,
            "configuration": c.key,
            f"flops_per_{c.work.unit}": c.work.flops_per_unit,
            **estimate_cells(f"j_per_{c.work.unit}_gross", c.work.gross),
            "kind": c.work.kind,
        }


def _efficiency(joined: Joined, phases: Sequence[MachinePhase]) -> Section:
    rows, sentences = [], []
    for p in phases:
        best = p.best
        if best is None:
            rows.append((Cell(p.label), Cell(p.phase), *(Cell("no peak stated") for _ in range(2)), Cell(ABSENT)))
            continue
        sentences.append(
            f"{p.label} reaches at most {percent(best.fraction.mean)} of its {best.peak.dtype} peak in {p.phase}."
        )
        peak = Cell(f"{si(best.peak.flops_per_s, 'FLOP/s')} {best.peak.dtype}")
        protocol = joined.task.protocol
        fraction = value_cell(best.fraction, protocol, 0.01, "%")
        rows.append(
            (Cell(p.label), Cell(p.phase), fraction, prefixed_cell(best.flops_per_s, "FLOP/s", protocol), peak)
        )
    titles = ("Machine", "Phase", "Fraction of peak", "Achieved", "Dense peak")
    return Section(
        name="limits",
        title="Fraction of peak",
        answer=" ".join(sentences) or "No profile of these machines states a peak.",
        sentences=("For each machine the configuration with the highest fraction is given; FLOPs are counted.",),
        tables=(Table.of("Best fraction of peak", titles, rows, text=2),),
        rows=tuple(row for p in phases for row in _efficiency_rows(p)),
    )


def _efficiency_rows(phase: MachinePhase) -> Iterator[dict[str, object]]:
    for c in phase.configurations:
        fraction = c.efficiency.fraction if c.efficiency else None
        row: dict[str, object] = {"machine": phase.label, "phase": phase.phase, "configuration": c.key}
        row |= estimate_cells("fraction_of_peak", fraction)
        row["peak_flops_per_s"] = c.efficiency.peak.flops_per_s if c.efficiency else None
        yield row


def _provenance(joined: Joined) -> Section:
    phases = list(dict.fromkeys(o.phase for o in joined.task.objectives.values() if o.is_energy and o.phase))
    rows = []
    for phase in phases:
        for domain in EVERY_FAMILY:
            cells = [_source_cell(m, phase, domain) for m in joined.machines]
            rows.append((Cell(f"{domain}, {phase}"), *cells))
    columns = (Column("Domain"), *(Column(m.label) for m in joined.machines))
    words = [f"{m.label}: {_shares(m, phases)}" for m in joined.machines]
    return Section(
        name="provenance",
        title="Where the joules come from",
        answer=f"{'; '.join(words)}." if phases else "The task has no energy objective.",
        sentences=(
            "A ratio of measured to estimated joules is an estimate: a load model knows time and load only, not "
            "the energy of the operations.",
        ),
        tables=(Table("Source and kind of each domain's joules", columns, tuple(rows)),),
        rows=tuple(row for m in joined.machines for phase in phases for row in _source_rows(m, phase)),
    )


def _sources(machine: Machine, phase: str) -> dict[tuple[str, str, Kind], float]:
    """Return joules by (domain family, source, kind), over the phase's windows of finished trials."""
    sums: dict[tuple[str, str, Kind], float] = {}
    windows = (w for t in machine.run.trials if t.status == "ok" for w in t.windows if w.phase == phase)
    for r in (r for w in windows for r in w.readings if r.role == "primary" and math.isfinite(r.energy_j)):
        key = family(r.domain), r.source, r.kind
        sums[key] = sums.get(key, 0.0) + r.energy_j
    return sums


def _source_cell(machine: Machine, phase: str, domain: str) -> Cell:
    every = _sources(machine, phase)
    joules = {key: j for key, j in every.items() if key[0] == domain}
    if not joules:
        return Cell("no accelerator" if domain == "gpu" and not machine.has_accelerator else "not metered")
    total = sum(every.values())
    details = tuple(f"{source}: {percent(j / total)} of the joules" for (_, source, _), j in joules.items())
    partial = "" if domain in machine.metered(phase) else "not in every window"
    return Cell(" and ".join(sorted({kind for _, _, kind in joules})), details, partial)


def _shares(machine: Machine, phases: Sequence[str]) -> str:
    parts = [(kind, j) for phase in phases for (_, _, kind), j in _sources(machine, phase).items()]
    total = sum(j for _, j in parts)
    if not total:
        return f"energy {NOT_MEASURED}"
    measured = sum(j for kind, j in parts if kind == "measured") / total
    if measured in (0, 1):
        return f"all joules {combined(kind for kind, j in parts if j)}"
    return f"{percent(measured)} of the joules measured, the rest estimated"


def _source_rows(machine: Machine, phase: str) -> Iterator[dict[str, object]]:
    for (domain, source, kind), energy_j in _sources(machine, phase).items():
        yield {
            "machine": machine.label, "phase": phase, "domain": domain, "source": source, "kind": kind,
            "energy_j": energy_j,
        }  # fmt: skip


def differences(joined: Joined) -> list[tuple[str, tuple[str, ...]]]:
    """Return the facts that differ between runs: name, and each machine's value."""
    trees = [dict(_facts(m)) for m in joined.machines]
    names = list(dict.fromkeys(name for tree in trees for name in tree))
    rows = [(name, tuple(tree.get(name, ABSENT) for tree in trees)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _facts(machine: Machine) -> Iterator[tuple[str, str]]:
    manifest = machine.run.manifest
    fields: Mapping[str, Any] = {n: v for n, v in manifest.model_dump(mode="json").items() if n not in _LEFT_OUT}
    hardware = {"hardware": fields.get("hardware", {}).get("title") or machine.label}
    yield from flatten({**fields, **hardware})
    yield from flatten({"protocol": machine.task.protocol.model_dump(mode="json")})
    yield from flatten({"options": machine.task.options})
    yield from flatten({"stopping": machine.task.stopping.model_dump(mode="json")})
    for meter in manifest.meters:
        if meter.get("role") == "check":
            continue
        yield f"meter of {meter.get('domain')}", f"{meter.get('source')} ({meter.get('kind')})"
    yield from flatten({"environment": manifest.environment, "search": manifest.search})
    if manifest.own_code is None:
        yield from ((f"code of {name}", "not recorded") for name in own_names(machine.task, manifest.own_meters))
    yield from ((f"code of {code.name}", code.digest) for code in manifest.own_code or ())
    fixed = {n: v for n, v in machine.task.defaults.items() if n not in machine.task.free}
    yield "fixed parameters", ", ".join(f"{n} = {show(v)}" for n, v in fixed.items()) or "none"


def confounders(joined: Joined) -> list[tuple[str, tuple[str, ...]]]:
    """Return the differing facts that change joules by themselves, as `differences`."""
    return [(name, values) for name, values in differences(joined) if name.startswith(_CONFOUNDERS)]


def _differences(joined: Joined) -> Section:
    rows, changing = differences(joined), confounders(joined)
    answer = f"{plural(len(rows), 'fact')} {'differs' if len(rows) == 1 else 'differ'} between these runs"
    same = "; protocol, options, budget, meters and torch are the same."
    changes = "changes joules by itself" if len(changing) == 1 else "change joules by themselves"
    answer += f", {count(len(changing))} of which {changes}." if changing else same
    columns = (Column("What"), *(Column(m.label) for m in joined.machines))
    table = Table("Facts that differ", columns, tuple((Cell(n), *map(Cell, values)) for n, values in rows))
    labels = [m.label for m in joined.machines]
    return Section(
        name="differences",
        title="Differences between the runs",
        answer=answer if rows else "No recorded fact differs between these runs.",
        sentences=("A ratio shows the effect of all these differences together.",) if rows else (),
        tables=(table,) if rows else (),
        rows=tuple({"what": n, **dict(zip(labels, values, strict=True))} for n, values in rows),
    )
