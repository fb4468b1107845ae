"""Live meters against emulators of each documented kind: known power, late answers, gaps, clocks that are off."""

from __future__ import annotations

import random
import re
import socket
import time
import tomllib
from contextlib import ExitStack, contextmanager

import pytest

from joulebench.errors import InputError, MeterError
from joulebench.host.clock import RealClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters.base import Counter, MeterRequest, MeterSet
from joulebench.meters.live import LiveMeter, MeterClock, live_offer
from joulebench.meters.live_settings import LiveSettings, read_settings
from joulebench.meters.live_sources import MAX_BYTES, CommandSource, HttpSource, NoAnswerError
from joulebench.meters.replay import PowerTrace
from joulebench.meters.select import availability, meters_for
from joulebench.meters.wall_comparison import compare
from joulebench.meters.wall_log import read_log
from joulebench.records.model import FaultKind
from joulebench.results.validity import MIN_COUNTER_UPDATES, invalidity, training_fault
from joulebench.spec.hardware import HardwareProfile, Host
from joulebench.spec.task import Protocol
from joulebench.spec.toml import validate
from tests.conftest import REPOSITORY
from tests.live_emulators import ANSWERS, Device, Program, served
from tests.meter_sources import TickingClock

PROFILE = HardwareProfile(name="here", title="x")
PROTOCOL = Protocol(warmup_s=0, window_s=2.0, repeats=3, max_repeats=6, target_rel_ci=0.02, idle_s=0)
PAGE = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
DOCUMENTED = dict(re.findall(r"```toml\n# (\w+)\.toml\n(.*?)```", PAGE, flags=re.S))
WINDOW_S = 40.0


def changing(seconds=700.0, seed=5):
    """Power that wanders between 150 and 450 W, a few seconds at a time."""
    draw = random.Random(seed)
    times, watts = [0.0], [300.0]
    while times[-1] < seconds:
        times.append(times[-1] + draw.uniform(1.0, 9.0))
        watts.append(draw.uniform(150.0, 450.0))
    return PowerTrace("wall", tuple(times), tuple(watts))


def settings(**given):
    known = {"url": "http://127.0.0.1/", "path": "power", "unit": "W", "scope": "gpu"}
    return validate(LiveSettings, {**known, **given}, "plug.toml")


class Bench:
    """A live meter of a device on a ticking clock, and the windows that it is read in."""

    def __init__(self, kind, device, source, given, log=None):
        self.device, self.clock = device, device.clock
        self.meter = LiveMeter(kind, given, source, self.clock, self.clock.sampler(given.interval_s), log)
        self.timeline = Timeline(self.meter, self.clock)
        self.timeline.start()

    def windows(self, *lengths_s):
        found = []
        for seconds in lengths_s:
            self.clock.sleep(seconds)
            found.append(self.timeline.cut("inference", units=1, steps=1))
        return found

    def error(self, window):
        """Relative error of a window; None where there is no reading, or a fault."""
        if window.fault is not None or not window.readings:
            return None
        true_j = self.device.trace.energy_j(window.end_s) - self.device.trace.energy_j(window.start_s)
        return window.readings[0].energy_j / true_j - 1


@contextmanager
def documented(kind, tmp_path, log=None, trace=None, given=None, **device):
    """A bench of the settings that the documentation has for a kind."""
    shown = Device(trace or changing(), TickingClock(), **device)
    answer = ANSWERS[kind]
    raw = {**tomllib.loads(DOCUMENTED[kind]), **(given or {})}
    with ExitStack() as stack:
        if "url" in raw:
            address = stack.enter_context(served(shown, answer))
            raw["url"] = re.sub(r"https?://[^/]+", f"http://{address}", raw["url"])
        known = validate(LiveSettings, raw, f"{kind}.toml")
        source = Program(tmp_path, "ipmitool", shown, answer) if known.url is None else known.source(kind)
        bench = Bench(kind, shown, source, known, log)
        stack.callback(bench.timeline.stop)
        yield bench


@pytest.fixture(autouse=True)
def _headers(monkeypatch):
    monkeypatch.setenv("REDFISH_HEADERS", "X-Auth-Token: 5ecret\n")


#: How each kind shows its power, beside what a test asks of it.
SHOWS = {"dcgm": {"update_s": 1.0}, "prometheus": {"update_s": 1.0}}
#: Fewer calls of a command than its settings ask for, so that the tests end soon.
SLOWER = {"grace": {"interval_s": 1.0}}


def test_every_documented_kind_is_emulated():
    assert set(DOCUMENTED) == set(ANSWERS)
    assert {kind: re.findall(r"\S+", DOCUMENTED[kind])[0] for kind in DOCUMENTED}["ipmi"] == "command"


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_energy_of_each_kind_is_right_with_late_answers(kind, tmp_path):
    with documented(kind, tmp_path, given=SLOWER.get(kind), late_s=0.2, **SHOWS.get(kind, {})) as bench:
        windows = bench.windows(5.0, *[WINDOW_S] * 8)[1:]
        errors = [bench.error(w) for w in windows]
        told = [e for e in errors if e is not None]
        assert len(told) >= 6
        assert max(abs(e) for e in told) <= 0.01
        whole_j = bench.device.trace.energy_j(windows[-1].end_s) - bench.device.trace.energy_j(windows[0].start_s)
        assert sum(w.readings[0].energy_j for w in windows if w.readings) == pytest.approx(
            whole_j * sum(bool(w.readings) for w in windows) / len(windows), rel=0.05
        )
        if kind == "redfish":
            assert bench.device.asked[-1]["X-Auth-Token"] == "5ecret"


@pytest.mark.parametrize("kind", sorted(ANSWERS))
@pytest.mark.parametrize("ahead_s", [3.0, -3.0])
def test_a_clock_of_the_meter_that_is_off_by_3_s_changes_nothing(kind, ahead_s, tmp_path):
    shows = {"ahead_s": ahead_s, "late_s": 0.1, **SHOWS.get(kind, {})}
    with documented(kind, tmp_path, given=SLOWER.get(kind), **shows) as bench:
        errors = [bench.error(w) for w in bench.windows(5.0, *[WINDOW_S] * 4)[1:]]
        told = [e for e in errors if e is not None]
        assert len(told) >= 3
        assert max(abs(e) for e in told) <= 0.01


def test_values_from_a_cache_are_as_old_as_they_say(tmp_path):
    """Refreshed every 5 s: without their time each would count as new, and energy would be 2.5 s behind."""
    steady = PowerTrace("wall", (0.0, 120.0, 240.0, 700.0), (100.0, 400.0, 100.0, 100.0))
    given = {"interval_s": 1.0}
    with documented("prometheus", tmp_path, trace=steady, given=given, update_s=5.0, ahead_s=3.0) as bench:
        windows = bench.windows(10.0, 100.0, 100.0)[1:]
        errors = [bench.error(w) for w in windows]
        assert [w.fault and w.fault.kind for w in windows] == [FaultKind.SAMPLING_GAP] * 2  # asked every second
        assert errors == [None, None]
        for window in windows:
            true_j = steady.energy_j(window.end_s) - steady.energy_j(window.start_s)
            assert window.readings[0].energy_j == pytest.approx(true_j, rel=0.01)


def test_a_known_delay_is_taken_off(tmp_path):
    """Its values are 3 s behind. A step in a window's last 3 s is not known at its end: the next one says so."""
    steps = PowerTrace("wall", (0.0, 60.0, 64.0, 166.0, 168.0, 700.0), (300.0, 310.0, 150.0, 150.0, 400.0, 390.0))
    given = {"delay_s": 3.0, "scope": "gpu"}
    with documented("shelly_gen2", tmp_path, given=given, trace=steps, delay_s=3.0) as bench:
        windows = bench.windows(10.0, *[40.0] * 6)[1:]
        assert [w.fault and w.fault.kind for w in windows] == [None] * 4 + [FaultKind.FEW_UPDATES, None]
        assert all(abs(bench.error(windows[n])) <= 0.01 for n in (0, 1, 2, 5))
        both_j = steps.energy_j(windows[4].end_s) - steps.energy_j(windows[3].start_s)
        assert sum(w.readings[0].energy_j for w in windows[3:5]) == pytest.approx(both_j, rel=2e-3)


def test_an_unknown_delay_is_found_by_the_log(tmp_path):
    """A value that is 3 s behind is not right in its windows; `joulebench wall` finds the delay and the ratio."""
    log = tmp_path / "plug.csv"

    class Software:
        """Meters of the parts: 60 % of the wall's power."""

        def __init__(self, device):
            self.device = device

        def start(self):
            pass

        stop = start

        def read(self):
            return (Counter("cpu", 0.6 * self.device.trace.energy_j(self.device.clock.now_s()), "x", "measured"),)

        def integrals(self):
            return {}

        def describe(self):
            return []

    with documented("shelly_gen2", tmp_path, log=log, delay_s=3.0, late_s=0.1) as bench:
        bench.timeline.stop()
        bench.timeline = Timeline(MeterSet([Software(bench.device), bench.meter], bench.clock), bench.clock)
        bench.timeline.start()
        windows = bench.windows(*[2.0] * 200)
    found = compare(windows, read_log(log))
    assert found.offset.estimated
    assert found.offset.offset_s == pytest.approx(3.0, abs=0.5)
    assert found.ratio.mean == pytest.approx(1 / 0.6, rel=0.01)


OUT = {
    "an error": lambda d: (503, "busy"),
    "no JSON": lambda d: (200, "<html>"),
    "another answer": lambda d: (200, '{"id": 0}'),
    "no number": lambda d: (200, '{"apower": "n/a"}'),
    "nothing": lambda d: (0, ""),
    "0 W": lambda d: (200, '{"apower": 0}'),
    "more than it can": lambda d: (200, '{"apower": 9e9}'),
    "less than nothing": lambda d: (200, '{"apower": -3}'),
}


@pytest.mark.parametrize("name", OUT)
def test_what_was_not_seen_is_a_gap(name, tmp_path):
    given = {"scope": "gpu"}
    with documented("shelly_gen2", tmp_path, given=given, out=OUT[name], out_s=(58.0, 75.0)) as bench:
        before, during, after, later = bench.windows(45.0, 22.0, 40.0, 40.0)
        assert before.fault is None
        refused = name in ("0 W", "more than it can", "less than nothing")
        assert (after.fault.kind is FaultKind.SAMPLING_GAP) != refused
        assert during.fault is not None
        assert "no new value for" in during.fault.text
        assert "not sampled for 17" in after.fault.text or "not sampled for 18" in after.fault.text
        assert later.fault is None
        assert abs(bench.error(later)) <= 0.01
        assert "127.0.0.1" not in during.fault.text + after.fault.text


def test_an_epoch_of_training_is_not_held_to_its_edges(tmp_path):
    """Half-second epochs between values 2 s apart: each is a guess, and what they add up to is not."""
    ramp = PowerTrace("wall", (0.0, 20.0, 60.0, 700.0), (100.0, 100.0, 400.0, 400.0))
    given = {"scope": "gpu", "interval_s": 2.0}
    with documented("shelly_gen2", tmp_path, trace=ramp, given=given) as bench:
        _, *epochs = bench.windows(20.3, *[0.5] * 60)
        assert any(w.fault for w in epochs)
        assert [training_fault(w, PROTOCOL) for w in epochs] == [None] * 60
        true_j = ramp.energy_j(epochs[-1].end_s) - ramp.energy_j(epochs[0].start_s)
        assert sum(w.readings[0].energy_j for w in epochs) == pytest.approx(true_j, rel=0.03)
        bench.device.out_s = (bench.clock.now_s(), 1e9)
        assert training_fault(bench.windows(30.0)[0], PROTOCOL).kind is FaultKind.SAMPLING_GAP


def test_a_gap_of_a_check_leaves_it_out_and_the_window_counts(tmp_path):
    with documented("tasmota", tmp_path, out_s=(50.0, 70.0)) as bench:
        before, during, after = bench.windows(40.0, 40.0, 40.0)
        assert [bool(w.readings) for w in (before, during, after)] == [True, False, True]
        assert all(w.fault is None for w in (before, during, after))
        assert after.readings[0].role == "check"


def test_a_check_without_a_value_in_the_window_is_left_out(tmp_path):
    with documented("tasmota", tmp_path, trace=PowerTrace("wall", (0.0,), (300.0,))) as bench:
        found = bench.windows(10.0, 0.3, 0.3, 0.3, 0.3, 10.0)
        assert [bool(w.readings) for w in found] == [True, False, False, False, True, True]
        assert all(w.fault is None for w in found)


COUNTER = {"path": "aenergy.total", "unit": "Wh", "scope": "gpu", "interval_s": 0.25}


def test_a_counter_is_as_right_as_its_power(tmp_path):
    with documented("shelly_gen2", tmp_path, given=COUNTER, update_s=1.0, late_s=0.1) as bench:
        windows = bench.windows(5.0, *[WINDOW_S] * 6)[1:]
        told = [e for w in windows if (e := bench.error(w)) is not None]
        assert len(told) >= 5
        assert max(abs(e) for e in told) <= 0.01
        assert all(invalidity(w, PROTOCOL) is None for w in windows if w.fault is None)
        assert all(35 <= w.readings[0].counter_updates <= 42 for w in windows)


def test_a_counter_that_wraps_loses_nothing(tmp_path):
    wraps = {"wraps_at": 10.0}
    with documented("shelly_gen2", tmp_path, given={**COUNTER, **wraps}, wraps_j=36_000.0) as bench:
        told = [bench.error(w) for w in bench.windows(5.0, *[WINDOW_S] * 8)[1:]]
        assert all(e is not None and abs(e) <= 0.01 for e in told)


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ({"reset_s": 60.0}, FaultKind.COUNTER_RESET),
        ({"wraps_j": 36_000.0, "first_j": 20_000.0}, FaultKind.COUNTER_RESET),  # which the settings do not say
        ({"stuck_s": (60.0, 75.0)}, FaultKind.COUNTER_STUCK),
    ],
)
def test_a_counter_that_lost_joules_says_so(device, kind, tmp_path):
    with documented("shelly_gen2", tmp_path, given=COUNTER, **device) as bench:
        before, during, later = bench.windows(45.0, 40.0, 40.0)
        assert before.fault is None
        assert during.fault.kind is kind
        assert later.fault is None
        assert abs(bench.error(later)) <= 0.01


def test_a_counter_of_coarse_steps_is_not_stuck(tmp_path):
    """Tasmota's moves by 3.6 kJ, every 12 s here: windows of 20 steps are right, and shorter ones do not count."""
    steady = PowerTrace("wall", (0.0,), (300.0,))
    given = {"path": "StatusSNS.ENERGY.Total", "unit": "kWh", "scope": "gpu"}
    with documented("tasmota", tmp_path, trace=steady, given=given) as bench:
        _, short, long = bench.windows(60.0, 60.0, 300.0)
        assert (short.fault, long.fault) == (None, None)
        assert invalidity(short, PROTOCOL).kind is FaultKind.FEW_UPDATES
        assert long.readings[0].counter_updates >= MIN_COUNTER_UPDATES
        assert abs(bench.error(long)) <= 0.01


def test_a_step_before_a_window_spoils_it_and_the_next_ones_count(tmp_path):
    """Power is read every 2 s: half a second after a step the energy at the window's start is a guess."""
    step = PowerTrace("wall", (0.0, 59.4, 59.5, 700.0), (100.0, 100.0, 400.0, 400.0))
    given = {"scope": "gpu", "interval_s": 2.0}
    with documented("shelly_gen2", tmp_path, trace=step, given=given) as bench:
        _, first, second = bench.windows(59.9, 42.0, 42.0)
        assert first.fault.kind is FaultKind.FEW_UPDATES
        assert "window's start" in first.fault.text
        assert second.fault is None
        assert abs(bench.error(second)) <= 0.001


def test_the_meters_own_time():
    clock = MeterClock()
    assert clock.taken_s(10.0, 1013.0) == 10.0
    assert clock.taken_s(11.0, 1013.0) == 10.0  # the same value, one second later
    assert clock.taken_s(12.0, 1014.5) == 11.5
    for n in range(60):  # its clock was set back by 5 s: after 60 values that is forgotten
        taken_s = clock.taken_s(20.0 + n, 1018.0 + n)
    assert taken_s == 79.0


# --- what is asked, and how it fails ---


def test_a_connection_is_kept_and_made_anew(tmp_path):
    device = Device(changing(), TickingClock())
    with served(device, ANSWERS["shelly_gen2"]) as address:
        source = HttpSource(f"http://user:pa%20ss@{address}/x?y=1", {}, 2.0)
        assert '"apower"' in source.text()
        kept = source._connection
        assert '"apower"' in source.text()
        assert source._connection is kept
        kept.sock.shutdown(socket.SHUT_RDWR)  # as by a device that hangs up
        assert '"apower"' in source.text()
        assert device.asked[0]["path"] == "/x?y=1"
        assert device.asked[0]["Authorization"] == "Basic dXNlcjpwYSBzcw=="
        source.close()
    with pytest.raises(NoAnswerError, match="refuses the connection"):
        source.text()


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ((302, ""), "HTTP status 302"),
        ((401, "who?"), "HTTP status 401"),
        ((200, "x" * (MAX_BYTES + 1)), "more than 8 MiB"),
        ((0, ""), "closes the connection"),
    ],
)
def test_answers_that_are_none(out, said):
    device = Device(changing(), TickingClock(), out_s=(0.0, 9.0), out=lambda d: out)
    with served(device, ANSWERS["shelly_gen2"]) as address:
        source = HttpSource(f"http://{address}/", {}, 5.0)
        with pytest.raises(NoAnswerError, match=said):
            source.text()
        source.close()


def test_a_slow_answer_is_not_waited_for():
    device = Device(changing(), TickingClock(), out_s=(0.0, 9.0), out=lambda d: time.sleep(0.4) or (200, "late"))
    with served(device, ANSWERS["shelly_gen2"]) as address:
        source = HttpSource(f"http://{address}/", {}, 0.1)
        began_s = time.monotonic()
        with pytest.raises(NoAnswerError, match=r"does not answer within 0\.1 s"):
            source.text()
        assert time.monotonic() - began_s < 0.3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["/nowhere/ipmitool", "-P", "5ecret"], "ipmitool cannot be run"),
        (["sh", "-c", "exit 3"], "sh ends with exit code 3"),
        (["sleep", "5"], r"sleep does not end within 0\.1 s"),
    ],
)
def test_commands_that_fail(words, said):
    with pytest.raises(NoAnswerError, match=said) as told:
        CommandSource(words, 0.1).text()
    assert "5ecret" not in str(told.value)


def test_a_thread_of_its_own_asks():
    """In real time: 50 W for 1.2 s."""
    device = Device(PowerTrace("wall", (0.0,), (50.0,)), TickingClock())
    with served(device, ANSWERS["shelly_gen2"]) as address:
        known = settings(url=f"http://{address}/", path="apower", interval_s=0.05)
        meter = LiveMeter("plug", known, known.source("plug.toml"), RealClock())
        timeline = Timeline(meter, RealClock())
        timeline.start()
        time.sleep(1.2)
        window = timeline.cut("inference", units=1, steps=1)
        timeline.stop()
    assert window.fault is None
    assert window.readings[0].energy_j == pytest.approx(50.0 * window.duration_s, rel=1e-3)
    assert window.readings[0].counter_updates >= 15
    assert 0 < window.conditions["plug_sampling_cpus"] < 0.5


# --- settings ---


def write(folder, text, name="plug.toml"):
    path = folder / name
    path.write_text(text)
    return path


GOOD = 'url = "http://127.0.0.1:9/"\npath = "power"\nunit = "W"\nscope = "wall"\n'


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ('url = "http://u:5ecret@/x"', "url: must be http://"),
        ('url = "file:///etc/passwd"', "url: must be http://"),
        ('url = "http://h/ x"', "url: must be http://"),
        ('url = "http://[::1"', "url: must be http://"),
        ('url = "http://h:99999/"', "url: must be http://"),
        ("command = []", "give one of url, command"),
        ('metric = "a"', "give one of path, metric, after"),
        ('unit = "watt"', "must be one of uW, mW, W"),
        ('scope = "walls"', "did you mean 'wall'"),
        ("interval_s = 0.01", "interval_s"),
        ("wraps_at = 3.0", "wraps_at is of an energy counter"),
        ('path = "a..b"', "no path into JSON"),
        ('tiem = "x"', "unknown key; did you mean 'time'"),
        ("gpu = -1", "gpu"),
        ('headers_env = "JB_NOT_THERE"', "environment variable JB_NOT_THERE"),
    ],
)
def test_wrong_settings_are_one_line(change, said, tmp_path):
    key = change.partition(" ")[0]
    lines = [line for line in GOOD.splitlines() if line.partition(" ")[0] != key]
    path = write(tmp_path, "\n".join([*lines, change]))
    with pytest.raises(InputError) as told:
        live_offer(str(path), MeterRequest(PROFILE, "cpu", RealClock()))
    assert said in str(told.value)
    assert "plug.toml" in str(told.value)
    assert "5ecret" not in str(told.value)


def test_a_meter_is_named_as_its_file(tmp_path):
    with pytest.raises(InputError, match="named as its file"):
        read_settings(write(tmp_path, GOOD, "My plug.toml"))
    with pytest.raises(InputError, match="cannot be read"):
        read_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("scope", "domain", "role"),
    [
        ("gpu", "gpu:1", "primary"), ("package", "cpu", "primary"), ("dram", "ram", "primary"),
        ("module", "module:1", "check"), ("node", "node", "check"), ("wall", "wall", "check"),
    ],
)  # fmt: skip
def test_what_contains_several_parts_is_never_summed(scope, domain, role):
    known = settings(scope=scope, gpu=1)
    assert (known.domain, known.role) == (domain, role)


def test_records_do_not_say_where_it_asks(monkeypatch):
    monkeypatch.setenv("KEYS", "Authorization: Bearer 5ecret")
    known = settings(url="https://me:5ecret@10.1.2.3/p?token=5ecret", headers_env="KEYS")
    line = LiveMeter("plug", known, known.source("plug.toml")).describe()[0]
    assert line.items() >= {
        ("domain", "gpu:0"), ("source", "live_plug"), ("kind", "measured"), ("role", "primary"),
        ("method", "power of the gpu in W, by HTTP every 1 s"),
    }  # fmt: skip
    assert not any("10.1.2.3" in text or "5ecret" in text for text in line.values())
    command = settings(url=None, command="/opt/bin/ask -p 5ecret", scope="wall")
    assert command.described == "power of the wall in W, by the command ask every 1 s"


# --- beside the other meters ---


def test_a_run_reads_it_beside_the_others(tmp_path):
    device = Device(PowerTrace("wall", (0.0,), (50.0,)), TickingClock())
    with served(device, ANSWERS["shelly_gen2"]) as address:
        wall = write(tmp_path, f'url = "http://{address}/"\npath = "apower"\nunit = "W"\nscope = "wall"\n')
        cpu = write(
            tmp_path, f'url = "http://{address}/"\npath = "apower"\nunit = "mW"\nscope = "package"\n', "cpu.toml"
        )
        meter = meters_for(PROFILE, "cpu", RealClock(), None, tmp_path, own=(str(wall), str(cpu)))
        meter.start()
        found = {(c.domain, c.source, c.role) for c in meter.read()}
        shares = meter.integrals()
        meter.stop()
        assert found == {
            ("wall", "live_plug", "check"), ("cpu", "live_cpu", "primary"), ("cpu", "cpu_load_model", "check"),
            ("ram", "ram_model", "primary"),
        }  # fmt: skip
        assert {"plug_read_share", "cpu_read_share", "plug_sampling_cpus"} <= shares.keys()
        again = write(tmp_path, cpu.read_text(), "again.toml")
        with pytest.raises(InputError, match="reads cpu, which another meter reads"):
            meters_for(PROFILE, "cpu", RealClock(), None, tmp_path, own=(str(cpu), str(again)))
    with pytest.raises(MeterError, match="meter 'plug' refuses the connection"):
        meters_for(PROFILE, "cpu", RealClock(), None, tmp_path, own=(str(wall),)).start()


def test_hardware_lists_it_as_available_or_why_not(tmp_path, monkeypatch):
    monkeypatch.setattr("joulebench.meters.plugins.MAX_WATCHED_S", 0.3)
    device = Device(PowerTrace("wall", (0.0,), (50.0,)), TickingClock())
    with served(device, ANSWERS["shelly_gen2"]) as address:
        text = f'url = "http://{address}/"\npath = "apower"\nunit = "W"\nscope = "wall"\ninterval_s = 0.05\n'
        files = [str(write(tmp_path, text)), str(write(tmp_path, text.replace("apower", "power"), "other.toml"))]
        listed = availability(Host("A CPU", 2, ()), PROFILE, powercap=tmp_path, files=files)
    found = {s.source: s for s in listed}
    assert found["live_plug"].available
    assert re.search(r"50 W now, answered in \d+ ms, a new value every 0\.0\d+ s", found["live_plug"].detail)
    assert not found[files[1]].available
    assert "there is no 'power' in its answer" in found[files[1]].detail
    with pytest.raises(InputError, match="none"):
        availability(Host("A CPU", 2, ()), PROFILE, powercap=tmp_path, files=[str(tmp_path / "none.toml")])


def test_only_one_process_writes_the_log(tmp_path):
    log = tmp_path / "plug.csv"
    given = {"log": str(log)}
    with documented("shelly_gen2", tmp_path, log=log, given=given) as one:
        with documented("shelly_gen2", tmp_path, log=log, given=given) as two:
            two.clock.sleep(5.0)
        one.clock.sleep(5.0)
    assert len(log.read_text().splitlines()) == 1 + 5
    assert len(read_log(log).watts) == 5
    log.write_text("something else\n")
    with pytest.raises(InputError, match="no log of power"), documented("shelly_gen2", tmp_path, log=log):
        pass
