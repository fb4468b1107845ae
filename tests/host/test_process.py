"""Child processes: all that a command starts ends with it, with its limit, and with the process that started it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from joulebench.errors import InputError
from joulebench.host.process import ChildProcess, TimeLimitError, environment

#: A process, with one of its own, which say their ids and then sleep.
FAMILY = "sh -c 'echo $$; exec sleep 600' & echo $$; wait"
#: A parent that starts the family, says that it has, and does what it is told.
PARENT = """
import os, sys, time
from pathlib import Path
from joulebench.host.process import ChildProcess
with ChildProcess(["sh", "-c", sys.argv[1]], log=Path(sys.argv[2])) as process:
    exec(sys.argv[3])
"""


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture(autouse=True)
def _nothing_left():
    """No child of these tests, watchers included, is there after a test."""
    before = set(psutil.Process().children(recursive=True))
    yield
    assert set(psutil.Process().children(recursive=True)) <= before


def alive(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def until(condition, seconds=20.0):
    """What `condition` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def ids(log, count):
    """The ids that `count` processes have written to their log."""
    return until(
        lambda: found if log.exists() and len(found := [*map(int, log.read_text().split())]) == count else None
    )


def all_dead(pids, seconds=5.0):
    """Within a second where the machine is not busy."""
    until(lambda: not any(map(alive, pids)), seconds)


@pytest.fixture
def parent(log):
    """Start a process that starts a command; returns it and the ids that the command's processes say."""
    started = []

    def start(does, command=FAMILY, count=2):
        process = subprocess.Popen(
            [sys.executable, "-c", PARENT, command, str(log), does], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, ids(log, count)

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("command", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -15)])
def test_the_exit_code_is_kept(command, code):
    with ChildProcess(["sh", "-c", command]) as process:
        assert process.wait() == code
        assert process.wait() == code
        assert not process.running
        assert process.members() == ()
    process.kill()


def test_one_that_cannot_start_is_named():
    with pytest.raises(InputError, match="no-such-command cannot be started"):
        ChildProcess(["no-such-command"])


def test_killing_it_kills_what_it_started(log):
    with ChildProcess(["sh", "-c", FAMILY], log=log) as process:
        pids = ids(log, 2)
        assert process.running
        process.kill()
        assert not any(map(alive, pids))
        assert not process.running
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_killing_it_kills_what_left_the_group(log):
    leaves = "import os, time; os.setpgid(0, 0); print(os.getpid(), flush=True); time.sleep(600)"
    with ChildProcess(["sh", "-c", f'"{sys.executable}" -c "{leaves}" & wait'], log=log):
        pid = ids(log, 1)[0]
        assert os.getpgid(pid) == pid
    assert not alive(pid)


def test_nothing_of_it_runs_after_an_exception(log):
    def fails():
        with ChildProcess(["sh", "-c", FAMILY], log=log):
            assert all(map(alive, ids(log, 2)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not any(map(alive, ids(log, 2)))


def test_what_a_command_leaves_behind_ends_with_it(log):
    with ChildProcess(["sh", "-c", "sh -c 'echo $$; exec sleep 600' & exit 3"], log=log) as process:
        pid = ids(log, 1)[0]
        until(lambda: not process.running)
        assert [member.pid for member in process.members()] == [pid]
        assert process.wait() == 3
        assert not alive(pid)


def test_dropping_it_kills_it(log):
    dropped = [ChildProcess(["sh", "-c", FAMILY], log=log)]
    pids = ids(log, 2)
    with pytest.warns(ResourceWarning):
        dropped.clear()
    all_dead(pids)
    # an end that nobody waits for is noted by the next start of a process
    until(lambda: not subprocess.run(["true"]).returncode and not psutil.Process().children())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("does", ["time.sleep(600)", "process.wait(600)"])
def test_it_dies_with_its_parent(parent, does, number):
    process, pids = parent(does)
    descendants = {child.pid for child in psutil.Process(process.pid).children(recursive=True)}
    assert len(descendants - {*pids}) == 1  # the watcher
    process.send_signal(number)
    process.wait()
    all_dead(descendants)


def test_a_fork_of_the_parent_keeps_nothing_alive(parent):
    forks = "pid = os.fork()\nif pid: print(pid, flush=True)\ntime.sleep(600)"
    process, pids = parent(forks)
    fork = int(process.stdout.readline())
    process.kill()
    process.wait()
    all_dead(pids)
    assert alive(fork)
    os.kill(fork, signal.SIGKILL)


def test_an_interrupted_start_leaves_nothing():
    """Ctrl-C at moments spread over all that happens while a process starts."""
    starts = """
import signal, time
from joulebench.host.process import ChildProcess
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
for number in range(200, 0, -1):
    after_s = number * 2e-5
    try:
        signal.setitimer(signal.ITIMER_REAL, after_s)
        with ChildProcess(["sleep", "600.25"]):
            time.sleep(after_s)
    except KeyboardInterrupt:
        continue
    raise AssertionError("not interrupted")
"""
    subprocess.run([sys.executable, "-c", starts], check=True, timeout=60)
    all_dead([p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "600.25"]])


def test_a_time_limit_kills_it_and_says_what_it_said_last(log, tmp_path):
    command = ["sh", "-c", "echo step 1; echo step 2; echo; sleep 600 & wait"]
    with ChildProcess(command, folder=tmp_path, log=log) as process:
        until(lambda: "step 2" in process.log_tail())
        began_s = time.monotonic()
        expected = rf"sh -c .* in {re.escape(str(tmp_path))} took longer than 0\.1 s and was killed.*: step 2$"
        with pytest.raises(TimeLimitError, match=expected):
            process.wait(0.1)
        assert 0.1 <= time.monotonic() - began_s < 5
        assert process.members() == ()
        assert not process.running


def test_a_time_limit_that_is_kept_changes_nothing():
    before = set(threading.enumerate())  # other tests may have left timers of libraries
    with ChildProcess(["sh", "-c", "exit 5"]) as process:
        assert process.wait(600.0) == 5
    assert not [t for t in threading.enumerate() if isinstance(t, threading.Timer) and t not in before]


@pytest.mark.parametrize("fails", [False, True])
def test_a_time_limit_holds_for_what_waits_on_it(fails):
    reads, writes = os.pipe()

    def waits():
        with process.limited(0.1):
            assert os.read(reads, 1) == b""  # its end came, by the limit
            if fails:
                raise ConnectionError

    with ChildProcess(["sleep", "600"], pass_fds=[writes]) as process:
        os.close(writes)
        with pytest.raises(TimeLimitError, match=r"sleep 600 took longer than 0\.1 s and was killed$"):
            waits()
    os.close(reads)


def test_an_error_within_the_limit_is_its_own():
    with ChildProcess(["sleep", "600"]) as process, pytest.raises(ConnectionError), process.limited(600):
        raise ConnectionError


def test_members_are_those_of_its_session(log):
    orphans = "sh -c 'sh -c \"echo \\$\\$; exec sleep 600\" &' & wait; echo $$; exec sleep 600"
    with ChildProcess(["sh", "-c", orphans], log=log) as process, ChildProcess(["sleep", "600"]) as other:
        pids = ids(log, 2)
        assert process.pid in pids
        (orphan,) = {*pids} - {process.pid}
        until(lambda: process.pid not in [p.pid for p in psutil.Process(orphan).parents()])
        assert {member.pid for member in process.members()} == {*pids}
        assert [member.pid for member in other.members()] == [other.pid]


def test_the_end_of_the_log(log):
    with ChildProcess(
        ["sh", "-c", "echo first; printf 'caf\\303\\251 \\377'; echo ' last' >&2"], log=log
    ) as process:
        process.wait()
        assert process.log_tail() == "first\ncafé � last\n"
        assert process.log_tail(6) == " last\n"
        assert process.last_line() == "café � last"
    with ChildProcess(["true"]) as process:
        process.wait()
        assert process.log_tail() == ""


def test_without_a_log_it_writes_where_its_parent_does(capfd):
    with ChildProcess(["sh", "-c", "echo out; echo err >&2; cat"]) as process:
        assert process.wait() == 0  # standard input is empty
    assert capfd.readouterr() == ("out\n", "err\n")


def test_it_runs_in_its_folder_with_its_environment(log, tmp_path):
    with ChildProcess(
        ["sh", "-c", "pwd; echo $GREETING"], folder=tmp_path, environment={"GREETING": "hello"}, log=log
    ) as process:
        process.wait()
    assert log.read_text().split() == [str(tmp_path), "hello"]


def test_environment(monkeypatch):
    monkeypatch.setenv("PYTEST_SOMETHING", "1")
    monkeypatch.setenv("KEPT", "2")
    monkeypatch.setenv("SET", "3")
    monkeypatch.setenv("PYTHONPATH", "/given")
    changed = {"SET": "4", "PYTEST_OWN": "5"}
    found = environment(without=("PYTEST_",), import_first=[Path("/a"), Path("/b")], values=changed)
    assert "PYTEST_SOMETHING" not in found
    assert (found["KEPT"], found["SET"], found["PYTEST_OWN"]) == ("2", "4", "5")
    assert found["PYTHONPATH"] == os.pathsep.join(["/a", "/b", "/given"])
    assert environment() == dict(os.environ)
    monkeypatch.delenv("PYTHONPATH")
    assert environment(import_first=[Path("/a")])["PYTHONPATH"] == "/a"


def test_threads_have_their_own(tmp_path):
    """Several at once: none keeps another's watcher waiting, and one thread may kill what another waits for."""
    codes = {}

    def run(number):
        with ChildProcess(["sh", "-c", f"sleep 0.1; exit {number}"], log=tmp_path / str(number)) as process:
            codes[number] = process.wait(60)

    threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    with ChildProcess(["sleep", "600"]) as process:
        killer = threading.Timer(0.1, process.kill)
        killer.start()
        assert process.wait() == -signal.SIGKILL
        killer.join()
    for thread in threads:
        thread.join()
    assert codes == {number: number for number in range(8)}


def test_where_the_system_cannot_wait_and_leave_the_exit_code(monkeypatch):
    """As Python on macOS could not until 3.13."""
    monkeypatch.delattr(os, "waitid", raising=False)
    with ChildProcess(["sh", "-c", "sleep 0.05; exit 4"]) as process:
        assert process.running
        assert process.wait(60) == 4
        assert not process.running
    with ChildProcess(["sleep", "600"]) as process:
        pass
    assert process.wait() == -signal.SIGKILL


def test_a_command_with_grace_goes_on_after_its_parent_and_no_longer_than_that(tmp_path):
    """For 2 of the 5 s that it would take."""
    log = tmp_path / "log"
    program = (
        "import os, sys, time; from pathlib import Path; from joulebench.host.process import ChildProcess\n"
        "child = ChildProcess([sys.executable, '-c', 'import time\\nfor n in range(10):"
        " print(n, flush=True); time.sleep(0.5)'], log=Path(sys.argv[1]), grace_s=2)\n"
        "time.sleep(0.3); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(log)], check=False)
    time.sleep(6)
    lines = log.read_text(encoding="utf-8").split()
    assert 3 <= len(lines) < 10
