"""Joules of a training and of each of its epochs, as a callback of Hugging Face's `Trainer` or of Lightning."""

from __future__ import annotations

import importlib
import itertools
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from joulebench import extras
from joulebench.errors import InputError, described
from joulebench.inline.record import DOMAINS, Machine, Taken, write_record
from joulebench.inline.result import Shown
from joulebench.inline.running import measuring
from joulebench.measurement.instrument import Instrument
from joulebench.presentation.numbers import ABSENT, number, seconds
from joulebench.presentation.table import Cell, Column, Table
from joulebench.records.model import Fault, FaultKind, Window
from joulebench.results.energy import Energy, training_energy
from joulebench.results.validity import training_fault
from joulebench.spec.task import Protocol

#: A shorter window between two epochs may hold less than one step of a counter: it is left out where it is faulted.
SHORT_S = 0.1
#: An epoch that is nearer to its end is finished: of the count of its steps, by division.
WHOLE = 1e-6
#: Phases of a training's windows.
TRAIN, OTHER = "train", "other"
#: Modules that stand between a training's own code and the callback.
_BETWEEN = frozenset({__name__, "transformers.trainer_callback"})


class TrainingJoules(Shown):
    """What the last training took: `epochs` and `training`, gross joules; None where they do not count.

    Evaluation and saving belong to the training, and to no epoch.
    """

    def __init__(self, name: str, hardware: str | None, replay: str | None, allow_busy: bool) -> None:
        self._name, self._hardware, self._replay = name, hardware, replay
        self._protocol = Protocol(repeats=1, min_windows=1, max_repeats=1, idle_s=0.0, allow_busy=allow_busy)
        self._windows: list[Window] = []
        self._ends: list[int] = []  # of each epoch, how many windows there were by then
        self._phase = OTHER  # of the window that is open
        self._whole = False
        self._open: ExitStack | None = None
        self._instrument: Instrument | None = None
        self._pid = 0
        self._machine: Machine | None = None

    def begin(self, goes_on: Callable[[], bool]) -> None:
        """Begin a training; one that never ended is given up.

        Args:
            goes_on: whether it still runs, where nothing may tell that it raised.

        Raises:
            InputError: another block is being measured, or the meters do not start.
        """
        self.give_up()
        self._windows, self._ends, self._phase, self._whole, self._pid = [], [], OTHER, False, os.getpid()
        with ExitStack() as stack:
            instrument = stack.enter_context(measuring(self._name, self._hardware, self._replay, goes_on))
            instrument.timeline.cut("other")
            instrument.timeline.take()
            self._instrument, self._machine = instrument, Machine.of(instrument, self._replay)
            self._open = stack.pop_all()

    def turn(self, phase: str) -> None:
        """Go on with `TRAIN`, steps of an epoch, or `OTHER`, such as evaluation."""
        if phase != self._phase:
            self._cut()
            self._phase = phase

    def end_epoch(self, *, whole: bool = True) -> None:
        """End an epoch; one that was broken off is of the training, and none of `epochs`."""
        self.turn(OTHER)
        if self._measures and whole:
            self._ends.append(len(self._windows))

    @property
    def _measures(self) -> bool:
        return self._instrument is not None and self._pid == os.getpid()  # in a fork, its parent does

    def _cut(self) -> None:
        if self._instrument is not None and self._measures:
            self._windows.append(self._instrument.timeline.cut(self._phase, units=1, steps=1))
            self._instrument.timeline.take()

    def end(self) -> None:
        """End the training, which has done its work."""
        self._cut()
        self._whole = self._measures
        self.give_up()

    def give_up(self) -> None:
        """Let another block be measured: the training ended, or raised. Its finished epochs are kept."""
        opened, self._open, self._instrument = self._open, None, None
        if opened is not None:
            opened.close()

    @property
    def _epochs(self) -> list[list[Window]]:
        return [[w for w in self._windows[begin:end] if w.phase == TRAIN]
                for begin, end in itertools.pairwise([0, *self._ends])]  # fmt: skip

    @property
    def epochs(self) -> tuple[Energy | None, ...]:
        """Joules of each epoch that was finished."""
        return tuple(training_energy(self._protocol, windows, DOMAINS) for windows in self._epochs)

    @property
    def training(self) -> Energy | None:
        """Joules of the whole training; None where it raised, or a part of it does not count."""
        if not self._whole:
            return None
        every = [w.model_copy(update={"phase": TRAIN}) for w in self._windows if self._counts(w)]
        return training_energy(self._protocol, every, DOMAINS)

    def _counts(self, window: Window) -> bool:
        """Every epoch does, and all between two but what is too short for a counter and was not read."""
        is_long = window.phase == TRAIN or window.duration_s >= SHORT_S
        return is_long or training_fault(window, self._protocol) is None

    @property
    def seconds(self) -> tuple[float, ...]:
        """Seconds of each epoch that was finished."""
        return tuple(sum(w.duration_s for w in windows) for windows in self._epochs)

    @property
    def faults(self) -> tuple[str, ...]:
        """Why what was measured does not count; empty where it does."""
        every = (training_fault(w, self._protocol) for w in self._windows if self._counts(w))
        found = [fault.text for fault in every if fault is not None]
        return tuple(dict.fromkeys(found))

    def rows(self) -> list[dict[str, Any]]:
        """One row of data an epoch, and one of the training where it ended."""
        every = zip(self.epochs, self.seconds, strict=True)
        found: list[tuple[int | str, Energy | None, float]] = [(n, e, s) for n, (e, s) in enumerate(every, 1)]
        if self._whole:
            found.append(("training", self.training, sum(w.duration_s for w in self._windows)))
        return [{"epoch": n, "j": e and e.mean, "kind": e and e.kind, "s": s} for n, e, s in found]

    def record(self, out: str | Path = "runs") -> Path:
        """Write a run folder below `out`, with the training as one trial; what lies between epochs is `validate`.

        Raises:
            InputError: nothing was trained yet, or the folder cannot be written.
        """
        if self._machine is None or not self._windows:
            raise InputError("record: nothing was trained yet")
        last = {max(n for n in range(end) if self._windows[n].phase == TRAIN) for end in self._ends}
        ended = max(self._ends, default=0)  # joules of an epoch that was broken off are of no epoch
        windows = tuple(
            w.model_copy(
                update={
                    "phase": TRAIN if w.phase == TRAIN and n < ended else "validate",
                    "units": int(n in last),
                }
            )
            for n, w in enumerate(self._windows)
        )
        text = "the training did not end" if not self._whole else "no epoch was finished" if not ended else None
        fault = None if text is None else Fault(kind=FaultKind.NO_WORK, text=text)
        taken = [Taken(self._name, windows, fault)]
        return write_record(out, self._name, TRAIN, "epoch", taken, self._protocol, self._machine)

    @property
    def table(self) -> Table:
        """One row an epoch, and the training."""
        columns = (Column("Epoch"), Column("Energy (J)", True), Column("Time", True), Column("Kind"))
        rows = tuple(
            (
                Cell(str(r["epoch"])),
                Cell(ABSENT if r["j"] is None else number(r["j"])),
                Cell(seconds(r["s"])),
                Cell(r["kind"] or ABSENT),
            )
            for r in self.rows()
        )
        why = f": {self.faults[0]}" if self.faults else ""
        return Table(f"{self._name}{why}", columns, rows)


class _Running:
    """Whether a call still runs. An exception that leaves it tells its callbacks nothing, and is no fault of it.

    It holds no frame, which would keep the model: a number, and the code that ran there.
    """

    def __init__(self, frame: FrameType) -> None:
        self._of: tuple[int, CodeType] = id(frame), frame.f_code

    def __call__(self) -> bool:
        for frame in sys._current_frames().values():
            at: FrameType | None = frame
            while at is not None:
                if (id(at), at.f_code) == self._of:
                    return True
                at = at.f_back
        return False


def _caller() -> FrameType:
    frame = sys._getframe(1)
    while frame.f_globals.get("__name__") in _BETWEEN and frame.f_back is not None:
        frame = frame.f_back
    return frame


class TrainerEvents(TrainingJoules):
    """The events of a Hugging Face `Trainer`. Of several processes of a machine the first measures."""

    def on_train_begin(self, _args: Any, state: Any, *_: Any, **__: Any) -> None:
        if state.is_local_process_zero:
            self.begin(_Running(_caller()))

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.turn(TRAIN)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.turn(TRAIN)

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        if control.should_evaluate or control.should_save:  # which comes next
            self.turn(OTHER)

    def on_epoch_end(self, _args: Any, state: Any, control: Any, **_: Any) -> None:
        passed = state.epoch or 0.0  # 1.5: `max_steps` came within the second
        self.end_epoch(whole=not control.should_training_stop or abs(passed - round(passed)) < WHOLE)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.end()


class LightningEvents(TrainingJoules):
    """The hooks of Lightning. Of several processes of a machine the first measures."""

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        if getattr(trainer, "local_rank", 0) == 0:
            self.begin(lambda: True)  # `on_exception` tells its end

    def on_train_epoch_start(self, *_: Any) -> None:
        self.turn(TRAIN)

    def on_train_batch_start(self, *_: Any) -> None:
        self.turn(TRAIN)

    def on_validation_start(self, *_: Any) -> None:  # within the epoch, as Lightning has it
        self.turn(OTHER)

    def on_train_epoch_end(self, *_: Any) -> None:
        self.end_epoch()

    def on_train_end(self, *_: Any) -> None:
        self.end()

    def on_exception(self, *_: Any) -> None:
        self.give_up()


def trainer_callback(
    *, name: str = "training", hardware: str | None = None, replay: str | None = None, allow_busy: bool = False
) -> Any:
    """A callback for `transformers.Trainer(callbacks=[…])`; afterwards it has `epochs`, `training` and a table.

    Args:
        name: in messages.
        hardware: profile, by name or file; by default this host's.
        replay: a dry run: joules from a power trace, or constant watts.
        allow_busy: take what was measured beside other work on the machine.

    Raises:
        InputError: transformers is not installed, or cannot be imported.
    """
    try:
        base = importlib.import_module("transformers").TrainerCallback
    except ImportError as error:
        where = "trainer_callback"
        raise extras.missing(error, where) or InputError(f"{where}: {described(error)}") from None
    return type("TrainerJoules", (TrainerEvents, base), {})(name, hardware, replay, allow_busy)


def lightning_callback(
    *, name: str = "training", hardware: str | None = None, replay: str | None = None, allow_busy: bool = False
) -> Any:
    """A callback for Lightning's `Trainer(callbacks=[…])`; the arguments are those of `trainer_callback`.

    Raises:
        InputError: neither lightning nor pytorch_lightning is installed.
    """
    for package in ("lightning.pytorch", "pytorch_lightning"):
        try:
            base = importlib.import_module(package).Callback
        except ImportError:
            continue
        return type("LightningJoules", (LightningEvents, base), {})(name, hardware, replay, allow_busy)
    raise InputError("lightning_callback needs lightning: pip install lightning")
