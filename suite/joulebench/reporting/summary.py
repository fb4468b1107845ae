"""From a run's records to everything its report states. Pure: reads a folder, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from joulebench.meters.wall_meter import comparison
from joulebench.presentation.findings import Diagnosis
from joulebench.presentation.numbers import joules, number, seconds
from joulebench.presentation.units import scaled
from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry, Manifest, ScoreRecord, TrialRecord, Window
from joulebench.reporting.constraints import broken, broken_by, constraint_findings
from joulebench.reporting.diagnosis import diagnose, wall_note
from joulebench.reporting.failures import FailureGroup, failure_findings, failures
from joulebench.reporting.meter_check import precheck_findings
from joulebench.results.audit import Doubt
from joulebench.results.cost import BreakEven, Candidate, SearchCost, break_even, search_cost, stated_volume
from joulebench.results.energy import invalidity
from joulebench.results.frontier import frontier, hypervolume_by_trial
from joulebench.results.ledger import Ledger, balance, idle_by_domain
from joulebench.results.members import Member, Target, member, targets
from joulebench.results.outcome import (
    Configuration,
    Outcome,
    configuration_key,
    configurations,
    idle_windows,
    run_to_run_rsd,
    trial_outcomes,
)
from joulebench.results.run import Run
from joulebench.spec.parameters import Params
from joulebench.spec.task import Protocol, Task
from joulebench.stats.estimate import Estimate


@dataclass(frozen=True)
class TrialPoint:
    """One trial as a figure shows it; `outcomes` is empty where it has no value for some objective."""

    trial: int
    stage: str
    origin: str
    status: str
    params: Params
    outcomes: Mapping[str, Outcome]
    error: str | None
    breaks: tuple[str, ...] = ()  # constraints that its configuration does not keep


@dataclass(frozen=True)
class Summary:
    """Everything a report of one run states."""

    manifest: Manifest
    task: Task
    statuses: Mapping[str, int]
    points: tuple[TrialPoint, ...]
    members: tuple[Member, ...]  # the frontier, best in the first objective first
    default: Member | None
    complete: int  # configurations with a value for every objective
    feasible: int  # of them, those that keep every constraint
    broken: Mapping[str, int]  # constraint -> complete configurations that break it
    targets: tuple[Target, ...]
    hypervolume: tuple[float | None, ...]  # after each trial
    rsd: Mapping[str, float]  # between runs of one configuration, by energy objective
    ledger: Ledger
    idle_w: Mapping[str, Estimate | None]  # by domain
    cost: SearchCost
    break_even: tuple[BreakEven, ...]
    failures: tuple[FailureGroup, ...]
    diagnoses: tuple[Diagnosis, ...]
    headline: str
    windows: Mapping[str, WindowCount] = field(default_factory=dict)  # by measured phase
    doubts: tuple[Doubt, ...] = ()  # what speaks against the records


def summarise(folder: RunFolder) -> Summary:
    """The summary of a run on disk, finished or not.

    Raises:
        InputError: a record file is damaged, or of another schema version.
    """
    records = Run.of(folder)
    return with_wall(folder, summarise_of(records), records)


def summarise_of(records: Run) -> Summary:
    """The summary of a run's records, with what speaks against them."""
    found = summarise_records(records.manifest, records.task, records.trials, records.entries, records.scores)
    return replace(found, doubts=tuple(records.doubts))


def with_wall(folder: RunFolder, summary: Summary, records: Run) -> Summary:
    """What a wall meter's log beside the run says is one more finding."""
    every = chain((e.windows for e in records.entries), (t.windows for t in records.trials))
    wall = comparison(folder, chain.from_iterable(every))
    return replace(summary, diagnoses=(*summary.diagnoses, wall_note(wall))) if wall else summary


def summarise_records(
    manifest: Manifest,
    task: Task,
    trials: Sequence[TrialRecord],
    entries: Sequence[LedgerEntry] = (),
    scores: Sequence[ScoreRecord] = (),
) -> Summary:
    """The summary of records already read."""
    idle = idle_windows(trials)
    found = configurations(task, trials)
    wanted = targets(task, trials)
    run = Run(manifest, task, trials, entries, scores)

    def describe(configuration: Configuration) -> Member:
        return member(run, configuration)

    members = tuple(describe(c) for c in frontier(task, found))
    default_key = configuration_key(task, task.defaults)
    default = next((describe(c) for c in found if c.complete and c.key == default_key), None)
    values = {t.trial: outcomes for c in found for t, outcomes in _outcomes(task, c, idle)}
    breaks = {t.trial: names for c in found if not c.feasible for names in [broken_by(task, c)] for t in c.trials}
    points = tuple(
        TrialPoint(
            t.trial, t.stage, t.origin, t.status, t.params, values[t.trial], t.error, breaks.get(t.trial, ())
        )
        for t in trials
    )
    ledger = balance(trials, entries)
    idle_w = idle_by_domain(idle, [s.domain for s in ledger.sources if s.role == "primary"])
    rsd = run_to_run_rsd(task, trials, found)
    volumes = tuple(hypervolume_by_trial(task, trials, found))
    complete = sum(c.complete for c in found)
    feasible = sum(c.complete and c.feasible for c in found)
    shut_out = broken(task, found)
    outcomes = [p.outcomes for p in points if p.outcomes]
    statuses = {s: sum(t.status == s for t in trials) for s in ("ok", "oom", "failed", "invalid", "infeasible")}
    cost = search_cost(ledger, manifest.hardware)
    return Summary(
        manifest=manifest,
        task=task,
        statuses=statuses,
        points=points,
        members=members,
        default=default,
        complete=complete,
        feasible=feasible,
        broken=shut_out,
        targets=tuple(wanted),
        hypervolume=volumes,
        rsd=rsd,
        ledger=ledger,
        idle_w=idle_w,
        cost=cost,
        break_even=_break_evens(task, wanted, ledger, default, members),
        failures=failures(trials),
        diagnoses=(
            *precheck_findings(task, entries),
            *diagnose(task, trials, outcomes, complete, feasible, members, volumes, rsd, ledger, idle_w),
            *constraint_findings(task, complete, feasible, shut_out),
            *failure_findings(task, trials),
        ),
        headline=headline(task, statuses, members, cost, complete > feasible == 0),
        windows=window_counts(task.protocol, trials),
    )


def _outcomes(
    task: Task, configuration: Configuration, idle: Sequence[Window]
) -> Iterator[tuple[TrialRecord, Mapping[str, Outcome]]]:
    """The outcomes of each trial; those of a configuration run once are its own."""
    if len(configuration.trials) == 1:
        yield configuration.trials[0], configuration.outcomes
        return
    for trial in configuration.trials:
        yield trial, trial_outcomes(task, trial, idle)


def _break_evens(
    task: Task, wanted: Sequence[Target], ledger: Ledger, default: Member | None, members: Sequence[Member]
) -> tuple[BreakEven, ...]:
    """One for each phase with an energy objective, training apart: what training costs is paid once."""
    goals = {n: o.goal for n, o in task.objectives.items() if not o.is_energy}
    found = []
    for target in wanted:
        if target.objective is None or target.phase == "train":
            continue
        candidates = [c for m in members if (c := _candidate(m, target, goals)) is not None]
        base = _candidate(default, target, goals) if default else None
        spent = [e for name, e in ledger.by_family.items() if name in target.families]
        found.append(
            break_even(
                target.objective,
                target.unit,
                base.energy.domains if base else target.families,
                sum(spent) if spent else None,
                base,
                candidates,
                goals,
                stated_volume(task, target.objective),
            )
        )
    return tuple(found)


def _candidate(found: Member, target: Target, goals: Mapping[str, str]) -> Candidate | None:
    energy = found.gross.get(target)
    if energy is None:
        return None
    return Candidate(found.label, {n: found.outcomes[n].value.mean for n in goals}, energy)


def headline(
    task: Task, statuses: Mapping[str, int], members: Sequence[Member], cost: SearchCost, shut_out: bool = False
) -> str:
    """`Frontier of 5 configurations: val_accuracy 0.61…0.97 at 210…5 800 samples/J (estimated); …`.

    `shut_out`: every configuration with values breaks a constraint.
    """
    spent = f"{joules(cost.energy_j)} in" if cost.energy_j is not None else "energy not measured,"
    price = f"{spent} {seconds(cost.duration_s)}"
    if not members:
        total = sum(statuses.values())
        if shut_out:
            return f"No configuration of {total} trials keeps every constraint; cost so far {price}."
        if statuses.get("ok"):
            return f"No trial of {total} beats the reference in every objective; cost so far {price}."
        bad = ", ".join(f"{n} {s}" for s, n in statuses.items() if n)
        return f"No usable trial of {total}{f' ({bad})' if bad else ''}; cost so far {price}."
    noun = "configuration" if len(members) == 1 else "configurations"
    what = "Best of one objective" if len(task.objectives) == 1 else f"Frontier of {len(members)} {noun}"
    found = task.objectives.items()
    quality = [_range(task, n, members) for n, o in found if not o.is_energy and not o.is_latency]
    taken = [_range(task, n, members) for n, o in found if o.is_energy]
    taken += [_range(task, n, members) for n, o in found if o.is_latency]
    values = " at ".join(", ".join(part) for part in (quality, taken) if part)
    return f"{what}: {values}; search cost {price}."


def _range(task: Task, name: str, members: Sequence[Member]) -> str:
    values = [m.outcomes[name].value.mean for m in members]
    kinds = {m.outcomes[name].kind for m in members} - {None}
    label = f" ({'measured' if kinds == {'measured'} else 'estimated'})" if kinds else ""
    low, high = min(values), max(values)
    objective = task.objectives[name]
    factor, unit = scaled(name, high, objective)
    ends = list(dict.fromkeys(number(v / factor, 3) for v in (low, high)))
    value = f"{'…'.join(ends)} {unit}".rstrip()
    return f"{value}{label}" if objective.is_energy else f"{name} {value}"


@dataclass(frozen=True)
class WindowCount:
    """Windows of one phase over all trials; `first_reason` is why the first that does not count does not."""

    measured: int
    valid: int
    first_reason: str | None


def window_counts(protocol: Protocol, trials: Iterable[TrialRecord]) -> dict[str, WindowCount]:
    """By phase, in order of first appearance, of the phases that workloads measured."""
    reasons: dict[str, list[str | None]] = {}
    for trial in trials:
        for window in trial.windows:
            if window.phase in trial.unit:
                reasons.setdefault(window.phase, []).append(invalidity(window, protocol))
    return {
        phase: WindowCount(len(found), found.count(None), next((r for r in found if r is not None), None))
        for phase, found in reasons.items()
    }
