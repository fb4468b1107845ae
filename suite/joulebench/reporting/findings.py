"""Findings of a report: problems and remarks that a run's records show, each with what to do about it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from joulebench.errors import InputError
from joulebench.meters.wall_comparison import MAX_RATIO, MIN_SAMPLES
from joulebench.presentation.numbers import joules, number, percent, rsd_words, seconds
from joulebench.presentation.units import bound
from joulebench.presentation.wide import is_wide
from joulebench.presentation.words import STEADIER, domains, plural, plus_minus
from joulebench.records.model import FaultKind, Window
from joulebench.reporting import prose
from joulebench.reporting.cluster_findings import cluster_findings
from joulebench.reporting.failures import failure_findings
from joulebench.reporting.model_range import difference_sentence, ranking_sentences
from joulebench.reporting.prose import model_error
from joulebench.reporting.search_findings import search_findings
from joulebench.reporting.summary import Summary
from joulebench.reporting.validity import condition_findings, loss_findings
from joulebench.results.consistency import MAX_RSD, meter_checks
from joulebench.results.drift import drift_of
from joulebench.results.findings import Code, Finding, Level
from joulebench.results.idle import idle_drift

#: A finding is made where the primary and the check meter of one domain differ by more than this share.
CHECK_TOLERANCE = 0.05
#: A finding is made where idle power changed by more than this share during a run.
MAX_IDLE_DRIFT = 0.05
#: A warning is made where the joules of the same work changed by more than this share, and significantly.
MAX_MACHINE_DRIFT = 0.02
#: Sources of fall-back meters: what they are, and how to replace them by a measurement.
REMEDIES = {
    "cpu_load_model": "The CPU has no readable energy counter, so CodeCarbon's load model stood in. On Intel and "
    "AMD hosts, run with read access to /sys/class/powercap (RAPL): as root, or after "
    "“sudo chmod -R a+r /sys/class/powercap/*”; virtual machines and most containers do not expose it.",
    "tdp_constant": "The CPU has no readable energy counter and its load could not be used either: its joules are "
    "a constant power × seconds. Run with read access to /sys/class/powercap (RAPL).",
}


def findings(summary: Summary) -> tuple[Finding, ...]:
    """Every finding on a run, in the order of the report."""
    checks = (
        _meter_check,
        _no_trials,
        _frontier,
        _provisional,
        _wide_intervals,
        _runs_differ,
        _overlapping,
        cluster_findings,
        _data,
        _losses,
        condition_findings,
        _mixed_domains,
        _meters,
        _model_range,
        _cut_off,
        _no_idle,
        _idle_drift,
        _machine_drift,
        search_findings,
        _open_session,
        _constraints,
        _failures,
        _wall_meter,
    )
    return tuple(finding for check in checks for finding in check(summary))


def _meter_check(summary: Summary) -> Iterator[Finding]:
    """The meter's consistency as checked before the search, one finding a session that did."""
    checks = meter_checks(summary.task, summary.run.entries)
    for session, check in checks:
        which = f" of session {session}" if len(checks) > 1 else ""
        if check.rsd is None:
            reasons = [w.reason for w in check.windows if w.reason]
            why = reasons[0] if reasons else "no window was measured"
            text = f"The meter check{which} could not judge the meter's consistency: {why}."
            yield Finding("warning", Code.METER_UNKNOWN, "Meter consistency unknown", text)
            continue
        text = (
            f"Before the search{which}, the default configuration, untrained, was measured in {check.rsd.n} "
            f"windows: joules per {check.unit} differ by {rsd_words(check.rsd)}, {check.kind}"
        )
        if (busy := check.most_other_load) is not None:
            text += f", with up to {number(busy, 2)} CPUs kept busy by other processes"
        steady = check.kind == "estimated" and check.steady_power
        follows = " Its power was constant, so this is the variation of time." if steady else ""
        against = check.rsd.against(MAX_RSD)
        if against == "below":
            text += f"; below the limit of {percent(MAX_RSD)}.{follows}"
            yield Finding("note", Code.METER_CONSISTENT, "Meter consistency", text)
            continue
        if against == "undecided":
            text += f"; these windows cannot tell that from the limit of {percent(MAX_RSD)}.{follows}"
            yield Finding("note", Code.METER_UNDECIDED, "Meter consistency undecided", text)
            continue
        text += (
            f"; above the limit of {percent(MAX_RSD)}.{follows} Configurations that differ by less than this "
            f"spread cannot be ranked. Remedy: {STEADIER}. --strict refuses to search on such a machine."
        )
        yield Finding("warning", Code.METER_INCONSISTENT, "Meter inconsistent before the search", text)


def _no_trials(summary: Summary) -> Iterator[Finding]:
    if summary.complete:
        return
    why = "No trial has a value for every objective." if summary.run.trials else "No trial has finished yet."
    what = "frontier" if summary.task.has_frontier else "result"
    yield Finding("warning", Code.NO_USABLE_TRIAL, "No usable trial", f"{why} There is no {what} to show.")


def _frontier(summary: Summary) -> Iterator[Finding]:
    """A frontier without members, or of a single one though there are several objectives."""
    ranked, members = summary.ranked, len(summary.members)
    if not summary.task.has_frontier or not ranked:
        return
    every = plural(ranked, "configuration" if summary.run.confirmation is None else "confirmed configuration")
    if not members:
        text = (
            f"Of {every} none is better than the reference (the worst value worth having) in "
            "every objective, so there is no frontier. Train longer, widen the space, or set a reference that can "
            "be met."
        )
        yield Finding("warning", Code.BELOW_REFERENCE, "Nothing beats the reference", text)
    elif members == 1 < ranked and len(summary.task.objectives) > 1:
        text = (
            f"Of {every} one is the best in every objective: the objectives do not conflict, or "
            "the space is too narrow to show where they do. Widen the parameters' ranges or take a larger budget; "
            "if it stays one point, this task has no trade-off to search for."
        )
        yield Finding("warning", Code.ONE_POINT, "The frontier is one point", text)


def _provisional(summary: Summary) -> Iterator[Finding]:
    """A frontier whose members were chosen by the very values that are shown."""
    if summary.provisional:
        text = (
            "The frontier's members were chosen by the numbers that are shown; not confirmed by new runs. What is "
            "chosen for its measured value was, on average, measured better than it is (the winner's curse). A "
            "task's table [confirm] trains and measures the members again."
        )
        yield Finding("warning", Code.PROVISIONAL, "The frontier is provisional", text)


def _wide_intervals(summary: Summary) -> Iterator[Finding]:
    task, protocol = summary.task, summary.task.protocol
    usable = [o.value for trial in summary.outcomes for n, o in trial.items() if task.objectives[n].is_energy]
    if wide := sum(is_wide(value, protocol) for value in usable):
        text = (
            f"{wide} of {len(usable)} energy values of trials have a 95 % half-width, over their own windows, "
            f"above the target of {percent(protocol.target_rel_ci)} after {protocol.max_repeats} windows at "
            f"most. Remedy: {STEADIER}. Differences smaller than the intervals are not significant."
        )
        yield Finding("warning", Code.WIDE_INTERVALS, "High variance", text)


def _runs_differ(summary: Summary) -> Iterator[Finding]:
    """Variation between runs of one configuration above the target, or that nothing is known of it."""
    target = summary.task.protocol.target_rel_ci
    if far := [f"{n} by {prose.spread_words(s)}" for n, s in summary.rsd.items() if s.sd > target]:
        text = (
            f"Runs of one configuration differ in {'; '.join(far)}: above the target of {percent(target)}. The "
            "intervals hold this spread. Keep other load off the machine, and repeat what is to be compared."
        )
        yield Finding("warning", Code.RUNS_DIFFER, "Runs of one configuration differ", text)
    if not summary.rsd and any(o.is_energy for o in summary.task.objectives.values()) and summary.complete:
        text = (
            "No configuration was run more than once, so intervals hold the variation within one run alone: "
            "another run of the same configuration may lie outside of them."
        )
        level: Level = "warning" if summary.complete > 1 else "note"
        yield Finding(level, Code.NOT_REPEATED, "Intervals hold no run-to-run spread", text)


def _overlapping(summary: Summary) -> Iterator[Finding]:
    faults = {
        t.trial: (w.node, w.fault.text)
        for t in summary.run.trials
        for w in t.windows
        if w.fault is not None and w.fault.kind is FaultKind.OVERLAP
    }
    if faults:
        first, (_, reason) = next(iter(faults.items()))
        nodes = ", ".join(sorted({str(node) for node, _ in faults.values()}))
        text = (
            f"Windows of {plural(len(faults), 'trial')} (the first: trial {first}, which {reason}) shared time "
            f"with other work of the run on {nodes}: their joules are also the other's, and they count in no mean. "
            "Give each node of the cluster a machine of its own, with one slot."
        )
        yield Finding("warning", Code.OVERLAPPING_WINDOWS, "Windows overlapped on a node", text)


def _data(summary: Summary) -> Iterator[Finding]:
    """What reading the data found: test images in train, classes that test lacks, files left out."""
    remarks = summary.manifest.data.get("remarks")
    if isinstance(remarks, list) and remarks:
        yield Finding("warning", Code.DATA, "Remarks on the data", f"{'. '.join(map(str, remarks))}.")


def _losses(summary: Summary) -> Iterator[Finding]:
    """Windows left out; where that cost a trial or a baseline, it is a banner."""
    return (finding for finding in loss_findings(summary) if finding.level != "alert")


def _mixed_domains(summary: Summary) -> Iterator[Finding]:
    """Trials that lack a domain, which look more efficient than they were; the first such objective."""
    outcomes = summary.outcomes
    for name in outcomes[0] if outcomes else ():
        sets = sorted({o[name].domains for o in outcomes if o[name].domains})
        if len(sets) > 1:
            text = (
                f"{name} counts {' or '.join(map(domains, sets))}, depending on the trial: a meter dropped out. "
                "Their values do not compare; a trial with fewer domains looks more efficient than it was."
            )
            yield Finding("warning", Code.MIXED_DOMAINS, "Trials count different domains", text)
            return


def _meters(summary: Summary) -> Iterator[Finding]:
    """Fall-back meters, and check meters that disagree with the primary ones."""
    for source in sorted({s.source for s in summary.ledger.sources if s.role == "primary"} & REMEDIES.keys()):
        yield Finding("warning", Code.FALL_BACK_METER, f"Fall-back meter: {source}", REMEDIES[source])
    for check in summary.ledger.checks:
        if check.is_model:
            title = f"The error of {check.source} on {check.domain}"
            yield Finding("note", Code.MODEL_ERROR, title, model_error(summary, check))
        elif abs(check.rel_difference) > CHECK_TOLERANCE:
            text = (
                f"The check ({check.source}) is {number(100 * check.rel_difference, 3)} % off the primary meter "
                "over the same windows. Trust neither to better than that."
            )
            yield Finding("warning", Code.METERS_DISAGREE, f"Two meters disagree on {check.domain}", text)


def _model_range(summary: Summary) -> Iterator[Finding]:
    """How far a second model of the CPU's power is from the one that the joules are of."""
    if (models := summary.model_range) is not None:
        level: Level = "warning" if models.left or models.joined else "note"
        text = " ".join((difference_sentence(models), *ranking_sentences(summary, models)))
        yield Finding(level, Code.MODEL_RANGE, "How far the estimate can be off", text)


def _cut_off(summary: Summary) -> Iterator[Finding]:
    trials = summary.run.trials
    if stopped := sum(t.stopped_by == "time" for t in trials):
        trainings = sum(bool(t.epochs) or t.stopped_by == "time" for t in trials)
        text = (
            f"{stopped} of {plural(trainings, 'training')} reached protocol.max_train_s = "
            f"{summary.task.protocol.max_train_s:g} s before early stopping or the last epoch: the quality "
            "reached depends on how fast this machine is, and does not compare with another machine or a longer "
            "budget."
        )
        yield Finding("warning", Code.TRAINING_CUT_OFF, "Training was cut off", text)


def _no_idle(summary: Summary) -> Iterator[Finding]:
    trials, missing = summary.run.trials, [name for name, value in summary.idle_w.items() if value is None]
    if not trials or len(missing) < max(1, len(summary.idle_w)):
        return
    measured = any(w.phase == "idle" for t in trials for w in t.windows)
    why = "idle windows were too few or not quiet" if measured else "no idle windows were measured"
    if summary.task.protocol.idle_s == 0:
        why = "the protocol asks for none (protocol.idle_s = 0)"
    text = (
        f"Idle power of {', '.join(missing)} is unknown: {why}. Net energy (gross − idle) cannot be given where it "
        "is needed."
    )
    yield Finding("note", Code.NO_IDLE, "No idle baseline", text)


def _idle_drift(summary: Summary) -> Iterator[Finding]:
    """Domains whose idle power changed, each by its largest change on any node."""
    nodes: dict[str | None, list[Window]] = {}
    for window in summary.run.idle:
        nodes.setdefault(window.node, []).append(window)
    drifts = {
        name: max((d for windows in nodes.values() if (d := idle_drift(windows, [name]))), key=abs, default=0.0)
        for name in summary.idle_w
    }
    if far := [f"{name} by {drift:+.0%}" for name, drift in drifts.items() if abs(drift) > MAX_IDLE_DRIFT]:
        text = (
            f"Between the first and the last idle windows idle power changed: {', '.join(far)}. The machine's "
            "state changed during the run (heat, clocks, other load), so net energy early and late in it does not "
            "compare."
        )
        yield Finding("warning", Code.IDLE_DRIFT, "Idle power drifted", text)


def _machine_drift(summary: Summary) -> Iterator[Finding]:
    """Change of the joules of the default configuration, untrained, measured at intervals through the run."""
    measured = summary.task.measured
    if measured is None or measured.phase is None:
        return
    repeated = summary.run.repeated_phase(measured.phase, measured.domains or ())
    drift = drift_of(summary.task, summary.run.trials, repeated.spread("gross"))
    if drift is None:
        return
    first, last = drift.blocks[0], drift.blocks[-1]
    text = (
        f"The default configuration, untrained, was measured {len(drift.blocks)} times during the run: from trial "
        f"{first.trial} to trial {last.trial} its joules per {drift.unit} ({drift.kind}) changed by "
        f"{drift.relative:+.1%}"
    )
    if drift.low is not None and drift.high is not None:
        text += f" (95 % interval {drift.low:+.1%} to {drift.high:+.1%})"
    if drift.between is not None:
        text += f", and differ by {rsd_words(drift.between)} over all of them"
    if drift.node is not None:
        text += f", on node {drift.node}, which changed most"
    if drift.shows and abs(drift.relative) > MAX_MACHINE_DRIFT:
        text += (
            ". Configurations measured early and late differ by this much for no reason of their own: cool down "
            "longer (protocol.max_cooldown_s), and keep other load off the machine."
        )
        yield Finding("warning", Code.MACHINE_DRIFT, "The machine drifted", text)
    else:
        yield Finding("note", Code.MACHINE_DRIFT, "Drift of the machine", f"{text}.")


def _open_session(summary: Summary) -> Iterator[Finding]:
    if sessions := summary.ledger.open_sessions:
        text = (
            f"Session {', '.join(map(str, sessions))} started and did not end: it was killed, or is still running. "
            "Energy of the trial that was under way is not in the ledger, so totals are lower bounds."
        )
        yield Finding("warning", Code.OPEN_SESSION, "A session has no end", text)


def _constraints(summary: Summary) -> Iterator[Finding]:
    """How many configurations break which constraint; a warning where none keeps them all."""
    if not summary.broken:
        return
    parts = []
    for name, n in summary.broken.items():
        configurations = "configuration completes but breaks" if n == 1 else "configurations complete but break"
        parts.append(f"{n} {configurations} {name} {bound(name, summary.task.outcome_constraints[name])}")
    text = f"Of {summary.complete}, {', '.join(parts)}."
    if summary.feasible:
        text += " The figures show them; the frontier has none of them."
        yield Finding("note", Code.CONSTRAINTS, "Constraints", text)
    else:
        text += " None keeps every constraint, so nothing can be recommended: loosen a bound, or widen the space."
        yield Finding("warning", Code.NONE_FEASIBLE, "No configuration keeps the constraints", text)


def _failures(summary: Summary) -> Iterator[Finding]:
    return failure_findings(summary.run, summary.failures)


def _wall_meter(summary: Summary) -> Iterator[Finding]:
    """Ratio of a wall meter's joules to those that software counted, with the offset of its clock."""
    if (wall := summary.wall) is None:
        return
    if isinstance(wall, InputError):
        yield Finding("warning", Code.WALL_METER, "The wall meter's log cannot be used", f"{wall}.")
        return
    described = wall.offset.described
    text = (
        f"Over {wall.covered_s:.0f} s of the run that the wall meter's log covers, the wall meter read "
        f"{joules(wall.wall_j)} and software {joules(wall.software_j)} ({wall.kind}): a ratio of "
        f"{plus_minus(wall.ratio)} (95 % interval, without the wall meter's own error). "
        f"{described[0].upper()}{described[1:]}."
    )
    if phases := [f"{phase} {plus_minus(value)}" for phase, value in wall.by_phase.items()]:
        text += f" By phase: {'; '.join(phases)}."
    if wall.left_out:
        text += (
            f" {plural(wall.left_out, 'window')} left out: the log, with a sample every {seconds(wall.period_s)}, "
            f"has a hole there, or fewer than {MIN_SAMPLES} samples over the windows that touch."
        )
    if wall.ratio.mean < 1:
        cause = " or the estimate is too high" if wall.kind == "estimated" else ""
        text += f" A whole machine takes no less than a part of it: the log is not of this machine or time{cause}."
    elif wall.implausible:
        text += (
            f" More than {MAX_RATIO:g} times is seldom right: check the log's unit, what else the wall meter "
            "feeds, and which domains have no software meter."
        )
    else:
        text += (
            " The difference is what software does not see: power supply, board, fans, storage, and every domain "
            "without a meter."
        )
    level: Level = "warning" if wall.implausible else "note"
    yield Finding(level, Code.WALL_METER, "Wall meter", text)
