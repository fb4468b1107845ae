"""Commands: parse, call, print. `joulebench --help` lists them."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from joulebench.commands.gate import compare
from joulebench.commands.results import assignment, card, export, print_report, publish, report, verify, wall
from joulebench.errors import GateError, IncompleteError, InputError
from joulebench.spec.task import Task

if TYPE_CHECKING:
    from joulebench.records.folder import RunFolder

INTERRUPTED = 130


class _Commands(typer.core.TyperGroup):
    """The commands; code of the user's that they run cannot end the program as if all were well."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SystemExit as stop:  # no command raises it
            raise IncompleteError(
                f"the code that is measured called exit({stop.code!r}); finished trials are kept, and "
                "`joulebench resume` with the run's folder continues"
            ) from None


app = typer.Typer(
    name="joulebench",
    cls=_Commands,
    help="Energy and quality of machine-learning models: measured, searched, compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

OutOption = Annotated[Path, typer.Option("--out", help="Folder for run folders.")]
DataOption = Annotated[Path | None, typer.Option("--data", help="Data set: a folder or an archive.")]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Stop with exit code 1 if the meter's precheck fails.")
]
PowerOption = Annotated[
    bool, typer.Option("--set-power-limit", help="Let the task set the GPU's power limit; it is put back.")
]
RayOption = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster: `auto` on one of its nodes, or HOST:PORT."),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress; one line a trial.")]


def main() -> None:
    """The command `joulebench`: exit code 1 is a failed gate, 2 bad input in one line, 3 a run that ended
    incomplete, 130 Ctrl-C; no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that has no "→" shows "?" and ends nothing
    try:
        app()
    except InputError as error:
        _fail(str(error), 1 if isinstance(error, GateError) else 3 if isinstance(error, IncompleteError) else 2)
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}", 2)
    except (KeyboardInterrupt, SystemExit) as stop:  # typer turns Ctrl-C into SystemExit(130)
        if isinstance(stop, KeyboardInterrupt) or stop.code == INTERRUPTED:
            _fail(
                "interrupted; finished trials are kept, and `joulebench resume` with the run's folder continues",
                INTERRUPTED,
            )
        raise


def _fail(message: str, code: int) -> None:
    print(f"joulebench: {message}", file=sys.stderr)
    sys.exit(code)


@app.command()
def tasks() -> None:
    """List the tasks, their budgets and their objectives."""
    from joulebench.spec.catalog import find_task, task_files

    for name in task_files():
        task = find_task(name)
        budgets = ", ".join(task.budgets) or "one"
        print(f"{name:<18} {task.title}")
        print(f"{'':<18} objectives: {', '.join(task.objectives)}; budgets: {budgets}")


@app.command()
def check(
    paths: Annotated[list[Path] | None, typer.Argument(help="Task or profile files; all when absent.")] = None,
) -> None:
    """Check task and hardware profile files; exit code 2 if one of them is broken."""
    from joulebench.spec.catalog import check_file, profile_files, task_files

    broken = 0
    for path in paths or [*task_files().values(), *profile_files().values()]:
        try:
            print(f"{path}: ok ({check_file(path)})")
        except InputError as error:
            broken += 1
            print(f"joulebench: {error}", file=sys.stderr)
    if broken:
        raise typer.Exit(2)


@app.command()
def hardware(
    profile: Annotated[str | None, typer.Argument(help="A profile to show; this host's when absent.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="List every profile; * marks those that fit.")] = False,
    ray: RayOption = None,
) -> None:
    """Show this host, its hardware profile with the source of every fact, and which meters it has; or a cluster."""
    if ray is not None:
        from joulebench.commands.cluster_hardware import cluster_lines

        print("\n".join(cluster_lines(ray)))
        return
    from joulebench.commands import hardware as inventory
    from joulebench.spec.catalog import all_profiles, find_profile
    from joulebench.spec.hardware import choose_profile, detect_host, mismatch

    host = detect_host()
    if everything:
        print("\n".join(inventory.catalogue_lines(all_profiles(), host)))
        return
    print("\n".join(inventory.host_lines(host)))
    chosen = find_profile(profile) if profile else choose_profile(all_profiles(), host)
    print("\n".join(["", *inventory.profile_lines(chosen, mismatch(chosen, host))]))
    from joulebench.meters.select import availability

    print("\n".join(["", *inventory.meter_lines(availability(host, chosen))]))


@app.command()
def run(
    task: Annotated[str, typer.Argument(help="A task's name, or the path of its TOML file.")],
    budget: Annotated[str | None, typer.Option(help="quick, standard, paper, …: see `joulebench tasks`.")] = None,
    hardware: Annotated[
        str | None,
        typer.Option(help="Hardware profile, by name or file; found by itself when absent. With --ray: A,B,…"),
    ] = None,
    force_hardware: Annotated[
        bool, typer.Option("--force-hardware", help="Use --hardware though it is not this host's; reports say so.")
    ] = False,
    grid_intensity: Annotated[float | None, typer.Option(help="Of your grid, in g CO2e/kWh: for carbon.")] = None,
    country: Annotated[str | None, typer.Option(help="ISO code such as FRA: its grid, for carbon.")] = None,
    pue: Annotated[float | None, typer.Option(help="Of your building: applied once, to carbon.")] = None,
    data: DataOption = None,
    out: OutOption = Path("runs"),
    seed: Annotated[int, typer.Option(help="Seed of everything that is random.")] = 0,
    sets: Annotated[list[str] | None, typer.Option("--set", help="Fix a parameter: name=value.")] = None,
    trials_from: Annotated[Path | None, typer.Option(help="Measure another run's configurations.")] = None,
    max_energy: Annotated[str | None, typer.Option(help="Stop before the run has spent more: 500kJ, 2kWh.")] = None,
    inferences: Annotated[
        float | None, typer.Option(help="Units of work to come: stop when searching on saves less than it costs.")
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Tell each training's joules from its first epochs.")
    ] = False,
    replay: Annotated[
        str | None,
        typer.Option(help="Dry run: joules from a power trace (CSV `t_s,cpu,…`) or constant watts."),
    ] = None,
    ray: RayOption = None,
    set_power_limit: PowerOption = False,
    strict: StrictOption = False,
    quiet: QuietOption = False,
) -> None:
    """Run a task and write its report; exit code 1 if the task has a gate and missed it."""
    from joulebench.commands.progress import observer
    from joulebench.runner import local
    from joulebench.runner.plan import plan
    from joulebench.runner.stopping import parse_energy_j

    choices: dict[str, Any] = {
        "budget": budget,
        "force_hardware": force_hardware,
        "grid_intensity": grid_intensity,
        "country": country,
        "pue": pue,
        "data": data,
        "seed": seed,
        "overrides": dict(assignment(text) for text in sets or []),
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
        _reports(folders)
        return
    chosen = plan(task, hardware=hardware, **choices)
    _announce(chosen.task, chosen.budget, chosen.profile.name)
    if chosen.hardware_override:
        print(f"--force-hardware: {chosen.hardware_override}")
    with observer(quiet) as observe:
        folder = local.start(chosen, out=out, observer=observe)
    print_report(folder, gated=True)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    data: DataOption = None,
    ray: RayOption = None,
    set_power_limit: PowerOption = False,
    strict: StrictOption = False,
    quiet: QuietOption = False,
) -> None:
    """Continue a stopped run where it was."""
    from joulebench.commands.progress import observer
    from joulebench.runner import local

    if ray is not None:
        from joulebench.cluster import driver as cluster

        with observer(quiet) as observe:
            folders = cluster.resume(
                run, address=ray, data=data, strict=strict, set_power_limit=set_power_limit, observer=observe
            )
        _reports(folders)
        return

    with observer(quiet) as observe:
        folder = local.resume(run, data=data, strict=strict, set_power_limit=set_power_limit, observer=observe)
    print_report(folder, gated=True)


def _reports(folders: Sequence[RunFolder]) -> None:
    """One for each; exit code 1 if any missed its gate."""
    missed = False
    for folder in folders:
        try:
            print_report(folder, gated=True)
        except typer.Exit:
            missed = True
    if missed:
        raise typer.Exit(1)


def _announce(task: Task, budget: str | None, hardware: str) -> None:
    from joulebench.search.space import has_conditions

    data = f"{task.dataset.name}" if task.dataset else "no data set"
    size = "continuous"
    if task.space_size is not None:
        some = "combinations of values, some not allowed or alike" if has_conditions(task) else "configurations"
        size = f"{task.space_size:,} {some}"
    print(f"{task.title}: task {task.name} v{task.version}, budget {budget or 'none'}, data {data}, on {hardware}")
    print(f"search space: {size}; digest {task.digest}")
    if budget == "quick":
        print("quick narrows the study: its results compare with no other budget and no published study")


for command in (report, compare, card, export, wall, publish, verify):
    app.command()(command)


if __name__ == "__main__":
    main()
