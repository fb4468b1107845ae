"""Report as data: `report.json`, the same bytes from the same records on every machine. Pure.

A key that is missing is not known. Energies are joules, times seconds; decimals have six significant digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from joulebench.presentation.plots import Plot
from joulebench.presentation.rows import Exact, json_text
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Table
from joulebench.presentation.units import objective_unit
from joulebench.presentation.wide import is_wide
from joulebench.reporting import prose
from joulebench.reporting.confirmation import probability
from joulebench.reporting.findings import findings
from joulebench.reporting.model_range import model_range_values
from joulebench.reporting.summary import Summary
from joulebench.results.cost import BreakEven, Candidate
from joulebench.results.ledger import GROUPS, Ledger
from joulebench.results.members import Member, Target, member
from joulebench.results.outcome import Outcome
from joulebench.spec.task import Protocol, Task
from joulebench.stats.estimate import Estimate, Spread

FILE = "report.json"
#: Version of the file's layout, documented in docs/report.md.
SCHEMA = 2
#: What is stated of a figure's series.
SERIES = ("name", "x", "y", "low", "high", "labels", "x_low", "x_high")


def report_json(summary: Summary, sections: Sequence[Section], headline: str) -> str:
    """The report's facts as JSON in ASCII, so that no terminal or page that shows it can run any of it."""
    return json_text(facts(summary, sections, headline))


def facts(summary: Summary, sections: Sequence[Section], headline: str) -> dict[str, Any]:
    """Everything the report states, by the keys of `report.json`."""
    task, manifest = summary.task, summary.manifest
    return {
        "schema_version": SCHEMA,
        "task": {"name": task.name, "version": task.version, "title": task.title, "workload": task.workload,
                 "budget": manifest.budget, "digest": manifest.run_digest, "analyses": task.analyses},
        "run": {"created_utc": manifest.created_utc, "joulebench": manifest.joulebench, "seed": manifest.seed,
                "replay": manifest.replay, "overrides": Exact(manifest.overrides)},
        "code": manifest.own_code
        and [{**c.model_dump(exclude={"source"}), "digest": c.digest} for c in manifest.own_code],
        "hardware": {"name": manifest.hardware.get("name"), "title": manifest.hardware.get("title"),
                     "override": manifest.hardware_override},
        "data": Exact(manifest.data),
        "headline": headline,
        "banners": [vars(b) for b in prose.banners(summary)],
        "trials": {"recorded": len(summary.points), **summary.statuses},
        "configurations": {"complete": summary.complete, "feasible": summary.feasible,
                           "breaking": dict(summary.broken)},
        "windows": {phase: vars(count) for phase, count in summary.losses.phases.items()},
        "frontier": [_member(summary, m) for m in summary.members] if task.has_frontier else None,
        "default": _member(summary, summary.default) if summary.default else None,
        "hypervolume": next((v for v in reversed(summary.hypervolume) if v is not None), None),
        **({"hypervolume_scales": scales} if (scales := _scales(task)) else {}),
        "provisional": summary.provisional,
        "confirmation": _confirmation(summary),
        "run_to_run_rsd": {name: spread.sd for name, spread in summary.rsd.items()},
        "run_to_run": {n: _spread(s, task.objectives[n].is_relative) for n, s in summary.run.spreads.items()},
        "cost": _cost(summary),
        "groups": [{"name": g, "title": title, "energy_j": summary.ledger.group_j(g),
                    "duration_s": summary.ledger.group_s(g)} for g, title in GROUPS.items()],
        "ledger": _ledger(summary.ledger),
        "idle_w": {d: _estimate(e) for d, e in summary.idle_w.items() if e is not None},
        "model_range": model_range_values(summary),
        "break_even": [_break_even(b) for b in summary.break_even],
        "failures": [vars(f) for f in summary.failures],
        "findings": [vars(f) for f in findings(summary)],
        "analyses": [_section(s) for s in sections],
        "environment": Exact(manifest.environment),
        "search": Exact(manifest.search),
    }  # fmt: skip


def _scales(task: Task) -> dict[str, Any] | None:
    """Scale and reference by objective, of which every hypervolume here is; None where all scales are linear."""
    if not task.log_scaled:
        return None
    return {name: {"scale": o.scale, "reference": o.reference} for name, o in task.objectives.items()}


def _estimate(value: Estimate, protocol: Protocol | None = None) -> dict[str, Any]:
    stated = {"value": value.mean, "low": value.low, "high": value.high, "n": value.n, "varied": value.varied}
    return stated if protocol is None else {**stated, "wide": is_wide(value, protocol)}


def _spread(spread: Spread, relative: bool) -> dict[str, Any]:
    low, high = spread.interval
    return {"sd": spread.sd, "low": low, "high": high, "freedom": spread.freedom, "relative": relative}


def _outcome(summary: Summary, name: str, outcome: Outcome) -> dict[str, Any]:
    quantity = summary.task.objectives.get(name) or summary.task.outcome_constraints[name]
    return {
        **_estimate(outcome.value, summary.task.protocol),
        "unit": objective_unit(name, quantity) or None,
        "phase": quantity.phase,
        "basis": quantity.basis if quantity.is_energy else None,
        "kind": outcome.kind,
        "domains": outcome.domains or None,
    }


def _member(summary: Summary, member: Member) -> dict[str, Any]:
    return {
        "trials": member.trials,
        "params": Exact(member.params),
        "objectives": {n: _outcome(summary, n, o) for n, o in member.outcomes.items()},
        "constraints": {n: _outcome(summary, n, o) for n, o in member.constraints.items()},
        "energy": [_energy(member, target, summary.task.protocol) for target in member.gross],
        "costs": {n: v for n, v in member.costs.model_dump(mode="json").items() if v not in (None, {})},
        **({"training": {**vars(member.training), "flops": member.training.each}} if member.training else {}),
        "scores": {n: _estimate(e) for n, e in member.scores.items()},
        **({"class_scores": _class_scores(member)} if member.class_scores else {}),
        "confirmed": member.confirmed,
        "probability": probability(summary, member.key),
    }


def _class_scores(member: Member) -> dict[str, Any]:
    return {name: {n: _estimate(e) for n, e in scores.items()} for name, scores in member.class_scores.items()}


def _confirmation(summary: Summary) -> dict[str, Any] | None:
    """Promised and confirmed values, the winner's curse, and what became of the search's frontier."""
    known, sure = summary.run.confirmation, summary.run.membership
    if known is None:
        return None
    return {
        "configurations": [
            {
                **_member(summary, member(summary.run, c.configuration)),
                "default": c.configuration.default,
                "promised": c.promised,
                "differences": c.differences,
                "on_frontier": c.on_frontier,
                "was_on_frontier": c.was_on_frontier,
            }
            for c in known.configurations
        ],
        "differences": {
            n: {**_estimate(d), "relative": summary.task.objectives[n].is_relative}
            for n, d in known.differences.items()
        },
        "members": known.members,
        "dropped": known.dropped,
        "not_confirmed": known.not_confirmed,
        "without_value": known.without_value,
        "unconfirmed_candidates": None if sure is None else sure.unconfirmed,
        "hypervolume": _estimate(sure.hypervolume) if sure is not None and sure.hypervolume is not None else None,
        "searched_hypervolume": next((v for _, v in reversed(summary.searched_hypervolume)), None),
    }


def _energy(member: Member, target: Target, protocol: Protocol) -> dict[str, Any]:
    gross, net, unit_s = member.gross[target], member.net.get(target), member.unit_s.get(target)
    return {
        "phase": target.phase,
        "unit": f"J/{target.unit}",
        "gross": _estimate(gross, protocol),
        "net": _estimate(net, protocol) if net else None,
        "seconds_per_unit": _estimate(unit_s) if unit_s else None,
        "domains": gross.domains,
        "kind": gross.kind,
        "measured_share": gross.measured_share,
        "within_run": member.within_run.get(target),
    }


def _cost(summary: Summary) -> dict[str, Any]:
    cost = summary.cost
    return {
        "energy_j": cost.energy_j,
        "duration_s": cost.duration_s,
        "measured_share": summary.ledger.measured_share,
        "intensity_g_per_kwh": vars(cost.intensity_g_per_kwh) if cost.intensity_g_per_kwh else None,
        "pue": vars(cost.pue) if cost.pue else None,
        "carbon_g": cost.carbon_g,
    }


def _ledger(ledger: Ledger) -> dict[str, Any]:
    return {
        "energy_j": ledger.total_j,
        "measured_j": ledger.measured_j,
        "duration_s": ledger.duration_s,
        "by_family": ledger.by_family,
        "accounts": [asdict(a) for a in ledger.accounts],
        "sources": [vars(s) for s in ledger.sources],
        "checks": [{**vars(c), "rel_difference": c.rel_difference} for c in ledger.checks],
        "open_sessions": ledger.open_sessions or None,
    }


def _break_even(even: BreakEven) -> dict[str, Any]:
    return {
        "objective": even.objective,
        "unit": even.unit,
        "domains": even.domains,
        "search_j": even.search_j,
        "default": _candidate(even.default),
        "best": _candidate(even.best),
        "saving_j_per_unit": _estimate(even.saving) if even.saving else None,
        "units": even.units,
        "low": even.low,
        "high": even.high,
        "reason": even.reason,
        "volume": even.volume,
        "net_j": _estimate(even.net) if even.net else None,
    }


def _candidate(candidate: Candidate | None) -> dict[str, Any] | None:
    if candidate is None:
        return None
    return {"label": candidate.label, "quality": dict(candidate.quality), "j_per_unit": _estimate(candidate.energy)}


def _section(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "answer": section.answer,
        "passed": section.verdict,
        "sentences": section.sentences,
        "figures": [_figure(p) for p in section.plots],
        "tables": [_table(t) for t in section.tables],
        "values": section.rows,
    }


def _figure(plot: Plot) -> dict[str, Any]:
    return {
        "id": plot.id,
        "caption": plot.caption,
        "alt": plot.alt,
        **{name: {"title": axis.full_title, "log": axis.log} for name, axis in (("x", plot.x), ("y", plot.y))},
        "series": [{n: v for n in SERIES if (v := getattr(s, n)) != ()} for s in plot.series],
    }


def _table(table: Table) -> dict[str, Any]:
    columns = [{"title": c.title, "details": c.details or None} for c in table.columns]
    return {"caption": table.caption, "columns": columns, "rows": [[_cell(c) for c in row] for row in table.rows]}


def _cell(cell: Cell) -> str | dict[str, Any]:
    if cell == Cell(cell.text):
        return cell.text
    return {n: v or None for n, v in vars(cell).items()}
