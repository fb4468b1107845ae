"""Command `joulebench resume`: continue a stopped run."""

from __future__ import annotations

from typing import Any

from joulebench.commands.options import DataOption, PowerOption, QuietOption, RayOption, RunArgument, StrictOption
from joulebench.commands.printing import print_finished


def resume(
    run: RunArgument,
    data: DataOption = None,
    ray: RayOption = None,
    set_power_limit: PowerOption = False,
    strict: StrictOption = False,
    quiet: QuietOption = False,
) -> None:
    """Continue a stopped run and write its report.

    Exit code 1 if the run fails the task's gate.
    """
    from joulebench.commands.progress import observer

    options: dict[str, Any] = {"data": data, "strict": strict, "set_power_limit": set_power_limit}
    with observer(quiet) as observe:
        if ray is not None:
            from joulebench.cluster import driver as cluster

            folders = cluster.resume(run, address=ray, observer=observe, **options)
        else:
            from joulebench.runner import local

            folders = [local.resume(run, observer=observe, **options)]
    print_finished(folders)
