"""Measurement of the table `digits_grid`: a thinned grid of the task `digits`, each configuration once.

    python -m tests.search.study.digits_grid [--out runs/digits_grid]     run it, about ten minutes
    python -m tests.search.study.digits_grid --resume RUN                 go on with one that was stopped

Writes digits.csv from the run's records. The windows are short, and count whatever else runs on the machine: what
is wanted is a table of the shape that a search meets, not figures to compare with.
"""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from joulebench.host.files import write_whole
from joulebench.presentation.numbers import significant
from joulebench.results.run import Run
from joulebench.runner import local
from joulebench.spec.catalog import task_files
from joulebench.spec.task import Task
from joulebench.spec.toml import merge, read_toml
from tests.search.study.tables import DIGITS

GRID: dict[str, Any] = {
    "name": "digits_grid",
    "title": "A grid of the space of the task digits",
    "parameters": {"width": {"type": "choice", "values": [2, 4, 8, 16, 32, 48], "ordered": True, "default": 16}},
    "protocol": {
        "warmup_s": 0.2,
        "max_warmup_s": 1.0,
        "window_s": 0.4,
        "repeats": 2,
        "max_repeats": 3,
        "idle_s": 1.0,
        "idle_every": 200,
        "control": False,
        "allow_busy": True,
        "max_train_s": 6.0,
    },
}
COLUMNS = ("width", "depth", "kernel", "pool")


def grid_task() -> Task:
    """The task `digits` with one stage: every configuration of the grid."""
    given = merge(read_toml(task_files()["digits"]), GRID)
    width = {"width": GRID["parameters"]["width"]}
    return Task.model_validate(
        {
            **{k: v for k, v in given.items() if k not in ("budgets", "published")},
            "parameters": {**given["parameters"], **width},
            "stages": {"grid": {"method": "grid"}},
            "analyses": ["frontier"],
            "confirm": {"repeats": 0},
        }
    )


def table_text(run: Run) -> str:
    """The finished configurations as CSV, in the order of their parameters."""
    rows = []
    for c in run.configurations:
        if c.complete:
            values = [significant(c.outcomes[n].value.mean) for n in run.task.objectives]
            rows.append([*(c.params[n] for n in COLUMNS), *values])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*COLUMNS, *run.task.objectives])
    for row in sorted(rows):
        writer.writerow([str(v).lower() if isinstance(v, bool) else v for v in row])
    return text.getvalue()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--resume", type=Path, default=None, metavar="RUN")
    given = parser.parse_args(arguments)
    folder = local.run(grid_task(), out=given.out) if given.resume is None else local.resume(given.resume)
    write_whole(DIGITS, table_text(Run.of(folder)).encode())
    print(f"{folder.path} -> {DIGITS}")


if __name__ == "__main__":
    main()
