"""A meter of the user's own is held to what it offers: what it does not keep would change sums without a word."""

from __future__ import annotations

import math
import sys
import types

import pytest

from joulebench.errors import InputError, MeterError
from joulebench.host.clock import VirtualClock
from joulebench.meters.base import CheckedMeter, Counter, MeterOffer, description, difference
from joulebench.meters.select import meters_for
from joulebench.records.model import FaultKind
from joulebench.spec.hardware import HardwareProfile

PROFILE = HardwareProfile(name="here", title="x")


class Own:
    """Reads what it is told, and describes `cpu` by `own` as estimated."""

    def __init__(self, *reads, lines=None, fails=()):
        self.reads, self.fails, self.stopped = list(reads), fails, False
        self.lines = [description("cpu", "own", "estimated", "told")] if lines is None else lines

    def _may_fail(self, name):
        if name in self.fails:
            raise OSError("gone")

    def start(self):
        self._may_fail("start")

    def read(self):
        self._may_fail("read")
        return self.reads.pop(0) if len(self.reads) > 1 else self.reads[0]

    def integrals(self):
        self._may_fail("integrals")
        return {"seen": 1.0, "none": math.nan}

    def stop(self):
        self.stopped = True

    def describe(self):
        return self.lines


def counter(energy_j=1.0, domain="cpu", source="own", kind="estimated", **more):
    return Counter(domain, energy_j, source, kind, **more)


def checked(*reads, domains=("cpu",), **more):
    return CheckedMeter(MeterOffer(Own(*reads, **more), domains), "mine:offer")


def test_what_keeps_its_word_is_read():
    meter = checked((counter(1.0),), (counter(3.0),))
    meter.start()
    assert meter.read()[0].energy_j == 3.0
    assert meter.integrals() == {"seen": 1.0}


@pytest.mark.parametrize("domains", ["cpu", None, (), ("system",), ("cpu:0",), ("gpu",), ("gpu:x",), [1], (3,)])
def test_only_domains_are_offered(domains):
    with pytest.raises(InputError, match="--meter: 'mine:offer' has to offer"):
        checked((counter(),), domains=domains)


@pytest.mark.parametrize(
    "read",
    [
        (),  # offered and not delivered: its joules would be missing from every sum
        (counter(domain="ram"),),
        (counter(), counter(domain="ram")),
        (counter(), counter()),
        (counter(math.nan),),
        (counter(math.inf),),
        (counter("12"),),
        (counter(kind="measured"),),  # not as it describes it
        (counter(kind="guess"),),
        (counter(source="other"),),
        (counter(updates=1.5),),
        ("a counter",),
        None,
        5,
        (counter(domain=["cpu"]),),
        (counter(source=3),),
        (counter(fault=5),),
    ],
)
def test_what_breaks_its_word_fails_as_it_starts_and_later(read):
    first = checked(read)
    with pytest.raises(MeterError, match="meter 'mine:offer'"):
        first.start()
    assert first._meter.stopped
    if read == ():
        return  # for once absent, it makes a window faulty
    later = checked((counter(),), read)
    later.start()
    with pytest.raises(MeterError, match="meter 'mine:offer'"):
        later.read()


@pytest.mark.parametrize("method", ["start", "read", "integrals"])
def test_its_failures_are_the_meters(method):
    meter = checked((counter(),), fails=(method,))
    act = meter.integrals if method == "integrals" else meter.start
    with pytest.raises(MeterError, match="OSError: gone"):
        act()


def test_a_domain_that_is_absent_for_once_makes_the_window_faulty():
    meter = checked((counter(1.0),), (counter(1.0),), ())
    meter.start()
    readings, fault = difference(meter.read(), meter.read())
    assert (readings, fault.kind) == ((), FaultKind.MISSING_READING)


def test_a_fault_may_be_a_text_alone():
    meter = checked((counter(1.0),), (counter(1.0),), (counter(3.0, fault="is loose"),))
    meter.start()
    readings, fault = difference(meter.read(), meter.read())
    assert ([r.energy_j for r in readings], fault.kind) == ([2.0], FaultKind.UNCLASSIFIED)
    assert fault.text == "cpu (own) is loose"


@pytest.mark.parametrize("lines", [["text"], [{}], None, 5, [description("cpu", "own", "guess", "m")]])
def test_a_description_that_says_too_little_is_refused(lines):
    own = Own((counter(),))
    own.lines = lines
    meter = CheckedMeter(MeterOffer(own, ("cpu",)), "mine:offer")
    with pytest.raises(MeterError):
        meter.start()
    assert own.stopped


@pytest.mark.parametrize("end", [math.nan, math.inf, 0.5])
def test_a_window_whose_counter_is_no_number_or_went_back_is_faulty(end):
    readings, fault = difference([counter(1.0)], [counter(end)])
    assert readings == ()
    assert fault


def test_the_first_that_offers_a_domain_reads_it(monkeypatch):
    module = types.ModuleType("mine")
    module.offer = lambda request: MeterOffer(Own((counter(),)), ("cpu",))
    module.again = lambda request: MeterOffer(Own((counter(),)), ("cpu",))
    module.nothing = lambda request: None
    module.text = lambda request: "meter"
    monkeypatch.setitem(sys.modules, "mine", module)

    def sources(*own):
        meter = meters_for(PROFILE, "cpu", VirtualClock(), None, own=own)
        meter.start()
        found = {(c.domain, c.source, c.role) for c in meter.read()}
        meter.stop()
        return found

    assert sources("mine:offer") == {("cpu", "own", "primary"), ("cpu", "cpu_load_model", "check"),
                                     ("ram", "ram_model", "primary")}  # fmt: skip
    for own in (("mine:offer", "mine:again"), ("mine:nothing",), ("mine:text",), ("os:sep",)):
        with pytest.raises(InputError, match="--meter"):
            sources(*own)


PARTS = ("gpu:0", "cpu", "ram")


def module_offer(request, **more):
    reads = (counter(500.0, "module:0", "board", "measured", **more),)
    line = description("module:0", "board", "measured", "a board")
    return MeterOffer(Own(reads, lines=[line]), ("module:0",), contains=PARTS)


def test_what_a_counter_contains_is_read_by_no_other_meter(monkeypatch):
    module = types.ModuleType("mine")
    module.offer, module.contains = module_offer, lambda r: module_offer(r, contains=("gpu:0",))
    module.cpu = lambda _: MeterOffer(Own((counter(),)), ("cpu",))
    monkeypatch.setitem(sys.modules, "mine", module)
    nvml = []
    monkeypatch.setattr("joulebench.meters.nvml.NvmlMeter", nvml.append)
    for name, contained in (("mine:offer", PARTS), ("mine:contains", ("gpu:0",))):
        meter = meters_for(PROFILE, "cuda:0", VirtualClock(), None, own=(name,))
        meter.start()
        found = {(c.domain, c.role): c for c in meter.read()}
        meter.stop()
        assert {key for key in found if key[1] == "primary"} == {("module:0", "primary")}
        assert set(found) <= {("module:0", "primary"), ("cpu", "check"), ("ram", "check")}
        assert found["module:0", "primary"].contains == contained
    assert nvml == []
    for both in (("mine:offer", "mine:cpu"), ("mine:cpu", "mine:offer")):
        with pytest.raises(InputError, match=rf"--meter: '{both[1]}' reads cpu, which another meter reads"):
            meters_for(PROFILE, "cpu", VirtualClock(), None, own=both)


@pytest.mark.parametrize("contains", ["cpu", None, ("system",), [1], (3,)])
def test_what_a_counter_contains_are_domains(contains):
    with pytest.raises(InputError, match="--meter: 'mine:offer' has to say by a tuple of domains"):
        CheckedMeter(MeterOffer(Own((counter(),)), ("module:0",), contains), "mine:offer")
