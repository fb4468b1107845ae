"""Progress display of a run: a bar with an ETA on a terminal, else plain lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from joulebench.commands.streams import terminal
from joulebench.text import one_line

if TYPE_CHECKING:
    from joulebench.runner.events import Event, Observer


@contextmanager
def observer(quiet: bool = False, stream: TextIO | None = None) -> Iterator[Observer]:
    """Observer for `joulebench.runner`: a live bar on a terminal, else a line per trial; on standard output."""
    console = Console(file=terminal(stream or sys.stdout), highlight=False, markup=False)
    if quiet or not console.is_terminal:
        yield _Tolerant(lambda event: _line(console, event))
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Tolerant(_Live(progress, console))


@contextmanager
def logged(mlflow: str | None) -> Iterator[Callable[[Observer], Observer]]:
    """Log a run to an MLflow store while it goes; after the block bring the store up to date.

    One that is interrupted is only marked there as killed.

    Yields what adds the log to an observer; nothing is added without a store.

    Raises:
        InputError: MLflow is not installed.
    """
    if mlflow is None:
        yield lambda observe: observe
        return
    from joulebench.reporting.mlflow_live import KILLED_S, LiveLog

    log = LiveLog(mlflow)
    wait_s = float(KILLED_S)
    try:
        yield log.beside
    finally:
        if not isinstance(sys.exc_info()[1], KeyboardInterrupt):
            for line in log.finish():
                print(line)
            wait_s = 0.0
        log.close(wait_s)


class _Tolerant:
    """An observer that stops printing after an output error: a closed pipe must not end a measurement."""

    def __init__(self, show: Observer) -> None:
        self._show: Observer | None = show

    def __call__(self, event: Event) -> None:
        if self._show is None:
            return
        try:
            self._show(replace(event, text=one_line(event.text)))
        except (OSError, ValueError):  # ValueError: the stream is closed, or cannot encode a character
            self._show = None


class _Live:
    """Observer that updates a `rich` progress display."""

    def __init__(self, progress: Progress, console: Console) -> None:
        self._progress, self._console = progress, console
        self._bars = {kind: progress.add_task("", visible=False) for kind in ("data", "trial")}
        self._trial = ""

    def __call__(self, event: Event) -> None:
        bar = self._bars["data" if event.kind == "data" else "trial"]
        match event.kind:
            case "data":
                self._progress.update(
                    bar, description=event.text, completed=event.done, total=event.total or None,
                    visible=event.done < event.total or not event.total,
                )  # fmt: skip
            case "trial":
                self._trial = event.text
                self._progress.update(
                    bar, description=event.text, completed=event.done, total=event.total or None, visible=True
                )
            case "epoch":
                self._progress.update(bar, description=f"{self._trial} · {event.text}")
            case _:
                _line(self._console, event)
        if event.kind == "result":
            self._progress.update(bar, completed=event.done, total=event.total or None)


def _line(console: Console, event: Event) -> None:
    if event.kind in ("note", "score"):
        console.print(event.text, soft_wrap=True)
    elif event.kind == "data" and 0 < event.total <= event.done:
        console.print(f"{event.text}: {event.total}")
    elif event.kind == "result":
        console.print(f"[{event.done}/{event.total or '?'}] {event.text}", soft_wrap=True)
