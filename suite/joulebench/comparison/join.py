"""Runs of one task on several machines, joined by configuration: what may compare, and over which joules. Pure.

A configuration is the same on two machines if its parameters are, those that belong to the device apart. Energy is
compared over the domains that every machine meters; a machine without an accelerator has no GPU to meter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from joulebench.errors import InputError
from joulebench.records.model import Manifest, TrialRecord, Window
from joulebench.results.energy import invalidity
from joulebench.results.outcome import Configuration, Outcome, configurations, idle_windows, trial_outcomes
from joulebench.results.phase_cost import EVERY_FAMILY
from joulebench.spec.objectives import Quantity
from joulebench.spec.task import Task


@dataclass(frozen=True)
class LabelledRun:
    """One run as it was read; `label` tells it from the others, `path` where it lies."""

    label: str
    path: str
    manifest: Manifest
    task: Task
    trials: tuple[TrialRecord, ...]

    @property
    def has_accelerator(self) -> bool:
        return str(self.manifest.environment.get("device", "")).startswith("cuda")


@dataclass(frozen=True)
class Machine:
    """A run with its configurations by key; the energy objectives of `task` are over the domains compared."""

    run: LabelledRun
    task: Task
    found: Mapping[str, Configuration]  # complete ones
    runs: Mapping[str, tuple[Mapping[str, Outcome], ...]]  # each finished run's own outcomes
    idle: tuple[Window, ...]

    @property
    def label(self) -> str:
        return self.run.label


@dataclass(frozen=True)
class Joined:
    """Machines, the configurations they share (in the first one's order), and the joules that compare.

    `left_out` says, for each energy objective, which of its domains are not compared, and which machine lacks them.
    """

    machines: tuple[Machine, ...]
    shared: tuple[str, ...]
    domains: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def task(self) -> Task:
        return self.machines[0].task

    def common(self, a: Machine, b: Machine) -> tuple[str, ...]:
        """Keys that both have, in the order of `a`."""
        return tuple(key for key in a.found if key in b.found)


def labelled(runs: Sequence[tuple[str, Manifest, Task, Sequence[TrialRecord]]]) -> tuple[LabelledRun, ...]:
    """Runs named by their hardware profiles; by when they began, too, where two have the same.

    Args:
        runs: path, manifest, task and trials of each.
    """
    names = [str(manifest.hardware.get("name", "unnamed")) for _, manifest, _, _ in runs]
    labels: list[str] = []
    for name, (_, manifest, _, _) in zip(names, runs, strict=True):
        label = name if names.count(name) == 1 else f"{name} ({manifest.created_utc[:19]}Z)"
        same = sum(known == label or known.startswith(f"{label} #") for known in labels)
        labels.append(f"{label} #{same + 1}" if same else label)
    return tuple(
        LabelledRun(label, path, manifest, task, tuple(trials))
        for label, (path, manifest, task, trials) in zip(labels, runs, strict=True)
    )


def join(runs: Sequence[LabelledRun]) -> Joined:
    """The runs side by side.

    Raises:
        InputError: fewer than two, one given twice, or two that differ in task, version, workload, data or in what
            an objective asks for; both are named.
    """
    if len(runs) < 2:
        raise InputError("a comparison needs at least two runs")
    for other in runs[1:]:
        _check(runs[0], other)
    for i, run in enumerate(runs):
        if any(_same(run, earlier) for earlier in runs[:i]):
            raise InputError(f"{run.path}: this run is given twice")
    task = runs[0].task
    lacking = {n: _lacking(runs, o) for n, o in task.objectives.items() if o.is_energy}
    there = {n: {d for run in runs for d in metered(run, task.objectives[n].phase or "")} for n in lacking}
    domains = {
        n: tuple(d for d in task.objectives[n].domains or () if d not in absent and d in there[n])
        for n, absent in lacking.items()
    }
    machines = tuple(_machine(run, domains) for run in runs)
    shared = tuple(k for k in machines[0].found if all(k in m.found for m in machines[1:]))
    return Joined(machines, shared, domains, lacking)


def _same(a: LabelledRun, b: LabelledRun) -> bool:
    return a.manifest == b.manifest and a.trials == b.trials


def _check(a: LabelledRun, b: LabelledRun) -> None:
    pairs = (
        ("task", f"{a.task.name} v{a.task.version}", f"{b.task.name} v{b.task.version}"),
        ("workload", a.task.workload, b.task.workload),
        ("data", a.manifest.data.get("fingerprint"), b.manifest.data.get("fingerprint")),
    )
    for what, ours, theirs in pairs:
        if ours != theirs:
            raise InputError(f"{what}: {a.path} has {ours}, {b.path} has {theirs}; these do not compare")
    if a.task.objectives != b.task.objectives:
        names = set(a.task.objectives) | set(b.task.objectives)
        differ = sorted(n for n in names if a.task.objectives.get(n) != b.task.objectives.get(n))
        raise InputError(f"objectives: {a.path} and {b.path} ask for other values of {', '.join(differ)}")


def metered(run: LabelledRun, phase: str) -> tuple[str, ...]:
    """The families of domains that every valid window of a phase has a primary reading of, over all trials."""
    windows = [
        w
        for t in run.trials
        if t.status == "ok"
        for w in t.windows
        if w.phase == phase and (phase == "train" or invalidity(w, run.task.protocol) is None)
    ]
    sets = [{r.domain.split(":", 1)[0] for r in w.readings if r.role == "primary"} for w in windows]
    known = set.intersection(*sets) if sets else set()
    return tuple(f for f in EVERY_FAMILY if f in known)


def _lacking(runs: Sequence[LabelledRun], objective: Quantity) -> dict[str, tuple[str, ...]]:
    """Domains asked for that some machine should have and does not meter: domain -> labels of those machines."""
    found: dict[str, tuple[str, ...]] = {}
    for domain in objective.domains or ():
        without = tuple(
            run.label
            for run in runs
            if domain not in metered(run, objective.phase or "") and (domain != "gpu" or run.has_accelerator)
        )
        if without:
            found[domain] = without
    return found


def _machine(run: LabelledRun, domains: Mapping[str, tuple[str, ...]]) -> Machine:
    """The run's configurations with energy over `domains`; without any domain left, none is complete."""
    objectives = {
        n: o.model_copy(update={"domains": domains[n]}) if o.is_energy else o
        for n, o in run.task.objectives.items()
    }
    task = run.task.model_copy(update={"objectives": objectives})
    idle = tuple(idle_windows(run.trials))
    found = {c.key: c for c in configurations(task, run.trials) if c.complete}
    return Machine(run, task, found, {k: _runs(task, c, idle) for k, c in found.items()}, idle)


def _runs(task: Task, configuration: Configuration, idle: Sequence[Window]) -> tuple[Mapping[str, Outcome], ...]:
    if len(configuration.trials) == 1:
        return (configuration.outcomes,)
    return tuple(o for t in configuration.trials if (o := trial_outcomes(task, t, idle)))
