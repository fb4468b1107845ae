"""A comparison's parts about the machines: scaling, limits, where joules come from, what was not the same. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from joulebench.comparison.join import Joined, Machine, metered
from joulebench.comparison.limits import MIN_SIZES, PhaseOn, phases_on
from joulebench.presentation.numbers import ABSENT, NOT_MEASURED, number, percent, si
from joulebench.presentation.plots import Plot
from joulebench.presentation.section import Section, csv_of, estimate_cells
from joulebench.presentation.series import estimates, power_law, value_axis
from joulebench.presentation.table import Cell, Column, Table, flatten, prefixed_cell, show, value_cell
from joulebench.presentation.units import plain
from joulebench.records.model import Kind, combined
from joulebench.results.ledger import family
from joulebench.results.phase_cost import EVERY_FAMILY

#: Fields of a manifest that differ between any two runs and say nothing of how they compare.
_OWN = (
    "created_utc",
    "task",
    "data_path",
    "task_file",
    "hardware_override",
    "meters",
    "data",
    "environment",
    "search",
)

#: What changes joules by itself: named in the first sentence where it differs.
_WATCHED = ("protocol.", "budget", "joulebench", "environment.packages.torch", "environment.torch.threads", "meter")


def machine_sections(joined: Joined) -> tuple[Section, ...]:
    """Scaling and limits where anything can be said of them; provenance and differences always."""
    found = phases_on(joined)
    parts = (_scaling(found), _limits(joined, found), _provenance(joined), _differences(joined))
    return tuple(part for part in parts if part is not None)


def _scaling(found: Sequence[PhaseOn]) -> Section | None:
    if not any(p.line for p in found):
        return None
    return Section(
        name="scaling",
        title="Energy against FLOPs",
        answer=" ".join(_law(p) for p in found if p.line),
        verdict=None,
        sentences=(
            "Lines are least squares through log10(J/unit) = a + b · log10(FLOPs/unit), every configuration of a "
            f"machine counting once, gross, over the domains compared; at least {MIN_SIZES} different sizes. b = 1 "
            "is in proportion. Machines whose lines cross are not better or worse than one another at every size.",
        ),
        plots=tuple(_scaling_plot(found, phase) for phase in dict.fromkeys(p.phase for p in found)),
        tables=(_scaling_table(found),),
        csv=csv_of([row for p in found for row in _sized_rows(p)]),
    )


def _kind(found: PhaseOn) -> Kind:
    return combined(c.cost.kind for c in found.configurations)


def _law(found: PhaseOn) -> str:
    assert found.line is not None
    slope = found.line.slope
    ends = "" if slope.low is None else f" [{number(slope.low, 3)}, {number(slope.high, 3)}]"
    r2 = "" if found.line.r2 is None else f", R² {number(found.line.r2, 3)}"
    return (
        f"{found.label}, {found.phase}: b = {number(slope.mean, 3)}{ends}{r2} ({_kind(found)}, n = {found.line.n})."
    )


def _scaling_plot(found: Sequence[PhaseOn], phase: str) -> Plot:
    mine = [p for p in found if p.phase == phase]
    known = [[c for c in p.configurations if c.flops] for p in mine]
    xs = [float(c.flops or 0) for part in known for c in part]
    ys = [c.cost.gross.mean for part in known for c in part]
    unit = next((c.cost.unit for part in known for c in part), "unit")
    x = value_axis(xs, "FLOP", lambda u: f"{u} per {plain(unit)}", log_from=4.0)
    kinds = combined(_kind(p) for p in mine)
    y = value_axis(ys, "J", lambda u: f"{u} per {plain(unit)} of {phase}, gross", log_from=4.0, detail=kinds)
    series = [
        estimates(p.label, [float(c.flops or 0) / x.factor for c in part], [c.cost.gross for c in part], y)
        for p, part in zip(mine, known, strict=True)
    ]
    ends = (min(xs, default=1.0), max(xs, default=1.0))
    lines = [power_law(f"line of {p.label}", p.line, *ends, x, y) for p in mine if p.line and xs]
    alt = f"Joules per {plain(unit)} against FLOPs: " + " ".join(_law(p) for p in mine if p.line)
    return Plot(f"scaling-{phase}", f"Energy of {phase} against FLOPs", alt, x, y, (*series, *lines))


def _scaling_table(found: Sequence[PhaseOn]) -> Table:
    rows = []
    for p in found:
        if p.line is None:
            rows.append((Cell(p.label), Cell(p.phase), Cell("too few sizes"), Cell(ABSENT), Cell(ABSENT)))
            continue
        slope = p.line.slope
        ends = () if slope.low is None else (f"[{number(slope.low, 3)}, {number(slope.high, 3)}]",)
        r2 = ABSENT if p.line.r2 is None else number(p.line.r2, 3)
        rows.append(
            (Cell(p.label), Cell(p.phase), Cell(number(slope.mean, 3), ends), Cell(r2), Cell(str(p.line.n)))
        )
    titles = ("Machine", "Phase", "b", "R²", "Configurations")
    columns = tuple(Column(t, numeric=i > 1) for i, t in enumerate(titles))
    return Table("J per unit ∝ FLOPs^b", columns, tuple(rows))


def _sized_rows(found: PhaseOn) -> Iterator[dict[str, object]]:
    for c in found.configurations:
        yield {
            "machine": found.label,
            "phase": found.phase,
            "configuration": c.key,
            f"flops_per_{c.cost.unit}": c.flops,
            **estimate_cells(f"j_per_{c.cost.unit}_gross", c.cost.gross),
            "kind": c.cost.kind,
        }


def _limits(joined: Joined, found: Sequence[PhaseOn]) -> Section:
    """Fraction of peak; where a profile states no peak, that is said."""
    rows = []
    for p in found:
        best = p.best
        if best is None:
            rows.append((Cell(p.label), Cell(p.phase), *(Cell("no peak stated") for _ in range(2)), Cell(ABSENT)))
            continue
        peak = Cell(f"{si(best.peak.flops_per_s, 'FLOP/s')} {best.peak.dtype}")
        protocol = joined.task.protocol
        fraction = value_cell(best.fraction, protocol, 0.01, "%")
        rows.append(
            (Cell(p.label), Cell(p.phase), fraction, prefixed_cell(best.flops_per_s, "FLOP/s", protocol), peak)
        )
    titles = ("Machine", "Phase", "Fraction of peak", "Achieved", "Dense peak")
    columns = tuple(Column(t, numeric=i > 1) for i, t in enumerate(titles))
    known = [(p, best) for p in found if (best := p.best) is not None]
    answer = " ".join(
        f"{p.label} reaches at most {percent(best.fraction.mean)} of its {best.peak.dtype} peak in {p.phase}."
        for p, best in known
    )
    return Section(
        name="limits",
        title="Against the machines' limits",
        answer=answer or "No profile of these machines states a peak, so no fraction of it can be given.",
        verdict=None,
        sentences=("The configuration with the highest fraction stands for each machine; FLOPs are counted.",),
        plots=(),
        tables=(Table("Best fraction of peak", columns, tuple(rows)),),
        csv=csv_of([row for p in found for row in _limit_rows(p)]),
    )


def _limit_rows(found: PhaseOn) -> Iterator[dict[str, object]]:
    for c in found.configurations:
        fraction = c.limit.fraction if c.limit else None
        row: dict[str, object] = {"machine": found.label, "phase": found.phase, "configuration": c.key}
        row |= estimate_cells("fraction_of_peak", fraction)
        row["peak_flops_per_s"] = c.limit.peak.flops_per_s if c.limit else None
        yield row


def _provenance(joined: Joined) -> Section:
    """Which joules were measured where: a row a domain, a column a machine."""
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
        verdict=None,
        sentences=(
            "A ratio between a measured and an estimated machine is an estimate: a load model ranks by time and "
            "load, and knows nothing of what the work costs.",
        ),
        plots=(),
        tables=(Table("Source and kind of each domain's joules", columns, tuple(rows)),),
        csv=csv_of([row for m in joined.machines for phase in phases for row in _source_rows(m, phase)]),
    )


def _sources(machine: Machine, phase: str) -> dict[tuple[str, str, str], float]:
    """(domain family, source, kind) -> joules, over the phase's windows of finished trials."""
    found: dict[tuple[str, str, str], float] = {}
    for trial in machine.run.trials:
        if trial.status != "ok":
            continue
        for window in trial.windows:
            for r in window.readings if window.phase == phase else ():
                if r.role == "primary" and math.isfinite(r.energy_j):
                    key = family(r.domain), r.source, r.kind
                    found[key] = found.get(key, 0.0) + r.energy_j
    return found


def _source_cell(machine: Machine, phase: str, domain: str) -> Cell:
    found = {key: j for key, j in _sources(machine, phase).items() if key[0] == domain}
    if not found:
        if domain == "gpu" and not machine.run.has_accelerator:
            return Cell("no accelerator")
        return Cell("not metered")
    total = sum(_sources(machine, phase).values())
    details = tuple(f"{source}: {percent(j / total)} of the joules" for (_, source, _), j in found.items())
    partial = "" if domain in metered(machine.run, phase) else "not in every window"
    return Cell(" and ".join(sorted({kind for _, _, kind in found})), details, partial)


def _shares(machine: Machine, phases: Sequence[str]) -> str:
    found = [(kind, j) for phase in phases for (_, _, kind), j in _sources(machine, phase).items()]
    total = sum(j for _, j in found)
    if not total:
        return f"energy {NOT_MEASURED}"
    measured = sum(j for kind, j in found if kind == "measured") / total
    if measured in (0, 1):
        return f"all joules {'measured' if measured else 'estimated'}"
    return f"{percent(measured)} of the joules measured, the rest estimated"


def _source_rows(machine: Machine, phase: str) -> Iterator[dict[str, object]]:
    for (domain, source, kind), energy_j in _sources(machine, phase).items():
        yield {
            "machine": machine.label, "phase": phase, "domain": domain, "source": source, "kind": kind,
            "energy_j": energy_j,
        }  # fmt: skip


def differing(joined: Joined) -> list[tuple[str, tuple[str, ...]]]:
    """Everything that was not the same: what, and each machine's own."""
    trees = [dict(_facts(m)) for m in joined.machines]
    names = list(dict.fromkeys(name for tree in trees for name in tree))
    rows = [(name, tuple(tree.get(name, ABSENT) for tree in trees)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _facts(machine: Machine) -> Iterator[tuple[str, str]]:
    manifest = machine.run.manifest
    own: Mapping[str, Any] = {n: v for n, v in manifest.model_dump(mode="json").items() if n not in _OWN}
    hardware = {"hardware": own.get("hardware", {}).get("title") or machine.label}
    yield from flatten({**own, **hardware})
    yield from flatten({"protocol": machine.task.protocol.model_dump(mode="json")})
    yield from flatten({"stopping": machine.task.stopping.model_dump(mode="json")})
    for meter in manifest.meters:
        yield f"meter of {meter.get('domain')}", f"{meter.get('source')} ({meter.get('kind')})"
    yield from flatten({"environment": manifest.environment, "search": manifest.search})
    yield "fixed parameters", _fixed(machine)


def _fixed(machine: Machine) -> str:
    free = set(machine.task.free)
    return ", ".join(f"{n} = {show(v)}" for n, v in machine.task.defaults.items() if n not in free) or "none"


def telling(joined: Joined) -> list[str]:
    """What differs and changes joules by itself."""
    return [name for name, _ in differing(joined) if name.startswith(_WATCHED)]


def _differences(joined: Joined) -> Section:
    rows, watched = differing(joined), telling(joined)
    answer = f"{len(rows)} facts differ between these runs"
    same = "; protocol, budget, meters and torch are the same."
    answer += f", among them {', '.join(watched)}." if watched else same
    columns = (Column("What"), *(Column(m.label) for m in joined.machines))
    table = Table("What was not the same", columns, tuple((Cell(n), *map(Cell, values)) for n, values in rows))
    labels = [m.label for m in joined.machines]
    return Section(
        name="differences",
        title="What was not the same",
        answer=answer if rows else "Nothing that the records hold differs between these runs.",
        verdict=None,
        sentences=("A ratio is of everything that differs here, taken together.",) if rows else (),
        plots=(),
        tables=(table,) if rows else (),
        csv=csv_of([{"what": n, **dict(zip(labels, values, strict=True))} for n, values in rows]),
    )
