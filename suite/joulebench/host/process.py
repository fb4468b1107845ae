"""Child processes that end together with all their descendants and never outlive this process.

A command runs in a session of its own. What it starts belongs to that session too, unless it leaves it as a daemon
does (`setsid`), and is killed with it: when the command has ended, at a time limit, at an exception or Ctrl-C, and
when this process is itself killed. For the last, a shell waits for the end of a pipe that only this process holds.
"""

from __future__ import annotations

import io
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn, Self

import psutil

from joulebench.errors import IncompleteError, InputError, is_full

TAIL_BYTES = 64 << 10
#: How long killed processes may take to be gone; one that hangs in a driver can take for ever.
_GONE_S = 5.0


class TimeLimitError(InputError):
    """Command that exceeded its time limit and was killed."""


def environment(
    *,
    without: Sequence[str] = (),
    import_first: Sequence[Path] = (),
    values: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Environment variables for a child process.

    Args:
        without: prefixes of the variables that the child does not get.
        import_first: folders to put first on Python's import path, before those of PYTHONPATH.
        values: variables to set, whatever they are here.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith(tuple(without))}
    if import_first:
        given = variables.get("PYTHONPATH")
        variables["PYTHONPATH"] = os.pathsep.join([*map(str, import_first), *([given] if given else [])])
    return {**variables, **(values or {})}


class ChildProcess:
    """Command running as a child process, with all its descendants.

    Use it as a context manager: all are killed at the end of the block. They are also killed when the object is
    garbage-collected.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        pass_fds: Sequence[int] = (),
        grace_s: int = 0,
    ) -> None:
        """Start the command; it reads nothing from standard input.

        Args:
            folder: where it runs; None for where this process runs.
            environment: its variables; None for those of this process.
            log: file for its standard output and error; None to share those of this process.
            pass_fds: open files to pass on, under the same numbers.
            grace_s: how long it may go on once this process has died, to end by itself.

        Raises:
            InputError: it cannot be started.
        """
        self._words, self._folder, self._log = tuple(words), folder, log
        self._lock = threading.RLock()
        with ExitStack() as undo, ExitStack() as opened:
            try:
                with _interrupt_deferred():
                    self._watcher = _Watcher(grace_s)
                    undo.callback(self._watcher.dismiss)
                    output = None if log is None else opened.enter_context(log.open("wb"))
                    self._popen = subprocess.Popen(
                        self._words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                        stderr=None if output is None else subprocess.STDOUT, pass_fds=pass_fds,
                        start_new_session=True,
                    )  # fmt: skip
                    undo.callback(self.kill)
                    self._watcher.watch(self.pid)
            except OSError as error:
                kind = IncompleteError if is_full(error) else InputError
                raise kind(f"{self._words[0]} cannot be started: {error}") from None
            undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Process id of the command: also that of its group and of its session."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the command itself has not ended yet."""
        return self._popen.returncode is None and not self._ended(block=False)

    def wait(self, limit_s: float | None = None) -> int:
        """Wait for the command to end, kill what it left running, and return its exit code.

        The code is negative where a signal ended it.

        Raises:
            TimeLimitError: it ran for another `limit_s`, and has been killed.
        """
        with self.limited(limit_s):
            self._ended(block=True)
        self.kill()
        return self._popen.returncode

    @contextmanager
    def limited(self, limit_s: float | None) -> Iterator[None]:
        """Kill the command if the block takes longer; the block must then end by itself, as reading from it does.

        Raises:
            TimeLimitError: at the end of such a block, whatever it raised.
        """
        if limit_s is None:
            yield
            return
        expired = threading.Event()

        def expire() -> None:
            if self._popen.returncode is None:  # the command may have ended, and what it started go on
                expired.set()
                self.kill()

        timer = threading.Timer(limit_s, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except Exception:
            if not expired.is_set():
                raise
        finally:
            timer.cancel()
            timer.join()
        if expired.is_set():
            self.kill()
            where = "" if self._folder is None else f" in {self._folder}"
            last = "" if self._log is None else f"; its last output: {self.last_line()}"
            raise TimeLimitError(
                f"{shlex.join(self._words)[:200]}{where} took longer than {limit_s:g} s and was killed{last}"
            )

    def kill(self) -> None:
        """Kill the command and all that it started, and wait until they are gone; does nothing where they are."""
        with self._lock:
            if self._popen.returncode is not None:
                return
            self._kill_group()
            self._ended(block=True)
            # those that left the group, as timeout(1) does; and those of the group take a moment to be gone
            patience_s = time.monotonic() + _GONE_S
            while (left := self.members()) and time.monotonic() < patience_s:
                for process in left:
                    with suppress(psutil.Error):
                        process.kill()
                time.sleep(0.001)
            # only now: an id that has not been waited for is not given to another process
            self._watcher.dismiss()
            self._popen.wait()

    def members(self) -> tuple[psutil.Process, ...]:
        """The processes of its session that are alive now, also those whose own parent has ended."""
        if self._popen.returncode is not None:
            return ()
        alive = []
        for pid in psutil.pids():
            with suppress(ProcessLookupError, PermissionError, psutil.Error):
                if os.getsid(pid) == self.pid:
                    process = psutil.Process(pid)
                    if process.status() != psutil.STATUS_ZOMBIE:
                        alive.append(process)
        return tuple(alive)

    def log_tail(self, limit_bytes: int = TAIL_BYTES) -> str:
        """Last `limit_bytes` bytes of the log; empty if there is no log."""
        if self._log is None:
            return ""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - limit_bytes))
                return file.read(limit_bytes).decode("utf-8", errors="replace")
        except OSError:
            return ""

    def last_line(self) -> str:
        """The last line of its log that is not blank, at most 300 characters of it."""
        lines = [line.strip() for line in self.log_tail().splitlines() if line.strip()]
        return (lines or ["nothing"])[-1][:300]

    def _kill_group(self) -> None:
        with self._lock, suppress(ProcessLookupError, PermissionError):  # macOS: not permitted where all are dead
            if self._popen.returncode is None:
                os.killpg(self.pid, signal.SIGKILL)

    def _ended(self, *, block: bool) -> bool:
        """Whether the command has ended, leaving its exit code, and with it its id, in place."""
        if hasattr(os, "waitid"):
            with suppress(ChildProcessError):  # another thread has waited for it meanwhile
                wait = 0 if block else os.WNOHANG
                return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | wait) is not None
            return True
        while True:  # macOS before Python 3.13
            try:
                ended = psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE
            except psutil.NoSuchProcess:
                ended = True
            if ended or not block:
                return bool(ended)
            time.sleep(0.01)


#: Two lines in order: the group to kill, and that all is well. If only the first came, this process has died. pkill
#: also finds those of the session that left the group; it is not everywhere. The argument: seconds of grace. dash
#: takes `--` after `-s NAME` only.
_SCRIPT = (
    'read id && read _ || [ -z "$id" ] || { n=$1; '
    'while [ "$n" -gt 0 ] && kill -s 0 -- "-$id"; do sleep 1; n=$((n-1)); done; '
    'pkill -KILL -s "$id"; kill -s KILL -- "-$id"; }'
)
#: The pipes' ends that this process holds, and that a fork of it must let go: it would keep the commands alive.
_LIFELINES = weakref.WeakSet[io.FileIO]()


class _Watcher:
    """Shell that kills a process group once this process has ended for any reason.

    It starts before the command; only the first milliseconds until the command's id is known are not covered.
    `preexec_fn` with Linux's PR_SET_PDEATHSIG would not do: it is unsafe with threads, and not inherited.
    """

    def __init__(self, grace_s: int) -> None:
        reads, writes = os.pipe()  # not inherited by what this process executes
        self._lifeline = io.FileIO(writes, "wb")
        _LIFELINES.add(self._lifeline)
        try:
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "sh", str(grace_s)], cwd="/", env={"PATH": os.defpath}, stdin=reads,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            self._lifeline.close()
            raise
        finally:
            os.close(reads)

    def watch(self, group: int) -> None:
        """Say which group to kill."""
        self._tell(str(group))

    def dismiss(self) -> None:
        """Let it end without killing; does nothing where it has."""
        if not self._lifeline.closed:
            self._tell("")
            self._lifeline.close()
        self._popen.wait()

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # somebody killed it
            self._lifeline.write(f"{line}\n".encode())


def replace(words: Sequence[str]) -> NoReturn:
    """Run a command in place of this process: what it held of a device that has failed is given up."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os.execv(words[0], list(words))


#: The process that all processes of the run descend from: this one, unless it has been started by the run's.
_root: int | None = None


def join_run(pid: int) -> None:
    """Say which process this one works for."""
    global _root
    _root = pid


def belongs(pid: int) -> bool:
    """Whether a process is the run's, or was started by it, directly or not."""
    root = os.getpid() if _root is None else _root
    try:
        return pid == root or root in {parent.pid for parent in psutil.Process(pid).parents()}
    except psutil.Error:
        return False


#: Processes that blocks have left running.
_left: list[psutil.Process] = []


def end_left() -> None:
    """Kill the processes that blocks have left running, with all that they started."""
    kill_all(_left)
    _left.clear()


def kill_all(processes: Sequence[psutil.Process]) -> None:
    """Kill processes with all that they started."""
    for process in processes:
        with suppress(psutil.Error):
            for one in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    one.kill()


@contextmanager
def left_running(found: Callable[[str], None]) -> Iterator[None]:
    """Name the threads and child processes that a block has started and left running, if there are any."""
    before = {*threading.enumerate(), *psutil.Process().children()}
    try:
        yield
    finally:
        threads = [t.name for t in threading.enumerate() if t not in before]
        children = [p for p in psutil.Process().children() if p not in before]
        _left.extend(children)
        if left := [*(f"thread {name}" for name in threads), *(f"process {p.pid}" for p in children)]:
            more = f" and {len(left) - 3} more" if len(left) > 3 else ""
            found(f"{', '.join(left[:3])}{more}")


def _close_lifelines() -> None:
    for lifeline in list(_LIFELINES):
        lifeline.close()


os.register_at_fork(after_in_child=_close_lifelines)


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block: between a fork and the record of its id it would leak a process."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    came = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)
