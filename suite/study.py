"""The loop: stages, budget, stopping, resume. A run is a folder; what is in it says what comes next."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite import device, environment, precheck, search, stopping
from suite.clock import Clock, RealClock, VirtualClock
from suite.definition import validate
from suite.errors import InputError, MeterError
from suite.flops import load_counter
from suite.frontier import frontier
from suite.hardware import HardwareProfile, detect_host, mismatch
from suite.harness import Bench, Finished, Request, Watch, died, run_trial
from suite.measure import Timeline
from suite.meters.select import meters_for
from suite.outcome import configurations, idle_windows, trial_outcomes
from suite.parameters import Params
from suite.plan import Plan, plan
from suite.power_limit import PARAMETER
from suite.record import DONE, LedgerEntry, Manifest, RunFolder, ScoreRecord, TrialRecord, append
from suite.resumption import MAX_DEATHS, deaths, differences
from suite.task import Task
from suite.watch import epoch_watch
from suite.workloads.base import importable, workload_class

if TYPE_CHECKING:
    from suite.data import StagedData


@dataclass(frozen=True)
class Event:
    """What a run reports while it works."""

    kind: str  # note, data, trial, epoch, result, score
    text: str
    done: int = 0
    total: int = 0


Observer = Callable[[Event], None]


def _silent(_: Event) -> None:
    return None


def run(task: str | Task, *, out: str | Path = "runs", observer: Observer = _silent, **choices: Any) -> RunFolder:
    """Run a task and return its folder; `choices` are those of `plan`.

    Raises:
        InputError: bad input, or too many consecutive failures; what was recorded is kept.
    """
    return start(plan(task, **choices), out=out, observer=observer)


def start(chosen: Plan, *, out: str | Path = "runs", observer: Observer = _silent) -> RunFolder:
    """Carry out a plan in a new run folder, `<out>/<task>/<hardware>/<UTC time>/`.

    Raises:
        InputError: as `run`.
    """
    session = _Session.prepare(chosen, observer)
    created = RealClock().utc()
    stamp = created[:19].replace(":", "").replace("-", "") + "Z"
    parent = Path(out) / chosen.task.name / chosen.profile.name
    folder = RunFolder.create(_free(parent / stamp), session.manifest(created))
    observer(Event("note", f"records: {folder.path}"))
    session.work(folder)
    return folder


def _free(path: Path) -> Path:
    """`path`, or with a number behind it if two runs began in the same second."""
    candidates = (path if n == 1 else path.with_name(f"{path.name}-{n}") for n in range(1, 1000))
    return next(p for p in candidates if not p.exists())


def resume(
    path: str | Path,
    *,
    data: str | Path | None = None,
    strict: bool = False,
    set_power_limit: bool = False,
    observer: Observer = _silent,
) -> RunFolder:
    """Continue a stopped run where it was; a finished one is left as it is.

    Raises:
        InputError: not a run, damaged records, another machine, or other data than it began with.
    """
    folder = RunFolder.open(Path(path))
    manifest = folder.manifest()
    profile = validate(HardwareProfile, manifest.hardware, folder.manifest_path)
    host = detect_host()
    if (differs := mismatch(profile, host)) != manifest.hardware_override:
        raise InputError(f"{path}: began on another machine: {differs or manifest.hardware_override}")
    task = folder.task()
    importable(manifest.task_file)
    chosen = Plan(
        task,
        manifest.budget,
        profile,
        host,
        manifest.seed,
        Path(data) if data is not None else None,
        manifest.replay,
        manifest.trials_from,
        strict,
        manifest.hardware_override,
        set_power_limit=set_power_limit,
    )
    for torn in folder.repair():
        observer(Event("note", f"dropped a torn line: {torn.path.name}, line {torn.line}"))
    session = _Session.prepare(chosen, observer, began_s=folder.end_s())
    try:
        changed = differences(manifest, session.manifest(manifest.created_utc), folder.path)
    except InputError:
        session.bench.timeline.stop()
        raise
    if changed:
        observer(Event("note", f"changed since the run began: {changed}"))
    session.work(folder, changed)
    return folder


@dataclass(frozen=True)
class _Session:
    """One sitting of a run, from staging the data to the last record."""

    plan: Plan
    bench: Bench
    observe: Observer
    search_facts: dict[str, Any]

    @classmethod
    def prepare(cls, chosen: Plan, observe: Observer, began_s: float = 0.0) -> _Session:
        """Start the meter, import what measuring needs, stage the data.

        Args:
            began_s: where a virtual clock goes on from, on resume.
        """
        workload = workload_class(chosen.task.workload)
        virtual = chosen.replay is not None and workload.replayable
        clock = VirtualClock(began_s) if virtual else RealClock()
        device_name = device.choose_device(chosen.profile.kind)
        device.use_threads(chosen.profile.cpu_threads)
        timeline = Timeline(
            meters_for(chosen.profile, device_name, clock, chosen.replay), clock, device.synchronizer(device_name)
        )
        timeline.start()
        try:
            _check_domains(chosen.task, device_name, timeline.describe())
            facts = search.prepare(chosen.task)
            if not virtual:
                load_counter()
                device.load_optimisers()
            timeline.cut("start")
            data = _staged(chosen, device_name, observe) if workload.needs_data else None
            gc.collect()
            gc.freeze()  # what is loaded by now stays: collecting between trials takes 5 ms instead of 250
            timeline.cut("data")
            bench = Bench(
                chosen.task,
                device_name,
                clock,
                timeline,
                data,
                gpus=_limitable(chosen.task, device_name),
                set_power_limit=chosen.set_power_limit,
            )
            bench.workload(chosen.seed).close()  # options that it refuses, it refuses before anything is written
        except BaseException:
            timeline.stop()
            raise
        return cls(chosen, bench, observe, facts)

    @property
    def clock(self) -> Clock:
        return self.bench.clock

    def data_facts(self) -> dict[str, Any]:
        return self.bench.data.describe() if self.bench.data is not None else {}

    def manifest(self, created_utc: str) -> Manifest:
        chosen = self.plan
        return Manifest(
            joulebench=metadata.version("joulebench"),
            task=chosen.task.model_dump(mode="json"),
            budget=chosen.budget,
            digest=chosen.task.digest,
            hardware=chosen.profile.model_dump(mode="json"),
            hardware_override=chosen.hardware_override,
            seed=chosen.seed,
            created_utc=created_utc,
            environment=environment.describe(chosen.host, self.bench.device),
            data=self.data_facts(),
            meters=self.bench.timeline.describe(),
            search=self.search_facts,
            replay=chosen.replay,
            trials_from=chosen.trials_from,
            task_file=chosen.task_file,
            data_path=str(chosen.data_path.resolve()) if chosen.data_path else None,
            overrides=dict(chosen.overrides),
        )

    def work(self, folder: RunFolder, changed: str = "") -> None:
        """Run what is left of the run, and close its ledger however it ends."""
        timeline = self.bench.timeline
        number, note = 0, "crashed"
        try:
            with _only_one(folder):
                number = 1 + max((entry.session for entry in folder.ledger()), default=-1)
                self._enter(folder, number, "start", changed and f"changed since the run began: {changed}")
                try:
                    precheck.before_search(self.plan, self.bench, folder, number, self._say)
                    self._trials(folder, number)
                    self._scores(folder)
                    note = DONE
                except KeyboardInterrupt:
                    note = "interrupted"
                    raise
                except InputError as error:
                    note = str(error)
                    raise
                finally:
                    with contextlib.suppress(MeterError):  # a dead meter must not keep what was read before it died
                        timeline.cut("end" if note == DONE else "unfinished")
                    self._enter(folder, number, "end", note)
        finally:
            timeline.stop()
            gc.unfreeze()

    def _enter(self, folder: RunFolder, session: int, event: Any, note: str) -> None:
        entry = LedgerEntry(session=session, event=event, windows=self.bench.timeline.take(), note=note)
        append(folder.ledger_path, entry)

    def _say(self, kind: str, text: str, **more: Any) -> None:
        self.observe(Event(kind, text, **more))

    def _trials(self, folder: RunFolder, session: int) -> None:
        task, timeline = self.plan.task, self.bench.timeline
        records, ledger = folder.trials(), folder.ledger()
        total = search.planned_trials(task)
        for stage in task.stages:
            while True:
                proposal = self._propose(stage, records)
                timeline.cut("propose")
                if proposal is None:
                    break
                reason = stopping.stop_reason(task.stopping, records, ledger, proposal.expected)
                if reason is not None:
                    self._enter(folder, session, "span", f"stopped: {reason}")
                    self._say("note", f"stopped: {reason}")
                    return
                request = self._request(proposal, stage, records, session)
                self._say("trial", f"{stage}: {_words(task, proposal.params)}", done=len(records), total=total)
                finished = self._trial(folder, request, records, ledger)
                self._keep(folder, records, finished)
                self._say("result", _result(task, finished.record, records), done=len(records), total=total)
                del finished  # its weights are saved, and the next trial wants the memory
                failures = _failures_in_a_row(records)
                if failures >= task.max_consecutive_failures:
                    raise InputError(
                        f"stopped after {failures} failing trials in a row; the last: {records[-1].error}"
                    )

    def _trial(
        self,
        folder: RunFolder,
        request: Request,
        records: Sequence[TrialRecord],
        ledger: Sequence[LedgerEntry],
    ) -> Finished:
        """Run it, unless it has ended the process `MAX_DEATHS` times: the next attempt would, too.

        `ledger` is as it stood when the session's trials began.
        """
        times = deaths(ledger, request.trial)
        if times >= MAX_DEATHS:
            return died(self.bench, request, times)
        entry = LedgerEntry(session=request.session, event="begin", trial=request.trial)
        append(folder.ledger_path, entry)
        return run_trial(self.bench, request, self._watched(request, folder, records))

    def _watched(self, request: Request, folder: RunFolder, records: Sequence[TrialRecord]) -> Watch:
        rules, left_j = self.plan.task.stopping, None
        if rules.max_energy_j is not None:
            left_j = rules.max_energy_j - (stopping.spent_j(records, folder.ledger()) or 0.0)
        return epoch_watch(request, records, rules.extrapolate, left_j, self._say)

    def _propose(self, stage: str, records: Sequence[TrialRecord]) -> search.Proposal | None:
        try:
            return search.propose(self.plan.task, stage, records, self.plan.seed)
        except RuntimeError as error:  # a model that fails now fails again on resume: say so, drop nothing
            raise InputError(f"{error}; finished trials are kept") from error

    def _request(
        self, proposal: search.Proposal, stage: str, records: Sequence[TrialRecord], session: int
    ) -> Request:
        number = len(records)
        idle = idle_windows(records)
        last_idle = max((r.trial for r in records if any(w.phase == "idle" for w in r.windows)), default=None)
        due = last_idle is None or number - last_idle >= self.plan.task.protocol.idle_every
        due = due or number == search.planned_trials(self.plan.task) - 1  # before and after: drift shows
        seed = random.Random(f"{self.plan.seed}/{number}").getrandbits(31)
        return Request(
            trial=number,
            session=session,
            stage=stage,
            origin=proposal.origin,
            params=proposal.params,
            seed=seed,
            idle=due,
            idle_windows=tuple(idle),
            expected=proposal.expected,
        )

    def _keep(self, folder: RunFolder, records: list[TrialRecord], finished: Finished) -> None:
        """Weights first, then the record: a trial that is recorded has its weights on disk."""
        records.append(finished.record)
        task = self.plan.task
        best = frontier(task, configurations(task, records)) if task.has_frontier else []
        members = {t.trial for c in best for t in c.trials}
        if finished.state is not None and finished.record.trial in members:
            _save_weights(folder, finished)
        append(folder.trials_path, finished.record)
        for file in folder.weights_path.glob("*.pt"):
            if int(file.stem) not in members:
                file.unlink()
        self.bench.timeline.cut("record")

    def _scores(self, folder: RunFolder) -> None:
        """Score the frontier's models on the test split, each once."""
        task = self.plan.task
        if task.dataset is None or not task.has_frontier:
            return
        scored = {score.trial for score in folder.scores()}
        for configuration in frontier(task, configurations(task, folder.trials())):
            for trial in configuration.trials:
                if trial.trial in scored or not folder.weights_file(trial.trial).exists():
                    continue
                self._say("score", f"test split: trial {trial.trial}")
                metrics = {f"test_{n}": v for n, v in self._test_metrics(folder, trial).items()}
                append(folder.scores_path, ScoreRecord(trial=trial.trial, split="test", metrics=metrics))
                self.bench.timeline.cut("score")

    def _test_metrics(self, folder: RunFolder, trial: TrialRecord) -> dict[str, float]:
        import torch

        workload = self.bench.workload(trial.seed)
        try:
            workload.build(trial.params)
            state = torch.load(folder.weights_file(trial.trial), map_location=self.bench.device, weights_only=True)
            workload.load_state(state)
            return workload.evaluate("test")
        finally:
            workload.close()


def _failures_in_a_row(records: Sequence[TrialRecord]) -> int:
    """How many of the last trials failed. Out of memory or infeasible is a result: not counted, no interruption."""
    count = 0
    for record in reversed(records):
        if record.status == "ok":
            break
        count += record.status not in ("oom", "infeasible")
    return count


def _limitable(task: Task, device_name: str) -> tuple[int, ...]:
    """NVML indices of the GPUs that the task may set a power limit on; none where it does not set any."""
    return tuple(device.nvml_indices(device_name)) if PARAMETER in task.parameters else ()


def _check_domains(task: Task, device_name: str, meters: Sequence[Mapping[str, str]]) -> None:
    """A GPU that nothing meters would be missing from every sum, and each model look better than it is.

    Raises:
        MeterError: the run is on a GPU, an objective asks for its joules, and no meter has them.
    """
    asked = any("gpu" in (o.domains or ()) for o in task.objectives.values())
    if device_name.startswith("cuda") and asked and not any(m["domain"].startswith("gpu") for m in meters):
        raise MeterError(
            f"no meter reads the energy of {device_name}, which the task's objectives ask for; "
            "`joulebench hardware` says why, and --hardware generic_cpu --force-hardware runs without the GPU"
        )


def _staged(chosen: Plan, device_name: str, observe: Observer) -> StagedData | None:
    if chosen.task.dataset is None:
        return None
    from suite.data import load_arrays, stage

    def progress(label: str, done: int, total: int) -> None:
        observe(Event("data", label, done=done, total=total))

    arrays = load_arrays(chosen.task.dataset, chosen.data_path, progress=progress)
    return stage(arrays, chosen.task.dataset, device_name)


def _save_weights(folder: RunFolder, finished: Finished) -> None:
    import torch

    file = folder.weights_file(finished.record.trial)
    temporary = file.with_suffix(".tmp")
    try:
        folder.weights_path.mkdir(exist_ok=True)
        torch.save(finished.state, temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())  # the record that relies on them follows
        temporary.replace(file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        temporary.unlink(missing_ok=True)
        raise InputError(f"{file}: cannot be written: {error!s:.200}; recorded trials are safe") from None


def _words(task: Task, params: Params) -> str:
    return ", ".join(f"{name} {params[name]}" for name in task.free) or "the one configuration"


def _result(task: Task, record: TrialRecord, records: Sequence[TrialRecord]) -> str:
    """A finished trial in one line: what proposed it, the configuration, and its objectives or its failure."""
    what = f"{record.origin}: {_words(task, record.params)}"
    outcomes = trial_outcomes(task, record, idle_windows(records))
    if not outcomes:
        return f"{what} → {record.status}: {record.error}"
    values = []
    for name, outcome in outcomes.items():
        half = outcome.value.rel_half_width
        values.append(f"{name} {outcome.value.mean:.4g}" + (f" ± {half:.1%}" if half is not None else ""))
    return f"{what} → {', '.join(values)}"


@contextlib.contextmanager
def _only_one(folder: RunFolder) -> Iterator[None]:
    """Hold the run: two processes appending to one folder would interleave their trials."""
    descriptor = os.open(folder.manifest_path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise InputError(f"{folder.path}: another process is working on this run") from None
    try:
        yield
    finally:
        os.close(descriptor)
