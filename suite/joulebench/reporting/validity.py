"""Findings on windows that do not count, or count in spite of what ran beside them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from joulebench.presentation.numbers import percent
from joulebench.presentation.words import listed, plural
from joulebench.records.model import Window
from joulebench.reporting.summary import Summary
from joulebench.results.energy import joules
from joulebench.results.findings import Code, Finding, Level
from joulebench.results.losses import Loss, reason
from joulebench.results.validity import STEADY_SHARE, THROTTLING, valid_windows
from joulebench.stats.estimate import correlated

#: More left out than this share of all windows is a warning.
MAX_LEFT_OUT = 0.05
#: Windows that a test for correlation needs.
MIN_CORRELATED = 10
#: Share of uncorrelated phases that the test finds by chance.
BY_CHANCE = 0.05

_LOSSES = {
    Code.BUSY_MACHINE: (
        "The machine was busy",
        "Keep other processes off it, or raise protocol.max_quiet_wait_s so that trials wait longer for quiet.",
    ),
    Code.THROTTLED: (
        "Throttling began or ended during a phase",
        "Cool the machine better, or let it settle first (protocol.cooldown_s, protocol.warmup_s).",
    ),
    Code.INVALID_WINDOWS: ("Invalid windows", ""),
}


def loss_findings(summary: Summary) -> Iterator[Finding]:
    """Windows left out, one finding for each group of reasons, and what was lost by them."""
    yield from _allowed(summary)
    every = summary.losses.measured + summary.losses.idle
    for code, (title, remedy) in _LOSSES.items():
        if (loss := summary.losses.groups.get(code)) is None or loss.first is None:
            continue
        share = (loss.measured.total() + loss.idle.total()) / every
        level: Level = "alert" if loss.lost_results else "warning" if share > MAX_LEFT_OUT else "note"
        parts = (_left_out(summary, loss), *_lost(loss), "Their joules are in the ledger.", remedy)
        yield Finding(level, code, title, " ".join(filter(None, parts)))


def _left_out(summary: Summary, loss: Loss) -> str:
    counts = []
    for kind, reasons, every in (
        ("measured", loss.measured, summary.losses.measured),
        ("idle", loss.idle, summary.losses.idle),
    ):
        if reasons:
            each = ", ".join(f"{reason(fault)} {n}" for fault, n in reasons.most_common())
            counts.append(f"{reasons.total()} of {every} {kind} windows ({each})")
    first = loss.first.text if loss.first is not None else ""
    return f"{' and '.join(counts)} are left out of every mean; the first: {first}."


def _lost(loss: Loss) -> Iterator[str]:
    if loss.trials:
        yield f"Too few were left for a value in {plural(len(loss.trials), 'trial')}: {_numbers(loss.trials)}."
    if loss.baselines:
        yield f"{plural(len(loss.baselines), 'idle baseline')} lost, of trial {_numbers(loss.baselines)}."


def _numbers(trials: Sequence[int]) -> str:
    return listed([str(trial) for trial in trials], 12)


def _allowed(summary: Summary) -> Iterator[Finding]:
    if not summary.task.protocol.allow_busy:
        return
    every, allowed = summary.losses.measured + summary.losses.idle, summary.losses.allowed
    text = (
        f"The run was made with --allow-busy: windows count whatever else ran. Without it {allowed} of {every} "
        "measured and idle windows would not have counted."
    )
    if allowed:
        text += " Their joules are also those of other processes."
    yield Finding("alert" if allowed else "note", Code.ALLOWED_BUSY, "A busy machine was allowed", text)


def condition_findings(summary: Summary) -> Iterator[Finding]:
    """What the conditions recorded with the windows say, apart from windows left out."""
    yield from _steadily_throttled(summary)
    yield from _not_recorded(summary)
    yield from _correlated(summary)
    yield from _stretched(summary)


def _measured(summary: Summary) -> list[Window]:
    return [w for t in summary.run.trials for w in t.windows if w.phase in t.unit]


def _steadily_throttled(summary: Summary) -> Iterator[Finding]:
    """GPUs that were throttled in whole windows, which count: it is the state that was measured."""
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    windows = _measured(summary)
    for window in windows:
        for name, share in window.conditions.items():
            gpu, _, why = name.partition("_throttled_")
            if why in THROTTLING and share >= 1 - STEADY_SHARE:
                seconds[gpu, why] += window.duration_s
    total_s = sum(w.duration_s for w in windows)
    if seconds:
        each = ", ".join(f"{gpu} ({why}) {percent(s / total_s)}" for (gpu, why), s in sorted(seconds.items()))
        text = (
            f"Share of the measured time in which clocks were lowered throughout: {each}. These windows count: a "
            "state that lasts is a state of the machine, and its joules are not those of an unthrottled one."
        )
        yield Finding("note", Code.THROTTLED, "Throttled throughout", text)


def _not_recorded(summary: Summary) -> Iterator[Finding]:
    """Conditions that no measured window has; an older record may lack them."""
    windows = _measured(summary)
    readings = [r for w in windows for r in w.readings if r.role == "primary"]
    if not readings or summary.manifest.replay or any(r.source == "replay" for r in readings):
        return
    gpus = sorted({r.domain for r in readings if r.domain.startswith("gpu")})
    wanted = {"other_load_cpus": "CPU time of other processes", "steal_cpus": "CPU time taken by a hypervisor"}
    wanted |= {f"{gpu}_other_processes": f"other processes on {gpu}" for gpu in gpus}
    wanted |= {f"{gpu}_throttled_": f"throttling of {gpu}" for gpu in gpus}
    recorded = {name for w in windows for name in w.conditions}
    missing = [words for name, words in wanted.items() if not any(known.startswith(name) for known in recorded)]
    if missing:
        text = f"Not recorded: {', '.join(missing)}. Windows are not judged by what was not recorded."
        yield Finding("note", Code.NOT_RECORDED, "Conditions not recorded", text)


def _correlated(summary: Summary) -> Iterator[Finding]:
    """More phases with correlated windows than chance explains."""
    from scipy import special

    tested, flagged = 0, []
    for trial in summary.run.trials:
        for phase in trial.unit:
            if sum(w.phase == phase for w in trial.windows) < MIN_CORRELATED:
                continue
            valid = valid_windows(trial.windows, phase, summary.task.protocol)
            each = [(joules(w, summary.run.families) or 0.0) / w.units for w in valid]
            if len(each) >= MIN_CORRELATED and any(each):
                tested += 1
                flagged += [trial.trial] if correlated(each) else []
    if flagged and special.bdtrc(len(flagged) - 1, tested, BY_CHANCE) <= BY_CHANCE * (1 + 1e-9):
        text = (
            f"In {len(flagged)} of {plural(tested, 'phase')} with at least {MIN_CORRELATED} valid windows (trial "
            f"{_numbers(tuple(dict.fromkeys(flagged)))}) successive windows are alike, by a test of the "
            f"lag-1 autocorrelation that finds {percent(BY_CHANCE)} by chance. Standard errors count fewer windows "
            "for it; what drifts more slowly than the windows last is not in them. Warm up longer "
            "(protocol.warmup_s), or measure longer windows (protocol.window_s)."
        )
        yield Finding("warning", Code.CORRELATED_WINDOWS, "Windows are correlated", text)


def _stretched(summary: Summary) -> Iterator[Finding]:
    shares = [s for w in summary.run.windows if (s := w.conditions.get("replay_stretched", 0.0)) > 0]
    if shares:
        text = (
            f"{plural(len(shares), 'window')} lie partly outside of the recorded trace, by up to "
            f"{percent(max(shares))} of their time: there its last or first power was taken to go on."
        )
        yield Finding("warning", Code.REPLAY_STRETCHED, "The trace was stretched", text)
