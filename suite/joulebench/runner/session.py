"""Sessions of a run: set up the bench, write the manifest, open and close the ledger."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from joulebench.errors import InputError, MeterError
from joulebench.extras import installed
from joulebench.host import device, environment
from joulebench.host.clock import RealClock, VirtualClock
from joulebench.host.power_limit import PARAMETER
from joulebench.measurement.bench import Bench
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import LearnedCounters
from joulebench.meters.live_settings import is_settings
from joulebench.meters.select import meters_for
from joulebench.records.folder import RunFolder, append
from joulebench.records.model import Ending, LedgerEntry, Manifest, OwnCode
from joulebench.results.energy import matches
from joulebench.runner.events import Event, Observer, silent
from joulebench.runner.own_code import recorded
from joulebench.runner.plan import Plan
from joulebench.spec.hardware import mismatch
from joulebench.spec.task import Task
from joulebench.workloads.base import workload_class
from joulebench.workloads.flops import load_counter

if TYPE_CHECKING:
    from joulebench.data import StagedData
    from joulebench.data.text import Decoded


def open_bench(
    chosen: Plan,
    observe: Observer = silent,
    *,
    began_s: float = 0.0,
    node: str | None = None,
    arrays: Decoded | None = None,
    load: Callable[[], None] = lambda: None,
    replay_origin_s: float | None = None,
    ready: Callable[[], None] = lambda: None,
    run_pid: int | None = None,
    learned: LearnedCounters | None = None,
) -> Bench:
    """Start the meters, import what measuring needs, stage the data.

    Args:
        began_s: start time of a virtual clock, on resume.
        node: of a cluster, written into every window.
        replay_origin_s: when a replayed trace began on a real clock; now, by default.
        arrays: decoded data; read from disk by default.
        load: further imports to do before the first trial.
        ready: called before the meters are first read.
        run_pid, learned: as of `open_timeline`.

    Raises:
        InputError: no meter for a domain that the task needs, no data, or options that the workload refuses.
    """
    workload = workload_class(chosen.task.workload)
    timeline, device_name = open_timeline(
        chosen, began_s, node, replay_origin_s, ready=ready, run_pid=run_pid, learned=learned
    )
    try:
        load()
        if not is_virtual(chosen) and workload.uses_torch and installed("torch"):
            load_counter()
            device.load_optimisers()
        timeline.cut("start")

        def stage_data() -> StagedData | None:
            return _staged(chosen, device_name, observe, arrays) if workload.needs_data else None

        data = stage_data()
        gc.collect()
        gc.freeze()  # what is loaded by now stays: collecting between trials takes 5 ms instead of 250
        timeline.cut("data")
        bench = Bench(
            chosen.task,
            device_name,
            timeline.clock,
            timeline,
            data,
            gpus=_limitable(chosen.task, device_name),
            set_power_limit=chosen.set_power_limit,
            stage=stage_data,
        )
        bench.check_workload(chosen.seed)
    except BaseException:
        timeline.stop()
        raise
    return bench


def open_timeline(
    chosen: Plan,
    began_s: float = 0.0,
    node: str | None = None,
    replay_origin_s: float | None = None,
    synchronise: bool = True,
    ready: Callable[[], None] = lambda: None,
    run_pid: int | None = None,
    learned: LearnedCounters | None = None,
) -> tuple[Timeline, str]:
    """Start the meters of a run; returns its timeline and the name of its device.

    Args:
        began_s, node, replay_origin_s, ready: as of `open_bench`.
        synchronise: wait at each cut until the device has done all its work; not where others have it.
        run_pid: the process that has trials done beside each other on this machine, this one's among them. Only
            the GPU is read then: CPU and RAM are everybody's.
        learned: what is known of counters already, by the GPU's UUID, and what is learned as the meters start.

    Raises:
        InputError: no meter for a domain that the task needs.
    """
    clock = VirtualClock(began_s) if is_virtual(chosen) else RealClock()
    device_name = device.choose_device(chosen.profile.kind)
    check_device(chosen, device_name)
    device.use_threads(chosen.profile.cpu_threads)
    meter = meters_for(
        chosen.profile,
        device_name,
        clock,
        chosen.replay,
        own=chosen.meters,
        replay_origin_s=replay_origin_s,
        run_pid=run_pid,
        learned=learned,
    )
    settle = device.synchronizer(device_name if synchronise else "cpu")
    timeline = Timeline(meter, clock, settle, node)
    ready()
    timeline.start()
    try:
        check_domains(chosen.task, device_name, timeline.describe())
    except BaseException:
        timeline.stop()
        raise
    return timeline, device_name


def check_device(chosen: Plan, device_name: str) -> None:
    """Check that the profile describes the very GPU that is used: a machine may have several kinds.

    Raises:
        InputError: it does not, and nobody has forced it.
    """
    if not device_name.startswith("cuda") or chosen.hardware_override is not None:
        return
    name = device.gpu_name(device_name)
    if (differs := mismatch(chosen.profile, replace(chosen.host, accelerators=(name,)))) is not None:
        raise InputError(
            f"{device_name} is {name}: {differs}; CUDA_VISIBLE_DEVICES chooses the GPU, --hardware the profile"
        )


def is_virtual(chosen: Plan) -> bool:
    """Whether the run uses a virtual clock: its joules are replayed, and its workload only sleeps."""
    return chosen.replay is not None and workload_class(chosen.task.workload).replayable


def _limitable(task: Task, device_name: str) -> tuple[int, ...]:
    """NVML indices of the GPUs whose power limit the task sets; empty where it sets none."""
    return tuple(device.nvml_indices(device_name)) if PARAMETER in task.parameters else ()


def check_domains(task: Task, device_name: str, meters: Sequence[Mapping[str, str]]) -> None:
    """Check that a GPU whose energy the objectives need has a meter; without it every sum would be too low.

    Raises:
        InputError: the run is on a GPU, an objective asks for its joules, and no meter has them.
    """
    read = [m["domain"] for m in meters if m["domain"].startswith(("gpu", "module")) and m.get("role") != "check"]
    needed = [o.domains for o in task.objectives.values() if "gpu" in (o.domains or ())]
    unread = any(not any(matches(domain, wanted or ()) for domain in read) for wanted in needed)
    if device_name.startswith("cuda") and unread:
        raise InputError(
            f"no meter reads the energy of {device_name}, which the task's objectives need; "
            "`joulebench hardware` says why, and --hardware generic_cpu --force-hardware runs without the GPU"
        )


def _staged(chosen: Plan, device_name: str, observe: Observer, arrays: Decoded | None) -> StagedData | None:
    if chosen.task.dataset is None:
        return None
    from joulebench.data import load_arrays, stage

    def progress(label: str, done: int, total: int) -> None:
        observe(Event("data", label, done=done, total=total))

    if arrays is None:
        arrays = load_arrays(chosen.task.dataset, chosen.data_path, progress=progress)
    for remark in getattr(arrays, "remarks", ()):
        observe(Event("note", f"data: {remark}"))
    return stage(arrays, chosen.task.dataset, device_name)


@dataclass(frozen=True)
class Facts:
    """Facts of the measuring machine, for the manifest."""

    environment: dict[str, Any]
    data: dict[str, Any]
    meters: list[dict[str, str]]
    own_code: tuple[OwnCode, ...]

    @classmethod
    def of(cls, chosen: Plan, bench: Bench) -> Facts:
        data = bench.data.describe() if bench.data is not None else {}
        return cls(
            environment.describe(chosen.host, bench.device),
            data,
            bench.timeline.describe(),
            recorded(chosen.task, chosen.meters),
        )


def manifest(
    chosen: Plan, facts: Facts, search: dict[str, Any], created_utc: str, cluster: dict[str, Any] | None = None
) -> Manifest:
    """Build the manifest; `search`: the facts returned by `joulebench.search.prepare`."""
    return Manifest(
        joulebench=metadata.version("joulebench"),
        task=chosen.task.model_dump(mode="json"),
        budget=chosen.budget,
        digest=chosen.task.digest,
        hardware=(chosen.profile.of_slice() if _is_slice(facts) else chosen.profile).model_dump(mode="json"),
        hardware_override=chosen.hardware_override,
        seed=chosen.seed,
        created_utc=created_utc,
        environment=facts.environment,
        data=facts.data,
        meters=facts.meters,
        search=search,
        replay=chosen.replay,
        trials_from=chosen.trials_from,
        found=chosen.found,
        task_file=chosen.task_file,
        data_path=str(chosen.data_path.resolve()) if chosen.data_path else None,
        overrides=dict(chosen.overrides),
        own_meters=tuple(Path(name).name if is_settings(name) else name for name in chosen.meters),
        own_code=facts.own_code,
        from_catalogue=chosen.from_catalogue,
        cluster=cluster or {},
    )


def _is_slice(facts: Facts) -> bool:
    """Whether the device is a slice of a GPU (MIG), by the name that torch gives it."""
    return " MIG " in str(facts.environment.get("torch", {}).get("gpu", ""))


def folder_name(created_utc: str) -> str:
    """Format an ISO time as `20260102T030405Z`."""
    return created_utc[:19].replace(":", "").replace("-", "") + "Z"


@contextlib.contextmanager
def open_session(
    folder: RunFolder, timeline: Timeline, observe: Observer = silent, changed: str = ""
) -> Iterator[int]:
    """Lock the run's folder, remove what a crash left half written, and write a session's start and end into its
    ledger; yields the session's number.

    Raises:
        InputError: another process is working on this run.
    """
    with locked(folder):
        for torn in folder.repair():
            observe(Event("note", f"dropped a torn line: {torn.path.name}, line {torn.line}"))
        number = 1 + max((entry.session for entry in folder.ledger()), default=-1)
        append_entry(folder, number, "start", timeline, changed and f"changed since the run began: {changed}")
        ending: Ending = "crashed"
        note = ""
        try:
            yield number
            ending = "done"
        except KeyboardInterrupt:
            ending = "interrupted"
            raise
        except InputError as error:
            ending, note = "failed", str(error)
            raise
        finally:
            with contextlib.suppress(MeterError):  # a dead meter must not keep what was read before it died
                timeline.cut("end" if ending == "done" else "unfinished")
            append_entry(folder, number, "end", timeline, note, ending)


def append_entry(
    folder: RunFolder, session: int, event: Any, timeline: Timeline, note: str = "", ending: Ending | None = None
) -> LedgerEntry:
    """Append a ledger entry with the timeline's windows."""
    entry = LedgerEntry(session=session, event=event, windows=timeline.take(), note=note, ending=ending)
    append(folder.ledger_path, entry)
    return entry


@contextlib.contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Lock the run's folder: two processes appending to it would interleave their trials.

    Raises:
        InputError: another process has locked it.
    """
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
