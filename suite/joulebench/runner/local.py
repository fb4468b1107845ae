"""Run or resume a task on this machine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joulebench import search
from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.measurement.bench import Bench
from joulebench.records.folder import RunFolder
from joulebench.records.model import Manifest, TrialRecord
from joulebench.runner import meter_check, scoring
from joulebench.runner.confirming import Confirming
from joulebench.runner.events import Event, Observer, silent
from joulebench.runner.plan import Plan, plan
from joulebench.runner.proposals import Stages
from joulebench.runner.resume_check import differences
from joulebench.runner.scheduling import LocalExecutor, schedule
from joulebench.runner.session import Facts, folder_name, manifest, open_bench, open_session
from joulebench.runner.trials import Trials
from joulebench.spec.hardware import HardwareProfile, Host, detect_host, mismatch
from joulebench.spec.registry import add_import_folders
from joulebench.spec.task import Task
from joulebench.spec.toml import validate


def run(task: str | Task, *, out: str | Path = "runs", observer: Observer = silent, **choices: Any) -> RunFolder:
    """Run a task and return its folder; `choices` are those of `plan`.

    Raises:
        InputError: bad input, or too many consecutive failures; what was recorded is kept.
    """
    return start(plan(task, **choices), out=out, observer=observer)


def start(chosen: Plan, *, out: str | Path = "runs", observer: Observer = silent) -> RunFolder:
    """Execute a plan in a new run folder, `<out>/<task>/<hardware>/<UTC time>/`.

    Raises:
        InputError: as `run`.
    """
    session = _Session.prepare(chosen, observer)
    created = RealClock().utc()
    parent = Path(out) / chosen.task.name / chosen.profile.name
    folder = RunFolder.claim(parent / folder_name(created), session.manifest(created))
    observer(Event("note", f"records: {folder.path}"))
    session.work(folder)
    return folder


def free(path: Path) -> Path:
    """Return `path`, with a number appended if it exists: two runs began in the same second."""
    candidates = (path if n == 1 else path.with_name(f"{path.name}-{n}") for n in range(1, 1000))
    return next(p for p in candidates if not p.exists())


def resume(
    path: str | Path,
    *,
    data: str | Path | None = None,
    strict: bool = False,
    set_power_limit: bool = False,
    observer: Observer = silent,
) -> RunFolder:
    """Continue a stopped run; a finished one is left unchanged.

    Raises:
        InputError: not a run, damaged records, another machine, or other data than it began with.
    """
    folder = RunFolder.open(Path(path))
    began = folder.manifest()
    if began.cluster:
        raise InputError(f"{path}: began on a Ray cluster; resume it there, with --ray ADDRESS")
    host = detect_host()
    profile = validate(HardwareProfile, began.hardware, folder.manifest_path)
    if (differs := mismatch(profile, host)) != began.hardware_override:
        raise InputError(f"{path}: began on another machine: {differs or began.hardware_override}")
    chosen = resumed_plan(folder, host, data, strict, set_power_limit)
    repair(folder, observer)
    session = _Session.prepare(chosen, observer, began_s=folder.end_s())
    try:
        changed = differences(began, session.manifest(began.created_utc), folder.path)
    except InputError:
        session.bench.timeline.stop()
        raise
    if changed:
        observer(Event("note", f"changed since the run began: {changed}"))
    session.work(folder, changed)
    return folder


def resumed_plan(
    folder: RunFolder, host: Host, data: str | Path | None, strict: bool, set_power_limit: bool
) -> Plan:
    """Restore a run's plan on this host, with the options of the `resume` command."""
    began = folder.manifest()
    task = folder.task()
    add_import_folders(began.task_file)
    return Plan(
        task,
        began.budget,
        validate(HardwareProfile, began.hardware, folder.manifest_path),
        host,
        began.seed,
        Path(data) if data is not None else None,
        began.replay,
        began.trials_from,
        strict,
        began.hardware_override,
        meters=began.own_meters,
        set_power_limit=set_power_limit,
    )


def repair(folder: RunFolder, observer: Observer) -> None:
    """Remove lines that a crash left half written."""
    for torn in folder.repair():
        observer(Event("note", f"dropped a torn line: {torn.path.name}, line {torn.line}"))


@dataclass(frozen=True)
class _Session:
    """One session of a run, from staging the data to the last record."""

    plan: Plan
    bench: Bench
    observe: Observer
    search_facts: dict[str, Any]

    @classmethod
    def prepare(cls, chosen: Plan, observe: Observer, began_s: float = 0.0) -> _Session:
        facts: dict[str, Any] = {}

        def load() -> None:
            facts.update(search.prepare(chosen.task))

        return cls(chosen, open_bench(chosen, observe, began_s=began_s, load=load), observe, facts)

    def manifest(self, created_utc: str) -> Manifest:
        return manifest(self.plan, Facts.of(self.plan, self.bench), self.search_facts, created_utc)

    def work(self, folder: RunFolder, changed: str = "") -> None:
        """Run the remaining trials, score the frontier, and close the ledger in every case."""
        timeline = self.bench.timeline
        try:
            with open_session(folder, timeline, changed) as number:
                meter_check.before_search(self.plan, self.bench, folder, number, self._say)
                task = self.plan.task
                stages = Stages(task, self.plan.seed, self._propose)
                source = Confirming(stages, task, folder.manifest(), self._note, self._proposing)
                trials = Trials(self.plan, folder, number, timeline, source, self.observe)
                schedule([trials], LocalExecutor(self.bench))
                scoring.score_frontier(
                    task,
                    folder,
                    lambda trial: self._score(folder, trial),
                    self._say,
                    lambda: timeline.cut("score"),
                )
        finally:
            timeline.stop()
            gc.unfreeze()

    def _propose(self, *given: Any) -> search.Proposal | None:
        with self._proposing():
            return search.propose(*given)

    @contextmanager
    def _proposing(self) -> Iterator[None]:
        yield
        self.bench.timeline.cut("propose")

    def _score(self, folder: RunFolder, trial: TrialRecord) -> dict[str, float]:
        weights = scoring.read_weights(folder, trial, self.bench.device)
        return scoring.test_metrics(self.bench, trial, weights)

    def _note(self, text: str) -> None:
        self._say("note", text)

    def _say(self, kind: str, text: str, **more: Any) -> None:
        self.observe(Event(kind, text, **more))
