"""Command `joulebench run`: run a task and write its report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from joulebench.commands.options import (
    AllowBusyOption,
    DataOption,
    FromOption,
    GridOption,
    HardwareOption,
    MeterOption,
    MlflowOption,
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
from joulebench.commands.printing import print_finished, say
from joulebench.commands.resume import go_on
from joulebench.errors import DeviceLostError

if TYPE_CHECKING:
    from joulebench.spec.task import Task


_INFERENCES = "Expected number of inferences after the search; stop once further search cannot pay back its energy."


def run(
    task: Annotated[str, typer.Argument(help="A task's name, its TOML file, or a run folder: its task.")],
    budget: Annotated[
        str | None,
        typer.Option(help="Budget of the task, such as quick, standard or paper; see `joulebench tasks`."),
    ] = None,
    hardware: HardwareOption = None,
    force_hardware: Annotated[
        bool,
        typer.Option(
            "--force-hardware", help="Use --hardware even if it does not match this host; reports say so."
        ),
    ] = False,
    grid_intensity: GridOption = None,
    country: Annotated[
        str | None, typer.Option(help="ISO code of the country whose grid intensity to use, such as FRA.")
    ] = None,
    pue: PueOption = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0,
    sets: SetOption = None,
    meter: MeterOption = None,
    trials_from: Annotated[Path | None, typer.Option(help="Measure another run's configurations.")] = None,
    found: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Compare the frontier of this search's run with the task's known models."),
    ] = None,
    max_energy: Annotated[
        str | None,
        typer.Option(help="Energy budget of the run, such as 500kJ or 2kWh; it stops before exceeding it."),
    ] = None,
    inferences: Annotated[float | None, typer.Option(help=_INFERENCES)] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Forecast each training's energy from its first epochs.")
    ] = False,
    replay: ReplayOption = None,
    ray: RayOption = None,
    set_power_limit: PowerOption = False,
    allow_busy: AllowBusyOption = False,
    isolate: Annotated[
        bool,
        typer.Option("--isolate", help="Run each trial in its own process: one that dies ends no other."),
    ] = False,
    skip_train: Annotated[
        bool,
        typer.Option("--skip-train", help="Measure and score models as they are built; the report says untrained."),
    ] = False,
    sources: FromOption = None,
    strict: StrictOption = False,
    mlflow: MlflowOption = None,
    quiet: QuietOption = False,
) -> None:
    """Run a task and write its report.

    Exit code 1 if the run fails the task's gate, or, with --strict, if the meter check before a search finds the
    meter unsteady.
    """
    from joulebench.commands.progress import logged, observer
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
        "found": found,
        "max_energy_j": None if max_energy is None else parse_energy_j(max_energy, "--max-energy"),
        "inferences": inferences,
        "extrapolate": extrapolate,
        "set_power_limit": set_power_limit,
        "allow_busy": allow_busy,
        "isolate": isolate,
        "skip_train": skip_train,
        "strict": strict,
        "sources": sources or (),
    }
    if ray is not None:
        from joulebench.cluster import driver as cluster

        kinds = [name.strip() for name in hardware.split(",")] if hardware else []
        with logged(mlflow) as beside:
            with observer(quiet) as observe:
                folders = cluster.run(
                    task, address=ray, hardware=kinds, out=out, observer=beside(observe), **choices
                )
            print_finished(folders)
        return
    from joulebench.runner import local
    from joulebench.runner.plan import plan

    chosen = plan(task, hardware=hardware, say=print, **choices)
    _announce(chosen.task, chosen.budget, chosen.profile.name)
    if chosen.task.protocol.allow_busy:
        print("--allow-busy: measurements count whatever else runs on the machine; reports say so")
    if chosen.hardware_override:
        say(f"--force-hardware: {chosen.hardware_override}")
    try:
        with logged(mlflow) as beside:
            with observer(quiet) as observe:
                folder = local.start(chosen, out=out, observer=beside(observe))
            print_finished([folder])
    except DeviceLostError as lost:
        from joulebench.meters.live_settings import is_settings

        live = [name for name in meter or () if is_settings(name)]
        go_on(lost, data, set_power_limit, sources, strict, mlflow, quiet, live)


def _announce(task: Task, budget: str | None, hardware: str) -> None:
    from joulebench.search.space import has_conditions, too_wide
    from joulebench.spec.task import NARROWED

    data = f"{task.dataset.name}" if task.dataset else "no data set"
    size = "continuous"
    if task.space_size is not None:
        noun = (
            "combinations of values, some not allowed or equivalent" if has_conditions(task) else "configurations"
        )
        size = f"{task.space_size:,} {noun}"
    say(f"{task.title}: task {task.name} v{task.version}, budget {budget or 'none'}, data {data}, on {hardware}")
    print(f"search space: {size}; digest {task.digest}")
    if warning := too_wide(task):
        print(warning)
    if budget in NARROWED:
        print(f"{budget} reduces the study: do not compare its results with other budgets or published studies")
