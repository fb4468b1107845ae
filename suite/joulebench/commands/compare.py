"""`joulebench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from joulebench.commands.options import OutIfGivenOption
from joulebench.errors import InputError, one_line

_GATE = "compare: takes run folders, two or more; the energy gate of commits and baselines is `joulebench gate`"
_REPLICATES = (".json", ".jsonl")


class Compare(typer.core.TyperCommand):
    """The command, which refers to `gate` whoever gives it nothing or an option of the gate's."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        gate = ctx.parent.command.get_command(ctx.parent, "gate")
        options = {name for p in gate.params for name in p.opts} - {name for p in self.params for name in p.opts}
        if not args or any(text.partition("=")[0] in options for text in args):
            raise InputError(_GATE)
        return super().parse_args(ctx, args)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders of one task, two or more.")],
    out: OutIfGivenOption = None,
) -> None:
    """Compare runs of one task across machines.

    The comparison is written to the folder of --out, or beside the first run.
    """
    from joulebench.comparison.page import write_comparison
    from joulebench.records.folder import RunFolder

    if any(_is_of_the_gate(run) for run in runs):
        raise InputError(_GATE)
    if len(runs) < 2:
        raise InputError("compare: takes two runs or more; a single one has its report, `joulebench report RUN`")
    written = write_comparison([RunFolder.open(run) for run in runs], out)
    print(one_line(written.headline))
    print(f"comparison: {written.page}")


def _is_of_the_gate(path: Path) -> bool:
    """Whether it is no run, but what the gate measures: a file of replicates, or a folder of such."""
    if path.suffix in _REPLICATES:
        return True
    if not path.is_dir() or (path / "manifest.json").exists():
        return False
    return any(file.suffix in _REPLICATES for file in path.iterdir())
