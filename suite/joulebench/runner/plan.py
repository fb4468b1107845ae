"""Plan of a run: names resolved, budget merged, parameters fixed. Nothing is measured here."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from joulebench import extras, search
from joulebench.errors import InputError, did_you_mean
from joulebench.host.clock import RealClock
from joulebench.meters.live_settings import is_settings, read_settings
from joulebench.records.folder import RunFolder
from joulebench.records.model import Found
from joulebench.runner.found import lacks_found, with_found
from joulebench.runner.own_code import Sources, find_recorded_code, own_models
from joulebench.spec import catalog
from joulebench.spec.hardware import HardwareProfile, Host, check_profile, choose_profile, detect_host, mismatch
from joulebench.spec.parameters import FixedParameter, Value
from joulebench.spec.registry import DATASETS, METERS, WORKLOADS, add_import_folders, import_object
from joulebench.spec.stage import Stage
from joulebench.spec.task import CONFIRM, Task, check_names
from joulebench.spec.toml import merge, validate
from joulebench.studies.base import check_studies

QUICK, STANDARD = "quick", "standard"


@dataclass(frozen=True)
class Plan:
    """Everything chosen before a run starts."""

    task: Task
    budget: str | None
    profile: HardwareProfile
    host: Host
    seed: int
    data_path: Path | None = None
    replay: str | None = None
    trials_from: str | None = None
    found: Found | None = None  # where the found configurations of the task come from
    strict: bool = False  # a meter check that fails ends the run
    hardware_override: str | None = None  # how the host differs from the profile, where that was forced
    task_file: str | None = None  # where the task was read, if not from the catalogue
    overrides: Mapping[str, Value] = field(default_factory=dict)
    meters: tuple[str, ...] = ()  # of the user's own, asked before those that ship; live ones by their files
    set_power_limit: bool = False  # the user allows the run to set the GPU's power limit, for a while
    from_catalogue: bool = False  # the task is one that ships


def choose_budget(task: Task, budget: str | None, host: Host) -> str | None:
    """Return the given budget; else standard with an accelerator and quick without; None if the task has none."""
    if budget is not None or not task.budgets:
        return budget
    preferred = STANDARD if host.has_accelerator else QUICK
    return preferred if preferred in task.budgets else None


@dataclass(frozen=True)
class Origin:
    """A task as the user named it.

    Attributes:
        file: TOML file that it was read from.
        run: recorded run whose task it is, merged with its budget and overrides.
    """

    task: Task
    file: str | None = None
    run: RunFolder | None = None


def find_origin(
    task: str | Task, sources: Sequence[str | Path] = (), say: Callable[[str], None] | None = None
) -> Origin:
    """Find a task: of the catalogue, in a TOML file, or recorded in a run folder.

    The current folder, the file's and `sources` are put on the import path.

    Args:
        say: called with a line for each name whose code a recorded run will import.

    Raises:
        InputError: no such task, its file is broken, or a recorded run names code that the user has not pointed to.
    """
    if not isinstance(task, str | Task):
        raise InputError(f"task: must be a name, a path as text, or a Task (got {type(task).__name__})")
    where = Sources.of(sources)
    if isinstance(task, str) and _is_run(task):
        run = RunFolder.open(Path(task))
        for line, _ in find_recorded_code(run, where):
            if say is not None:
                say(line)
        return Origin(run.task(), run=run)
    file = str(Path(task).resolve()) if isinstance(task, str) and catalog.is_path(task) else None
    add_import_folders(*([Path(file).parent] if file else []), *where.folders)
    return Origin(catalog.find_task(task) if isinstance(task, str) else task, file)


def _is_run(name: str) -> bool:
    return name not in catalog.task_files() and (Path(name) / "manifest.json").is_file()


def plan(
    task: str | Task,
    *,
    budget: str | None = None,
    hardware: str | None = None,
    force_hardware: bool = False,
    grid_intensity: float | None = None,
    country: str | None = None,
    pue: float | None = None,
    data: str | Path | None = None,
    seed: int = 0,
    overrides: dict[str, Value] | None = None,
    replay: str | None = None,
    meters: Sequence[str] = (),
    trials_from: str | Path | None = None,
    found: str | Path | None = None,
    max_energy_j: float | None = None,
    inferences: float | None = None,
    extrapolate: bool = False,
    set_power_limit: bool = False,
    allow_busy: bool = False,
    isolate: bool = False,
    skip_train: bool = False,
    strict: bool = False,
    host: Host | None = None,
    sources: Sequence[str | Path] = (),
    say: Callable[[str], None] | None = None,
) -> Plan:
    """Resolve names and merge the budget.

    Args:
        task: a name of the catalogue, a TOML file, a run folder whose task to run again, or the task itself.
        sources, say: as `find_origin`.
        host: the machine that will measure; this one by default.
        hardware: profile by name or file, or a run folder for the profile that it ran with.
        force_hardware: use the profile named by `hardware` even if it does not describe this host.
        grid_intensity: g CO2e/kWh; `country`: ISO 3166, three letters, for CodeCarbon's table; `pue`: at least 1.
            They override the profile's. Without one of the first two, reports state no carbon.
        found: the run of a search whose frontier to compare with the task's own configurations (`runner.found`).
        meters: the user's own (`joulebench.meters.base`), tried before the built-in ones.
        max_energy_j, inferences, extrapolate: override the task's `stopping`.
        allow_busy: windows count whatever else runs on the machine (`protocol.allow_busy`); also where the
            environment sets JOULEBENCH_ALLOW_BUSY to 1.
        isolate: run each trial in a process of its own (`protocol.isolate`).
        skip_train: measure and score models as they are built (`protocol.skip_train`).

    Raises:
        InputError: an unknown task, budget, profile or parameter, or a profile that is not this host's.
    """
    origin = find_origin(task, sources, say)
    base, task_file, again = origin.task, origin.file, origin.run.manifest() if origin.run is not None else None
    host = host or detect_host()
    profile, override = _profile(hardware, host, force_hardware)
    profile = _with_carbon(profile, grid_intensity, country, pue)
    other = RunFolder.open(Path(trials_from)) if trials_from is not None else None
    if other is not None and budget is None and base.name == other.task().name:
        budget = other.manifest().budget  # what is to compare is measured alike
    if again is not None and budget not in (None, again.budget):
        raise InputError(f"--budget: {task} ran with budget {again.budget or 'none'}, which its task holds")
    chosen = choose_budget(base, budget, host) if again is None else again.budget
    merged = _with_values(base.with_budget(chosen if again is None else None), overrides or {})
    if data is not None and merged.dataset is not None and merged.dataset.name == "grammar":
        merged = merged.model_copy(update={"dataset": merged.dataset.with_text()})  # the user's own text instead
    if data is not None and merged.dataset is None:
        raise InputError(f"--data: task '{merged.name}' has no data set")
    origin_of_found = again.found if again else None
    if found is not None:
        merged, origin_of_found = with_found(merged, Path(found), Sources.of(sources), say)
    elif lacks_found(merged):
        raise InputError(
            f"{task_file or merged.name}: compares known models with those that a search found: name the run "
            "folder of that search with --found RUN"
        )
    if other is not None:
        merged = _with_trials_of(merged, other)
    rules = {"max_energy_j": max_energy_j, "inferences": inferences, "extrapolate": extrapolate or None}
    merged = _with_stopping(merged, rules)
    settings = {"allow_busy": allow_busy or _allowed_by_environment(), "isolate": isolate}
    protocol = merged.protocol.model_copy(update={name: True for name, on in settings.items() if on})
    merged = merged.model_copy(update={"protocol": protocol})
    if skip_train:  # validated, unlike the others: a task may ask for what a training gives
        merged = validate(
            Task, merge(merged.model_dump(mode="json"), {"protocol": {"skip_train": True}}), "--skip-train"
        )
    merged = merged.at(profile.model_dump(mode="json"))
    if where := merged.without_carbon:
        raise InputError(
            f"{where}: needs the grid's carbon intensity, above 0, and none is assumed: give --grid-intensity or "
            "--country, or set it in the hardware profile"
        )
    check_names(merged)
    check_extras(merged, task_file or merged.name)
    check_studies(merged, task_file or merged.name)
    for name in own_models(merged):
        import_object(name, "parameters.model")  # before the run begins, so that its code is recorded
    if meters and replay is not None:
        raise InputError("--meter: a replay reads its trace and no meter")
    for name in meters:
        if is_settings(name):
            read_settings(Path(name))
        else:
            METERS.load(name, "--meter")
    search.planned_trials(merged)  # a stage that cannot be carried out is refused here, not after an hour
    if not 0 <= seed < 2**31:
        raise InputError(f"--seed: must lie within 0 … {2**31 - 1} (got {seed})")
    return Plan(
        merged,
        chosen,
        profile,
        host,
        seed,
        Path(data) if data is not None else None,
        replay,
        str(trials_from) if trials_from is not None else again.trials_from if again else None,
        origin_of_found,
        strict,
        override,
        Path(again.task_file).name if again and again.task_file else task_file,
        {**(again.overrides if again else {}), **(overrides or {})},
        tuple(str(Path(name).resolve()) if is_settings(name) else name for name in meters),
        set_power_limit,
        isinstance(task, str) and task_file is None and again is None,
    )


def check_extras(task: Task, where: str) -> None:
    """Check that the extras are installed which a task's workload, data set and stages need.

    Raises:
        InputError: one is not.
    """
    dataset = DATASETS.needs(task.dataset.name) if task.dataset is not None else ()
    searches = any(stage.method in ("qnehvi", "nsga2") for stage in task.stages.values())
    extras.require(where, *WORKLOADS.needs(task.workload), *dataset, *(("search",) if searches else ()))


def _allowed_by_environment() -> bool:
    """Whether JOULEBENCH_ALLOW_BUSY is set to 1.

    Raises:
        InputError: neither 1, 0 nor empty.
    """
    given = os.environ.get("JOULEBENCH_ALLOW_BUSY", "")
    if given not in ("", "0", "1"):
        raise InputError(f"JOULEBENCH_ALLOW_BUSY: must be 1 or 0 (got '{given}')")
    return given == "1"


def _profile(name: str | None, host: Host, force: bool) -> tuple[HardwareProfile, str | None]:
    """Find the profile; the second value says how it differs from the host where that was forced."""
    if name is None:
        if force:
            raise InputError("--force-hardware: needs a profile, named with --hardware")
        return choose_profile(catalog.all_profiles(), host), None
    if _is_run(name):
        folder = RunFolder.open(Path(name))
        profile = validate(HardwareProfile, folder.manifest().hardware, folder.manifest_path)
    else:
        profile = catalog.find_profile(name)
    if not force:
        check_profile(profile, host)
    differs = mismatch(profile, host)
    if profile.kind == "gpu" and not host.has_accelerator:
        raise InputError(f"--force-hardware: {differs}; there is no device to run on")
    return profile, differs


def _with_carbon(
    profile: HardwareProfile, grid_intensity: float | None, country: str | None, pue: float | None
) -> HardwareProfile:
    """Override the profile's grid intensity and PUE; a country becomes the intensity of CodeCarbon's table."""
    today = RealClock().utc()[:10]

    def fact(field: str, value: float, option: str, source: str = "") -> dict[str, object]:
        given = {"value": value, "source": source or f"given with {option}", "date": today}
        whole = {"name": profile.name, "title": profile.title, field: given}
        return {field: getattr(validate(HardwareProfile, whole, option), field)}

    changes: dict[str, object] = {}
    place = profile.country if country is None else country.strip().upper()
    if country is not None or (place and profile.grid_intensity_g_per_kwh is None):
        from joulebench.meters.codecarbon import grid_intensity_g_per_kwh

        value, source = grid_intensity_g_per_kwh(place or "")
        changes |= {"country": place} | fact("grid_intensity_g_per_kwh", value, "--country", f"{place}: {source}")
    if grid_intensity is not None:
        changes |= fact("grid_intensity_g_per_kwh", grid_intensity, "--grid-intensity")
    if pue is not None:
        changes |= fact("pue", pue, "--pue")
    return profile.model_copy(update=changes)


def _with_stopping(task: Task, rules: Mapping[str, float | None]) -> Task:
    given = {name: value for name, value in rules.items() if value is not None}
    if not given:
        return task
    data = task.model_dump(mode="json")
    return validate(Task, {**data, "stopping": data["stopping"] | given}, "command line")


def _with_values(task: Task, values: Mapping[str, Value]) -> Task:
    """Fix parameters to the values of `--set`; a parameter that is fixed already may get another of its type.

    A name with a dot is that of a field of the task: `dataset.train`, `protocol.window_s`. Points of a stage that
    were different and are the same now count once.
    """
    fields = {n: v for n, v in values.items() if "." in n}
    if fields:
        task = validate(Task, _with_fields(task.model_dump(mode="json"), fields), "--set")
        values = {n: v for n, v in values.items() if n not in fields}
    if unknown := next((n for n in values if n not in task.parameters), None):
        allowed = f"{', '.join(task.parameters)}; an option of the workload is options.NAME"
        raise InputError(
            f"--set: no parameter '{unknown}'{did_you_mean(unknown, task.parameters)} (allowed: {allowed})"
        )
    ranged = {n: v for n, v in values.items() if not isinstance(task.parameters.get(n), FixedParameter)}
    task.resolve(ranged)
    data = task.model_dump(mode="json")
    for name, value in values.items():
        now = task.parameters[name].default
        if isinstance(now, float) and type(value) is int:
            value = float(value)
        if type(value) is not type(now) and name not in ranged:
            raise InputError(f"--set: {name} is a {type(now).__name__} (got {value!r})")
        data["parameters"][name] = {"type": "fixed", "value": value, "scope": task.parameters[name].scope}
    for stage in data["stages"].values():
        stage["vary"] = stage["vary"] and [name for name in stage["vary"] if name not in values]
        stage["points"] = stage["points"] and list(_without(stage["points"], values))
    return validate(Task, data, "--set") if values else task


def _without(points: Sequence[Mapping[str, Value]], fixed: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """The points without what is fixed, each once where only that made them different."""
    kept: list[tuple[Mapping[str, Value], dict[str, Value]]] = []
    for point in points:
        left = {name: value for name, value in point.items() if name not in fixed}
        if all(left != other or point == whole for whole, other in kept):
            kept.append((point, left))
            yield left


def _with_fields(data: dict[str, object], fields: Mapping[str, Value]) -> dict[str, object]:
    """Put values into the tables of a task, by their paths."""
    for path, value in fields.items():
        over: Any = value
        for name in reversed(path.split(".")):
            over = {name: over}
        data = merge(data, over)
    return data


def _with_trials_of(task: Task, other: RunFolder) -> Task:
    """Replace the stages by one: the trials another run's stages finished, in their order, so that two machines
    compare.

    Raises:
        InputError: the other run is of another workload, task version or data set, or has no finished trial.
    """
    theirs = other.task()
    for what in ("workload", "dataset", *(("version",) if theirs.name == task.name else ())):
        old, new = getattr(theirs, what), getattr(task, what)
        if old != new:
            raise InputError(
                f"--trials-from: {other.path} ran with {what} {old}, this task with {new}; same budget?"
            )
    shared = [n for n, p in theirs.parameters.items() if p.scope == "task"]
    points = tuple(
        task.resolve({name: trial.params[name] for name in shared})
        for trial in other.trials()
        if trial.status == "ok" and trial.stage != CONFIRM  # this machine confirms what it finds
    )
    if not points:
        raise InputError(f"--trials-from: {other.path} has no finished trial")
    return task.model_copy(update={"stages": {"given": Stage(method="points", points=points, order="given")}})
