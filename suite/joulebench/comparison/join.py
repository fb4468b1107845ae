"""Join of runs of one task on several machines, by configuration and by common energy domains. Pure.

A configuration is the same on two machines if its parameters are, but for those of the device. Energy is compared
over the domains that every machine meters; a machine without an accelerator needs no GPU reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from joulebench.errors import InputError
from joulebench.results.ledger import family
from joulebench.results.outcome import Configuration, Outcome, trial_outcomes
from joulebench.results.phase_runs import EVERY_FAMILY
from joulebench.results.run import Run
from joulebench.results.validity import valid_windows
from joulebench.spec.objectives import Quantity
from joulebench.spec.task import Task


@dataclass(frozen=True)
class Machine:
    """A run with its machine's label; once joined, its energy objectives are over the domains compared."""

    label: str
    path: str  # of the run's folder
    run: Run

    @property
    def task(self) -> Task:
        return self.run.task

    @property
    def has_accelerator(self) -> bool:
        return str(self.run.manifest.environment.get("device", "")).startswith("cuda")

    @cached_property
    def configurations(self) -> Mapping[str, Configuration]:
        """Configurations with a value for every objective, by key."""
        return {c.key: c for c in self.run.configurations if c.complete}

    @cached_property
    def replicates(self) -> Mapping[str, tuple[Mapping[str, Outcome], ...]]:
        """Outcomes of each finished trial of a configuration, by key."""
        task, idle = self.task, self.run.idle
        return {
            key: tuple(o for t in c.usable if (o := trial_outcomes(task, t, idle)))
            for key, c in self.configurations.items()
        }

    def metered(self, phase: str) -> tuple[str, ...]:
        """Return the domain families of which every valid window of a phase has a primary reading."""
        trials, protocol = [t for t in self.run.trials if t.status == "ok"], self.task.protocol
        if phase == "train":
            valid = [w for t in trials for w in t.windows if w.phase == phase]
        else:
            valid = [w for t in trials for w in valid_windows(t.windows, phase, protocol)]
        read = [{family(r.domain) for r in w.readings if r.role == "primary"} for w in valid]
        everywhere = set.intersection(*read) if read else set()
        return tuple(f for f in EVERY_FAMILY if f in everywhere)


@dataclass(frozen=True)
class Joined:
    """Machines, the keys of configurations that all share, and each energy objective's domains compared.

    `left_out` holds each energy objective's domains not compared, with the labels of machines that lack them.
    """

    machines: tuple[Machine, ...]
    shared: tuple[str, ...]
    domains: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def task(self) -> Task:
        return self.machines[0].task

    def common(self, a: Machine, b: Machine) -> tuple[str, ...]:
        """Return the keys that both have, in the order of `a`."""
        return tuple(key for key in a.configurations if key in b.configurations)


def labelled(runs: Sequence[tuple[str, Run]]) -> tuple[Machine, ...]:
    """Label runs by their hardware profiles, and by when they began where two have the same.

    Args:
        runs: each with its path.
    """
    names = [str(run.manifest.hardware.get("name", "unnamed")) for _, run in runs]
    labels: list[str] = []
    for name, (_, run) in zip(names, runs, strict=True):
        label = name if names.count(name) == 1 else f"{name} ({run.manifest.created_utc[:19]}Z)"
        same = sum(known == label or known.startswith(f"{label} #") for known in labels)
        labels.append(f"{label} #{same + 1}" if same else label)
    return tuple(Machine(label, *run) for label, run in zip(labels, runs, strict=True))


def join(machines: Sequence[Machine]) -> Joined:
    """Join machines by configuration.

    Raises:
        InputError: fewer than two, one given twice, or two that differ in task, version, workload, data or
            objectives; both are named.
    """
    if len(machines) < 2:
        raise InputError("a comparison needs at least two runs")
    for other in machines[1:]:
        _check(machines[0], other)
    for i, machine in enumerate(machines):
        if any(_same(machine.run, earlier.run) for earlier in machines[:i]):
            raise InputError(f"{machine.path}: this run is given twice")
    energies = {n: o for n, o in machines[0].task.objectives.items() if o.is_energy}
    lacking = {n: _lacking(machines, o) for n, o in energies.items()}
    domains = {n: _compared(machines, o, lacking[n]) for n, o in energies.items()}
    narrowed = tuple(_over(machine, domains) for machine in machines)
    shared = tuple(k for k in narrowed[0].configurations if all(k in m.configurations for m in narrowed[1:]))
    return Joined(narrowed, shared, domains, lacking)


def _same(a: Run, b: Run) -> bool:
    return a.manifest == b.manifest and a.trials == b.trials


def _check(a: Machine, b: Machine) -> None:
    pairs = (
        ("task", f"{a.task.name} v{a.task.version}", f"{b.task.name} v{b.task.version}"),
        ("workload", a.task.workload, b.task.workload),
        ("data", a.run.manifest.data.get("fingerprint"), b.run.manifest.data.get("fingerprint")),
    )
    for what, ours, theirs in pairs:
        if ours != theirs:
            raise InputError(f"{what}: {a.path} has {ours}, {b.path} has {theirs}; these cannot be compared")
    if a.task.objectives != b.task.objectives:
        ours, theirs = a.task.objectives, b.task.objectives
        differ = sorted(n for n in ours.keys() | theirs.keys() if ours.get(n) != theirs.get(n))
        scales = [f"{n} ({ours[n].scale} and {theirs[n].scale})" for n in differ if n in ours and n in theirs
                  and ours[n].scale != theirs[n].scale]  # fmt: skip
        why = f"; hypervolumes on different scales do not compare: {', '.join(scales)}" if scales else ""
        raise InputError(f"objectives: {a.path} and {b.path} differ in {', '.join(differ)}{why}")


def _lacking(machines: Sequence[Machine], objective: Quantity) -> dict[str, tuple[str, ...]]:
    """Return the objective's domains that a machine has but does not meter, with labels of those machines."""
    metered = [(m, m.metered(objective.phase or "")) for m in machines]
    labels = {
        domain: tuple(m.label for m, own in metered if domain not in own and (domain != "gpu" or m.has_accelerator))
        for domain in objective.domains or ()
    }
    return {domain: without for domain, without in labels.items() if without}


def _compared(
    machines: Sequence[Machine], objective: Quantity, lacking: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the objective's domains that no machine lacks and any machine meters."""
    metered = {domain for m in machines for domain in m.metered(objective.phase or "")}
    return tuple(d for d in objective.domains or () if d not in lacking and d in metered)


def _over(machine: Machine, domains: Mapping[str, tuple[str, ...]]) -> Machine:
    """Return the machine with energy over `domains`; without any domain, no configuration is complete."""
    objectives = {
        n: o.model_copy(update={"domains": domains[n]}) if n in domains else o
        for n, o in machine.task.objectives.items()
    }
    task = machine.task.model_copy(update={"objectives": objectives})
    return replace(machine, run=replace(machine.run, task=task))
