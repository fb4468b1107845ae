"""Run or resume a task on a Ray cluster: one run folder per kind of hardware; or on several GPUs of one machine."""

from __future__ import annotations

import contextlib
import importlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from joulebench import search
from joulebench.cluster.cards import Card, beside, card_nodes, equal_cards, moved, recorded_cards, same_cards
from joulebench.cluster.code import shipped_code
from joulebench.cluster.connection import (
    Node,
    alive_nodes,
    by_hardware,
    connected,
    exposure,
    own_node,
    private_cluster,
    ray_module,
    start_option,
)
from joulebench.cluster.pool import Pool
from joulebench.cluster.runs import HardwareRun
from joulebench.cluster.worker import NodeFacts, node_mark
from joulebench.errors import IncompleteError, InputError
from joulebench.host import power_limit
from joulebench.host.clock import RealClock, VirtualClock
from joulebench.host.device import nvml_gpu
from joulebench.host.files import claim_folder, make_folder
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import Meter, MeterSet
from joulebench.meters.live_settings import is_settings
from joulebench.meters.select import meters_for
from joulebench.records.folder import RunFolder
from joulebench.records.model import Proposed
from joulebench.runner import meter_check, scoring
from joulebench.runner.confirming import Confirming
from joulebench.runner.events import Event, Observer, silent
from joulebench.runner.local import check_recorded_code, resumed_data, resumed_plan
from joulebench.runner.own_code import Sources, changed, recorded
from joulebench.runner.plan import Plan, find_origin, plan
from joulebench.runner.proposals import Following, Source, Stages
from joulebench.runner.resume_check import differences, is_complete
from joulebench.runner.scheduling import schedule
from joulebench.runner.session import Facts, folder_name, is_virtual, manifest, open_session
from joulebench.runner.trials import Trials
from joulebench.spec import catalog
from joulebench.spec.hardware import choose_profile, detect_host
from joulebench.spec.task import Task


def run(
    task: str | Task,
    *,
    address: str | None = None,
    gpus: int | None = None,
    hardware: Sequence[str] = (),
    data: str | Path | None = None,
    out: str | Path = "runs",
    observer: Observer = silent,
    **choices: Any,
) -> list[RunFolder]:
    """Run a task on the nodes of a Ray cluster and return its folders, one per kind of hardware.

    Args:
        address: of the cluster: "auto", or HOST:PORT.
        gpus: in its place, how many equal GPUs of this machine to run trials on beside each other, one on each.
        hardware: profiles, by name or file; nodes offer them as custom resources. By default every profile of the
            catalogue that some node offers. A shared search is that of the first one. With `gpus` one at most.
        choices: those of `joulebench.runner.plan.plan`.

    Raises:
        InputError: bad input, no such nodes, or too many consecutive failures; what was recorded is kept.
    """
    origin = find_origin(task, choices.get("sources", ()), lambda text: observer(Event("note", text)))
    folders = [
        *([Path(origin.file).parent] if origin.file else []),
        *Sources.of(choices.get("sources", ())).folders,
    ]
    meters = choices.get("meters", ())
    path = Path(data).resolve() if data is not None else None
    if (trace := choices.get("replay")) is not None and Path(trace).is_file():
        choices["replay"] = str(Path(trace).resolve())
    if gpus is not None and gpus < 2:
        raise InputError(f"--gpus: {gpus} (allowed: 2 to as many equal GPUs as there are)")
    alone = None if gpus is None else _plan_beside(task, hardware, path, meters, choices)
    if live := next((name for name in meters if is_settings(name)), None):
        raise InputError(f"--meter: {live} is of a live meter, which reads one machine; not with --ray")
    cards = () if gpus is None else equal_cards(gpus)
    with contextlib.ExitStack() as stack:
        shipped = stack.enter_context(shipped_code(origin.task, meters, folders))
        stack.enter_context(_limits_kept(alone, cards))  # until the cluster has ended
        stack.enter_context(_cluster(address, alone, cards, shipped))
        nodes = _joined(observer)
        serving = _serving(nodes, hardware) if alone is None else _serving_cards(nodes, alone, cards)
        hw_runs = [HardwareRun(name, secrets.token_hex(8), members, alone) for name, members in serving.items()]
        names = _names(hardware or list(serving)) if alone is None else {}
        timeline = None if alone is None else stack.enter_context(_driver(hw_runs, nodes))
        with _pool(hw_runs, nodes, path, observer) as pool:
            nodes_facts = pool.wait_until_up()
            for hw_run in hw_runs:
                host = nodes_facts[hw_run.hardware][0].host
                hw_run.chosen = hw_run.chosen or plan(
                    task, hardware=names[hw_run.hardware], data=path, host=host, **choices
                )
            _same_budget(hw_runs)
            _not_isolated(hw_runs[0].plan.task)
            pool.make_ready(_arrays(hw_runs[0].plan, nodes_facts, observer))
            created = RealClock().utc()
            run_folders = _folders(hw_runs, Path(out), created, cards, observer)
            _work(pool, hw_runs, run_folders, {}, nodes, observer, timeline)
        return run_folders


def _plan_beside(
    task: str | Task, hardware: Sequence[str], data: Path | None, meters: Sequence[str], choices: Mapping[str, Any]
) -> Plan:
    """Plan of a run on several GPUs of this machine; what it cannot do is refused before anything starts.

    Raises:
        InputError: several profiles or a CPU's, a meter of the user's own, or a task that needs more than the GPU.
    """
    if len(hardware) > 1:
        raise InputError(f"--hardware: one profile with --gpus, whose GPUs are equal (got {', '.join(hardware)})")
    if meters:
        raise InputError(f"--meter: not with --gpus, where NVML reads each trial's own GPU alone (got {meters[0]})")
    given = hardware[0] if hardware else None
    chosen = plan(task, hardware=given, data=data, host=detect_host(), **choices)
    if chosen.profile.kind != "gpu" and chosen.replay is None:
        raise InputError(f"--gpus: hardware profile '{chosen.profile.name}' is of a machine without a GPU")
    _not_isolated(chosen.task)
    return replace(chosen, task=beside(chosen.task))


def _cluster(
    address: str | None, alone: Plan | None, cards: Sequence[Card], code: Path | None
) -> contextlib.AbstractContextManager[None]:
    """The cluster at an address; for GPUs of this machine one of its own."""
    if alone is not None:
        return private_cluster(len(cards), alone.profile.name, alone.host.logical_cpus, code)
    if address is None:
        raise InputError("--ray: needs the address of a cluster, or --gpus the number of GPUs of this machine")
    return connected(address, code)


def _limits_kept(alone: Plan | None, cards: Sequence[Card]) -> contextlib.AbstractContextManager[None]:
    """Context that leaves these GPUs' power limits as they were: a worker that is killed in a trial, as at Ctrl-C,
    does not put them back.
    """
    if alone is None or not alone.set_power_limit or power_limit.PARAMETER not in alone.task.parameters:
        return contextlib.nullcontext()
    nvml = importlib.import_module("pynvml")
    return power_limit.kept([nvml_gpu(card.uuid, nvml)[0] for card in cards], nvml)


def _serving_cards(nodes: Sequence[Node], alone: Plan, cards: Sequence[Card]) -> dict[str, list[Node]]:
    """The GPUs as what serves the one kind of hardware; `nodes` is this machine."""
    return {alone.profile.name: card_nodes(cards, alone.profile.name, alone.host.logical_cpus, nodes[0])}


def _names(hardware: Sequence[str]) -> dict[str, str]:
    """Map each profile's name to the name or file it was given by."""
    return {catalog.find_profile(given).name: given for given in hardware}


def _joined(observer: Observer) -> list[Node]:
    """The cluster's nodes, after a word on who else can reach them."""
    nodes = alive_nodes()
    if (warning := exposure(nodes)) is not None:
        observer(Event("note", warning))
    return nodes


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


def _same_budget(hw_runs: Sequence[HardwareRun]) -> None:
    chosen = {hw_run.hardware: hw_run.plan.budget for hw_run in hw_runs}
    if len(set(chosen.values())) > 1:
        each = ", ".join(f"{name} {budget}" for name, budget in chosen.items())
        raise InputError(f"--budget: its default depends on the hardware ({each}); give one for all")


def _not_isolated(task: Task) -> None:
    if task.protocol.isolate:
        raise InputError(
            "protocol.isolate: not on a Ray cluster, whose workers are processes of their own: one that is lost is "
            "replaced, and its trial begins anew (allowed: false)"
        )


def _arrays(chosen: Plan, nodes_facts: Mapping[str, Sequence[NodeFacts]], observer: Observer) -> Any:
    """Put the data into Ray's object store; None where every node reads its own."""
    everywhere = all(here.has_data for members in nodes_facts.values() for here in members)
    if chosen.task.dataset is None or chosen.data_path is None or everywhere:
        return None
    from joulebench.data import load_arrays

    def progress(label: str, done: int, total: int) -> None:
        observer(Event("data", label, done=done, total=total))

    observer(Event("note", f"{chosen.data_path} does not exist on every node: it is decoded here and sent to each"))
    return ray_module().put(load_arrays(chosen.task.dataset, chosen.data_path, progress=progress))


def _pool(
    hw_runs: Sequence[HardwareRun], nodes: Sequence[Node], data: Path | None, observer: Observer
) -> contextlib.closing[Pool]:
    pool = Pool(hw_runs, own_node(nodes), data, lambda text: observer(Event("note", text)))
    return contextlib.closing(pool)


def _folders(
    hw_runs: Sequence[HardwareRun], out: Path, created: str, cards: Sequence[Card], observer: Observer
) -> list[RunFolder]:
    """Create a folder for each run, all of one name."""
    facts = search.prepare(hw_runs[0].plan.task)
    parents = [out / hw_run.plan.task.name / hw_run.hardware for hw_run in hw_runs]
    folders = []
    for hw_run, path in zip(hw_runs, _claimed(parents, folder_name(created)), strict=True):
        assert hw_run.facts is not None, "the pool is ready"
        cluster = {
            "run": hw_run.run,
            "hardware": [other.hardware for other in hw_runs],
            "nodes": {ready.node: ready.facts.environment["host"] for _, ready in hw_run.readied},
            **({"cards": recorded_cards(cards)} if cards else {}),
        }
        written = manifest(hw_run.plan, _with_commits(hw_run), facts, created, cluster)
        folders.append(RunFolder.begin(path, written))
        observer(Event("note", f"records: {folders[-1].path}"))
    return folders


def _claimed(parents: Sequence[Path], name: str) -> list[Path]:
    """New folders of one name, with a number appended if one exists."""
    made = [claim_folder(parents[0] / name)]
    try:
        for parent in parents[1:]:
            make_folder(parent / made[0].name, exist_ok=False)
            made.append(parent / made[0].name)
    except FileExistsError:  # of another cluster run that began in this second with other hardware before
        for path in made[1:]:
            path.rmdir()
        return _claimed(parents, name)  # the first folder stays, empty: it keeps this name from being tried again
    return made


def resume(
    path: str | Path,
    *,
    address: str | None = None,
    data: str | Path | None = None,
    strict: bool = False,
    set_power_limit: bool = False,
    sources: Sequence[str | Path] = (),
    observer: Observer = silent,
) -> list[RunFolder]:
    """Continue a stopped cluster run on all its hardware; finished folders are left unchanged.

    Args:
        address: of the cluster; none for a run on several GPUs of one machine, which goes on on equal ones here.
        sources: as for `joulebench.runner.local.resume`.

    Raises:
        InputError: not a cluster run, damaged records, other machines, or other data or code than it began with.
    """
    given = RunFolder.open(Path(path))
    began = given.manifest()
    if not began.cluster:
        raise InputError(f"{path}: began on one machine; resume it there, without --ray")
    if began.cards and address is not None:
        raise InputError(f"{path}: began on several GPUs of one machine; resume it there, without --ray")
    parents = {name: given.path.resolve().parents[1] / name for name in began.cluster["hardware"]}
    folders = {name: RunFolder.open(parent / given.path.resolve().name) for name, parent in parents.items()}
    left = {name: folder for name, folder in folders.items() if not is_complete(folder)}
    done = {name: _proposed(folder) for name, folder in folders.items() if name not in left}
    if not left:
        return list(folders.values())
    named = Sources.of(sources)
    for folder in left.values():
        check_recorded_code(folder, named, observer)
    found = resumed_data(given, data, named, observer)
    where = None if found is None else found.resolve()
    cards = same_cards(began.cards, path, equal_cards) if began.cards else []
    alone = resumed_plan(given, detect_host(), where, strict, set_power_limit) if cards else None
    with contextlib.ExitStack() as stack:
        shipped = stack.enter_context(shipped_code(given.task(), began.own_meters, named.folders))
        stack.enter_context(_limits_kept(alone, cards))  # until the cluster has ended
        stack.enter_context(_cluster(address, alone, cards, shipped))
        nodes = _joined(observer)
        serving = by_hardware(nodes, list(left)) if alone is None else _serving_cards(nodes, alone, cards)
        hw_runs = [
            HardwareRun(name, folder.manifest().cluster["run"], serving[name], alone)
            for name, folder in left.items()
        ]
        timeline = None if alone is None else stack.enter_context(_driver(hw_runs, nodes))
        with _pool(hw_runs, nodes, where, observer) as pool:
            nodes_facts = pool.wait_until_up()
            for hw_run in hw_runs:
                folder = left[hw_run.hardware]
                host = nodes_facts[hw_run.hardware][0].host
                hw_run.chosen = resumed_plan(folder, host, where, strict, set_power_limit)
                hw_run.began_s = _ends(folder)
            pool.make_ready(_arrays(hw_runs[0].plan, nodes_facts, observer))
            search.prepare(hw_runs[0].plan.task)
            _work(pool, hw_runs, list(left.values()), done, nodes, observer, timeline, resumed=True)
    return list(folders.values())


def _proposed(folder: RunFolder) -> dict[int, Proposed]:
    return {e.trial: e.proposal for e in folder.ledger() if e.trial is not None and e.proposal is not None}


def _ends(folder: RunFolder) -> dict[str, float]:
    """End of the last recorded window of each node, in seconds."""
    windows = [w for e in folder.ledger() for w in e.windows] + [w for t in folder.trials() for w in t.windows]
    ends: dict[str, float] = {}
    for window in windows:
        if window.node is not None:
            ends[window.node] = max(ends.get(window.node, 0.0), window.end_s)
    return ends


def _with_commits(hw_run: HardwareRun) -> Facts:
    """Facts of the nodes with the driver's record of the user's own code, which knows its repository.

    Raises:
        InputError: the nodes imported other code than the driver.
    """
    assert hw_run.facts is not None, "the pool is ready"
    here = recorded(hw_run.plan.task, hw_run.plan.meters)
    if (other := changed(here, hw_run.facts.own_code)) is not None:
        raise InputError(f"{other[0]}: nodes of {hw_run.hardware} have imported another file of this name")
    return replace(hw_run.facts, own_code=here)


@contextlib.contextmanager
def _driver(hw_runs: Sequence[HardwareRun], nodes: Sequence[Node]) -> Iterator[Timeline]:
    """Timeline of this process, on the clock of its own node.

    Where a worker measures on this node, its meters count this process too; then the timeline has no meter. Where
    workers read nothing but their own GPUs, it reads the CPU and the RAM that they share, for the run as a whole.
    """
    node = own_node(nodes)
    places = [n for hw_run in hw_runs for n in hw_run.nodes]
    measured_here = node is not None and any(node.id == n.id and not n.card for n in places)
    chosen = hw_runs[0].plan
    clock = VirtualClock() if is_virtual(chosen) else RealClock()
    meter: Meter = MeterSet([])
    if not measured_here and chosen.replay is None:
        shared = any(n.card for n in places)
        profile = chosen.profile if shared else choose_profile(catalog.all_profiles(), detect_host())
        meter = meters_for(profile, "cpu", clock, None)
    timeline = Timeline(meter, clock, node=node_mark(node.name) if node is not None else None)
    timeline.start()
    try:
        yield timeline
    finally:
        timeline.stop()


def _work(
    pool: Pool,
    hw_runs: Sequence[HardwareRun],
    folders: Sequence[RunFolder],
    done: Mapping[str, Mapping[int, Proposed]],
    nodes: Sequence[Node],
    observer: Observer,
    begun: Timeline | None,
    resumed: bool = False,
) -> None:
    """Run the remaining trials of every run, score the frontiers, and close the ledgers in every case.

    `begun`: the driver's timeline where it has begun already; what it has read of the setup is its first window.
    """
    with contextlib.ExitStack() as stack:
        if begun is not None:
            begun.cut("start")
        timeline = begun or stack.enter_context(_driver(hw_runs, nodes))
        for hw_run, folder in zip(hw_runs, folders, strict=True):
            changed = _changed(hw_run, folder, observer) if resumed else ""
            session = stack.enter_context(open_session(folder, timeline, observer, changed))
            observe = _labelled(hw_run, hw_runs, observer)
            source = _source(hw_run, hw_runs, folder, done, pool, timeline, observe)
            hw_run.trials = Trials(hw_run.plan, folder, session, timeline, source, observe, True)
            hw_run.check = meter_check.is_left(hw_run.plan, folder, hw_run.trials.say)
        stack.callback(pool.close)  # before the ledgers are closed
        pool.open()
        trials = [hw_run.trials for hw_run in hw_runs if hw_run.trials is not None]
        schedule(trials, pool)
        for hw_run, folder in zip(hw_runs, folders, strict=True):
            if hw_run.trials is not None and hw_run.trials.finished:
                score = partial(_score, pool, hw_run, folder)
                scoring.score_models(hw_run.plan.task, folder, score, hw_run.trials.say)
        unfinished = [hw_run.hardware for hw_run in hw_runs if hw_run.trials and not hw_run.trials.finished]
        if unfinished:
            raise IncompleteError(
                f"no node of hardware {', '.join(unfinished)} is left; finished trials are kept, and "
                "`joulebench resume` continues when there is one again"
            )


def _changed(hw_run: HardwareRun, folder: RunFolder, observer: Observer) -> str:
    began = folder.manifest()
    assert hw_run.facts is not None, "the pool is ready"
    now = manifest(hw_run.plan, hw_run.facts, began.search, began.created_utc, began.cluster)
    other = moved(began.cards, (node.card for node in hw_run.nodes if node.card))
    changed = ", ".join(filter(None, (differences(began, now, folder.path), other)))
    if changed:
        observer(Event("note", f"changed since the run began: {changed}"))
    return changed


def _source(
    hw_run: HardwareRun,
    hw_runs: Sequence[HardwareRun],
    folder: RunFolder,
    done: Mapping[str, Mapping[int, Proposed]],
    pool: Pool,
    timeline: Timeline,
    observe: Observer,
) -> Source:
    """Choose the task's own stages and their confirmation, or the proposals of the first hardware where the search
    is shared."""
    leader = folder.manifest().cluster["hardware"][0]
    if hw_run.plan.task.cluster.search == "each" or hw_run.hardware == leader:
        task = hw_run.plan.task
        stages = Stages(task, hw_run.plan.seed, partial(_propose, timeline))
        note = partial(_note, observe)
        return Confirming(stages, task, folder.manifest(), note, partial(_proposing, timeline))
    if leader in done:
        return Following(done[leader], lambda: True, lambda: len(done[leader]))
    leading = hw_runs[0].trials
    assert leading is not None, "the leader comes first"
    return Following(
        leading.proposed,
        lambda: leading.search_ended or pool.without_room(leading),
        lambda: leading.total,
    )


def _note(observe: Observer, text: str) -> None:
    observe(Event("note", text))


def _propose(timeline: Timeline, *given: Any) -> search.Proposal | None:
    with _proposing(timeline):
        return search.propose(*given)


@contextlib.contextmanager
def _proposing(timeline: Timeline) -> Iterator[None]:
    """A window of its own, so that an overlap of a proposal with a measurement shows."""
    timeline.cut("wait")
    yield
    timeline.cut("propose")


def _score(pool: Pool, hw_run: HardwareRun, folder: RunFolder, trial: Any) -> dict[str, float]:
    return pool.score(hw_run, trial, scoring.read_weights(folder.weights_file(trial.trial), "cpu"))


def _labelled(hw_run: HardwareRun, hw_runs: Sequence[HardwareRun], observer: Observer) -> Observer:
    """Prefix events with the hardware, where there are several runs."""
    if len(hw_runs) == 1:
        return observer

    def observe(event: Event) -> None:
        observer(replace(event, text=f"{hw_run.hardware}: {event.text}"))

    return observe
