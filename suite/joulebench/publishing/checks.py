"""Checks before a run is published: record audit, manifest, environment, windows, task file."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from joulebench.errors import InputError
from joulebench.host.git import git, uncommitted
from joulebench.meters.wall_comparison import compare_run
from joulebench.publishing.crosscheck import contradictions
from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry, Manifest, TrialRecord, Window
from joulebench.reporting.repeat import kept
from joulebench.results.audit import OVERLAP_S
from joulebench.results.findings import Code
from joulebench.results.losses import Loss, losses, reason
from joulebench.results.run import Run
from joulebench.results.validity import valid_windows
from joulebench.runner.own_code import own_names
from joulebench.spec.task import Task

_NEEDED = ("host.cpu", "host.logical_cpus", "host.os", "python", "device", "packages.joulebench")
_NEEDED_TORCH = ("packages.torch", "torch.threads")
_NEEDED_CUDA = ("torch.gpu", "torch.driver", "torch.cuda")
_OVERRIDE = "--allow-busy publishes it with a label"
#: Problems of one kind listed; further ones are counted.
MOST = 3


def problems(folder: RunFolder, allow_busy: bool = False) -> list[str]:
    """List the problems that prevent publishing a run; with `allow_busy` not what a busy machine cost it.

    Raises:
        InputError: a record file is damaged, of another schema version, or not of its task.
    """
    run = Run.of(folder)
    busy = losses(run).groups.get(Code.BUSY_MACHINE, Loss())
    every = [
        *(finding.text for finding in run.findings),
        *_of_the_manifest(run.manifest),
        *_of_the_environment(run.manifest.environment),
        *_ending(run.entries),
        *_of_windows(run.trials, run.entries),
        *_validity(run, busy),
        *(
            f"manifest.json: no digest of {what}"
            for what in (undigested(run.manifest, run.task) if _records_code(run.manifest) else ())
        ),
        *contradictions(run.manifest, run.task, run.trials, run.entries, run.scores),
        *_of_the_wall_log(folder, run),
        *([] if allow_busy else _busy(run.task, busy)),
    ]
    return [problem for problem in every if problem]


def _records_code(manifest: Manifest) -> bool:
    """Whether the run's version recorded digests of code; earlier ones did not."""
    return manifest.own_code is not None or manifest.from_catalogue is not None


def undigested(manifest: Manifest, task: Task) -> list[str]:
    """Name the code of the user's own that a run imported and of which its manifest has no digest."""
    known = {code.name for code in manifest.own_code or () if code.files}
    named = own_names(task, manifest.own_meters).items()
    # a text of the options may only look like the name of a function, but for the workload that calls it
    needed = [name for name, registry in named if registry is not None or task.workload == "function"]
    return [f"the code of {name}" for name in needed if name not in known]


def uncommitted_code(manifest: Manifest, task: Task) -> list[str]:
    """Say which code and files of the user's own cannot be had again as they ran."""
    if manifest.own_code is None:
        return [f"{name}: its code was not recorded" for name in own_names(task, manifest.own_meters)]
    lost = [c for c in manifest.own_code if c.uncommitted or c.left_out or not c.files]
    remedy = "commit it and run again; --allow-uncommitted publishes it all the same, and the report says so"
    return [f"code of {code.name}: {kept(code)}; {remedy}" for code in lost]


def _of_the_manifest(manifest: Manifest) -> Iterator[str]:
    if manifest.replay:
        yield f"manifest.json: replay: joules from {manifest.replay} were not measured here"
    if manifest.hardware_override:
        yield f"manifest.json: hardware: {manifest.hardware_override}"


def _of_the_wall_log(folder: RunFolder, run: Run) -> Iterator[str]:
    if isinstance(problem := compare_run(folder, run.windows), InputError):
        yield str(problem).replace(f"{folder.path}/", "")


def _of_the_environment(environment: Mapping[str, Any]) -> Iterator[str]:
    needed = [*_NEEDED]
    if "torch" in environment:
        needed += _NEEDED_TORCH
    if str(environment.get("device", "")).startswith("cuda"):
        needed += _NEEDED_CUDA
    missing = [name for name in needed if _at(environment, name) in (None, "")]
    if missing:
        yield f"manifest.json: environment: without {', '.join(missing)}"
    if why := _at(environment, "code.unknown"):
        yield f"manifest.json: code: git could not say from which commit it ran ({why})"
    if _at(environment, "code.modified"):
        commit = str(_at(environment, "code.commit"))[:12]
        yield f"manifest.json: code: ran with changes that are not in commit {commit}; commit them and run again"


def _at(tree: Mapping[str, Any], dotted: str) -> Any:
    value: Any = tree
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _ending(ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    if not ledger or ledger[-1].ending != "done":
        note = f" (it ended with “{ledger[-1].note or ledger[-1].ending}”)" if ledger and ledger[-1].ending else ""
        yield f"ledger.jsonl: the run is not finished{note}; `joulebench resume` continues it"


def _of_windows(trials: Sequence[TrialRecord], ledger: Sequence[LedgerEntry]) -> Iterator[str]:
    """Find windows of a session that overlap across trials and ledger: their joules would count twice."""
    clocks: dict[tuple[int, str | None], list[tuple[str, Window]]] = {}
    for where, session, windows in (
        *((f"trial {t.trial}", t.session, t.windows) for t in trials),
        *((f"ledger, session {e.session}", e.session, e.windows) for e in ledger),
    ):
        for window in windows:
            clocks.setdefault((session, window.node), []).append((where, window))
    overlapping = []
    for laid in clocks.values():
        end_s = -math.inf
        for where, window in sorted(laid, key=lambda item: (item[1].start_s, item[1].end_s)):
            if window.start_s < end_s - OVERLAP_S:
                overlapping.append(f"{where}, {window.phase} at {window.start_s:.6g} s")
            end_s = max(end_s, window.end_s)
    yield _several(overlapping, "overlaps the window before it")


def _validity(run: Run, busy: Loss) -> Iterator[str]:
    """Find trials recorded as ok that have too few valid windows, apart from those that a busy machine cost.

    A raced one needs `min_windows`, unless it is of the default or of a member of the frontier.
    """
    task, protocol = run.task, run.task.protocol
    in_full = {t.trial for c in (*run.frontier, *(c for c in run.configurations if c.default)) for t in c.usable}
    phases = {o.phase for o in task.objectives.values() if o.is_energy and o.phase and o.phase != "train"}
    short = []
    for trial in run.trials:
        if trial.status != "ok" or trial.trial in busy.trials:
            continue
        needed = protocol.min_windows if trial.raced and trial.trial not in in_full else protocol.repeats
        for phase in sorted(phases):
            valid = len(valid_windows(trial.windows, phase, protocol))
            if valid < needed:
                short.append(f"trial {trial.trial}: {valid} of {needed} valid windows of {phase}")
    yield _several(short, "recorded as ok, with fewer windows than the protocol asks for")


def _busy(task: Task, busy: Loss) -> Iterator[str]:
    """Find what other work on the machine cost the run, or that it was allowed."""
    if task.protocol.allow_busy:
        yield f"manifest.json: protocol.allow_busy: windows count whatever else ran; {_OVERRIDE}"
    kinds = ", ".join(reason(kind) for kind in dict.fromkeys((*busy.measured, *busy.idle)))
    lost = [f"trial {n}" for n in busy.trials] + [f"idle baseline of trial {n}" for n in busy.baselines]
    yield _several(lost, f"lost because the machine was busy ({kinds}); {_OVERRIDE}")


def _several(places: Sequence[str], what: str) -> str:
    if not places:
        return ""
    more = f" and {len(places) - MOST} more" if len(places) > MOST else ""
    return f"{'; '.join(places[:MOST])}{more}: {what}"


def task_file_problem(manifest: Manifest) -> str | None:
    """Return why the user's task file is not committed as it ran; None if it is, or the task is the catalogue's.

    git is asked about the working tree that the user is in, and about a file only if it lies in there: a record may
    name any folder, and the settings of a repository may name commands that git executes.
    """
    if manifest.task_file is None:
        return None
    path = Path(manifest.task_file)
    try:
        tree = Path(git(Path.cwd(), "rev-parse", "--show-toplevel"))
        inside = path.resolve().relative_to(tree.resolve())
    except (OSError, subprocess.SubprocessError, ValueError):
        return (
            f"{path.name}: is not in the git repository that you are in, so it cannot be looked up; "
            "commit it, and publish from its repository"
        )
    try:
        _, changed = uncommitted(tree, {inside.as_posix(): (tree / inside).read_bytes()})
    except subprocess.CalledProcessError:
        return f"{path.name}: is not committed"
    except (OSError, subprocess.SubprocessError):
        return f"{path.name}: git cannot say whether it is committed"
    return f"{path.name}: is not committed as it is" if changed else None
