"""Reference frontier: the frontier of another run, to be drawn over this one.

`joulebench report RUN --overlay OTHER` keeps the other run's records beside this one's, so that the report can be
made again without it. No record names a folder to read: records are sent to others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from joulebench.errors import InputError, unwritable
from joulebench.host.files import make_folder, write_whole
from joulebench.records.folder import RunFolder
from joulebench.results.energy import Energy
from joulebench.results.run import FOLDER, Run
from joulebench.spec.reading import read_file
from joulebench.spec.task import Task
from joulebench.stats.estimate import Estimate

#: Settings of training by what they are called in a sentence: parameter, and its value where a task has none.
OPTIMISER: Mapping[str, tuple[str, object]] = {
    "optimiser": ("optimizer", "adam"),
    "learning rate": ("learning_rate", None),
    "momentum": ("momentum", 0.0),
    "weight decay": ("weight_decay", 0.0),
    "schedule": ("schedule", "none"),
    "epochs of the schedule": ("schedule_epochs", None),
}


@dataclass(frozen=True)
class ReferencePoint:
    """Member of the other run's frontier."""

    j_per_unit: Energy
    quality: Estimate


@dataclass(frozen=True)
class Difference:
    """What differs between two runs, with its value in the other run and in this one."""

    what: str
    there: str
    here: str

    def __str__(self) -> str:
        return f"{self.what} ({self.there} there, {self.here} here)"


@dataclass(frozen=True)
class ReferenceFrontier:
    """Frontier of another run; `problem` says why there is none, `differs` lists differences between the runs.

    `unlike`: whether more differs than the task's name and the version of joulebench: then nothing may be claimed.
    """

    name: str
    points: tuple[ReferencePoint, ...]
    differs: tuple[Difference, ...]
    problem: str | None = None
    unlike: bool = False


def keep_reference(folder: RunFolder, path: Path) -> None:
    """Copy another run's records into this run's folder, as its reference frontier.

    Raises:
        InputError: it is no run, has no frontier in this task's terms, or is of other hardware, data or basis.
    """
    records, other = Run.of(folder), Run.of(RunFolder.open(path))
    quality = quality_of(records.task)
    reference = _reference(records, other, str(path), quality)
    if reference.problem:
        raise InputError(f"--overlay: {reference.problem}")
    if differing := _incomparable(records, other):
        what = ", ".join(map(str, differing))
        raise InputError(f"--overlay: {path} does not compare with {folder.path}: another {what}")
    kept = folder.path / FOLDER
    try:
        make_folder(kept)
        if not kept.samefile(path):
            content = {name: read_file(path / name) for name in ("trials.jsonl", "manifest.json")}
            (kept / "manifest.json").unlink(missing_ok=True)  # no manifest of one run beside trials of another
            for name in content:
                write_whole(kept / name, content[name])
    except OSError as error:
        raise unwritable(kept, error) from None


def quality_of(task: Task) -> str | None:
    """Quality metric of a task: its first maximised objective without a phase; None if there is none."""
    return next((n for n, o in task.objectives.items() if o.phase is None and o.goal == "maximize"), None)


def read_reference(records: Run, quality: str | None) -> ReferenceFrontier | None:
    """Reference frontier kept with this run; None if there is none.

    Gross joules of this task's phase.
    """
    if records.overlay is not None:
        return _reference(records, records.overlay, "the run beside these records", quality)
    return None


def _reference(records: Run, other: Run, path: str, quality: str | None) -> ReferenceFrontier:
    name = f"{other.task.name}, {other.manifest.budget or 'no budget'}"
    if quality is None or quality not in other.task.objectives:
        return ReferenceFrontier(name, (), (), f"{path}: that run does not judge by {quality or 'any quality'}")
    points = _points(records, other, quality)
    if not points:
        return ReferenceFrontier(name, (), (), f"{path}: that run has no frontier with energy of the same phase")
    named, unlike = _names(records, other), _unlike(records, other)
    return ReferenceFrontier(name, points, (*named, *unlike), unlike=bool(unlike))


def _incomparable(records: Run, other: Run) -> list[Difference]:
    """Differences for which the frontier of one run is not even drawn over the other."""
    return _differing(_essentials, records, other)


def _unlike(records: Run, other: Run) -> list[Difference]:
    """Differences in what is measured and how models are trained, for which no number may combine two runs."""
    broken = [Difference("records", "do not hold together", "hold together")] if other.findings else []
    return [*_incomparable(records, other), *_differing(_training, records, other), *broken]


def _names(records: Run, other: Run) -> list[Difference]:
    """Differences that compare all the same."""
    return _differing(
        lambda run: {
            "task": f"{run.task.name} version {run.task.version}",
            "version of joulebench": run.manifest.joulebench,
        },
        records,
        other,
    )


def _differing(read: Callable[[Run], Mapping[str, object]], records: Run, other: Run) -> list[Difference]:
    """Each fact that differs."""
    here, there = read(records), read(other)
    unlike = (what for what in here if here[what] != there[what])
    return [Difference(what, _words(there[what]), _words(here[what])) for what in unlike]


def _words(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    return "not stated" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _essentials(run: Run) -> Mapping[str, object]:
    return {
        "hardware": run.manifest.hardware.get("name"),
        "data": run.manifest.data.get("fingerprint"),
        "basis": _basis(run.task),
        "replay": run.manifest.replay,
    }


def _training(run: Run) -> Mapping[str, object]:
    """Machine, images and training of a run, each by the name it has in a sentence."""
    data, params, training = run.manifest.data, run.task.defaults, run.task.training
    host, torch, counts = (
        part if isinstance(part := tree.get(name), dict) else {}
        for tree, name in (
            (run.manifest.environment, "host"), (run.manifest.environment, "torch"), (data, "counts")
        )
    )  # fmt: skip
    dataset, patience = run.task.dataset, training.patience

    def setting(name: str, default: object = None) -> object:
        return "varied" if name in run.task.free else params.get(name, default)

    return {
        "machine": [host.get(name) for name in ("cpu", "logical_cpus", "accelerators")],
        "threads": torch.get("threads"),
        "split": [f"{n} {name}" for name, n in counts.items()],
        "seed of the split": None if dataset is None else dataset.seed,
        "split that is judged by": None if dataset is None else dataset.search_split,
        "preprocessing": [f"{name} {_words(data[name])}" for name in ("shape", "mean", "std") if name in data],
        "augmentation": [] if dataset is None else list(dataset.augment),
        **{what: setting(name, default) for what, (name, default) in OPTIMISER.items()},
        "epochs": setting("epochs"),
        "early stopping": "none" if patience is None else f"{training.monitor}, {patience} epochs",
        "time limit of training, s": run.task.protocol.max_train_s,
        "batch size": setting("batch_size"),
    }


def _basis(task: Task) -> str:
    """Phase, basis and domains of a task's energy objective."""
    energy = task.measured
    return (
        "none" if energy is None else f"{energy.phase}, {energy.basis}, {' + '.join(sorted(energy.domains or ()))}"
    )


def _points(records: Run, other: Run, quality: str) -> tuple[ReferencePoint, ...]:
    phase = (records.task.measured.phase if records.task.measured else None) or ""
    costs = ((m, other.phase(m.trials, phase, records.families)) for m in other.frontier)
    return tuple(ReferencePoint(c.gross, m.outcomes[quality].value) for m, c in costs if c is not None)
