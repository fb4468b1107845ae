"""docs/gpu.md is true: its commands and scripts are ones, and its minutes follow from the tasks' protocols.

`python -m tests.docs.test_gpu` writes the table of minutes anew.
"""

from __future__ import annotations

import math
import re
import subprocess
import sys

from joulebench.host.files import write_whole
from joulebench.runner.plan import plan
from joulebench.search import planned_trials
from joulebench.spec.catalog import find_task, task_files
from joulebench.spec.hardware import Host
from joulebench.spec.task import Task
from tests.conftest import REPOSITORY

PATH = REPOSITORY / "docs" / "gpu.md"
TEXT = PATH.read_text(encoding="utf-8")
BEGIN, END = "<!-- minutes: begin -->\n", "<!-- minutes: end -->"
TIMED = (
    ("meter_consistency", ("short", "standard")),
    ("cifar10", ("short", "standard", "paper")),
    ("transformer_batch", ("short", "standard", "paper")),
    ("transformer_size", ("standard",)),
    ("transformer_consistency", ("standard",)),
)
H100 = Host("A CPU", 8, ("NVIDIA H100 80GB HBM3",))
#: Phases that a workload has measured: of generation prefill, decode and whole requests.
PHASES = {"cnn": 1, "zoo": 1, "transformer": 3}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def runs_of(task: Task) -> int:
    """Trials of a run: those of its stages, and confirming ones of as many members as the task allows."""
    confirming = task.confirm.repeats * (task.confirm.members + 1) if task.has_frontier else 0
    return planned_trials(task) + confirming


def minutes(task: Task) -> tuple[float, float]:
    """Warm-up, windows and idle baselines of a run: the least that its protocol allows, and the most."""
    p, trials = task.protocol, runs_of(task)
    idle_s = math.ceil(trials / p.idle_every) * p.idle_s
    measured = trials * PHASES[task.workload]
    least_s = measured * (p.warmup_s + p.repeats * p.window_s) + idle_s
    most_s = measured * (p.max_warmup_s + p.max_repeats * p.window_s) + idle_s
    return least_s / 60, most_s / 60


def table() -> str:
    lines = ["| task | budget | configurations | minutes |", "| --- | --- | ---: | ---: |"]
    for name, budgets in TIMED:
        for budget in budgets:
            task = plan(name, budget=budget, host=H100).task
            least, most = (f"{m:.1f}" if m < 10 else f"{m:.0f}" for m in minutes(task))
            lines.append(f"| `{name}` | `{budget}` | {runs_of(task)} | {least} … {most} |")
    return "\n".join(lines) + "\n"


def test_its_minutes_follow_from_the_protocols():
    assert TEXT.split(BEGIN)[1].split(END)[0] == table()


def test_its_commands_and_options_exist():
    noxfile = (REPOSITORY / "noxfile.py").read_text(encoding="utf-8")
    for session in re.findall(r"nox -s (\w+)", TEXT):
        assert f"def {session}(" in noxfile
    told = "".join(
        subprocess.run(
            [sys.executable, "-m", "joulebench", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for command in ("run", "hardware", "publish", "resume")
    )
    joined = TEXT.replace("\\\n", " ")
    commands = re.findall(r"joulebench(?:\.sif)? (?:run|hardware|publish|resume) [^`#\n]*", joined)
    assert len(commands) > 6
    for option in {option for command in commands for option in re.findall(r" (--[a-z][a-z-]+)", command)}:
        assert option in told, option
    for name, budget in re.findall(r"joulebench(?:\.sif)? run (\w+) --budget (\w+)", TEXT):
        assert name in task_files()
        assert budget in find_task(name).budgets


def test_its_scripts_are_of_bash():
    scripts = [
        *blocks("bash"),
        *("\n".join(re.findall(r"^\$ (.*)$", block, flags=re.M)) for block in blocks("console")),
    ]
    assert len(scripts) > 5
    for script in scripts:
        assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    (slurm,) = blocks("bash")
    assert "#SBATCH --exclusive\n" in slurm
    assert re.search(r"#SBATCH --array=\d+-\d+%1\n", slurm)
    assert "\nexec " in slurm  # so that Slurm's signals reach it


def test_what_it_points_to_exists():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (PATH.parent / target).exists(), target


if __name__ == "__main__":
    head, rest = TEXT.split(BEGIN)
    write_whole(PATH, f"{head}{BEGIN}{table()}{END}{rest.split(END, 1)[1]}".encode())
