"""Trials in processes of their own: each begins in a new interpreter, and whatever ends it ends nothing else.

For every call this process starts a child, which sets up the meters and the data, does the one piece of work and
sends back its result and its windows. The run's timeline gives way while the child measures: from when the child
has imported what it needs, and is about to read its meters, until its answer has come. But for these two moments of
some milliseconds, a joule falls into the windows of one of the two. Where the child dies, this process's own meters
have its joules.
"""

from __future__ import annotations

import io
import json
import math
import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from joulebench.errors import InputError, described
from joulebench.host.clock import VirtualClock
from joulebench.host.process import ChildProcess, TimeLimitError, end_left, join_run
from joulebench.host.user_code import end_copy
from joulebench.measurement.bench import Bench
from joulebench.measurement.harness import lost_trial
from joulebench.measurement.protocol import Note
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import LearnedCounters
from joulebench.records.model import TrialRecord, Window
from joulebench.runner import meter_check, scoring
from joulebench.runner.execution import Say, run_order
from joulebench.runner.plan import Plan
from joulebench.runner.session import Facts, open_bench
from joulebench.runner.trials import Order, Trials
from joulebench.spec.task import Protocol

POLL_S = 0.25  # between checks whether the child is alive
END_S = 5.0  # for a child that has closed its connection to end
_CUT_OFF = 71  # exit code of a child that has lost its connection
#: Before each message of a child, and then its size: a model may write to the connection, too.
_MARK, _SIZE_BYTES, _PIECE_BYTES = b"joulebench\0", 8, 1 << 20
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from joulebench.runner import isolation; isolation.serve(int(sys.argv[1]))"
)


class ChildLostError(Exception):
    """Child process that ended, or was ended, before it had done its work; the message says how."""


@dataclass(frozen=True)
class _Work:
    """Piece of work for a child: what to do on its bench, and how to set that up."""

    plan: Plan
    began_s: float  # of a virtual clock
    replay_origin_s: float  # when a replayed trace began
    do: Callable[[Bench, Say], _Result]
    learned: LearnedCounters  # of counters, so that no child watches them anew


@dataclass(frozen=True)
class _Result:
    """What a child sends back of its work; `state`: weights, which it sends only if asked for."""

    value: Any
    windows: tuple[Window, ...] = ()
    state: Any = None


class Isolated:
    """Runs each call in a child process; one that does not end is killed, and the run goes on.

    Its methods are those of `InProcess`; `overdue` is never called, as this process does not end.
    """

    def __init__(self, chosen: Plan, timeline: Timeline, replay_origin_s: float, learned: LearnedCounters) -> None:
        """`learned`: what this process's meters have learned of counters."""
        self._plan, self.timeline, self._origin_s, self._learned = chosen, timeline, replay_origin_s, learned

    def facts(self) -> Facts:
        try:
            with self._result(partial(_facts, self._plan), _silent) as (result, _):
                facts: Facts = result.value
                return facts
        except ChildLostError as lost:
            raise InputError(f"workload '{self._plan.task.workload}': {lost}") from None

    def check_meters(self, seed: int, note: Note, overdue: Callable[[], None]) -> str | None:
        del overdue
        try:
            with self._result(partial(_check_meters, seed), lambda _, text: note(text)) as (result, _):
                error: str | None = result.value
                return error
        except ChildLostError as lost:
            return str(lost)

    def trial(self, order: Order, trials: Trials) -> None:
        try:
            with self._result(partial(_trial, order), trials.say) as (result, child):
                record = result.value.model_copy(update={"windows": self.timeline.take()})
                trials.keep(record, partial(child.state, trials.say))
        except ChildLostError as lost:
            trials.keep(lost_trial(self._plan.task, order.request, str(lost), self.timeline.take()))

    def score(self, trial: TrialRecord, weights: Path, overdue: Callable[[], None]) -> dict[str, float]:
        del overdue
        with self._result(partial(_score, trial, weights.resolve()), _silent) as (result, _):
            metrics: dict[str, float] = result.value
            return metrics

    @contextmanager
    def _result(self, do: Callable[[Bench, Say], _Result], say: Say) -> Iterator[tuple[_Result, _Child]]:
        """Do the work in a child, which lives until the end of the block.

        Raises:
            ChildLostError: the child ended before, or took longer than `protocol.max_trial_s`.
            InputError: what the work refuses.
        """
        clock = self.timeline.clock
        with _Child(self._plan.task.protocol) as child:
            try:
                child.send(_Work(self._plan, clock.now_s(), self._origin_s, do, self._learned))
                child.receive(say)  # its meters are next
                self.timeline.cut("start")
                child.send(_GO)
                result = child.receive(say)
            except (ChildLostError, InputError):
                self.timeline.cut("failed")
                raise
            if isinstance(clock, VirtualClock) and result.windows:
                clock.sleep(max(0.0, result.windows[-1].end_s - clock.now_s()))
            self.timeline.adopt(result.windows)
            yield result, child


class _Child:
    """A child process and the connection to it; a context manager that kills it at the end."""

    def __init__(self, protocol: Protocol) -> None:
        self._protocol, self._began_s = protocol, time.monotonic()
        self._connection, theirs = multiprocessing.Pipe()
        # -P: the current folder, whose files may be called as Python's modules, is where this process has it
        words = [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), json.dumps(sys.path)]
        try:
            self._process = ChildProcess(words, pass_fds=(theirs.fileno(),))
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._connection.close()

    def send(self, message: Any) -> None:
        """Send a message; raises ChildLostError where the child has ended."""
        try:
            self._connection.send_bytes(pickle.dumps(message))
        except OSError:
            raise ChildLostError(self._how()) from None

    def receive(self, say: Say) -> Any:
        """Wait for an answer, and pass on the events before it.

        Raises:
            ChildLostError: the child ended, sent what cannot be read, or took too long.
            InputError: the child's answer.
        """
        while True:
            message = self._read()
            if isinstance(message, InputError):
                raise message
            if isinstance(message, _Raised):
                raise ChildLostError(message.text)
            if not isinstance(message, _Event):
                return message
            say(message.kind, message.text)

    def state(self, say: Say) -> Any:
        """The trial's weights; None where it has none, or they cannot be had, which `say` is told."""
        try:
            self.send(_SEND_STATE)
            if not (content := self.receive(say)):
                return None
            import torch

            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except (ChildLostError, pickle.UnpicklingError) as error:
            say("note", f"its weights cannot be kept, nor scored later: {error}")
            return None

    def _read(self) -> Any:
        try:
            if self._bytes(len(_MARK)) != _MARK:
                raise ValueError("no message of ours")
            return pickle.loads(self._bytes(int.from_bytes(self._bytes(_SIZE_BYTES), "big")))
        except (EOFError, OSError):
            raise ChildLostError(self._how()) from None
        except ChildLostError:
            raise
        except Exception as error:  # the model may have written to the connection
            raise ChildLostError(f"its process sent what cannot be read ({type(error).__name__})") from None

    def _bytes(self, count: int) -> bytes:
        """Receive so many bytes, as they come: a message may not end, and messages may not."""
        got = bytearray()
        while len(got) < count:
            comes = self._connection.poll(POLL_S)
            if time.monotonic() - self._began_s > (self._protocol.max_trial_s or math.inf):
                raise ChildLostError(self._protocol.overdue)
            if comes:
                piece = os.read(self._connection.fileno(), min(count - len(got), _PIECE_BYTES))
                if not piece:
                    raise EOFError
                got += piece
            elif not self._process.running and not self._connection.poll():
                # at its end the pipe need not close: what it started may hold it open
                raise ChildLostError(self._how())
        return bytes(got)

    def _how(self) -> str:
        """How the child ended."""
        try:
            code = self._process.wait(END_S)
        except TimeLimitError:
            return "it closed its process's connection to the run"
        if code == _CUT_OFF:
            return "it closed its process's connection to the run"
        if code >= 0:
            return f"its process ended with exit code {code}"
        perhaps = ", perhaps for the memory it took" if -code == signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{perhaps}"


@dataclass(frozen=True)
class _Raised:
    """What the workload's code raised where no trial records it."""

    text: str


@dataclass(frozen=True)
class _Event:
    """Kind and text of an event, for the run's observer."""

    kind: str
    text: str


_READY, _GO, _SEND_STATE = "ready", "go", "send state"


def _silent(_: str, __: str) -> None:
    """Drop an event."""


# In the child


def serve(descriptor: int) -> None:
    """Do the one piece of work that comes through the connection, answer, and end."""
    os.set_inheritable(descriptor, False)  # what a model starts has no part in it
    join_run(os.getppid())
    connection, pid = Connection(descriptor), os.getpid()

    def send(message: Any) -> None:
        end_copy(pid)  # a module may fork as it is imported
        content = pickle.dumps(message)
        left = memoryview(b"".join((_MARK, len(content).to_bytes(_SIZE_BYTES, "big"), content)))
        try:
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            os._exit(_CUT_OFF)

    def ready() -> None:
        """Say that the meters are next, and wait until those of the run have given way."""
        send(_READY)
        connection.recv_bytes()

    answer: _Result | InputError | _Raised
    state: Any = None
    try:
        work: _Work = pickle.loads(connection.recv_bytes())
        result = _done(work, lambda kind, text: send(_Event(kind, text)), ready)
        answer, state = _Result(result.value, result.windows), result.state
    except InputError as error:
        answer = error
    except BaseException as error:
        answer = _Raised(described(error))
    send(answer)
    with suppress(EOFError, OSError):  # the run has ended, or wants nothing more
        connection.recv_bytes()
        try:
            answer_state: bytes | _Raised = _packed(state)
        except Exception as error:
            answer_state = _Raised(described(error))
        send(answer_state)


def _packed(state: Any) -> bytes:
    if state is None:
        return b""
    import torch

    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def _done(work: _Work, say: Say, ready: Callable[[], None]) -> _Result:
    bench = open_bench(
        work.plan,
        began_s=work.began_s,
        replay_origin_s=work.replay_origin_s,
        ready=ready,
        learned=work.learned,
    )
    try:
        result = work.do(bench, say)
        bench.timeline.cut("record")
        return _Result(result.value, (*result.windows, *bench.timeline.take()), result.state)
    finally:
        end_left()  # also what has a session of its own, which is not killed with this one's
        bench.timeline.stop()


def _facts(chosen: Plan, bench: Bench, _: Say) -> _Result:
    return _Result(Facts.of(chosen, bench))


def _check_meters(seed: int, bench: Bench, say: Say) -> _Result:
    return _Result(meter_check.measure(bench, seed, lambda text: say("note", text)))


def _trial(order: Order, bench: Bench, say: Say) -> _Result:
    finished = run_order(bench, order, say)
    return _Result(finished.record.model_copy(update={"windows": ()}), finished.record.windows, finished.state)


def _score(trial: TrialRecord, weights: Path, bench: Bench, _: Say) -> _Result:
    metrics = scoring.test_metrics(bench, trial, scoring.read_weights(weights, bench.device))
    bench.timeline.cut("score")
    return _Result(metrics)
