"""Replay of power traces: what is read, what is refused, and where a run lasts longer than its trace."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.host.clock import VirtualClock
from joulebench.measurement.timeline import Timeline
from joulebench.meters.replay import PowerTrace, ReplayMeter, load_traces


def test_times_that_all_but_touch_give_finite_joules():
    trace = PowerTrace("cpu", (0.0, 5e-324, 5.0), (10.0, 20.0, 5.0))
    assert trace.energy_j(0.0) == 0.0
    assert trace.energy_j(5.0) == pytest.approx(62.5)


@given(
    st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 1000)), min_size=1, max_size=20),
    st.floats(0, 300),
    st.floats(0, 300),
)
def test_replayed_energy_adds_up(pieces, a, b):
    times, t = [], 0.0
    for gap, _ in pieces:
        t += gap
        times.append(t)
    trace = PowerTrace("cpu", tuple(times), tuple(w for _, w in pieces))
    low, high = sorted((a, b))
    whole = trace.energy_j(high) - trace.energy_j(low)
    middle = (low + high) / 2
    parts = (trace.energy_j(high) - trace.energy_j(middle)) + (trace.energy_j(middle) - trace.energy_j(low))
    assert whole == pytest.approx(parts, rel=1e-9, abs=1e-6)
    top = max(w for _, w in pieces)
    assert -1e-6 <= whole <= top * (high - low) + 1e-6


def test_a_trace_file(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t_s,cpu,gpu:0\n0,10,100\n10,20,100\n")
    cpu, gpu = load_traces(str(path))
    assert cpu.energy_j(10.0) == pytest.approx(150.0)
    assert gpu.energy_j(20.0) == pytest.approx(2000.0)
    assert load_traces("42")[0].energy_j(2.0) == 84.0


@pytest.mark.parametrize(
    "text",
    ["", "t_s,cpu\n", "time,cpu\n0,1\n", "t_s,tpu\n0,1\n", "t_s,cpu\n1,1\n0,1\n", "t_s,cpu\n0,-1\n",
     "t_s,cpu:0\n0,1\n", "t_s,gpu:x\n0,1\n", "t_s,cpu,cpu\n0,1,1\n", "t_s,gpu,gpu:0\n0,1,1\n",
     "t_s,gpu:0,gpu:00\n0,1,1\n", "t_s,cpu_utilisation\n0,1\n", "t_s,cpu,cpu_utilisation\n0,1,1.1\n"],
)  # fmt: skip
def test_a_broken_trace_file_is_refused(tmp_path, text):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_traces(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "1,x",
        "1",
        "1,2,3",
        "1,",
        "1,nan",
        "inf,1",
        "1,-1",
        "1,1_0",
        "1,2e9",
        "0,1",
        "-1,1",
        pytest.param("1," + "x" * 100_000, id="long"),
    ],
)
def test_a_broken_line_of_a_trace_is_named(tmp_path, line):
    path = tmp_path / "trace.csv"
    path.write_text(f"t_s,cpu\n0,1\n\n{line}\n9,1\n")
    with pytest.raises(InputError, match=f"{re.escape(str(path))}, line 4") as caught:
        load_traces(str(path))
    assert len(str(caught.value)) < len(str(path)) + 200


def test_a_field_of_200_kb_is_one_line(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t_s,cpu\n0," + "1" * 200_000 + "\n")
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_traces(str(path))
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_bytes(b"\xef\xbb\xbft_s,cpu\r\n0,50\r\n1,60\r\n")
    assert load_traces(str(path)) == [PowerTrace("cpu", (0.0, 1.0), (50.0, 60.0))]


def test_a_load_beside_the_watts_is_a_condition_and_no_joules(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t_s,cpu,cpu_utilisation\n0,10,0\n10,20,1\n")
    clock = VirtualClock()
    timeline = Timeline(ReplayMeter(load_traces(str(path)), clock, "test"), clock)
    timeline.start()
    clock.sleep(5.0)
    window = timeline.cut("inference")
    assert [(r.domain, r.energy_j) for r in window.readings] == [("cpu", pytest.approx(62.5))]
    assert window.conditions == {"cpu_utilisation": 0.25, "replay_stretched": 0.0}


def stretched(trace, *cuts):
    """The condition of each window between these times."""
    clock = VirtualClock()
    timeline = Timeline(ReplayMeter([trace], clock, "test"), clock)
    timeline.start()
    for seconds in cuts:
        clock.sleep(seconds - clock.now_s())
        timeline.cut("inference")
    return [(w.conditions.get("replay_stretched"), w.fault) for w in timeline.take()]


def test_a_window_says_what_share_of_it_lies_outside_of_the_trace():
    late = PowerTrace("cpu", (4.0, 10.0), (5.0, 5.0))
    assert stretched(late, 2.0, 6.0, 8.0, 12.0, 13.0) == [
        (1.0, None),
        (0.5, None),
        (0.0, None),
        (0.5, None),
        (1.0, None),
    ]
    assert stretched(PowerTrace("cpu", (-9.0, 1.0), (5.0, 5.0)), 1.0, 2.0) == [(0.0, None), (1.0, None)]
    assert stretched(PowerTrace("cpu", (-9.0, -1.0), (5.0, 5.0)), 1.0, 2.0) == [(1.0, None), (1.0, None)]
    assert stretched(PowerTrace("cpu", (0.0,), (5.0,)), 1.0) == [(None, None)]  # constant: it holds for ever


@given(st.floats(-50, 50), st.floats(0.1, 50), st.lists(st.floats(0.01, 20), min_size=1, max_size=10))
def test_time_outside_of_the_trace_adds_up(first, length, pieces):
    cuts = [sum(pieces[: i + 1]) for i in range(len(pieces))]
    shares = [share for share, _ in stretched(PowerTrace("cpu", (first, first + length), (1.0, 1.0)), *cuts)]
    outside = cuts[-1] - max(0.0, min(cuts[-1], first + length) - max(0.0, first))
    assert sum(s * p for s, p in zip(shares, pieces, strict=True)) == pytest.approx(outside, abs=1e-4)
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("spec", ["0", "-5", "inf", "nan", "2e9", "no-such-file.csv"])
def test_nonsense_instead_of_a_trace_is_refused(spec):
    with pytest.raises(InputError, match="--replay"):
        load_traces(spec)
