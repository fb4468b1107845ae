"""Every rule by which a window counts, on both sides of its limit."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.records.model import Fault, FaultKind, Reading, Window
from joulebench.results.validity import (
    disturbance,
    idle_fault,
    invalidity,
    judged,
    stretch,
    training_fault,
    valid_windows,
)
from joulebench.spec.task import Protocol

PROTOCOL = Protocol(window_s=2.0, max_other_cpus=0.05, allow_busy=False)
BUSY = PROTOCOL.model_copy(update={"allow_busy": True})
WRITERS = Fault(kind=FaultKind.SAMPLING_GAP, text="was not read for 8 s")


def reading(energy_j=200.0, domain="gpu:0", source="nvml_counter", kind="measured", role="primary", updates=None):
    return Reading(domain=domain, energy_j=energy_j, source=source, kind=kind, role=role, counter_updates=updates)


def window(seconds=2.0, steps=100, readings=None, phase="inference", start_s=0.0, conditions=None, **fields):
    """A window that counts: 2 s and 200 J of one GPU."""
    return Window(
        phase=phase, start_utc="2026-01-01T00:00:00Z", start_s=start_s, end_s=start_s + seconds, steps=steps,
        readings=(reading(),) if readings is None else tuple(readings),
        conditions=conditions or {}, **{"units": 1000, **fields},
    )  # fmt: skip


def kind(fault):
    return None if fault is None else fault.kind


def kinds(windows, protocol=PROTOCOL):
    return [kind(fault) for _, fault in judged(windows, "inference", protocol)]


def test_what_nobody_recorded_spoils_nothing():
    assert (
        invalidity(window(), PROTOCOL) is idle_fault(window(), PROTOCOL) is disturbance(window(), PROTOCOL) is None
    )


@pytest.mark.parametrize("protocol", [PROTOCOL, BUSY])
def test_the_writers_fault_comes_first(protocol):
    bad = window(0.1, readings=[reading(-1.0)], fault=WRITERS, conditions={"other_load_cpus": 9.0})
    assert invalidity(bad, protocol) == idle_fault(bad, protocol) == WRITERS


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (window(0.0), FaultKind.NO_DURATION),
        (window(-1.0), FaultKind.NO_DURATION),
        (window(math.inf), FaultKind.NO_DURATION),
        (window(2.0 - 1e-12), None),
        (window(1.999), FaultKind.TOO_SHORT),
        (window(units=0), FaultKind.NO_WORK),
        (window(readings=[]), None),
        (window(readings=[reading(2e-9)]), None),
        (window(readings=[reading(0.0)]), FaultKind.IMPOSSIBLE_READING),
        (window(readings=[reading(-1.0)]), FaultKind.IMPOSSIBLE_READING),
        (window(readings=[reading(math.nan)]), FaultKind.IMPOSSIBLE_READING),
        (window(readings=[reading(1.1e15)]), FaultKind.IMPOSSIBLE_READING),
        (window(readings=[reading(updates=20)]), None),
        (window(readings=[reading(updates=19)]), FaultKind.FEW_UPDATES),
        (window(readings=[reading(), reading(0.0, role="check", kind="estimated", updates=1)]), None),
    ],
)
def test_time_work_and_readings(made, why):
    assert kind(invalidity(made, PROTOCOL)) == why


LOADS = {"other_load_cpus": FaultKind.OTHER_LOAD, "steal_cpus": FaultKind.STOLEN_TIME}


@pytest.mark.parametrize("condition", LOADS)
@pytest.mark.parametrize(
    ("seconds", "cpus", "spoiled"),
    [
        (2.0, 0.05, False),
        (2.0, 0.0501, True),
        (2.0, 0.0, False),
        (60.0, 0.0501, True),
        (2.0, math.nan, True),
        (0.5, 0.06, False),  # three ticks of 10 ms
        (0.5, 0.0601, True),
        (0.3, 0.1, False),
        (0.3, 0.101, True),
    ],
)
def test_others_may_have_a_share_of_a_cpu_but_always_three_ticks(condition, seconds, cpus, spoiled):
    made = window(seconds, conditions={condition: cpus})
    why = LOADS[condition] if spoiled else None
    protocol = PROTOCOL.model_copy(update={"window_s": seconds})
    assert kind(disturbance(made, PROTOCOL)) == kind(idle_fault(made, PROTOCOL)) == why
    assert kind(invalidity(made, protocol)) == why
    busy = protocol.model_copy(update={"allow_busy": True})
    assert invalidity(made, busy) is idle_fault(made, busy) is None


@given(st.floats(0.01, 1e4), st.sampled_from(sorted(LOADS)))
def test_three_ticks_are_the_kernels_rounding_in_a_window_of_any_length(seconds, condition):
    made = window(seconds, conditions={condition: round(0.03 / seconds, 6)})
    assert disturbance(made, PROTOCOL) is None


@given(st.floats(0.01, 1e4), st.floats(1e-6, 1e3), st.floats(0, 10))
def test_more_than_both_limits_is_always_spoiled_and_less_never(seconds, most, cpus):
    made = window(seconds, conditions={"other_load_cpus": cpus})
    limit = max(most, 0.03 / seconds)
    spoiled = disturbance(made, PROTOCOL.model_copy(update={"max_other_cpus": most})) is not None
    assert spoiled == (cpus > limit) or cpus == pytest.approx(limit, abs=1e-6)


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ({"gpu:0_other_processes": 0.0}, None),
        ({"gpu:0_other_processes": 0.1}, FaultKind.OTHER_GPU_PROCESS),
        ({"gpu:0_other_processes": 0.0, "gpu:1_other_processes": 2.0}, FaultKind.OTHER_GPU_PROCESS),
    ],
)
def test_nothing_else_may_use_the_gpu(conditions, why):
    made = window(conditions=conditions)
    assert kind(invalidity(made, PROTOCOL)) == kind(idle_fault(made, PROTOCOL)) == why
    assert invalidity(made, BUSY) is None


@pytest.mark.parametrize(
    ("conditions", "why"),
    [
        ({"gpu:0_utilisation": 0.05}, None),
        ({"gpu:0_utilisation": 0.051}, FaultKind.GPU_IN_USE),
        ({"gpu:1_utilisation": 0.9}, FaultKind.GPU_IN_USE),
        ({"gpu:0_memory_utilisation": 0.9}, None),
        ({"cpu_utilisation": 0.9}, None),
    ],
)
def test_a_gpu_that_works_is_not_idle(conditions, why):
    made = window(conditions=conditions)
    assert kind(idle_fault(made, PROTOCOL)) == why
    assert invalidity(made, PROTOCOL) is idle_fault(made, BUSY) is None


@pytest.mark.parametrize(
    ("domain", "limit_w", "why"),
    [
        ("gpu:0", 84.0, None),  # 100 W; 1.2 × 84 W are 100.8 W
        ("gpu:0", 83.0, FaultKind.IMPOSSIBLE_POWER),
        ("cpu", 84.0, None),
        ("cpu", 83.0, FaultKind.IMPOSSIBLE_POWER),
    ],
)
@pytest.mark.parametrize("protocol", [PROTOCOL, BUSY])
def test_no_part_draws_much_more_than_its_limit(domain, limit_w, why, protocol):
    made = window(readings=[reading(domain=domain)], conditions={f"{domain}_power_limit_w": limit_w})
    assert kind(invalidity(made, protocol)) == kind(idle_fault(made, protocol)) == why
    other = window(readings=[reading(domain=domain)], conditions={"gpu:1_power_limit_w": limit_w})
    assert invalidity(other, protocol) is None


def test_a_check_above_the_limit_is_no_reading():
    made = window(
        readings=[reading(), reading(300.0, role="check", kind="estimated")],
        conditions={"gpu:0_power_limit_w": 100.0},
    )
    assert invalidity(made, PROTOCOL) is None


@pytest.mark.parametrize(
    ("check_j", "updates", "check_updates", "why"),
    [
        (181.0, None, None, None),
        (179.0, None, None, FaultKind.METERS_DISAGREE),
        (222.0, None, None, None),
        (223.0, None, None, FaultKind.METERS_DISAGREE),
        (20.0, None, None, FaultKind.METERS_DISAGREE),
        (2000.0, None, None, FaultKind.METERS_DISAGREE),  # the primary reads 10 % of the truth
        (0.0, None, None, FaultKind.METERS_DISAGREE),
        (171.0, 20, None, None),  # one update of 20 is 5 %
        (169.0, 20, None, FaultKind.METERS_DISAGREE),
        (161.0, 20, 20, None),
        (159.0, 20, 20, FaultKind.METERS_DISAGREE),
        (math.nan, None, None, None),  # a check that was not read
        (-1.0, None, None, None),
    ],
)
def test_two_meters_of_one_part_agree_within_a_tenth_and_one_update_of_each(check_j, updates, check_updates, why):
    check = reading(check_j, source="nvml_power", role="check", updates=check_updates)
    made = window(readings=[reading(updates=updates), check])
    assert (
        kind(invalidity(made, PROTOCOL)) == kind(invalidity(made, BUSY)) == kind(idle_fault(made, PROTOCOL)) == why
    )


@pytest.mark.parametrize("estimated", ["primary", "check", "both"])
def test_a_model_beside_a_meter_is_not_judged(estimated):
    primary = reading(kind="measured" if estimated == "check" else "estimated")
    check = reading(1.0, role="check", kind="measured" if estimated == "primary" else "estimated")
    assert invalidity(window(readings=[primary, check]), PROTOCOL) is None


def test_a_check_is_compared_with_its_own_domain():
    both = [reading(), reading(20.0, "cpu", "rapl_package"), reading(20.0, "cpu", "other", role="check")]
    assert invalidity(window(readings=both), PROTOCOL) is None
    assert invalidity(window(readings=[both[0], both[2]]), PROTOCOL) is None


@pytest.mark.parametrize(
    ("seconds", "steps", "updates", "why"),
    [
        (3.02, 100, None, None),  # 1.5 × (2 s and a step of 0.03 s)
        (3.06, 100, None, FaultKind.TOO_LONG),
        (10.0, 100, None, FaultKind.TOO_LONG),
        (5.9, 3, None, None),  # 1.5 × (2 + 1.97)
        (6.1, 3, None, FaultKind.TOO_LONG),
        (60.0, 1, None, None),  # a single step may take as long as it takes
        (60.0, 0, None, None),  # nobody recorded steps
        (9.0, 1000, 20, None),  # a counter that moves 20 times in 9 s needs 9 s
        (9.0, 1000, 30, None),  # … 6 s
        (9.2, 1000, 31, FaultKind.TOO_LONG),  # 1.5 × 5.9 s are 8.9 s
        (9.0, 1000, 90, FaultKind.TOO_LONG),
    ],
)
def test_a_window_ends_within_a_step_of_its_time(seconds, steps, updates, why):
    made = window(seconds, steps, [reading(updates=updates)])
    assert kinds([made]) == kinds([made], BUSY) == [why]
    assert kinds([made, window(2.0, 100)])[0] == why
    assert idle_fault(made, PROTOCOL) is None


@pytest.mark.parametrize(
    ("pieces", "long"),
    [
        ([(3.0, 1)] * 4 + [(6.0, 1)], []),
        ([(3.0, 1)] * 4 + [(6.1, 1)], [4]),
        ([(3.0, 1), (11.0, 1)], []),  # which of two is right is not known
        ([(3.0, 1), (11.0, 1), (3.1, 1)], [1]),
        ([(5.0, 2)] * 3 + [(8.0, 2)], []),  # 4 s a step against 2.5 s
        ([(2.2, 2)] * 3 + [(5.0, 2)], [3]),  # frozen for 2.8 s
        ([(2.2, 5)] * 3 + [(4.2, 5)], []),
        ([(2.2, 3), (2.9, 4), (2.2, 3), (5.6, 3)], [3]),
        ([(3.0, 0), (3.0, 0), (60.0, 0)], []),
    ],
)
def test_a_stop_within_few_steps_shows_beside_the_phases_other_windows(pieces, long):
    assert kinds([window(s, n) for s, n in pieces]) == [
        FaultKind.TOO_LONG if i in long else None for i in range(len(pieces))
    ]


def throttled(*shares, reason="thermal"):
    return [window(conditions={f"gpu:0_throttled_{reason}": share}) for share in shares]


CHANGED = FaultKind.THROTTLING_CHANGED


@pytest.mark.parametrize(
    ("shares", "changed"),
    [
        ((0, 0, 0, 0), []),
        ((1, 1, 1, 1), []),  # a state
        ((0.05, 0, 0.95, 1), [2, 3]),  # between windows: the fewer; where it is even, the throttled ones
        ((0, 0, 0, 1), [3]),
        ((0, 1, 1, 1), [0]),
        ((0, 0.06, 0), [1]),  # within one
        ((1, 0.94, 1), [1]),
        ((1,), []),
        ((0.5,), [0]),
    ],
)
@pytest.mark.parametrize("reason", ["thermal", "hw_thermal", "hw_slowdown", "power_brake", "reliability"])
def test_throttling_is_a_state_but_its_change_mixes_two(shares, changed, reason):
    windows = throttled(*shares, reason=reason)
    assert kinds(windows) == kinds(windows, BUSY) == [CHANGED if i in changed else None for i in range(len(shares))]


@pytest.mark.parametrize(
    "reason", ["power_cap", "application_clocks", "sync_boost", "display_clock", "board_limit"]
)
def test_a_power_cap_is_how_a_gpu_runs_at_full_load(reason):
    assert kinds(throttled(0, 0.5, 1, 0.3, reason=reason)) == [None] * 4


def test_windows_that_did_not_record_throttling_have_no_say():
    assert kinds([*throttled(1, 1), window(), window(), window()]) == [None] * 5


def test_a_window_is_judged_among_its_own_phase():
    other = [window(phase="decode", conditions={"gpu:0_throttled_thermal": 1.0}) for _ in range(5)]
    windows = [*throttled(0, 0, 0), *other]
    assert kinds(windows) == [None] * 3
    assert [f for _, f in judged(windows, "decode", PROTOCOL)] == [None] * 5
    assert valid_windows(windows, "inference", PROTOCOL) == windows[:3]
    assert judged(windows, "training", PROTOCOL) == []


CONDITIONS = {
    "other_load_cpus": st.floats(0, 1),
    "steal_cpus": st.floats(0, 1),
    "gpu:0_other_processes": st.floats(0, 2),
    "gpu:0_throttled_thermal": st.floats(0, 1),
    "gpu:0_throttled_power_cap": st.floats(0, 1),
    "gpu:0_power_limit_w": st.floats(1, 1000),
}
WINDOWS = st.lists(
    st.builds(
        window,
        seconds=st.floats(0.1, 20),
        steps=st.integers(0, 50),
        readings=st.lists(
            st.builds(reading, st.floats(0, 5000), updates=st.none() | st.integers(0, 99)), max_size=1
        ),
        conditions=st.fixed_dictionaries({}, optional=CONDITIONS),
        fault=st.none() | st.just(WRITERS),
    ),
    max_size=8,
)


@given(WINDOWS)
def test_what_counts_beside_others_counts_alone_and_more_so_where_others_may_run(windows):
    strict, lenient = judged(windows, "inference", PROTOCOL), judged(windows, "inference", BUSY)
    assert [w for w, _ in strict] == [w for w, _ in lenient] == windows
    for (made, fault), (_, busy) in zip(strict, lenient, strict=True):
        if fault is None:
            assert busy is invalidity(made, PROTOCOL) is disturbance(made, PROTOCOL) is None
        if made.fault is not None:
            assert fault == busy == made.fault


@given(WINDOWS)
def test_a_window_judged_without_its_conditions_counts_if_it_did_with_them(windows):
    bare = [w.model_copy(update={"conditions": {}}) for w in windows]
    for (_, fault), (_, unknown) in zip(
        judged(windows, "inference", PROTOCOL), judged(bare, "inference", PROTOCOL), strict=True
    ):
        assert fault is not None or unknown is None


def test_work_on_a_gpu_without_a_meter_is_never_left_out_of_account():
    window = Window(
        phase="inference", start_utc="x", start_s=0.0, end_s=5.0, units=1, steps=1,
        readings=(Reading(domain="gpu:0", energy_j=500.0, source="test", kind="measured"),),
        conditions={"gpu:1_unmetered": 1.0},
    )  # fmt: skip
    for protocol in (Protocol(window_s=1.0), Protocol(window_s=1.0, allow_busy=True)):
        assert invalidity(window, protocol).kind is FaultKind.UNMETERED_GPU
        assert training_fault(window, protocol).kind is FaultKind.UNMETERED_GPU


@pytest.mark.parametrize(("sd_j", "share"), [(2.4, None), (2.6, "1 % of it open")])
def test_what_is_known_of_a_counters_edges_is_judged_in_place_of_its_updates(sd_j, share):
    """1 % of 500 J, twice the deviation; the counter moved three times."""
    reading = Reading(
        domain="gpu:0", energy_j=500.0, source="test", kind="measured", counter_updates=3, edge_sd_j=sd_j
    )
    window = Window(phase="inference", start_utc="x", start_s=0.0, end_s=5.0, units=1, steps=1, readings=(reading,))
    fault = invalidity(window, Protocol(window_s=1.0))
    assert (fault is None) if share is None else (fault.kind is FaultKind.FEW_UPDATES and share in fault.text)
    assert stretch(reading) == pytest.approx(sd_j / 2.5)
