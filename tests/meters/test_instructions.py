"""The count of a perf event follows this thread, its other threads and children; without one there is no count."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import pytest

from joulebench.meters import host, instructions
from joulebench.meters.host import HostMeter
from joulebench.meters.instructions import InstructionCounter, _extended, open_counter

TASK_CLOCK = (1, 1)  # nanoseconds of processor time, which the kernel counts itself, on virtual machines too
BUSY_S = 0.1
WORK = f"import time\nend = time.process_time() + {BUSY_S}\nwhile time.process_time() < end: pass\n"


@pytest.fixture
def counter():
    try:
        counter = InstructionCounter(TASK_CLOCK)
    except OSError as error:
        pytest.skip(f"this kernel gives no perf events to this user: {error}")
    yield counter
    counter.close()


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def work():
    end = time.thread_time() + BUSY_S
    while time.thread_time() < end:
        pass


def counted_s(counter, task):
    before = counter.read()
    task()
    return (counter.read() - before) / 1e9


def test_this_threads_work_is_counted(counter):
    assert counted_s(counter, work) == pytest.approx(BUSY_S, rel=0.3)


def test_a_thread_that_is_started_later_is_counted(counter):
    def task():
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    assert counted_s(counter, task) >= 0.9 * BUSY_S


def test_a_thread_that_was_there_before_is_counted(counter):
    asked, done = threading.Event(), threading.Event()

    def wait_and_work():
        asked.wait()
        work()
        done.set()

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    own = InstructionCounter(TASK_CLOCK)

    def task():
        asked.set()
        done.wait()
        thread.join()

    assert counted_s(own, task) >= 0.9 * BUSY_S
    own.close()


def test_a_child_is_counted(counter):
    def task():
        subprocess.run([sys.executable, "-S", "-c", WORK], check=True)

    assert counted_s(counter, task) >= 0.9 * BUSY_S


def test_a_count_that_shared_its_counter_is_extended():
    assert _extended(1000, 4, 1) == 4000
    assert _extended(1000, 4, 4) == 1000
    assert _extended(0, 0, 0) == 0  # a thread that has not run
    assert _extended(0, 4, 0) is None  # it has, and nothing counted it


def test_each_span_is_extended_by_its_own_share(monkeypatch):
    """100 a second throughout: a second alone, one in which another event has the counter half of the time, and one
    in which it has it always, of which nothing is known."""
    told = [(100, 10, 10), (150, 20, 15), (150, 30, 15), (250, 40, 25)]
    counter = InstructionCounter.__new__(InstructionCounter)
    counter._files, counter._last, counter._total = [7], {}, 0.0
    monkeypatch.setattr(instructions.os, "read", lambda _file, _n: struct.pack("QQQ", *told.pop(0)))
    assert [counter.read() for _ in range(4)] == [100, 200, None, 300]


def test_where_a_count_is_not_known_the_window_has_none(monkeypatch):
    class Counter:
        reads: ClassVar = [5e9, None, 6e9]

        def read(self):
            return self.reads.pop(0)

        def close(self):
            pass

    monkeypatch.setattr(host, "open_counter", Counter)
    meter = HostMeter()
    meter.start()
    assert ["own_instructions_per_s" in meter.integrals() for _ in range(3)] == [True, False, True]


def test_where_nothing_counts_there_is_no_count(monkeypatch):
    monkeypatch.setattr(instructions, "_SYSCALLS", {})
    assert open_counter() is None
    meter = HostMeter()
    meter.start()
    assert "own_instructions_per_s" not in meter.integrals()
    meter.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="perf events are Linux's")
def test_an_event_that_does_not_exist_leaves_no_file_open():
    before = open_files()
    with pytest.raises(OSError, match=r"."):
        InstructionCounter((99, 0))
    assert open_files() == before


def test_the_hosts_conditions_have_the_count(monkeypatch):
    class Counter:
        closed = 0

        def read(self):
            return 5e9

        def close(self):
            self.closed += 1

    made = Counter()
    monkeypatch.setattr(host, "open_counter", lambda: made)
    meter = HostMeter()
    meter.start()
    assert meter.integrals()["own_instructions_per_s"] == 5e9
    meter.stop()
    meter.stop()
    assert made.closed == 1
    assert "own_instructions_per_s" not in meter.integrals()
