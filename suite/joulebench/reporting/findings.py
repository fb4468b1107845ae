"""What went wrong or looks wrong, in plain words with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from joulebench.meters.wall_meter import WallComparison
from joulebench.presentation.numbers import joules, number, percent
from joulebench.presentation.wide import is_wide
from joulebench.records.model import FaultKind, TrialRecord, Window
from joulebench.reporting.constraints import constraint_findings
from joulebench.reporting.failures import failure_findings
from joulebench.reporting.meter_check import precheck_findings
from joulebench.reporting.summary import Summary
from joulebench.results.energy import idle_drift, invalidity
from joulebench.results.findings import Code, Finding
from joulebench.results.ledger import Ledger
from joulebench.results.members import Member
from joulebench.results.outcome import Outcome
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate

#: Primary and check meter of one domain further apart than this deserve a word.
CHECK_TOLERANCE = 0.05
#: Idle power that changed by more than this during a run deserves a word.
MAX_IDLE_DRIFT = 0.05
#: A hypervolume that has not moved for this share of the trials is called flat …
FLAT_SHARE = 1 / 3
#: … if there were at least this many trials.
FLAT_MIN_TRIALS = 12
#: Sources of fall-back meters: what they are, and how to replace them by a measurement.
REMEDIES = {
    "cpu_load_model": "The CPU has no readable energy counter, so CodeCarbon's load model stood in. On Intel and "
    "AMD hosts, run with read access to /sys/class/powercap (RAPL): as root, or after "
    "“sudo chmod -R a+r /sys/class/powercap/*”; virtual machines and most containers do not expose it.",
    "tdp_constant": "The CPU has no readable energy counter and its load could not be used either: its joules are "
    "a constant power × seconds. Run with read access to /sys/class/powercap (RAPL).",
}


def findings(summary: Summary) -> tuple[Finding, ...]:
    """Every failure signature that a run's records show, with what to do about it."""
    task, trials, ledger = summary.task, summary.run.trials, summary.ledger
    has_frontier = task.has_frontier
    found = [
        *precheck_findings(task, summary.run.entries),
        _no_trials(task, trials, summary.complete),
        _none_better(summary.feasible, summary.members) if has_frontier else None,
        _one_point(task, summary.feasible, summary.members) if has_frontier else None,
        _variance(task, summary.outcomes),
        _unlike_runs(task, summary.rsd),
        _overlapping(trials),
        _nodes(trials),
        _discarded(task, trials, {target.phase for member in summary.members for target in member.gross}),
        _mixed_domains(summary.outcomes),
        *_fall_backs(ledger),
        *_check_meters(ledger),
        _cut_off(task, trials),
        _idle(task, trials, summary.idle_w),
        _drift(summary.run.idle, summary.idle_w),
        _flat(summary.hypervolume) if summary.feasible and has_frontier else None,
        _open(ledger),
        *constraint_findings(task, summary.complete, summary.feasible, summary.broken),
        *failure_findings(task, trials),
        None if summary.wall is None else _wall_meter(summary.wall),
    ]
    return tuple(finding for finding in found if finding is not None)


def _no_trials(task: Task, trials: Sequence[TrialRecord], complete: int) -> Finding | None:
    if complete:
        return None
    text = "No trial has finished yet." if not trials else "No trial has a value for every objective."
    what = "frontier" if task.has_frontier else "result"
    return Finding("warning", Code.NO_USABLE_TRIAL, "No usable trial", f"{text} There is no {what} to show.")


def _none_better(feasible: int, members: Sequence[Member]) -> Finding | None:
    if members or not feasible:
        return None
    return Finding(
        "warning",
        Code.BELOW_REFERENCE,
        "Nothing beats the reference",
        f"Of {feasible} configurations none is better than the reference (the worst value worth having) in every "
        "objective, so there is no frontier. Train longer, widen the space, or set a reference that can be met.",
    )


def _one_point(task: Task, feasible: int, members: Sequence[Member]) -> Finding | None:
    if len(task.objectives) < 2 or feasible < 2 or len(members) != 1:
        return None
    return Finding(
        "warning",
        Code.ONE_POINT,
        "The frontier is one point",
        f"Of {feasible} configurations one is the best in every objective: the objectives do not conflict, or the "
        "space is too narrow to show where they do. Widen the parameters' ranges or take a larger budget; if it "
        "stays one point, this task has no trade-off to search for.",
    )


def _variance(task: Task, outcomes: Sequence[Mapping[str, Outcome]]) -> Finding | None:
    usable = [o.value for found in outcomes for n, o in found.items() if task.objectives[n].is_energy]
    wide = sum(is_wide(e, task.protocol) for e in usable)
    if not wide:
        return None
    return Finding(
        "warning",
        Code.WIDE_INTERVALS,
        "High variance",
        f"{wide} of {len(usable)} energy values of trials have a 95 % half-width above the target of "
        f"{percent(task.protocol.target_rel_ci)} after {task.protocol.max_repeats} windows at most. Warm up longer "
        "(protocol.warmup_s), measure longer windows (protocol.window_s), take a larger batch, or keep other "
        "load off the machine. Differences smaller than the intervals are not differences.",
    )


def _unlike_runs(task: Task, rsd: Mapping[str, float]) -> Finding | None:
    """Spread between runs that the intervals within a run do not show."""
    far = {name: spread for name, spread in rsd.items() if spread > task.protocol.target_rel_ci}
    if not far:
        return None
    values = ", ".join(f"{name} by {percent(spread)}" for name, spread in far.items())
    return Finding(
        "warning",
        Code.RUNS_DIFFER,
        "Runs differ more than their windows",
        f"Runs of one configuration differ (relative standard deviation) in {values}, above the target of "
        f"{percent(task.protocol.target_rel_ci)}: intervals within a single run are too narrow to rank by. Keep "
        "other load off the machine, and repeat what is to be compared.",
    )


def _discarded(task: Task, trials: Sequence[TrialRecord], phases: set[str]) -> Finding | None:
    windows = [w for t in trials for w in t.windows if w.phase in phases - {"train"}]
    reasons = [f.text for w in windows if (f := invalidity(w, task.protocol)) is not None]
    if not reasons:
        return None
    return Finding(
        "note",
        Code.INVALID_WINDOWS,
        "Windows that do not count",
        f"{len(reasons)} of {len(windows)} measured windows are left out of every mean, the first because: "
        f"{reasons[0]}. Their joules are in the ledger all the same.",
    )


def _overlapping(trials: Sequence[TrialRecord]) -> Finding | None:
    found = {
        t.trial: (w.node, w.fault.text)
        for t in trials
        for w in t.windows
        if w.fault is not None and w.fault.kind is FaultKind.OVERLAP
    }
    if not found:
        return None
    where = ", ".join(sorted({str(node) for node, _ in found.values()}))
    first = next(iter(found))
    return Finding(
        "warning",
        Code.OVERLAPPING_WINDOWS,
        "Windows overlapped on a node",
        f"Windows of {len(found)} trials (the first: trial {first}, which {found[first][1]}) shared time with "
        f"other work of the run on {where}: their joules are also the other's, and they count in no mean. One node "
        "of the cluster is to be one machine with one slot.",
    )


def _nodes(trials: Sequence[TrialRecord]) -> Finding | None:
    counts: dict[str, int] = {}
    for trial in trials:
        if trial.node is not None:
            counts[trial.node] = counts.get(trial.node, 0) + 1
    if not counts:
        return None
    each = ", ".join(f"{node} ({count})" for node, count in sorted(counts.items()))
    lost = sum(trial.attempt for trial in trials)
    again = f" {lost} attempts were lost with their workers, and made again." if lost else ""
    return Finding(
        "note",
        Code.CLUSTER,
        "Measured on a cluster",
        f"Trials by node: {each}. Seconds and joules of the ledger are sums over nodes, waiting included; idle "
        f"power is each node's own.{again}",
    )


def _mixed_domains(outcomes: Sequence[Mapping[str, Outcome]]) -> Finding | None:
    """A trial that lacks a domain looks more efficient than it was."""
    for name in outcomes[0] if outcomes else ():
        sets = sorted({o[name].domains for o in outcomes if o[name].domains})
        if len(sets) > 1:
            return Finding(
                "warning",
                Code.MIXED_DOMAINS,
                "Trials count different domains",
                f"{name} counts {' or '.join(' + '.join(s) for s in sets)}, depending on the trial: a meter "
                "dropped out. Their values do not compare; a trial with fewer domains looks more efficient than it "
                "was.",
            )
    return None


def _fall_backs(ledger: Ledger) -> list[Finding]:
    sources = sorted({s.source for s in ledger.sources if s.role == "primary"})
    return [
        Finding("warning", Code.FALL_BACK_METER, f"Fall-back meter: {s}", REMEDIES[s])
        for s in sources
        if s in REMEDIES
    ]


def _check_meters(ledger: Ledger) -> list[Finding]:
    return [
        Finding(
            "warning",
            Code.METERS_DISAGREE,
            f"Two meters disagree on {check.domain}",
            f"The check ({check.source}) is {number(100 * check.rel_difference, 3)} % off the primary meter over "
            "the same windows. Trust neither to better than that.",
        )
        for check in ledger.checks
        if abs(check.rel_difference) > CHECK_TOLERANCE
    ]


def _cut_off(task: Task, trials: Sequence[TrialRecord]) -> Finding | None:
    stopped = sum(t.stopped_by == "time" for t in trials)
    if not stopped:
        return None
    return Finding(
        "warning",
        Code.TRAINING_CUT_OFF,
        "Training was cut off",
        f"{stopped} of {sum(bool(t.epochs) for t in trials)} trainings were ended by protocol.max_train_s = "
        f"{task.protocol.max_train_s:g} s, not by early stopping or the last epoch: what they reached depends on "
        "how fast this machine is, and does not compare with another machine or a longer budget.",
    )


def _idle(task: Task, trials: Sequence[TrialRecord], idle: Mapping[str, Estimate | None]) -> Finding | None:
    if not trials or not idle or all(v is not None for v in idle.values()):
        return None
    missing = ", ".join(name for name, value in idle.items() if value is None)
    measured = any(w.phase == "idle" for t in trials for w in t.windows)
    why = "idle windows were too few or not quiet" if measured else "no idle windows were measured"
    if task.protocol.idle_s == 0:
        why = "the protocol asks for none (protocol.idle_s = 0)"
    return Finding(
        "note",
        Code.NO_IDLE,
        "No idle baseline",
        f"Idle power of {missing} is unknown: {why}. Net energy (gross − idle) cannot be given where it is needed.",
    )


def _drift(windows: Sequence[Window], idle: Mapping[str, Estimate | None]) -> Finding | None:
    blocks: dict[str | None, list[Window]] = {}
    for window in windows:
        blocks.setdefault(window.node, []).append(window)
    drifts = {
        name: max(found, key=abs)
        for name in idle
        if (found := [d for b in blocks.values() if (d := idle_drift(b, [name])) and abs(d) > MAX_IDLE_DRIFT])
    }
    if not drifts:
        return None
    words = ", ".join(f"{name} by {d:+.0%}" for name, d in drifts.items())
    return Finding(
        "warning",
        Code.IDLE_DRIFT,
        "Idle power drifted",
        f"Between the first and the last idle windows idle power changed: {words}. The machine's state changed "
        "during the run (heat, clocks, other load), so net energy early and late in it does not compare.",
    )


def _wall_meter(found: WallComparison) -> Finding:
    """What a wall meter beside the run says of the joules that software counted."""
    each = found.by_window
    spread = ""
    if each is not None and each.low is not None and each.high is not None:
        spread = f"; over {each.n} measured windows {number(each.mean)} [{number(each.low)}, {number(each.high)}]"
    return Finding(
        "note",
        Code.WALL_METER,
        "Wall meter",
        f"Over {found.covered_s:.0f} s of the run that the wall meter's log covers, the wall drew "
        f"{joules(found.wall_j)} where software counted {joules(found.software_j)}: a ratio of "
        f"{number(found.ratio)}{spread}. The difference is what software does not see: power supply, board, fans, "
        "storage, and every domain without a meter.",
    )


def _flat(hypervolume: Sequence[float | None]) -> Finding | None:
    values = [v for v in hypervolume if v is not None]
    if not values:
        return None
    if values[-1] == 0:
        return Finding(
            "warning",
            Code.HYPERVOLUME_ZERO,
            "Hypervolume is zero",
            "No configuration is better than the reference in every objective: the references are out of reach of "
            "this space, or the trials are too few.",
        )
    still = sum(v == values[-1] for v in values) - 1
    if len(values) < FLAT_MIN_TRIALS or still < FLAT_SHARE * len(values):
        return None
    return Finding(
        "note",
        Code.HYPERVOLUME_FLAT,
        "Hypervolume is flat",
        f"The last {still} of {len(values)} trials did not move the frontier. The search has converged, or is "
        "stuck in a narrow space: more trials of the same kind are unlikely to help.",
    )


def _open(ledger: Ledger) -> Finding | None:
    if not ledger.open_sessions:
        return None
    names = ", ".join(map(str, ledger.open_sessions))
    return Finding(
        "warning",
        Code.OPEN_SESSION,
        "A session has no end",
        f"Session {names} started and did not end: it was killed, or is still running. Energy of the trial that "
        "was under way is not in the ledger, so totals are lower bounds.",
    )
