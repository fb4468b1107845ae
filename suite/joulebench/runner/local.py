"""Run or resume a task on this machine."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from joulebench import search
from joulebench.errors import DeviceLostError, InputError
from joulebench.host.clock import RealClock
from joulebench.host.process import end_left
from joulebench.meters.base import LearnedCounters
from joulebench.meters.live_settings import is_settings, read_settings
from joulebench.meters.select import unmetered
from joulebench.records.folder import RunFolder
from joulebench.records.model import Manifest, TrialRecord
from joulebench.runner import meter_check, scoring
from joulebench.runner.confirming import Confirming
from joulebench.runner.events import Event, Observer, silent
from joulebench.runner.execution import InProcess
from joulebench.runner.isolation import Isolated
from joulebench.runner.own_code import Sources, exists, find_recorded_code, own_names
from joulebench.runner.plan import Plan, check_extras, plan
from joulebench.runner.program_code import refuse_elsewhere
from joulebench.runner.proposals import Stages
from joulebench.runner.resume_check import differences, is_complete
from joulebench.runner.scheduling import LocalExecutor, schedule
from joulebench.runner.session import folder_name, manifest, open_bench, open_session, open_timeline
from joulebench.runner.trials import Trials
from joulebench.spec.hardware import HardwareProfile, Host, detect_host, mismatch
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
    for gpu in chosen.host.lost:
        observer(Event("note", f"warning: the driver does not reach a GPU of this machine: {gpu}"))
    session = _Session.prepare(chosen, observer)
    created = RealClock().utc()
    parent = Path(out) / chosen.task.name / chosen.profile.name
    folder = RunFolder.claim(parent / folder_name(created), session.manifest(created))
    observer(Event("note", f"records: {folder.path}"))
    session.work(folder)
    return folder


def resume(
    path: str | Path,
    *,
    data: str | Path | None = None,
    strict: bool = False,
    set_power_limit: bool = False,
    meters: Sequence[str] = (),
    sources: Sequence[str | Path] = (),
    observer: Observer = silent,
) -> RunFolder:
    """Continue a stopped run; a finished one is left unchanged.

    Args:
        meters: the files of the live meters that it began with: no record says what to ask.
        sources: folders, or installed packages, that code and files which the records name may be taken from,
            beside the current folder and PYTHONPATH.

    Raises:
        InputError: not a run, damaged records, another machine, or other data or code than it began with.
    """
    folder = RunFolder.open(Path(path))
    began = folder.manifest()
    if is_complete(folder):
        observer(Event("note", f"{path}: complete already; nothing is measured"))
        return folder
    if began.cards:
        raise InputError(f"{path}: began on several GPUs; `joulebench resume` goes on on as many")
    if began.cluster:
        raise InputError(f"{path}: began on a Ray cluster; resume it there, with --ray ADDRESS")
    host = detect_host()
    profile = validate(HardwareProfile, began.hardware, folder.manifest_path)
    if (differs := mismatch(profile, host)) != began.hardware_override:
        raise InputError(f"{path}: began on another machine: {differs or began.hardware_override}")
    named = Sources.of(sources)
    own = _meters_again(began.own_meters, meters, folder)
    check_recorded_code(folder, named, observer)
    found = resumed_data(folder, data, named, observer)
    chosen = replace(resumed_plan(folder, host, found, strict, set_power_limit), meters=own)
    session = _Session.prepare(chosen, observer, began_s=folder.end_s())
    try:
        changed = differences(began, session.manifest(began.created_utc), folder.path)
    except InputError:
        session.execution.timeline.stop()
        raise
    if changed:
        observer(Event("note", f"changed since the run began: {changed}"))
    session.work(folder, changed)
    return folder


def _meters_again(recorded: Sequence[str], given: Sequence[str], folder: RunFolder) -> tuple[str, ...]:
    """The meters that a run began with, its live ones by the files that the user names.

    Raises:
        InputError: the file of one is not given, or one is given that it did not begin with.
    """
    files = {Path(name).name: str(Path(name).resolve()) for name in given}
    live = [name for name in recorded if is_settings(name)]
    if missing := next((name for name in live if name not in files), None):
        raise InputError(
            f"{folder.path}: began with the live meter {missing}, and records do not say what it asks: give its "
            f"file with --meter {missing}"
        )
    if other := next((name for name in files if name not in live), None):
        known = ", ".join(live) or "none"
        raise InputError(
            f"--meter: the run began without '{other}'; it needs the files of its live meters ({known})"
        )
    for name in live:
        read_settings(Path(files[name]))
    return tuple(files.get(name, name) for name in recorded)


def resumed_plan(folder: RunFolder, host: Host, data: Path | None, strict: bool, set_power_limit: bool) -> Plan:
    """Restore a run's plan on this host, with the options of the `resume` command."""
    began, task = folder.manifest(), folder.task()
    check_extras(task, str(folder.path))
    return Plan(
        task,
        began.budget,
        validate(HardwareProfile, began.hardware, folder.manifest_path),
        host,
        began.seed,
        data,
        began.replay,
        began.trials_from,
        began.found,
        strict,
        began.hardware_override,
        meters=began.own_meters,
        set_power_limit=set_power_limit,
    )


def resumed_data(folder: RunFolder, data: str | Path | None, sources: Sources, observer: Observer) -> Path | None:
    """Where a resumed run finds its data: as given now, else where it was given when the run began.

    A record may come from anybody, so the latter is only read in the current folder and in those of `sources`.

    Raises:
        InputError: it began with --data, and has to be given it again.
    """
    began = folder.manifest().data_path
    if data is not None or began is None:
        return None if data is None else Path(data)
    if not (exists(Path(began)) and sources.hold(Path(began))):
        raise InputError(
            f"{folder.path}: began with --data {began}, which is not in the current folder: give --data again"
        )
    observer(Event("note", f"data: {began}, as when the run began"))
    return Path(began)


def _execution(chosen: Plan, observe: Observer, began_s: float, load: Callable[[], None]) -> InProcess | Isolated:
    if not chosen.task.protocol.isolate:
        return InProcess(chosen, open_bench(chosen, observe, began_s=began_s, load=load))
    refuse_elsewhere(own_names(chosen.task, chosen.meters), "--isolate")
    origin_s = RealClock().now_s()
    learned: LearnedCounters = {}
    timeline, _ = open_timeline(chosen, began_s, replay_origin_s=origin_s, synchronise=False, learned=learned)
    load()
    timeline.cut("start")
    return Isolated(chosen, timeline, origin_s, learned)


def check_recorded_code(folder: RunFolder, sources: Sources, observer: Observer) -> None:
    """Say what a resumed run imports of the user's own, before it does.

    Raises:
        InputError: code or files that the user has not pointed to, or that changed since the run began.
    """
    for line, other in find_recorded_code(folder, sources, folder.manifest().replay):
        if other is not None:
            raise InputError(
                f"{folder.path}: {other} has changed since the run began, so new trials would not compare with the "
                "recorded ones; put it back as it was, or start a new run"
            )
        observer(Event("note", line))


@dataclass(frozen=True)
class _Session:
    """One session of a run, from staging the data to the last record."""

    plan: Plan
    execution: InProcess | Isolated
    observe: Observer
    search_facts: dict[str, Any]

    @classmethod
    def prepare(cls, chosen: Plan, observe: Observer, began_s: float = 0.0) -> _Session:
        facts: dict[str, Any] = {}

        def load() -> None:
            facts.update(search.prepare(chosen.task))

        execution = _execution(chosen, observe, began_s, load)
        if chosen.replay is None and (words := unmetered(chosen.host, execution.timeline.describe())):
            observe(Event("note", words))
        return cls(chosen, execution, observe, facts)

    def manifest(self, created_utc: str) -> Manifest:
        return manifest(self.plan, self.execution.facts(), self.search_facts, created_utc)

    def work(self, folder: RunFolder, changed: str = "") -> None:
        """Run the remaining trials, score the frontier, and close the ledger in every case."""
        timeline = self.execution.timeline
        try:
            with open_session(folder, timeline, self.observe, changed) as number:
                task = self.plan.task
                stages = Stages(task, self.plan.seed, self._propose)
                source = Confirming(stages, task, folder.manifest(), self._note, self._proposing)
                trials = Trials(self.plan, folder, number, timeline, source, self.observe)
                meter_check.before_search(self.plan, partial(self.execution.check_meters, self.plan.seed), trials)
                schedule([trials], LocalExecutor(self.execution.trial))
                scoring.score_models(
                    task,
                    folder,
                    lambda trial: self._score(folder, trial, trials),
                    self._say,
                    lambda trial: trials.append_entry("score", trial=trial.trial),
                    lambda: timeline.cut("score"),
                )
        except DeviceLostError as lost:
            lost.folder = folder.path
            raise
        finally:
            end_left()
            timeline.stop()
            gc.unfreeze()

    def _propose(self, *given: Any) -> search.Proposal | None:
        with self._proposing():
            return search.propose(*given)

    @contextmanager
    def _proposing(self) -> Iterator[None]:
        yield
        self.execution.timeline.cut("propose")

    def _score(self, folder: RunFolder, trial: TrialRecord, trials: Trials) -> dict[str, float]:
        def overdue() -> None:
            text = self.plan.task.protocol.overdue
            scoring.keep_failure(folder, trial, text, self._say)
            trials.append_entry("end", f"scoring trial {trial.trial} {text}", windows=(), ending="failed")

        return self.execution.score(trial, folder.weights_file(trial.trial), overdue)

    def _note(self, text: str) -> None:
        self._say("note", text)

    def _say(self, kind: str, text: str, **more: Any) -> None:
        self.observe(Event(kind, text, **more))
