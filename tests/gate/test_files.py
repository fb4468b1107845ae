"""Replicates on disk: what is written is read again, and what is damaged is refused in one line."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.errors import InputError
from joulebench.gate.files import from_benchmark_json, read_replicates, update_baseline, write_replicates
from tests.gate_records import ENVIRONMENT, measurement, replicate

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["joulebench", "benchmarks", "extra_info", "session", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


def benchmark_json(found):
    """What pytest-benchmark would write of a replicate."""
    data = found.model_dump(mode="json")
    benchmarks = [{"name": m["name"], "extra_info": {"joulebench": m}} for m in data.pop("measurements")]
    return {
        "machine_info": {},
        "benchmarks": [*benchmarks, {"name": "plain", "extra_info": {}}],
        "joulebench": data,
    }


def test_both_forms_hold_the_same(tmp_path):
    found = replicate(measurement(), measurement("other", unit="token"), pair=3)
    (tmp_path / "a.json").write_text(json.dumps(benchmark_json(found)))
    write_replicates(tmp_path / "b.jsonl", [found])
    assert read_replicates(tmp_path / "a.json") == read_replicates(tmp_path / "b.jsonl") == [found]
    assert read_replicates(tmp_path) == [found]  # one process, whichever file holds it


@given(JSON)
def test_other_json_is_refused_and_never_breaks(data):
    with pytest.raises(InputError):
        from_benchmark_json(data, "x.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", '{"benchmarks": []}', "energy_benchmark"),
        ("a.jsonl", "", "no replicates"),
        ("a.jsonl", '{"schema_version": 9}\n', "schema version 9"),
        ("a.json", '{"benchmarks": [], "joulebench": {"session": 1}}', "session"),
    ],
)
def test_damage_is_named(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_replicates(tmp_path / name)


def test_nothing_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        read_replicates(tmp_path / "nowhere.json")


def test_a_baseline_grows_and_begins_anew_on_another_driver(tmp_path):
    path = tmp_path / "h100" / "regression.jsonl"
    assert update_baseline(path, [replicate(measurement(), session="one")]) == []
    assert update_baseline(path, [replicate(measurement(), session="two")]) == []
    assert [r.session for r in read_replicates(path)] == ["one", "two"]
    other = {**ENVIRONMENT, "torch": {"driver": "590", "threads": 1}}
    began = update_baseline(path, [replicate(measurement(), session="three", environment=other)])
    assert began == ["driver: 580.1, now 590"]
    assert [r.session for r in read_replicates(path)] == ["three"]
    assert update_baseline(path, [replicate(measurement(), session="four", environment=other)], replace=True)
    assert [r.session for r in read_replicates(path)] == ["four"]


@pytest.mark.parametrize("left", [b"", b'{"schema_version":2,"sess'], ids=["no final newline", "torn"])
def test_a_baseline_that_a_crash_left_is_repaired_and_loses_no_whole_line(tmp_path, left):
    path = tmp_path / "regression.jsonl"
    for name in ("one", "two"):
        update_baseline(path, [replicate(measurement(), session=name)])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] if not left else whole + left)
    assert [r.session for r in read_replicates(path)] == ["one", "two"]
    update_baseline(path, [replicate(measurement(), session="three")])
    assert [r.session for r in read_replicates(path)] == ["one", "two", "three"]
    assert path.read_bytes().endswith(b"\n")


def test_a_baseline_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "regression.jsonl"
    update_baseline(path, [replicate(measurement(), session="one")])
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("joulebench.host.files.os.fsync", full)
    with pytest.raises(InputError, match="No space left"):
        update_baseline(path, [replicate(measurement(), session="two")], replace=True)
    assert path.read_bytes() == before


def test_sessions_that_end_at_once_are_all_kept(tmp_path):
    path = tmp_path / "regression.jsonl"
    names = [f"session {n}" for n in range(12)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda name: update_baseline(path, [replicate(measurement(), session=name)]), names))
    assert sorted(r.session for r in read_replicates(path)) == sorted(names)
