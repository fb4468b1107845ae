"""Command `joulebench resume`: continue a stopped run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from joulebench.commands.options import (
    DataOption,
    FromOption,
    MeterOption,
    MlflowOption,
    PowerOption,
    QuietOption,
    RayOption,
    RunArgument,
    StrictOption,
)
from joulebench.commands.printing import print_finished, say
from joulebench.errors import DeviceLostError, InputError
from joulebench.host.process import replace


def resume(
    run: RunArgument,
    data: DataOption = None,
    ray: RayOption = None,
    set_power_limit: PowerOption = False,
    meter: MeterOption = None,
    sources: FromOption = None,
    strict: StrictOption = False,
    mlflow: MlflowOption = None,
    quiet: QuietOption = False,
) -> None:
    """Continue a stopped run and write its report.

    Code of your own is imported from the current folder, PYTHONPATH and --from, and has to be what it was.
    Exit code 1 if the run fails the task's gate.
    """
    from joulebench.commands.progress import logged, observer
    from joulebench.records.folder import RunFolder
    from joulebench.runner.resume_check import is_complete

    begun = not is_complete(RunFolder.open(run))  # then its code is checked before it is imported

    options: dict[str, Any] = {
        "data": data,
        "strict": strict,
        "set_power_limit": set_power_limit,
        "sources": sources or (),
    }
    try:
        with logged(mlflow) as beside:
            with observer(quiet) as observe:
                if ray is not None or began_on_gpus(run):
                    from joulebench.cluster import driver as cluster

                    if meter:
                        raise InputError("--meter: a run on several machines or GPUs began without a live meter")
                    folders = cluster.resume(run, address=ray, observer=beside(observe), **options)
                else:
                    from joulebench.runner import local

                    folders = [local.resume(run, meters=meter or (), observer=beside(observe), **options)]
            print_finished(folders, begun=begun)
    except DeviceLostError as lost:
        go_on(lost, data, set_power_limit, sources, strict, mlflow, quiet, meter)


def began_on_gpus(run: Path) -> bool:
    """Whether a run's trials began beside each other on several GPUs of one machine."""
    from joulebench.records.folder import RunFolder

    return bool(RunFolder.open(run).manifest().cards)


def go_on(
    lost: DeviceLostError,
    data: Path | None,
    set_power_limit: bool,
    sources: Sequence[str] | None,
    strict: bool,
    mlflow: str | None,
    quiet: bool,
    meters: Sequence[str] | None,
) -> NoReturn:
    """Resume a run in place of this process, whose accelerator is lost to it.

    Each time a trial or a score has been recorded before, so this comes to an end.

    Raises:
        DeviceLostError: there is no run yet to be resumed.
    """
    if lost.folder is None:
        raise lost
    say(f"{lost}: {lost.folder}")
    words = [sys.executable, "-P", "-m", "joulebench", "resume", str(lost.folder)]
    for option, value in (
        ("--data", data),
        ("--mlflow", mlflow),
        *(("--from", source) for source in sources or ()),
        *(("--meter", file) for file in meters or ()),
    ):
        words += [option, str(value)] if value is not None else []
    flags = {"--set-power-limit": set_power_limit, "--strict": strict, "--quiet": quiet}
    replace([*words, *(flag for flag, given in flags.items() if given)])
