"""Records of a run checked against one another: what a run that took place cannot contradict. Pure but for git.

Whoever can write a file can write a forgery; these checks make one that was edited by hand show. What an older
record does not state is not checked.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path

from joulebench.host.git import git
from joulebench.records.model import LedgerEntry, Manifest, Reading, ScoreRecord, TrialRecord, Window, trial_seed
from joulebench.results.audit import OVERLAP_S
from joulebench.results.ledger import family
from joulebench.results.validity import MIN_TICKS, TICK_S
from joulebench.search import propose
from joulebench.spec.task import CONFIRM, Task

#: Methods whose proposals follow from the task, the seed and the trials before.
FIXED = ("default", "points", "grid", "random", "sobol")
#: Packages whose version decides what those methods propose.
PROPOSING = ("joulebench", "scipy", "torch")
#: A model's joules are those of its formula but for the moments at which load and clock are read.
MODEL_TOLERANCE = 0.05
#: Windows shorter than this hold too few ticks to know their load.
MIN_WINDOW_S = 0.3
#: Floating-point operations a core can do in a cycle (two fused multiply-adds of 16 fp32 numbers) and cycles a
#: second that no server CPU reaches.
FLOP_PER_CYCLE, MAX_HZ = 64, 6e9
#: The first commit of joulebench: a repository without it has another history and cannot say.
ROOT_COMMIT = "d846f94776c1ebd6791074b1a5c5936031e18ce6"
#: Sources that read no counter, whatever their kind says.
MODELS = frozenset({"cpu_load_model", "tdp_constant", "ram_model"})
#: Beyond this a share has too few digits to tell.
MAX_IMAGES = 10**9
#: A clock that is set, by hand or over the network, is set by no more while it measures.
MAX_STEP_S = 60.0
#: Windows of a session touch; where trials have processes of their own, but for the moments of taking over.
MAX_GAP_S = 1.0
MOST = 3

Places = list[str]


def contradictions(
    manifest: Manifest,
    task: Task,
    trials: Sequence[TrialRecord],
    entries: Sequence[LedgerEntry],
    scores: Sequence[ScoreRecord],
) -> Iterator[str]:
    """Say what in the records of a finished run contradicts something else in them."""
    windows = [
        *((f"trial {t.trial}", w) for t in trials for w in t.windows),
        *(("ledger", w) for e in entries for w in e.windows),
    ]
    checks = (
        (_seeds(manifest, trials), "the seed does not follow from the run's"),
        (_begun(trials, entries), "begun and recorded trials differ"),
        (_clocks(manifest, trials, entries), "not in the order of the run's clock, or of the time of day"),
        (_gaps(manifest, trials, entries), "time of a finished session that no window holds"),
        (_data(manifest, task), "without the fingerprint of the data"),
        (_meters(manifest, windows), "joules of a source or kind that no meter of the manifest has"),
        (_models(manifest, windows), "modelled joules do not follow their model"),
        (_steps(trials), "units of work a step are not the same in all windows of a phase"),
        (_pace(manifest, trials), "more operations a second than this CPU can do"),
        (_final_metrics(trials), "a metric that none of its epochs has"),
        (_shares(manifest, trials, scores), "an accuracy that no count of samples gives"),
        (_proposals(manifest, task, trials), "not what its stage proposes with this seed"),
    )
    for places, what in checks:
        if places:
            more = f" and {len(places) - MOST} more" if len(places) > MOST else ""
            yield f"{'; '.join(places[:MOST])}{more}: {what}"
    yield from _commit(manifest)


def _seeds(manifest: Manifest, trials: Sequence[TrialRecord]) -> Places:
    return [f"trial {t.trial}" for t in trials if t.seed != trial_seed(manifest.seed, t.trial)]


def _begun(trials: Sequence[TrialRecord], entries: Sequence[LedgerEntry]) -> Places:
    begun = {e.trial for e in entries if e.event == "begin" and e.trial is not None}
    recorded = {t.trial for t in trials}
    return [f"trial {n}" for n in sorted(begun ^ recorded)]


def _clocks(manifest: Manifest, trials: Sequence[TrialRecord], entries: Sequence[LedgerEntry]) -> Places:
    """Check one machine's times: trials follow one another within their session, and the time of day goes on as the
    run's clock does. It may run ahead, as after a suspend, and a clock may be set by a little."""
    if manifest.cluster:
        return []
    wrong = []
    for session in sorted({t.session for t in trials} | {e.session for e in entries}):
        own = [e for e in entries if e.session == session]
        ends = [w.end_s for e in own if e.event == "end" for w in e.windows]
        begins = [w.start_s for e in own if e.event == "start" for w in e.windows]
        laid = [(f"ledger, session {session}", w) for e in own for w in e.windows]
        before_s = min(begins, default=-math.inf)
        for trial in sorted((t for t in trials if t.session == session and t.windows), key=lambda t: t.trial):
            laid += [(f"trial {trial.trial}", w) for w in trial.windows]
            first_s, last_s = min(w.start_s for w in trial.windows), max(w.end_s for w in trial.windows)
            if first_s < before_s - OVERLAP_S or last_s > max(ends, default=math.inf) + OVERLAP_S:
                wrong.append(f"trial {trial.trial}")
            before_s = first_s
        wrong += _set_back(laid)
    return list(dict.fromkeys([*wrong, *_created(manifest, trials, entries)]))


def _set_back(laid: Sequence[tuple[str, Window]]) -> Iterator[str]:
    """Windows of a session that end before they begin, or whose time of day is behind that of an earlier one."""
    ahead_s = -math.inf
    for where, window in sorted(laid, key=lambda item: item[1].start_s):
        offset_s = _unix_s(window.start_utc) - window.start_s
        if window.duration_s < 0 or offset_s < ahead_s - MAX_STEP_S:
            yield f"{where}, {window.phase}"
        ahead_s = max(ahead_s, offset_s)


def _gaps(manifest: Manifest, trials: Sequence[TrialRecord], entries: Sequence[LedgerEntry]) -> Places:
    """Check one machine's sessions that ended as they should for time between windows, as of a removed trial."""
    if manifest.cluster:
        return []
    wrong = []
    for session in sorted({e.session for e in entries if e.ending == "done"}):
        windows = [w for t in trials if t.session == session for w in t.windows]
        windows += [w for e in entries if e.session == session for w in e.windows]
        end_s = math.inf
        for window in sorted(windows, key=lambda w: w.start_s):
            if window.start_s > end_s + MAX_GAP_S:
                wrong.append(f"session {session}, {window.start_s - end_s:.4g} s before {window.phase}")
            end_s = window.end_s if end_s == math.inf else max(end_s, window.end_s)
    return wrong


def _created(manifest: Manifest, trials: Sequence[TrialRecord], entries: Sequence[LedgerEntry]) -> Places:
    """The manifest is written after the first window began, and before the last one ends."""
    windows = [w for t in trials for w in t.windows] + [w for e in entries for w in e.windows]
    created_s = _unix_s(manifest.created_utc)
    early = windows and created_s < min(_unix_s(w.start_utc) for w in windows) - MAX_STEP_S
    late = windows and created_s > max(_unix_s(w.start_utc) + w.duration_s for w in windows) + MAX_STEP_S
    return ["manifest, created_utc"] if early or late else []


def _unix_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _data(manifest: Manifest, task: Task) -> Places:
    return ["manifest, data"] if task.dataset is not None and not manifest.data.get("fingerprint") else []


def _meters(manifest: Manifest, windows: Sequence[tuple[str, Window]]) -> Places:
    modelled = [f"manifest, {m['source']}" for m in manifest.meters if _is_model(m) and m.get("kind") == "measured"]
    if modelled:
        return modelled
    if not manifest.meters or manifest.cluster:  # its nodes have meters of their own
        return []
    # a GPU that the run came to use later is described by the one that it began on
    known = {(family(m.get("domain", "")), m.get("source"), m.get("kind")) for m in manifest.meters}
    wrong = (
        f"{where}, {r.domain} ({r.source}, {r.kind})"
        for where, w in windows
        for r in w.readings
        if (family(r.domain), r.source, r.kind) not in known
    )
    return list(dict.fromkeys(wrong))


def _is_model(meter: Mapping[str, str]) -> bool:
    return meter.get("source") in MODELS


def _models(manifest: Manifest, windows: Sequence[tuple[str, Window]]) -> Places:
    """Check constants of power, and the CPU's load model by the load that was recorded beside it."""
    tables = {(m.get("domain"), m.get("source")): m for m in manifest.meters}
    cpus = _logical_cpus(manifest)
    wrong = []
    for where, window in windows:
        if window.duration_s < MIN_WINDOW_S or window.fault is not None:
            continue
        for reading in window.readings:
            bounds = _bounds_w(tables.get((reading.domain, reading.source), {}), reading, window, cpus)
            power_w = reading.energy_j / window.duration_s
            if bounds and not bounds[0] * (1 - MODEL_TOLERANCE) <= power_w <= bounds[1] * (1 + MODEL_TOLERANCE):
                wrong.append(f"{where}, {window.phase}: {reading.source} {power_w:.4g} W")
    return wrong


def _logical_cpus(manifest: Manifest) -> int | None:
    host = manifest.environment.get("host")
    cpus = host.get("logical_cpus") if isinstance(host, dict) else None
    return cpus if isinstance(cpus, int) and 0 < cpus < 1_000_000 else None


def _watts(text: str) -> float:
    """A meter's figure; NaN, which no reading agrees with, for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bounds_w(
    meter: Mapping[str, str], reading: Reading, window: Window, cpus: int | None
) -> tuple[float, float] | None:
    """Least and most power that a model can have given in a window; None where it is none, or not stated.

    CodeCarbon's load model is convex in the load, which is known as its mean over the window: the power is between
    that of this mean throughout and that of full load for this share of the time.
    """
    if "power_w" in meter:
        watts = _watts(meter["power_w"])
        return watts, watts
    if reading.source != "cpu_load_model" or "tdp_w" not in meter:
        return None
    tdp_w, load = _watts(meter["tdp_w"]), window.conditions.get("cpu_utilisation")
    if load is None or cpus is None:
        return 0.1 * tdp_w, tdp_w
    ticks = MIN_TICKS * TICK_S / window.duration_s
    low, high = max(0.0, min(1.0, load - ticks)), min(1.0, load + ticks)
    return tdp_w * (0.1 + 0.9 * low**3), tdp_w * (0.1 + 0.9 * high)


def _steps(trials: Sequence[TrialRecord]) -> Places:
    wrong = []
    for trial in trials:
        for phase in trial.unit:
            each = {w.units / w.steps for w in trial.windows if w.phase == phase and w.steps > 0}
            if len(each) > 1:
                wrong.append(f"trial {trial.trial}, {phase}")
    return wrong


def _pace(manifest: Manifest, trials: Sequence[TrialRecord]) -> Places:
    """Check operations a second, of forward passes in fp32 on a CPU; other devices and types are quicker."""
    cpus = _logical_cpus(manifest)
    if manifest.environment.get("device") != "cpu" or cpus is None:
        return []
    most = cpus * FLOP_PER_CYCLE * MAX_HZ
    wrong = []
    for trial in trials:
        flops = trial.costs.flops
        if flops is None or any("dtype" in name or "precision" in name for name in trial.params):
            continue
        for window in trial.windows:
            work = trial.unit.get(window.phase) == "sample" and window.duration_s > 0
            if work and flops * window.units / window.duration_s > most:
                wrong.append(f"trial {trial.trial}, {window.phase}")
                break
    return wrong


def _final_metrics(trials: Sequence[TrialRecord]) -> Places:
    """Check that what training reached is what an epoch reached: the weights that are kept are those of one."""
    wrong = []
    for trial in trials:
        for name, value in trial.metrics.items():
            reached = [e.metrics[name] for e in trial.epochs if name in e.metrics]
            if reached and trial.status == "ok" and value not in reached:
                wrong.append(f"trial {trial.trial}, {name}")
    return wrong


def _shares(manifest: Manifest, trials: Sequence[TrialRecord], scores: Sequence[ScoreRecord]) -> Places:
    """Check that a share of classified images is one: a whole number of the split's images, or it was averaged."""
    counts = manifest.data.get("counts")
    if not isinstance(counts, dict) or not _classifies(manifest):
        return []
    given = [
        *((f"trial {t.trial}", "validation", t.metrics.get("val_accuracy")) for t in trials),
        *((f"scores of trial {s.trial}", s.split, s.metrics.get("accuracy")) for s in scores),
    ]
    wrong = []
    for where, split, value in given:
        n = counts.get(split)
        if value is None or not isinstance(n, int) or not 0 < n < MAX_IMAGES:
            continue
        if not 0 <= value <= 1 or abs(value * n - round(value * n)) > 1e-3:
            wrong.append(f"{where}, {value:.6g} of {n} {split} images")
    return wrong


def _classifies(manifest: Manifest) -> bool:
    """Whether the accuracy is joulebench's own count, not that of a workload of one's own."""
    return manifest.task.get("workload") in ("cnn", "zoo")


def _proposals(manifest: Manifest, task: Task, trials: Sequence[TrialRecord]) -> Places:
    """Check stages without a model: on one machine they propose the same again, with the same packages."""
    if manifest.cluster or manifest.trials_from or not _same_packages(manifest):
        return []
    wrong = []
    for trial in trials:
        stage = task.stages.get(trial.stage)
        if trial.stage == CONFIRM or stage is None or stage.method not in FIXED:
            continue
        before = [t for t in trials if t.trial < trial.trial]
        proposed = propose(task, trial.stage, before, manifest.seed)
        if proposed is None or proposed.params != trial.params:
            wrong.append(f"trial {trial.trial}")
    return wrong


def _same_packages(manifest: Manifest) -> bool:
    packages = manifest.environment.get("packages")
    try:
        return isinstance(packages, dict) and all(
            packages.get(name) == metadata.version(name) for name in PROPOSING
        )
    except metadata.PackageNotFoundError:
        return False


def _commit(manifest: Manifest) -> Iterator[str]:
    """Say whether what stands for the commit that ran cannot be one."""
    commit = _stated_commit(manifest)
    if commit is not None and not _is_commit(commit):
        yield f"manifest.json: code: {commit[:40]!r} is no commit"


def unknown_commit(manifest: Manifest) -> str | None:
    """Return the commit that ran if the checkout that this code runs from does not have it.

    That is no contradiction: a history that was squashed or rebased has lost commits. A checkout without its
    history, or another project's, cannot say.
    """
    commit, checkout = _stated_commit(manifest), Path(__file__).resolve().parents[3]
    if commit is None or not _is_commit(commit) or not (checkout / ".git").exists():
        return None
    try:
        if git(checkout, "rev-parse", "--is-shallow-repository") != "false":
            return None
        git(checkout, "cat-file", "-e", f"{ROOT_COMMIT}^{{commit}}")
    except (OSError, subprocess.SubprocessError):
        return None
    try:
        git(checkout, "cat-file", "-e", f"{commit}^{{commit}}")
    except subprocess.CalledProcessError:
        return commit
    except (OSError, subprocess.SubprocessError):
        pass
    return None


def _stated_commit(manifest: Manifest) -> str | None:
    code = manifest.environment.get("code")
    commit = code.get("commit") if isinstance(code, dict) else None
    return commit if isinstance(commit, str) else None


def _is_commit(text: str) -> bool:
    return len(text) == 40 and set(text) <= set("0123456789abcdef")
