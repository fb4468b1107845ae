"""Wall meter logs: what is read, and what is refused by line."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.meters.wall_log import read_log


def test_unix_seconds_a_byte_order_mark_and_further_columns_are_read(tmp_path):
    base = 1767225600.0
    rows = "".join(f'{base + t},"a, b",80\n' for t in range(40))
    (tmp_path / "log.csv").write_bytes(b"\xef\xbb\xbfutc,note,watts\n" + rows.encode())
    log = read_log(tmp_path / "log.csv")
    assert log.times_s == tuple(base + t for t in range(40))
    assert log.watts == (80.0,) * 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: .*columns 'utc' and 'watts'"),
        ("utc,watts\n", "at least one row"),
        ("time,watts\n1,2\n", "line 1: .*columns 'utc' and 'watts'"),
        ("utc;watts\n1;2\n", "by commas"),
        ("utc,watts,watts\n1,2,3\n", "'watts' is there twice"),
        ("utc,watts\n2026-01-01T00:00:00,5\n", "line 2: .*no time zone"),
        ("utc,watts\n1,5\n2,x\n", "line 3: .*'x'"),
        ("utc,watts\n1,5\n1,6\n", "line 3: .*'1' is there twice"),
        ("utc,watts\n2,5\n1,6\n", "line 3: .*'1' is before"),
        ("utc,watts\n1,5\n2,-0.1\n", "line 3: .*'-0.1'.*within 0"),
        ("utc,watts\n1,nan\n", "line 2: .*'nan'.*within 0"),
        ("utc,watts\n1,1e999\n", "line 2: .*within 0"),
        ("utc,watts\nnan,5\n", "line 2: .*not a time"),
        ("utc,watts\n1,1_0\n", "line 2: .*'1_0'"),
        ("utc,watts\n1,5\n2,1,234.5\n", "line 3: 3 of 2 values; write 1234.5"),
        ("utc,watts\n1,100,5\n", "line 2: 3 of 2 values; .*decimal point"),
        ('utc,watts\n1,"1,234.5"\n', "line 2: .*'1,234.5'.*write 1234.5"),
        ('utc,watts\n1,"100,5"\n', "line 2: .*'100,5'.*decimal point"),
        ("utc,watts\n1,5\n\n2\n", "line 4: 1 of 2 values$"),
        ("utc,watts\n1767225600000,5\n", "line 2: .*milliseconds"),
        ("utc,watts\n1767225600000000,5\n", "line 2: .*microseconds"),
        ("utc,watts\n1,5\n2," + "9" * 200_000 + "\n", "line 3: .*field larger"),
        ("utc,watts\n" + "9" * 200_000 + ",5\n", "line 2: .*field larger"),
        ("utc,watts\n1,2e9\n", "line 2: .*'2e9'.*1e[+]09"),
        ("utc,watts\n1," + "x" * 100_000 + "\n", "line 2: "),
        ("utc,watts\n0001-01-01T00:00:00+14:00,5\n", "line 2: "),
    ],
)
def test_a_broken_log_is_refused_by_line(tmp_path, text, message):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_log(tmp_path / "log.csv")
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


FIELDS = st.one_of(
    st.text(max_size=12),
    st.floats().map(repr),
    st.integers(-(10**20), 10**20).map(str),
    st.sampled_from(["2026-01-01T00:00:00Z", "1,234.5", '"1,5"', "", "NaN", "9999-12-31T23:59:59-14:00"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(FIELDS, max_size=3).map(",".join), max_size=6),
    st.sampled_from(["utc,watts", "watts,utc", ""]),
)
def test_any_text_is_a_log_or_one_line(tmp_path, rows, header):
    (tmp_path / "log.csv").write_text("\n".join([header, *rows]), encoding="utf-8", errors="replace")
    try:
        log = read_log(tmp_path / "log.csv")
    except InputError:  # in one line: `InputError.__str__`
        return
    assert all(a < b for a, b in zip(log.times_s, log.times_s[1:], strict=False))
    assert all(
        math.isfinite(t) and math.isfinite(w) and w >= 0 for t, w in zip(log.times_s, log.watts, strict=True)
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.floats(0, 4e9, allow_subnormal=False), min_size=1, max_size=30, unique=True).map(sorted),
    st.data(),
)
def test_what_is_written_is_read(tmp_path, times, data):
    watts = [data.draw(st.floats(0, 1e6)) for _ in times]
    rows = "".join(f"{t!r},{w!r}\n" for t, w in zip(times, watts, strict=True))
    (tmp_path / "log.csv").write_text("utc,watts\n" + rows)
    log = read_log(tmp_path / "log.csv")
    assert log.times_s == tuple(times)
    assert log.watts == tuple(watts)
