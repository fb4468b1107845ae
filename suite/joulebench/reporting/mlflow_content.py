"""Parameters, metrics, tags and files of a run and its trials, for an experiment tracker."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from joulebench.presentation.rows import estimate_cells
from joulebench.presentation.table import flatten
from joulebench.records.folder import RunFolder
from joulebench.records.model import Manifest, TrialRecord, Window
from joulebench.reporting.summary import Summary
from joulebench.results.energy import training_energy
from joulebench.results.ledger import Ledger, SourceShare, balance
from joulebench.results.outcome import trial_outcomes
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.results.run import Run
from joulebench.results.training_flops import training_flops
from joulebench.spec.reading import read_file
from joulebench.spec.task import Task
from joulebench.text import without_surrogates

MAX_TEXT = 5000  # characters of a value; trackers refuse or cut more
REPORT_FILES = ("manifest.json", "scores.jsonl", "report.html", "report.md", "*.csv", "*.png", "*.svg")


@dataclass(frozen=True)
class Logged:
    """One run of the tracker; its `digest` changes with its content."""

    name: str
    finished: bool
    start_ms: int
    end_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    files: Mapping[str, bytes] = field(default_factory=dict)
    epochs: Sequence[tuple[int, Mapping[str, float]]] = ()  # when each ended, in ms, and its metrics

    @property
    def digest(self) -> str:
        files = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        content = [self.name, self.finished, dict(self.params), dict(self.metrics), dict(self.tags), files]
        content += [[dict(own) for _, own in self.epochs]] if self.epochs else []
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def run_key(folder: RunFolder) -> str:
    """Fingerprint of the run's manifest, which identifies it wherever its folder is."""
    return hashlib.sha256(read_file(folder.manifest_path)).hexdigest()[:16]


def study_logged(folder: RunFolder, summary: Summary) -> Logged:
    """The run as a whole, with the report's files in its folder."""
    run, manifest, ledger = summary.run, summary.manifest, summary.ledger
    windows = [w for t in run.trials for w in t.windows] + [w for e in run.entries for w in e.windows]
    metrics: dict[str, float | None] = {
        "energy_j": ledger.total_j,
        "measured_share": ledger.measured_share,
        "duration_s": ledger.duration_s,
        "carbon_g": summary.cost.carbon_g,
        "frontier_size": float(len(summary.members)),
        _volume(run.task): summary.hypervolume[-1] if summary.hypervolume else None,
        **_confirmed_metrics(summary),
        **{f"trials_{status}": float(n) for status, n in summary.statuses.items()},
    }
    start_ms, end_ms = span_ms(windows, manifest.created_utc)
    params = {"task": run.task.name, "task_version": run.task.version, "budget": manifest.budget}
    params |= {"seed": manifest.seed, "hardware": manifest.hardware.get("name")}
    protocol = flatten(run.task.protocol.model_dump(mode="json"), "protocol.")
    tags = {
        **_common_tags(manifest),
        **_kind_tags(ledger),
        "joulebench.status": ledger.ending_note or ledger.ending or "unfinished",
    }
    tags["joulebench.headline"] = summary.headline
    tags["joulebench.provisional"] = str(summary.provisional).lower()
    return Logged(
        name=folder.path.resolve().name,
        finished=ledger.ending == "done",
        start_ms=start_ms,
        end_ms=end_ms,
        params=_texts({k: v for k, v in params.items() if v is not None} | dict(protocol)),
        metrics=_numbers({**metrics, **_domain_metrics(ledger)})[0],
        tags=_texts(tags),
        files=_files(folder.path),
    )


def _volume(task: Task) -> str:
    """The metric's name: MLflow shows those of one name side by side, and two scales do not compare."""
    return "_".join(["hypervolume", *(f"log_{name}" for name in task.log_scaled)])


def _confirmed_metrics(summary: Summary) -> dict[str, float | None]:
    """Ends of the hypervolume's interval, and mean differences from what the search promised."""
    known, sure = summary.run.confirmation, summary.run.membership
    if known is None:
        return {}
    volume = sure.hypervolume if sure is not None else None
    name = _volume(summary.task)
    ends = {} if volume is None else {f"{name}_low": volume.low, f"{name}_high": volume.high}
    return {
        "confirmed_configurations": float(len(known.configurations)),
        **ends,
        **{f"{name}_winners_curse": d.mean for name, d in known.differences.items()},
    }


def trials_logged(folder: RunFolder, run: Run, chosen: Container[int] | None = None) -> Iterable[Logged]:
    """Every trial in the order of the records, or those `chosen`, with its line of `trials.jsonl`."""
    lines = read_file(folder.trials_path).splitlines(keepends=True) if run.trials else []
    for trial, line in zip(run.trials, lines, strict=False):  # a torn last line is no trial
        if chosen is None or trial.trial in chosen:
            yield _trial(run, trial, line)


def _trial(run: Run, trial: TrialRecord, line: bytes) -> Logged:
    scores = run.scores_by_trial.get(trial.trial, {})
    spent = balance([trial], [])  # the trial's part of the run's ledger
    metrics, lost = _numbers({**trial.metrics, **scores, **_energy_metrics(run, trial, spent)})
    start_ms, end_ms = span_ms(trial.windows, run.manifest.created_utc)
    tags = {
        **_common_tags(run.manifest),
        **_kind_tags(spent),
        "joulebench.trial": trial.trial,
        "joulebench.status": trial.status,
        "joulebench.origin": trial.proposed_by,
        "joulebench.stage": trial.stage,
        "joulebench.seed": trial.seed,
        "joulebench.error": trial.error,
        "joulebench.not_finite": ", ".join(lost) or None,
    }
    return Logged(
        name=f"trial {trial.trial}",
        finished=trial.status == "ok",
        start_ms=start_ms,
        end_ms=end_ms,
        params=_texts(trial.params),
        metrics=metrics,
        tags=_texts({name: value for name, value in tags.items() if value is not None}),
        files={"trial.json": line},
        epochs=tuple(_epochs(trial, start_ms)),
    )


def _epochs(trial: TrialRecord, start_ms: int) -> Iterator[tuple[int, Mapping[str, float]]]:
    """Metrics of each epoch, with when it ended."""
    ends = [w.end_s for w in trial.windows if w.phase == "train"]
    for epoch, end_s in zip(trial.epochs, ends, strict=False):
        passed_s = end_s - trial.windows[0].start_s
        yield start_ms + (round(1000 * passed_s) if math.isfinite(passed_s) else 0), _numbers(epoch.metrics)[0]


def _energy_metrics(run: Run, trial: TrialRecord, spent: Ledger) -> dict[str, float | None]:
    """Objectives and phases with their intervals, training, joules by domain, static costs."""
    metrics: dict[str, float | None] = {}
    for phase, unit in trial.unit.items():
        if (work := run.phase([trial], phase, EVERY_FAMILY)) is not None:
            metrics |= estimate_cells(f"{phase}_j_per_{unit}_gross", work.gross)
            metrics |= estimate_cells(f"{phase}_j_per_{unit}_net", work.net)
            metrics |= estimate_cells(f"{phase}_s_per_{unit}", work.unit_s)
    for name, outcome in trial_outcomes(run.task, trial, run.idle).items():
        metrics |= estimate_cells(name, outcome.value)
    # of a trial that failed after it, too
    trained = training_energy(run.task.protocol, trial.windows, EVERY_FAMILY)
    metrics["train_energy_j"] = None if trained is None else trained.mean
    for cost in ("parameters", "macs", "flops", "peak_memory_bytes"):
        metrics[cost] = getattr(trial.costs, cost)
    counted = training_flops([trial])
    metrics["train_flops"] = None if counted is None else counted.mean
    metrics |= {"energy_j": spent.total_j, "measured_share": spent.measured_share, "duration_s": spent.duration_s}
    return {**metrics, **_domain_metrics(spent)}


def _domain_metrics(ledger: Ledger) -> dict[str, float]:
    """`energy_j_cpu`, `energy_j_gpu_0`: primary joules by domain."""
    return {f"energy_j_{d}": math.fsum(s.energy_j for s in of) for d, of in _primary(ledger).items()}


def _kind_tags(ledger: Ledger) -> dict[str, str]:
    """Kind (measured or estimated) and source of each domain's joules."""
    tags = {}
    for domain, sources in _primary(ledger).items():
        tags[f"joulebench.kind.{domain}"] = ", ".join(sorted({s.kind for s in sources}))
        tags[f"joulebench.source.{domain}"] = ", ".join(sorted({s.source for s in sources}))
    return tags


def _primary(ledger: Ledger) -> dict[str, list[SourceShare]]:
    """Primary sources by domain, domains in order."""
    primary = [s for s in ledger.sources if s.role == "primary"]
    return {domain: [s for s in primary if s.domain == domain] for domain in sorted({s.domain for s in primary})}


def _common_tags(manifest: Manifest) -> dict[str, Any]:
    profile = manifest.hardware
    tags = {
        "joulebench.version": manifest.joulebench,
        "joulebench.digest": manifest.run_digest,
        "joulebench.hardware": profile.get("name"),
        "joulebench.hardware_title": profile.get("title"),
        "joulebench.replay": manifest.replay,
    }
    return {name: value for name, value in tags.items() if value is not None}


def span_ms(windows: Sequence[Window], otherwise: str) -> tuple[int, int]:
    """When it began and ended, in milliseconds since 1970; the end from the run's own clock."""
    begin = datetime.fromisoformat(windows[0].start_utc if windows else otherwise).timestamp()
    length_s = max(w.end_s for w in windows) - min(w.start_s for w in windows) if windows else 0.0
    return round(1000 * begin), round(1000 * (begin + (length_s if math.isfinite(length_s) else 0.0)))


def _files(path: Path) -> dict[str, bytes]:
    files = sorted({file for pattern in REPORT_FILES for file in path.glob(pattern)})
    # a link in a folder that somebody sent would upload a file of the user's
    return {file.name: read_file(file) for file in files if file.is_file() and not file.is_symlink()}


def _numbers(given: Mapping[str, float | None]) -> tuple[dict[str, float], list[str]]:
    """Finite numbers under names a tracker takes, and the names of those that are not finite."""
    known = {name: value for name, value in given.items() if value is not None}
    finite = {name: float(value) for name, value in known.items() if math.isfinite(value)}
    return _named(finite), [without_surrogates(name) for name in known if name not in finite]


def _texts(given: Mapping[str, Any]) -> dict[str, str]:
    return _named({name: _cut(without_surrogates(str(value))) for name, value in given.items()})


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Names of letters, digits, `_`, `-` and inner dots; of two that would be the same, the later has a number."""
    named: dict[str, Any] = {}
    for name, value in given.items():
        plain = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:200]).strip(".") or "_"
        number, free = 2, plain
        while free in named:
            free, number = f"{plain}_{number}", number + 1
        named[free] = value
    return named
