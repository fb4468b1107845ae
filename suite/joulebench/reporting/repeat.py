"""The command that repeats a run from its records, and what it needs that they do not hold. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from joulebench.host.power_limit import PARAMETER
from joulebench.presentation.words import listed, plural
from joulebench.records.model import Manifest, OwnCode
from joulebench.reporting.summary import Summary
from joulebench.runner.own_code import own_names
from joulebench.spec.catalog import profile_files
from joulebench.spec.registry import BLOCK, COMMAND
from joulebench.spec.task import Task

#: Stands for the folder of the records, which know no path of their own.
RUN = "RUN"
#: Stands for the program that measured itself.
PROGRAM = "PROGRAM"
MOST = 4


def repeat_command(summary: Summary) -> str:
    """The command line that repeats this run.

    A task of the catalogue is named with its options. Any other one is taken from the records, where it is merged
    with its budget and overrides.
    """
    manifest = summary.manifest
    if summary.task.workload == BLOCK:  # the work is in somebody's program
        return shlex.join(["python", PROGRAM])
    if summary.task.workload == COMMAND:  # commands that records name are not run
        words = ["joulebench", "measure", *_measure_options(summary.task)]
    else:
        words = ["joulebench", "run"]
        words += _task_options(manifest, summary.task) if _is_named(manifest) else [RUN]
    name = str(manifest.hardware.get("name") or "")
    words += ["--hardware", name if name in profile_files() else RUN] if name else []
    if manifest.hardware_override:
        words += ["--force-hardware"]
    if name in profile_files():
        words += _given(manifest.hardware) if summary.task.workload != COMMAND else []
    words += ["--seed", str(manifest.seed)] if summary.task.workload != COMMAND else []
    if manifest.data_path:
        words += ["--data", manifest.data_path]
    for meter in manifest.own_meters:
        words += ["--meter", meter]
    if manifest.replay:
        words += ["--replay", manifest.replay]
    if PARAMETER in summary.task.parameters and str(manifest.environment.get("device")).startswith("cuda"):
        words += ["--set-power-limit"]
    if manifest.cards:
        words += ["--gpus", str(len(manifest.cards))]
    elif manifest.cluster:
        words += ["--ray", "ADDRESS"]
    return shlex.join(words)


def _is_named(manifest: Manifest) -> bool:
    """Whether the task is one of the catalogue and has its own trials; earlier versions recorded only its file."""
    shipped = manifest.task_file is None if manifest.from_catalogue is None else manifest.from_catalogue
    return shipped and not manifest.trials_from and manifest.found is None


def _task_options(manifest: Manifest, task: Task) -> list[str]:
    words = [task.name]
    if manifest.budget:
        words += ["--budget", manifest.budget]
    for name, value in manifest.overrides.items():
        words += ["--set", f"{name}={json.dumps(value)}"]
    rules = task.stopping
    if rules.max_energy_j is not None:
        words += ["--max-energy", f"{rules.max_energy_j!r}J"]
    if rules.inferences is not None:
        words += ["--inferences", repr(rules.inferences)]
    words += ["--extrapolate"] if rules.extrapolate else []
    words += ["--allow-busy"] if task.protocol.allow_busy else []
    if task.protocol.skip_train and "protocol.skip_train" not in manifest.overrides:
        words += ["--skip-train"]
    return words


def _measure_options(task: Task) -> list[str]:
    """Options of `joulebench measure` that ask for the commands of a task."""
    options, words = task.options, list[str]()
    for name, command in options["commands"].items():
        words += ["-c", shlex.join(command), "--name", name]
    for stage in task.stages.values():
        words += ["--repeats", str(stage.repeats)]
    for option in ("units", "unit", "warmup"):
        words += [f"--{option}", str(options[option])] if option in options else []
    words += ["--timeout", str(options["limit_s"])] if "limit_s" in options else []
    words += ["--idle", f"{task.protocol.idle_s:g}"]
    for option in ("show_output", "ignore_failure"):
        words += [f"--{option.replace('_', '-')}"] if options.get(option) else []
    return [*words, *(["--allow-busy"] if task.protocol.allow_busy else [])]


def _given(hardware: Mapping[str, Any]) -> list[str]:
    """The options that gave grid intensity, PUE or country, where the hardware profile did not."""
    words: list[str] = []
    for field, option in (("grid_intensity_g_per_kwh", "--grid-intensity"), ("pue", "--pue")):
        fact = hardware.get(field)
        if isinstance(fact, Mapping) and fact.get("source") == f"given with {option}":
            words += [option, str(fact.get("value"))]
    country, grid = hardware.get("country"), hardware.get("grid_intensity_g_per_kwh")
    if country and isinstance(grid, Mapping) and str(grid.get("source")).startswith(f"{country}: "):
        words += ["--country", str(country)]
    return words


def needs(summary: Summary) -> tuple[str, ...]:
    """Sentences on what the command needs that the records do not hold."""
    return tuple(_needs(summary.manifest, summary.task))


def _needs(manifest: Manifest, task: Task) -> Iterator[str]:
    if task.workload == BLOCK:
        yield f"{PROGRAM} is the one that measured these blocks where they stand; the records do not hold it."
    elif task.workload == COMMAND:
        yield "It needs the programs, and the files that they read, in the current folder."
    elif not _is_named(manifest) or str(manifest.hardware.get("name")) not in profile_files():
        yield f"{RUN} is the folder of these records, which hold the task and the profile as they were."
    for name, text in code_facts(manifest, task):
        yield f"It needs {name} in the current folder or on PYTHONPATH: {text}."
    if manifest.data_path:
        fingerprint = manifest.data.get("fingerprint", "not recorded")
        yield f"It needs the data set {PurePath(manifest.data_path).name} (fingerprint {fingerprint})."
    if manifest.replay and not _is_number(manifest.replay):
        yield f"It needs the power trace {PurePath(manifest.replay).name}, whose content the records do not hold."
    if manifest.cards:
        names = listed(sorted({str(card.get("name")) for card in manifest.cards}), MOST)
        yield f"It ran on {len(manifest.cards)} equal GPUs of one machine, {names}."
    elif manifest.cluster:
        hardware = listed([str(name) for name in manifest.cluster.get("hardware", ())], MOST)
        yield f"It ran on a Ray cluster with nodes of {hardware}; ADDRESS is that of such a cluster."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def code_facts(manifest: Manifest, task: Task) -> Iterator[tuple[str, str]]:
    """Each name of the user's own that a run took, with its files and where they are kept."""
    if manifest.own_code is None:
        yield from ((name, "not recorded") for name in own_names(task, manifest.own_meters))
    for code in manifest.own_code or ():
        names = listed(list(code.files), MOST) if code.files else "in no file"
        yield code.name, f"{names}; {kept(code)}; digest {code.digest}"


def kept(code: OwnCode) -> str:
    """`commit 1a2b3c4d5e6f`, `my-lab 1.2`, and which files are in neither."""
    places = [code.distribution] if code.distribution else []
    places += [f"commit {code.commit[:12]}"] if code.commit else []
    if code.uncommitted:
        places.append(f"not committed: {listed(list(code.uncommitted), MOST)}")
    if code.left_out:
        places.append(f"{plural(code.left_out, 'file')} not recorded")
    return ", ".join(places) or "not committed"
