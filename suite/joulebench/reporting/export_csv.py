"""Frontier and trials as CSV, with empty cells for missing values. Pure."""

from __future__ import annotations

from joulebench.presentation.rows import Exact, csv_text, estimate_cells
from joulebench.presentation.wide import is_wide
from joulebench.records.model import Costs
from joulebench.reporting.confirmation import probability
from joulebench.reporting.summary import Summary
from joulebench.results.energy import total_j
from joulebench.results.members import Member
from joulebench.results.outcome import trial_outcomes
from joulebench.results.run import Run
from joulebench.spec.objectives import COSTS
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate


def frontier_csv(summary: Summary) -> str:
    """One line a member: trials, parameters, objectives and constrained quantities with `_low` and `_high`, joules,
    costs, test scores.

    `_n` is how many values a mean has, `_wide` whether its interval misses the protocol's target, `_kind`
    whether its joules were measured or estimated; `confirmed` whether new runs confirmed it, `probability` that it
    is on the frontier then.
    """
    columns = _row(summary, Member((), {}, {}, {}, {}, {}, Costs(), {}))  # of a frontier without members too
    return csv_text([_row(summary, member) for member in summary.members], columns)


def trials_csv(run: Run) -> str:
    """One line a trial: number, status, parameters, objectives with their standard errors (`_se`) and the trial's
    joules, all of them (`trial_cost_j`), at full precision.

    It can be searched again by the workload `table`: `metrics` are the objectives' columns (metered energy under
    another name there, `{ samples_per_joule = "samples_per_j" }`), `standard_errors` the `_se` columns, `cost_j`
    the last. A trial without values has empty cells, which is no configuration to a table.
    """
    task = run.task
    params = {name: _param(name) for name in task.parameters}
    rows = []
    for trial in run.trials:
        row: dict[str, object] = {"trial": trial.trial, "status": trial.status}
        row |= {column: trial.params.get(name) for name, column in params.items()}
        outcomes = trial_outcomes(task, trial, run.idle)
        row |= {name: outcome.value.mean for name, outcome in outcomes.items()}
        row |= {f"{name}_se": outcome.value.sem for name, outcome in outcomes.items()}
        rows.append(row | {"trial_cost_j": total_j(trial.windows)})
    named = [column for name in task.objectives for column in (name, f"{name}_se")]
    return csv_text(rows, ["trial", "status", *params.values(), *named, "trial_cost_j"], faithful=True)


def _param(name: str) -> str:
    """A parameter may share its name with a cost (`parameters`, `flops`) or a trial's own column: the later would
    hide the earlier."""
    return f"param_{name}" if name in (*COSTS, "trial", "status", "trial_cost_j") else name


def _row(summary: Summary, member: Member) -> dict[str, object]:
    task = summary.task
    row: dict[str, object] = {"trials": member.trials}
    row |= {_param(name): Exact(member.params.get(name)) for name in task.parameters}
    for name, objective in task.objectives.items():
        outcome = member.outcomes.get(name)
        row |= _estimate(name, outcome.value if outcome else None, task.protocol)
        if objective.is_energy:
            row[f"{name}_kind"] = outcome.kind if outcome else None
    for name in task.outcome_constraints:
        if name not in row and name not in COSTS:  # these have columns of their own
            outcome = member.constraints.get(name)
            row |= _estimate(name, outcome.value if outcome else None, task.protocol)
    for target in summary.targets:
        for basis in ("gross", "net"):
            stem = f"{target.phase}_j_per_{target.unit}_{basis}"
            if stem in row:  # the same phase over other domains
                stem = f"{stem}_{'_'.join(target.families)}"
            row |= _estimate(stem, (member.gross if basis == "gross" else member.net).get(target), task.protocol)
    for phase, unit in {t.phase: t.unit for t in summary.targets}.items():
        if any(phase in m.costs.phase_flops for m in summary.members):
            row[f"{phase}_flops_per_{unit}"] = member.costs.phase_flops.get(phase)
    if any(m.training for m in summary.members):
        trained = member.training
        row["train_flops_per_unit"] = None if trained is None else trained.per_unit
        row["train_flops"] = None if trained is None else trained.mean
        row["train_flops_at_least"] = None if trained is None else bool(trained.missed)
    row |= {cost: getattr(member.costs, cost) for cost in COSTS}
    for name in sorted({n for m in summary.members for n in m.scores}):
        row |= _estimate(name, member.scores.get(name), task.protocol)
    row |= {"confirmed": member.confirmed, "probability": probability(summary, member.key)}
    return row


def _estimate(name: str, value: Estimate | None, protocol: Protocol) -> dict[str, object]:
    return {**estimate_cells(name, value), f"{name}_wide": None if value is None else is_wide(value, protocol)}
