"""Load of the host, split into what this process and all that it started take, and what others do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from joulebench.meters import host
from joulebench.meters.host import HostMeter, ProcessTree

BUSY_S = 0.3
TICK_S = 0.01
WORK = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"


def worker(seconds=BUSY_S, then=""):
    """Command of a process that is busy for some CPU time."""
    return [sys.executable, "-S", "-c", WORK.format(seconds) + then]


@pytest.fixture
def meter():
    meter = HostMeter()
    meter.start()
    yield meter
    meter.stop()


def gained(meter, name, work):
    before = meter.integrals()[name]
    work()
    return meter.integrals()[name] - before


def test_the_hosts_load_and_this_process_share_of_it(meter):
    before, start, busy = meter.integrals(), time.perf_counter(), time.process_time()
    while time.perf_counter() - start < 0.5:
        sum(range(1000))
    after, seconds = meter.integrals(), time.perf_counter() - start
    means = {name: (after[name] - before[name]) / seconds for name in after}
    assert means["own_load_cpus"] == pytest.approx((time.process_time() - busy) / seconds, abs=0.05)
    assert 0 <= means["cpu_utilisation"] <= 1.05
    assert means["other_load_cpus"] >= 0
    assert 1e8 < means["memory_used_bytes"] < 1e13


def test_a_child_that_was_born_and_ended_in_the_window_is_own(meter):
    assert gained(meter, "own_load_cpus", lambda: subprocess.run(worker(), check=True)) >= BUSY_S - 2 * TICK_S


def test_a_child_that_still_lives_is_own_from_its_birth_on(meter):
    children = []

    def work():
        child = subprocess.Popen(worker(then="print(flush=True)\ninput()"), stdin=-1, stdout=-1)
        children.append(child)
        child.stdout.readline()

    assert gained(meter, "own_load_cpus", work) >= BUSY_S - 2 * TICK_S
    # nothing is counted twice when it ends
    assert gained(meter, "own_load_cpus", lambda: children[0].communicate(b"\n")) < BUSY_S / 2


def test_a_process_whose_parent_has_ended_stays_own_and_counts_once_it_has_ended_too(meter):
    # a shell starts a worker, waits for a line and ends: the worker has lost its parent, and init will wait for it
    command = " ".join(f"'{part}'" for part in worker(then="print(flush=True)\ntime.sleep(0.5)"))
    shell = subprocess.Popen(["sh", "-c", f"{command} & echo $!; read line"], stdin=-1, stdout=-1)
    orphan = int(shell.stdout.readline())
    meter.integrals()  # here it is seen with its parent
    shell.stdin.close()
    shell.wait()
    start_s = time.process_time()

    def until_it_has_ended():
        shell.stdout.read()
        while psutil.pid_exists(orphan) and psutil.Process(orphan).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)

    first = gained(meter, "own_load_cpus", lambda: shell.stdout.readline())
    last = gained(meter, "own_load_cpus", until_it_has_ended)
    assert first + last - (time.process_time() - start_s) >= BUSY_S / 2
    assert last >= 0


def test_a_process_that_others_started_is_not_own(meter):
    # the shell has ended before any read: its worker has no parent that could be known
    command = " ".join(f"'{part}'" for part in worker(0.5))
    subprocess.run(["sh", "-c", f"{command} >/dev/null 2>&1 &"], check=True)
    before = meter.integrals()
    time.sleep(0.4)
    after = meter.integrals()
    assert after["own_load_cpus"] - before["own_load_cpus"] < 0.1
    assert after["other_load_cpus"] - before["other_load_cpus"] >= 0.15


def test_time_that_a_hypervisor_took_is_apart_and_absent_where_none_counts_it(meter, monkeypatch):
    times = {"user": 1.0, "nice": 0.0, "system": 0.0, "irq": 0.0, "softirq": 0.0}
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(**times, steal=steal))
    steal = 2.0
    first = meter.integrals()
    steal = 5.0
    second = meter.integrals()
    assert second["steal_cpus"] - first["steal_cpus"] == 3.0
    assert second["cpu_utilisation"] == first["cpu_utilisation"]
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(**times))
    assert "steal_cpus" not in meter.integrals()


class Machine:
    """A made-up table of processes, with what each has really used."""

    def __init__(self):
        self.me = os.getpid()
        self.table = {self.me: [0, 0, 0.0, 0.0], 1: [0, 0, 0.0, 0.0]}  # number: parent, start, own, reaped seconds
        self.own = {self.me}
        self.own_s, self.starts, self.next = 0.0, 0, 2

    def take_the_place_of_the_real_one(self, patch):
        patch.setattr(host, "_listed", lambda: {(pid, start) for pid, (_, start, _, _) in self.table.items()})
        patch.setattr(host, "_read", lambda pid: host._Process(*self.table[pid]) if pid in self.table else None)
        patch.setattr(host, "_reaped_s", lambda: self.table[self.me][3])
        patch.setattr(host, "time", SimpleNamespace(process_time=lambda: self.table[self.me][2]))

    def pick(self, number):
        pids = sorted(self.table)
        return pids[number % len(pids)]

    def born(self, parent, reuse):
        pid = next((p for p in range(2, self.next) if p not in self.table), self.next) if reuse else self.next
        self.next = max(self.next, pid + 1)
        self.starts += 1
        self.table[pid] = [parent, self.starts, 0.0, 0.0]
        if parent in self.own:
            self.own.add(pid)

    def works(self, pid, seconds):
        self.table[pid][2] += seconds
        self.own_s += seconds if pid in self.own else 0.0

    def ends(self, pid, waited):
        """It ends; its children become init's, its parent has its time if it waits."""
        if pid in (self.me, 1):
            return
        parent, _, own_s, reaped_s = self.table.pop(pid)
        if waited:
            self.table[parent][3] += own_s + reaped_s
        for other in self.table.values():
            other[0] = 1 if other[0] == pid else other[0]
        self.own.discard(pid)


STEPS = st.tuples(
    st.sampled_from(["born", "born", "works", "works", "ends", "waits"]), st.integers(0, 99), st.integers(0, 99)
)


@settings(max_examples=300, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_whatever_processes_do_the_tree_has_all_of_the_own_time_and_none_of_others(steps):
    machine = Machine()
    with pytest.MonkeyPatch.context() as patch:
        machine.take_the_place_of_the_real_one(patch)
        tree, last_s = ProcessTree(), 0.0
        for what, number, more in [("works", 0, 0), *steps]:
            pid = machine.pick(number)
            match what:
                case "born":
                    machine.born(pid, reuse=more % 2 == 0)
                case "works":
                    machine.works(pid, more)
                case "waits" | "ends":
                    machine.ends(pid, waited=what == "waits")
            now_s = tree.cpu_s()  # it looks at least once between two events
            assert now_s == pytest.approx(machine.own_s)
            assert now_s >= last_s
            last_s = now_s


def test_psutil_and_the_kernels_own_files_tell_the_same():
    child = subprocess.Popen(worker(0.1, "print(flush=True)\ninput()"), stdin=-1, stdout=-1)
    child.stdout.readline()
    try:
        ours, theirs = host._read_in_proc(child.pid), host._read_by_psutil(child.pid)
        assert ours.parent == theirs.parent == os.getpid()
        assert ours.own_s == pytest.approx(theirs.own_s, abs=TICK_S)
        assert ours.own_s >= 0.09
        assert (child.pid, 0) in host._listed_by_psutil()
        assert child.pid in {pid for pid, _ in host._listed_in_proc()}
    finally:
        child.communicate(b"\n")
    assert host._read_in_proc(child.pid) is host._read_by_psutil(child.pid) is None
