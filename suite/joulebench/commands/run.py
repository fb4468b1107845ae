"""`joulebench run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from joulebench.commands.options import (
    DataOption,
    GridOption,
    HardwareOption,
    OutOption,
    PowerOption,
    PueOption,
    QuietOption,
    RayOption,
    ReplayOption,
    SetOption,
    StrictOption,
    assignments,
)
from joulebench.commands.printing import print_finished

if TYPE_CHECKING:
    from joulebench.spec.task import Task


def run(
    task: Annotated[str, typer.Argument(help="A task's name, or the path of its TOML file.")],
    budget: Annotated[str | None, typer.Option(help="quick, standard, paper, …: see `joulebench tasks`.")] = None,
    hardware: HardwareOption = None,
    force_hardware: Annotated[
        bool, typer.Option("--force-hardware", help="Use --hardware though it is not this host's; reports say so.")
    ] = False,
    grid_intensity: GridOption = None,
    country: Annotated[str | None, typer.Option(help="ISO code such as FRA: its grid, for carbon.")] = None,
    pue: PueOption = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 0,
    sets: SetOption = None,
    meter: Annotated[
        list[str] | None,
        typer.Option(help="A meter of your own, asked before those that ship: its name, or package.module:Class."),
    ] = None,
    trials_from: Annotated[Path | None, typer.Option(help="Measure another run's configurations.")] = None,
    max_energy: Annotated[str | None, typer.Option(help="Stop before the run has spent more: 500kJ, 2kWh.")] = None,
    inferences: Annotated[
        float | None, typer.Option(help="Units of work to come: stop when searching on saves less than it costs.")
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Tell each training's joules from its first epochs.")
    ] = False,
    replay: ReplayOption = None,
    ray: RayOption = None,
    set_power_limit: PowerOption = False,
    strict: StrictOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a task and write its report.

    Exit code 1 if the task has a gate and missed it, or, with --strict, if the check of the meter before a search
    finds it unsteady.
    """
    from joulebench.commands.progress import observer
    from joulebench.runner.stopping import parse_energy_j

    choices: dict[str, Any] = {
        "budget": budget,
        "force_hardware": force_hardware,
        "grid_intensity": grid_intensity,
        "country": country,
        "pue": pue,
        "data": data,
        "seed": seed,
        "overrides": assignments(sets),
        "meters": tuple(meter or ()),
        "replay": replay,
        "trials_from": trials_from,
        "max_energy_j": None if max_energy is None else parse_energy_j(max_energy, "--max-energy"),
        "inferences": inferences,
        "extrapolate": extrapolate,
        "set_power_limit": set_power_limit,
        "strict": strict,
    }
    if ray is not None:
        from joulebench.cluster import driver as cluster

        kinds = [name.strip() for name in hardware.split(",")] if hardware else []
        with observer(quiet) as observe:
            folders = cluster.run(task, address=ray, hardware=kinds, out=out, observer=observe, **choices)
        print_finished(folders)
        return
    from joulebench.runner import local
    from joulebench.runner.plan import plan

    chosen = plan(task, hardware=hardware, **choices)
    _announce(chosen.task, chosen.budget, chosen.profile.name)
    if chosen.hardware_override:
        print(f"--force-hardware: {chosen.hardware_override}")
    with observer(quiet) as observe:
        folder = local.start(chosen, out=out, observer=observe)
    print_finished([folder])


def _announce(task: Task, budget: str | None, hardware: str) -> None:
    from joulebench.search.space import has_conditions
    from joulebench.spec.task import NARROWED

    data = f"{task.dataset.name}" if task.dataset else "no data set"
    size = "continuous"
    if task.space_size is not None:
        some = "combinations of values, some not allowed or alike" if has_conditions(task) else "configurations"
        size = f"{task.space_size:,} {some}"
    print(f"{task.title}: task {task.name} v{task.version}, budget {budget or 'none'}, data {data}, on {hardware}")
    print(f"search space: {size}; digest {task.digest}")
    if budget in NARROWED:
        print(f"{budget} narrows the study: its results compare with no other budget and no published study")
