"""`joulebench.measure`: joules of blocks, calls and functions, by the same rules as those of a run."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import threading
import time

import pytest

import joulebench
from joulebench.errors import InputError
from joulebench.inline import running
from joulebench.inline.blocks import Block
from joulebench.measurement.timeline import Timeline

WATTS = 50.0
DRY = {"replay": str(WATTS), "hardware": None}


@pytest.fixture(autouse=True)
def _fresh():
    yield
    running.stop()


def test_a_block_takes_watts_times_seconds():
    with joulebench.measure(units=4, unit="image", replay=str(WATTS)) as m:
        time.sleep(0.2)
    assert m.joules == pytest.approx(WATTS * m.seconds.mean, rel=2e-3)
    assert 0.2 <= 4 * m.seconds.mean < 0.3
    assert (m.energy.n, m.energy.low, m.kind) == (1, None, "estimated")
    assert list(m.by_domain) == ["cpu"]
    assert m.power_w == pytest.approx(WATTS, rel=2e-3)
    assert m.faults == ()
    row = m.row()
    assert (row["unit"], row["j_per_unit"], row["cpu_j_per_unit"]) == ("image", m.joules, m.joules)


def test_a_block_that_is_entered_again_has_both():
    m = joulebench.measure(replay=str(WATTS))
    for _ in range(3):
        with m:
            time.sleep(0.05)
    assert m.energy.n == 3
    assert m.energy.low < m.joules < m.energy.high


def test_every_call_of_a_decorated_function_is_measured():
    @joulebench.measure(units=2, unit="token", name="infer", replay=str(WATTS))
    def infer(seconds, *, then):
        """What it does."""
        time.sleep(seconds)
        return then

    assert infer(0.05, then="a") == "a"
    assert infer(0.05, then="b") == "b"
    assert infer.__doc__ == "What it does."
    assert isinstance(infer.measured, Block)
    assert infer.measured.energy.n == 2
    assert infer.measured.joules == pytest.approx(WATTS * infer.measured.seconds.mean, rel=2e-3)


def test_a_function_is_repeated_in_windows_of_many_calls():
    calls = []

    def work():
        calls.append(0)
        time.sleep(0.002)

    m = joulebench.measure(work, units=8, unit="sample", repeats=4, window_s=0.05, replay=str(WATTS))
    assert m.name == "work"
    assert len(m.windows) == m.energy.n == 4
    assert all(w.duration_s >= 0.05 and w.units == 8 * w.steps and w.steps > 5 for w in m.windows)
    assert m.joules == pytest.approx(WATTS * m.seconds.mean, rel=1e-3)
    assert m.joules == pytest.approx(WATTS * 0.002 / 8, rel=0.4)
    assert len(calls) > sum(w.steps for w in m.windows)  # it was warmed up


def test_a_block_that_raised_has_not_done_its_work():
    m = joulebench.measure(replay=str(WATTS))
    with pytest.raises(KeyError), m:
        raise KeyError
    assert m.joules is None
    with m:
        time.sleep(0.01)
    assert m.energy.n == 1


def test_blocks_do_not_nest_and_the_outer_one_goes_on():
    with joulebench.measure(name="outer", replay=str(WATTS)) as outer:
        time.sleep(0.02)
        for inner in (
            lambda: joulebench.measure(replay=str(WATTS)).__enter__(),
            lambda: joulebench.measure(time.sleep, replay=str(WATTS)),
            lambda: joulebench.compare({"a": int, "b": int}, replay=str(WATTS)),
        ):
            with pytest.raises(InputError, match="another block is being measured \\(outer\\)"):
                inner()
    assert outer.seconds.mean >= 0.02


def test_two_threads_do_not_measure_at_once():
    refused = []

    def other():
        try:
            joulebench.measure(replay=str(WATTS)).__enter__()
        except InputError as error:
            refused.append(error)

    with joulebench.measure(replay=str(WATTS)):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_real_meters_read_a_block_and_threads_are_in_it():
    def work():
        end = time.thread_time() + 0.2
        while time.thread_time() < end:
            pass

    with joulebench.measure(allow_busy=True) as m:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert m.joules > 0
    (window,) = m.measured.windows
    assert window.conditions["own_load_cpus"] * window.duration_s >= 0.18


def test_what_others_disturbed_has_no_joules_and_says_why():
    busy = "while True: pass"
    with subprocess.Popen([sys.executable, "-S", "-c", busy], start_new_session=True) as process:
        try:
            parent = joulebench.measure(name="disturbed")
            with parent:
                time.sleep(0.5)
            window = parent.measured.windows[0]
        finally:
            process.kill()
    # a child of this process is its own load, and no disturbance
    assert window.conditions["own_load_cpus"] > 0.3
    other = window.model_copy(update={"conditions": {**window.conditions, "other_load_cpus": 1.0}})
    parent._windows = [other]
    assert parent.joules is None
    assert len(parent.faults) == 1
    assert parent.row()["j_per_unit"] is None


def test_a_fork_leaves_the_block_and_goes_on(tmp_path):
    """`os.fork()` in a block: the child is not ended, and what it measures afterwards is its own."""
    script = """
import os, joulebench
with joulebench.measure(replay="65", allow_busy=True) as m:
    pid = os.fork()
if pid == 0:
    assert m.joules is None
    with joulebench.measure(replay="65", allow_busy=True) as own:
        pass
    os._exit(7 if own.joules is not None else 8)
assert m.joules is not None
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")


def generator():
    yield 1


async def coroutine():
    await asyncio.sleep(0)


async def asynchronous_generator():
    yield 1


class Iterates:
    def __call__(self):
        yield 1


@pytest.mark.parametrize(
    "function", [generator, coroutine, asynchronous_generator, Iterates(), functools.partial(generator)]
)
def test_functions_whose_call_does_nothing_yet_are_refused(function):
    """A call of one returns at once: it would be called very cheap."""
    for way in (
        joulebench.measure(replay=str(WATTS)),
        lambda f: joulebench.measure(f, replay=str(WATTS)),
        lambda f: joulebench.measure(lambda: f(), replay=str(WATTS)),
        lambda f: joulebench.compare({"a": len, "b": f}, replay=str(WATTS)),
    ):
        with pytest.raises(InputError, match="before its work is done"):
            way(function)
    with joulebench.measure(replay=str(WATTS)):
        pass


def test_an_interrupt_as_a_block_begins_leaves_nothing_locked(monkeypatch):
    """With a GPU the edge waits for its queue, and somebody presses Ctrl-C meanwhile."""
    with joulebench.measure(replay=str(WATTS)):
        pass

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    block = joulebench.measure(replay=str(WATTS))
    with monkeypatch.context() as patch:
        patch.setattr(Timeline, "cut", interrupted)
        with pytest.raises(KeyboardInterrupt) as raised:
            block.__enter__()
    with joulebench.measure(replay=str(WATTS)) as m:
        pass
    assert m.joules is not None
    del raised


def test_a_fork_measures_by_itself():
    with joulebench.measure(replay=str(WATTS)):
        pid = os.fork()
        if pid == 0:  # the parent's block is not the child's
            code = 1
            try:
                with joulebench.measure(replay=str(WATTS)) as m:
                    time.sleep(0.02)
                code = 0 if m.joules and m.joules >= WATTS * 0.02 else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_it_shows_itself_as_text_and_in_a_notebook():
    with joulebench.measure(unit="image", name="<one>", replay=str(WATTS)) as m:
        time.sleep(0.02)
    lines = str(m).splitlines()
    assert lines[0].startswith("<one>: ")
    assert lines[2].split()[0] == "cpu"
    assert repr(m) == str(m)
    html = m._repr_html_()
    assert "<one>" not in html
    assert "&lt;one&gt;" in html
    assert html.count("<tr>") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        {"units": 0}, {"units": 1.5}, {"units": True}, {"repeats": 0}, {"repeats": 2.0},
        {"hardware": "no_such_profile"}, {"replay": "no-such-trace.csv"}, {"window_s": -1}, {"window_s": "x"},
        {"window_s": float("nan")}, {"window_s": 0}, {"unit": 3}, {"unit": " "}, {"name": ""},
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_leaves_nothing_locked(arguments):
    with pytest.raises(InputError) as error:
        joulebench.measure(lambda: None, **{"replay": str(WATTS), **arguments})
    assert "\n" not in str(error.value)
    with joulebench.measure(replay=str(WATTS)):
        pass


def test_something_else_than_a_function_is_refused():
    with pytest.raises(InputError, match="needs a function"):
        joulebench.measure(3)


def test_calls_that_take_longer_than_most_count():
    """Calls of one function need not be alike: the mean is over all, as all were paid for."""

    @joulebench.measure(replay=str(WATTS))
    def work(seconds):
        time.sleep(seconds)

    lengths_s = [0.02] * 6 + [0.1] * 4
    for seconds in lengths_s:
        work(seconds)
    m = work.measured
    assert (m.energy.n, m.faults) == (10, ())
    assert m.joules >= WATTS * sum(lengths_s) / 10


def test_windows_that_do_not_count_are_said_beside_those_that_do():
    m = joulebench.measure(replay=str(WATTS))
    for _ in range(3):
        with m:
            time.sleep(0.01)
    last = m._windows[-1]
    m._windows[-1] = last.model_copy(update={"conditions": {**last.conditions, "other_load_cpus": 99.0}})
    assert m.energy.n == 2
    assert f"n = 2 windows (1 more do not count: {m.faults[0]})" in str(m)


async def _coroutine():
    pass


def _generator():
    yield


class _Called:
    async def __call__(self):
        pass


def test_a_partial_is_called_as_its_function():
    doubly = functools.partial(functools.partial(time.sleep), 0.001)
    assert joulebench.measure(doubly, repeats=1, window_s=0.01, replay="50", allow_busy=True).name == "sleep"


def test_a_block_that_was_not_entered_cannot_be_left():
    with pytest.raises(InputError, match="was not entered"):
        joulebench.measure(replay="50").__exit__(None, None, None)


@pytest.mark.parametrize("function", [_coroutine, _generator, functools.partial(_coroutine), _Called()])
def test_a_call_that_does_its_work_later_is_refused(function):
    """The call itself takes microseconds; they are not the joules of the work."""
    for attempt in (
        lambda: joulebench.measure(function, replay=str(WATTS)),
        lambda: joulebench.measure(replay=str(WATTS))(function),
        lambda: joulebench.compare({"a": int, "b": function}, replay=str(WATTS)),
    ):
        with pytest.raises(InputError, match="before its work is done"):
            attempt()
