"""`joulebench resume`."""

from __future__ import annotations

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
    """Continue a stopped run where it was, and write its report.

    Exit code 1 if the task has a gate and missed it.
    """
    from joulebench.commands.progress import observer

    with observer(quiet) as observe:
        if ray is not None:
            from joulebench.cluster import driver as cluster

            folders = cluster.resume(
                run, address=ray, data=data, strict=strict, set_power_limit=set_power_limit, observer=observe
            )
        else:
            from joulebench.runner import local

            folders = [
                local.resume(run, data=data, strict=strict, set_power_limit=set_power_limit, observer=observe)
            ]
    print_finished(folders)
