"""Command `joulebench compare`: compare runs across machines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from joulebench.commands.options import OutIfGivenOption
from joulebench.commands.printing import say
from joulebench.errors import InputError

_GATE = "compare: needs two or more run folders; commits and baselines are compared by `joulebench gate`"
_REPLICATES = (".json", ".jsonl")


class Compare(typer.core.TyperCommand):
    """The command; without arguments, or with an option of `gate`, its error refers to `gate`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        gate = ctx.parent.command.get_command(ctx.parent, "gate")
        options = {name for p in gate.params for name in p.opts} - {name for p in self.params for name in p.opts}
        if not args or any(text.partition("=")[0] in options for text in args):
            raise InputError(_GATE)
        return super().parse_args(ctx, args)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Two or more run folders of one task.")],
    out: OutIfGivenOption = None,
) -> None:
    """Compare runs of one task across machines.

    The comparison is written to the folder --out, by default beside the first run.
    """
    from joulebench.comparison.page import write_comparison
    from joulebench.records.folder import RunFolder

    if any(_holds_replicates(run) for run in runs):
        raise InputError(_GATE)
    if len(runs) < 2:
        raise InputError("compare: needs two or more run folders; for one run use `joulebench report RUN`")
    written = write_comparison([RunFolder.open(run) for run in runs], out)
    say(written.headline)
    say(f"comparison: {written.page}")


def _holds_replicates(path: Path) -> bool:
    """Whether a path is a file or folder of the gate's replicates instead of a run folder."""
    if path.suffix in _REPLICATES:
        return True
    if not path.is_dir() or (path / "manifest.json").exists():
        return False
    return any(file.suffix in _REPLICATES for file in path.iterdir())
