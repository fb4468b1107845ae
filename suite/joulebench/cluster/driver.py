"""The loop on a Ray cluster: one run folder a kind of hardware, one driver that proposes and writes."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from joulebench import search
from joulebench.cluster import code
from joulebench.cluster.connection import (
    Node,
    alive_nodes,
    by_hardware,
    connected,
    own_node,
    ray_module,
    start_option,
)
from joulebench.cluster.lanes import Lane
from joulebench.cluster.pool import Crew
from joulebench.cluster.worker import Here, node_mark
from joulebench.errors import IncompleteError, InputError
from joulebench.host.clock import RealClock, VirtualClock
from joulebench.measurement.protocol import Timeline
from joulebench.meters.base import Meter, MeterSet
from joulebench.meters.select import meters_for
from joulebench.records.folder import RunFolder
from joulebench.records.model import DONE, Proposed
from joulebench.runner import meter_check, scoring
from joulebench.runner.events import Event, Observer, silent
from joulebench.runner.local import free, repair, resumed_plan
from joulebench.runner.plan import Plan, plan
from joulebench.runner.proposals import Following, Source, Stages
from joulebench.runner.resume_check import differences
from joulebench.runner.scheduling import conduct
from joulebench.runner.session import folder_name, is_virtual, manifest, sitting
from joulebench.runner.trials import Trials
from joulebench.spec import catalog
from joulebench.spec.hardware import choose_profile, detect_host
from joulebench.spec.task import Task


def run(
    task: str | Task,
    *,
    address: str,
    hardware: Sequence[str] = (),
    data: str | Path | None = None,
    out: str | Path = "runs",
    observer: Observer = silent,
    **choices: Any,
) -> list[RunFolder]:
    """Run a task on the nodes of a Ray cluster and return its folders, one a kind of hardware.

    Args:
        address: of the cluster: "auto", or HOST:PORT.
        hardware: profiles, by name or file; nodes carry them as custom resources. Every profile of the catalogue
            that some node carries, where none is named. The first one's search leads where the search is shared.
        choices: those of `joulebench.runner.plan.plan`.

    Raises:
        InputError: bad input, no such nodes, or too many consecutive failures; what was recorded is kept.
    """
    found = catalog.find_task(task) if isinstance(task, str) else task
    task_file = task if isinstance(task, str) and catalog.is_path(task) else None
    path = Path(data).resolve() if data is not None else None
    if (trace := choices.get("replay")) is not None and Path(trace).is_file():
        choices["replay"] = str(Path(trace).resolve())
    with code.gathered(found, task_file) as shipped, connected(address, shipped):
        nodes = alive_nodes()
        serving = _serving(nodes, hardware)
        lanes = [Lane(name, secrets.token_hex(8), members) for name, members in serving.items()]
        asked = _names(hardware or list(serving))
        with _crew(lanes, nodes, path, observer) as crew:
            met = crew.meet()
            for lane in lanes:
                host = met[lane.hardware][0].host
                lane.chosen = plan(task, hardware=asked[lane.hardware], data=path, host=host, **choices)
            _same_budget(lanes)
            crew.gather(_arrays(lanes[0].plan, met, observer))
            created = RealClock().utc()
            folders = _folders(lanes, Path(out), created, observer)
            _work(crew, lanes, folders, {}, nodes, observer)
        return folders


def _names(hardware: Sequence[str]) -> dict[str, str]:
    """Name of each profile, and how it was asked for."""
    return {catalog.find_profile(asked).name: asked for asked in hardware}


def _serving(nodes: Sequence[Node], hardware: Sequence[str]) -> dict[str, list[Node]]:
    names = list(_names(hardware))
    if not names:
        known = catalog.profile_files()
        names = sorted({label for node in nodes for label in node.labels if label in known})
        if not names:
            raise InputError(
                "no node of the cluster has a custom resource named after a hardware profile; start nodes with "
                f"{start_option('PROFILE')} (`joulebench hardware --all` lists profiles)"
            )
    return by_hardware(nodes, names)


def _same_budget(lanes: Sequence[Lane]) -> None:
    chosen = {lane.hardware: lane.plan.budget for lane in lanes}
    if len(set(chosen.values())) > 1:
        each = ", ".join(f"{name} {budget}" for name, budget in chosen.items())
        raise InputError(f"--budget: the hardware differs in its default ({each}); name one for all")


def _arrays(chosen: Plan, met: Mapping[str, Sequence[Here]], observer: Observer) -> Any:
    """The data in Ray's object store, which takes them to a node once; None where every node reads its own."""
    everywhere = all(here.has_data for members in met.values() for here in members)
    if chosen.task.dataset is None or chosen.data_path is None or everywhere:
        return None
    from joulebench.data import load_arrays

    def progress(label: str, done: int, total: int) -> None:
        observer(Event("data", label, done=done, total=total))

    observer(Event("note", f"{chosen.data_path} is not on every node: decoded here, and sent to each once"))
    return ray_module().put(load_arrays(chosen.task.dataset, chosen.data_path, progress=progress))


@contextlib.contextmanager
def _crew(lanes: Sequence[Lane], nodes: Sequence[Node], data: Path | None, observer: Observer) -> Iterator[Crew]:
    crew = Crew(lanes, own_node(nodes), data, lambda text: observer(Event("note", text)))
    try:
        yield crew
    finally:
        crew.close()


def _folders(lanes: Sequence[Lane], out: Path, created: str, observer: Observer) -> list[RunFolder]:
    """A folder for each lane, all of one name."""
    facts = search.prepare(lanes[0].plan.task)
    parents = [out / lane.plan.task.name / lane.hardware for lane in lanes]
    name = max((free(parent / folder_name(created)).name for parent in parents), key=len)
    folders = []
    for lane, parent in zip(lanes, parents, strict=True):
        assert lane.facts is not None, "the crew is ready"
        cluster = {
            "run": lane.run,
            "hardware": [other.hardware for other in lanes],
            "nodes": {
                mark: environment["host"]
                for mark, environment in ((r.node, r.facts.environment) for _, r in lane.readied)
            },
        }
        folders.append(RunFolder.create(parent / name, manifest(lane.plan, lane.facts, facts, created, cluster)))
        observer(Event("note", f"records: {folders[-1].path}"))
    return folders


def resume(
    path: str | Path,
    *,
    address: str,
    data: str | Path | None = None,
    strict: bool = False,
    set_power_limit: bool = False,
    observer: Observer = silent,
) -> list[RunFolder]:
    """Continue a cluster run where it was, on all its hardware; folders that are finished are left as they are.

    Raises:
        InputError: not a cluster run, damaged records, other machines, or other data than it began with.
    """
    given = RunFolder.open(Path(path))
    began = given.manifest()
    if not began.cluster:
        raise InputError(f"{path}: began on one machine; resume it there, without --ray")
    parents = {name: given.path.resolve().parents[1] / name for name in began.cluster["hardware"]}
    folders = {name: RunFolder.open(parent / given.path.resolve().name) for name, parent in parents.items()}
    left = {name: folder for name, folder in folders.items() if not _is_done(folder)}
    done = {name: _proposed(folder) for name, folder in folders.items() if name not in left}
    if not left:
        return list(folders.values())
    task = began.task_file
    where = Path(data).resolve() if data is not None else None
    with code.gathered(given.task(), task) as shipped, connected(address, shipped):
        nodes = alive_nodes()
        serving = by_hardware(nodes, list(left))
        lanes = [Lane(name, folder.manifest().cluster["run"], serving[name]) for name, folder in left.items()]
        with _crew(lanes, nodes, where, observer) as crew:
            met = crew.meet()
            for lane in lanes:
                folder = left[lane.hardware]
                repair(folder, observer)
                host = met[lane.hardware][0].host
                lane.chosen = resumed_plan(folder, host, where, strict, set_power_limit)
                lane.began_s = _ends(folder)
            crew.gather(_arrays(lanes[0].plan, met, observer))
            search.prepare(lanes[0].plan.task)
            _work(crew, lanes, list(left.values()), done, nodes, observer, resumed=True)
    return list(folders.values())


def _is_done(folder: RunFolder) -> bool:
    entries = folder.ledger()
    return bool(entries) and entries[-1].event == "end" and entries[-1].note == DONE


def _proposed(folder: RunFolder) -> dict[int, Proposed]:
    return {e.trial: e.proposal for e in folder.ledger() if e.trial is not None and e.proposal is not None}


def _ends(folder: RunFolder) -> dict[str, float]:
    """Where the clock of each node stood at its last record."""
    windows = [w for e in folder.ledger() for w in e.windows] + [w for t in folder.trials() for w in t.windows]
    ends: dict[str, float] = {}
    for window in windows:
        if window.node is not None:
            ends[window.node] = max(ends.get(window.node, 0.0), window.end_s)
    return ends


@contextlib.contextmanager
def _driver(lanes: Sequence[Lane], nodes: Sequence[Node]) -> Iterator[Timeline]:
    """Accounts for what this process does, on the clock of its own node.

    Where a worker measures on this node, its meters count the node already; then only times are kept.
    """
    node = own_node(nodes)
    measured_here = node is not None and any(node.id == n.id for lane in lanes for n in lane.nodes)
    chosen = lanes[0].plan
    clock = VirtualClock() if is_virtual(chosen) else RealClock()
    meter: Meter = MeterSet([])
    if not measured_here and chosen.replay is None:
        meter = meters_for(choose_profile(catalog.all_profiles(), detect_host()), "cpu", clock, None)
    timeline = Timeline(meter, clock, node=node_mark(node.name) if node is not None else None)
    timeline.start()
    try:
        yield timeline
    finally:
        timeline.stop()


def _work(
    crew: Crew,
    lanes: Sequence[Lane],
    folders: Sequence[RunFolder],
    done: Mapping[str, Mapping[int, Proposed]],
    nodes: Sequence[Node],
    observer: Observer,
    resumed: bool = False,
) -> None:
    """Run what is left of every lane, and close the ledgers however it ends."""
    with contextlib.ExitStack() as stack:
        timeline = stack.enter_context(_driver(lanes, nodes))
        for lane, folder in zip(lanes, folders, strict=True):
            changed = _changed(lane, folder, observer) if resumed else ""
            session = stack.enter_context(sitting(folder, timeline, changed))
            source = _source(lane, lanes, folder, done, crew, timeline)
            lane.trials = Trials(
                lane.plan, folder, session, timeline, source, _labelled(lane, lanes, observer), True
            )
            lane.check = meter_check.is_left(lane.plan, folder, lane.trials.say)
        stack.callback(crew.close)  # before the ledgers are closed
        crew.open()
        trials = [lane.trials for lane in lanes if lane.trials is not None]
        conduct(trials, crew)
        for lane, folder in zip(lanes, folders, strict=True):
            if lane.trials is not None and lane.trials.finished:
                score = partial(_score, crew, lane, folder)
                scoring.score_frontier(lane.plan.task, folder, score, lane.trials.say)
        unfinished = [lane.hardware for lane in lanes if lane.trials and not lane.trials.finished]
        if unfinished:
            raise IncompleteError(
                f"no node of hardware {', '.join(unfinished)} is left; finished trials are kept, and "
                "`joulebench resume` continues when there is one again"
            )


def _changed(lane: Lane, folder: RunFolder, observer: Observer) -> str:
    began = folder.manifest()
    assert lane.facts is not None, "the crew is ready"
    now = manifest(lane.plan, lane.facts, began.search, began.created_utc, began.cluster)
    changed = differences(began, now, folder.path)
    if changed:
        observer(Event("note", f"changed since the run began: {changed}"))
    return changed


def _source(
    lane: Lane,
    lanes: Sequence[Lane],
    folder: RunFolder,
    done: Mapping[str, Mapping[int, Proposed]],
    crew: Crew,
    timeline: Timeline,
) -> Source:
    """The task's own stages, or the proposals of the first hardware where the search is shared."""
    leader = folder.manifest().cluster["hardware"][0]
    if lane.plan.task.cluster.search == "each" or lane.hardware == leader:
        return Stages(lane.plan.task, lane.plan.seed, partial(_propose, timeline))
    if leader in done:
        return Following(done[leader], lambda: True)
    leading = lanes[0].trials
    assert leading is not None, "the leader comes first"
    return Following(leading.proposed, lambda: leading.drawn or crew.stranded(leading))


def _propose(timeline: Timeline, *given: Any) -> search.Proposal | None:
    """In a window of its own, so that it shows if the node measured meanwhile."""
    timeline.cut("wait")
    found = search.propose(*given)
    timeline.cut("propose")
    return found


def _score(crew: Crew, lane: Lane, folder: RunFolder, trial: Any) -> dict[str, float]:
    return crew.score(lane, trial, scoring.read_weights(folder, trial, "cpu"))


def _labelled(lane: Lane, lanes: Sequence[Lane], observer: Observer) -> Observer:
    """What is said of one of several runs says of which."""
    if len(lanes) == 1:
        return observer

    def observe(event: Event) -> None:
        observer(Event(event.kind, f"{lane.hardware}: {event.text}", event.done, event.total))

    return observe
