"""The command line `joulebench`: its commands and exit codes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Annotated, Any

import typer
import typer.core

from joulebench import extras
from joulebench.commands import streams
from joulebench.commands.card import card
from joulebench.commands.check import check
from joulebench.commands.compare import Compare, compare
from joulebench.commands.export import export
from joulebench.commands.gate import gate
from joulebench.commands.hardware import hardware
from joulebench.commands.measure import measure
from joulebench.commands.publish import publish
from joulebench.commands.report import Report, report
from joulebench.commands.resume import resume
from joulebench.commands.run import run
from joulebench.commands.tasks import tasks
from joulebench.commands.verify import verify
from joulebench.commands.wall import wall
from joulebench.errors import IncompleteError, InputError, described, is_full, message
from joulebench.host.user_code import interrupt

BAD_INPUT, FAILED, INTERRUPTED = 2, 3, 130
#: Time for the interpreter to end when all is written.
LAST_S = 20.0
#: The exception that typer raises for an invalid command line.
_USAGE = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")  # not exported


class _Commands(typer.core.TyperGroup):
    """The command group; user code that calls `exit()` is an error, not the end of the program."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SystemExit as stop:  # no command raises it
            raise IncompleteError(
                f"code that is not joulebench's own called exit({stop.code!r}); recorded trials are kept"
            ) from None
        except (EOFError, BrokenPipeError) as error:  # typer would catch these and exit with code 1
            raise RuntimeError(f"{type(error).__name__}: {error}") from error


app = typer.Typer(
    name="joulebench",
    cls=_Commands,
    help="Measure, search and compare the energy and quality of machine-learning models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(value: bool) -> None:
    if not value:
        return
    from importlib import metadata

    try:
        version = metadata.version("joulebench")
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        version = "(not installed: no version)"
    print(f"joulebench {version}")
    raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    pass


_FIRST: tuple[Callable[..., None], ...] = (tasks, check, hardware, run, resume)
_LAST: tuple[Callable[..., None], ...] = (gate, card, export, publish, verify, wall)

for command in _FIRST:
    app.command()(command)
app.command(context_settings={"allow_interspersed_args": False})(measure)
app.command(cls=Report, context_settings={"allow_extra_args": True})(report)
app.command(cls=Compare)(compare)
for command in _LAST:
    app.command()(command)


def main() -> None:
    """Run the command line and end with its exit code.

    0 done and complete; 1 a requested check failed; 2 bad input; 3 the run ended incomplete or the program failed;
    130 interrupted, 143 and 129 by SIGTERM and SIGHUP. Each error is one line; a failure of the program shows its
    traceback, too.
    """
    streams.make_tolerant()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # `nohup` ignores SIGHUP, and means it
            signal.signal(number, _end)
    code = _exit_code()
    if (lost := streams.failure()) is not None and code == 0:
        code = _fail(f"the output is incomplete: {lost.strerror or lost}", BAD_INPUT)
    last = threading.Timer(LAST_S, _end_waiting, (code,))
    last.daemon = True
    last.start()
    sys.exit(code)


def _end_waiting(code: int) -> None:
    """End the process where its main thread has ended and waits for a thread that a model left running."""
    if not threading.main_thread().is_alive():
        os._exit(code)


#: Signals that ended the program.
_ended_by: list[signal.Signals] = []


def _end(number: int, _: FrameType | None) -> None:
    """End as an interrupt does."""
    _ended_by.append(signal.Signals(number))
    signal.signal(number, signal.SIG_DFL)  # once more ends at once
    interrupt(number)


def _exit_code() -> int:
    try:
        code = app(prog_name="joulebench", standalone_mode=False)
    except InputError as error:
        return _fail(str(error), error.exit_code)
    except OSError as error:
        code = FAILED if is_full(error) else BAD_INPUT
        return _fail(f"{error.filename or 'file system'}: {error.strerror or error}", code)
    except KeyboardInterrupt:
        return _interrupted()
    except SystemExit as stop:  # typer's shell completion
        return stop.code if type(stop.code) is int else FAILED
    except BaseException as error:
        if isinstance(error, _USAGE):
            return _usage(error)
        if (needed := extras.missing(error)) is not None:
            return _fail(str(needed), needed.exit_code)
        import traceback

        traceback.print_exc()
        return _fail(f"failed unexpectedly: {described(error)}", FAILED)
    # a command's typer.Exit; typer turns Ctrl-C into one, too
    return _interrupted() if code == INTERRUPTED else code if type(code) is int else 0


def _usage(error: Any) -> int:
    """Report an invalid command line in one line; without a command, print the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        return BAD_INPUT
    at = getattr(error.ctx, "command_path", "joulebench") if getattr(error, "ctx", None) else "joulebench"
    return _fail(f"{error.format_message()} (see `{at} --help`)", BAD_INPUT)


def _interrupted() -> int:
    how = f"ended by {_ended_by[0].name}" if _ended_by else "interrupted"
    measuring = sys.argv[1:2] == ["measure"]  # commands that records name are not run again
    kept = "the runs before are kept" if measuring else (
        "finished trials are kept, and `joulebench resume` with the run's folder continues"
    )  # fmt: skip
    return _fail(
        f"{how}; {kept}",
        128 + _ended_by[0] if _ended_by else INTERRUPTED,
    )


def _fail(text: str, code: int) -> int:
    print(f"joulebench: {message(text)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
