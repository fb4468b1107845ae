"""The frontier, and all trials, as CSV: an empty cell where there is no value. Pure."""

from __future__ import annotations

from collections.abc import Callable

from joulebench.presentation.findings import is_wide
from joulebench.presentation.section import csv_text, exact
from joulebench.reporting.summary import Summary
from joulebench.results.energy import total_j
from joulebench.results.members import Member, Target
from joulebench.results.outcome import trial_outcomes
from joulebench.results.run import Run
from joulebench.spec.objectives import COSTS
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate

Value = object


def frontier_csv(summary: Summary) -> str:
    """One line a member: trials, parameters, objectives and constrained quantities with `_low` and `_high`, joules,
    costs, test scores.

    `_n` is how many values a mean has, `_wide` whether its interval misses the protocol's target, `_kind`
    whether its joules were measured or estimated.
    """
    columns = _columns(summary)
    return csv_text(list(columns), [[read(member) for read in columns.values()] for member in summary.members])


def trials_csv(run: Run) -> str:
    """One line a trial: number, status, parameters, objectives with their standard errors (`_se`) and the trial's
    joules, all of them (`trial_cost_j`), at full precision.

    It can be searched again by the workload `table`: `metrics` are the objectives' columns (metered energy under
    another name there, `{ samples_per_joule = "samples_per_j" }`), `standard_errors` the `_se` columns, `cost_j`
    the last. A trial without values has empty cells, which is no configuration to a table.
    """
    task = run.task
    rows = []
    for trial in run.trials:
        outcomes = trial_outcomes(task, trial, run.idle)
        values = [outcomes[name].value if outcomes else None for name in task.objectives]
        pairs = [cell for value in values for cell in ((value.mean, value.sem) if value else (None, None))]
        params = [trial.params.get(name) for name in task.parameters]
        rows.append([trial.trial, trial.status, *params, *pairs, total_j(trial.windows)])
    named = [column for name in task.objectives for column in (name, f"{name}_se")]
    return csv_text(["trial", "status", *map(_param, task.parameters), *named, "trial_cost_j"], rows, faithful=True)


def _param(name: str) -> str:
    """A parameter may share its name with a cost (`parameters`, `flops`): the later would hide the earlier."""
    return f"param_{name}" if name in COSTS else name


def _columns(summary: Summary) -> dict[str, Callable[[Member], Value]]:
    task = summary.task
    columns: dict[str, Callable[[Member], Value]] = {"trials": lambda m: " ".join(map(str, m.trials))}
    for name in task.parameters:
        columns[_param(name)] = lambda m, name=name: exact(m.params.get(name))  # type: ignore[misc]
    for name, objective in task.objectives.items():
        columns |= _estimate(name, lambda m, name=name: m.outcomes[name].value, task.protocol)  # type: ignore[misc]
        if objective.is_energy:
            columns[f"{name}_kind"] = lambda m, name=name: m.outcomes[name].kind  # type: ignore[misc]
    for name in task.outcome_constraints:
        if name not in columns and name not in COSTS:  # these have columns of their own
            columns |= _estimate(name, lambda m, name=name: _constrained(m, name), task.protocol)  # type: ignore[misc]
    for target in summary.targets:
        for basis in ("gross", "net"):
            stem = f"{target.phase}_j_per_{target.unit}_{basis}"
            if stem in columns:  # the same phase over other domains
                stem = f"{stem}_{'_'.join(target.families)}"

            def energy(m: Member, target: Target = target, basis: str = basis) -> Estimate | None:
                return (m.gross if basis == "gross" else m.net).get(target)

            columns |= _estimate(stem, energy, task.protocol)
    for phase, unit in {t.phase: t.unit for t in summary.targets}.items():
        if any(phase in m.costs.phase_flops for m in summary.members):
            columns[f"{phase}_flops_per_{unit}"] = lambda m, phase=phase: m.costs.phase_flops.get(phase)  # type: ignore[misc]
    for cost in COSTS:
        columns[cost] = lambda m, cost=cost: getattr(m.costs, cost)  # type: ignore[misc]
    for name in sorted({n for m in summary.members for n in m.scores}):
        columns |= _estimate(name, lambda m, name=name: m.scores.get(name), task.protocol)  # type: ignore[misc]
    return columns


def _constrained(member: Member, name: str) -> Estimate | None:
    outcome = member.constraints.get(name)
    return None if outcome is None else outcome.value


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
