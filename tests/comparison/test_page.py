"""The comparison's pages and files: sections, data, escaping, and the same bytes from the same records."""

from __future__ import annotations

import csv
import io
import json

import pytest

from joulebench.comparison.analysis import compare
from joulebench.comparison.join import join
from joulebench.comparison.page import as_json, banners, read_runs, write_comparison
from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.results.findings import Code
from tests.run_factory import RunBuilder, confirmed_run, full_run, make_task

GPU = {"cpu": 60.0, "ram": 20.0, "gpu:0": 300.0}
H100 = {"name": "nvidia_h100", "title": "H100", "match": {"accelerator": ["NVIDIA H100*"]}}
HOSTILE = "<script>alert(1)</script>|`$[x](y)\x1b[31m\ud800"


@pytest.fixture
def two(tmp_path):
    one = full_run().write(tmp_path / "runs" / "digits_nas" / "generic_cpu" / "a")
    other = full_run(watts=GPU).write(
        tmp_path / "runs" / "digits_nas" / "nvidia_h100" / "b",
        hardware=H100, environment={"device": "cuda:0", "packages": {"torch": "2.9"}}, budget="quick",
    )  # fmt: skip
    return one, other


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_every_part_is_there(two, tmp_path):
    written = write_comparison(two)
    assert written.page.parent == tmp_path / "runs" / "digits_nas" / "comparison" / "generic_cpu_vs_nvidia_h100"
    written_files = files(written.page.parent)
    for name in (
        "val_accuracy",
        "samples_per_j",
        "frontiers",
        "scaling",
        "limits",
        "provenance",
        "differences",
        "consistency",
    ):
        assert f"{name}.csv" in written_files
        assert f'id="{name}"' in written_files["comparison.html"].decode()
    for name in ("samples_per_j", "frontiers", "scaling"):
        assert written_files[f"{name}.png"].startswith(b"\x89PNG")
        assert f"{name}.svg" in written_files
    sources = list(csv.DictReader(io.StringIO(written_files["provenance.csv"].decode())))
    assert ("nvidia_h100", "gpu", "nvml_counter") in {(r["machine"], r["domain"], r["source"]) for r in sources}
    assert {r["machine"] for r in sources if r["domain"] == "gpu"} == {"nvidia_h100"}
    assert "http" not in written_files["comparison.html"].decode().split("<script>")[0].replace("http-equiv", "")


def test_csv_and_json_hold_the_numbers(two):
    folder = write_comparison(two).page.parent
    rows = list(csv.DictReader(io.StringIO((folder / "samples_per_j.csv").read_text())))
    shared = [r for r in rows if r["nvidia_h100 to generic_cpu ratio"]]
    facts = json.loads((folder / "comparison.json").read_text())
    assert facts["shared_configurations"] == len(shared)
    energy = next(o for o in facts["objectives"] if o["objective"] == "samples_per_j")
    assert energy["kind"] == "estimated"
    assert energy["overall"]["mean"] == pytest.approx(80 / 380, rel=1e-5)
    assert float(shared[0]["nvidia_h100 to generic_cpu ratio"]) == pytest.approx(80 / 380, rel=1e-5)
    (verdict,) = facts["consistency"]
    assert (verdict["objective"], verdict["verdict"], verdict["reversed"]) == ("samples_per_j", "consistent", [])
    assert verdict["largest_spread"] == pytest.approx(1.0)
    assert "is consistent across 2 machines within a factor of 1" in facts["headline"]
    assert {d["what"] for d in facts["differences"]} >= {"budget", "hardware", "environment.device"}


def test_the_same_records_give_the_same_bytes(two, tmp_path):
    first = files(write_comparison(two, tmp_path / "x").page.parent)
    again = files(write_comparison(two, tmp_path / "y").page.parent)
    assert first == again


def test_without_shared_configurations_frontiers_are_still_drawn(tmp_path):
    a, b = RunBuilder(make_task()), RunBuilder(make_task())
    a.add({"width": 10}, 9000, {"val_accuracy": 0.9})
    b.add({"width": 11}, 9000, {"val_accuracy": 0.9})
    made = [a.write(tmp_path / "a"), b.write(tmp_path / "b", hardware=H100)]
    written = write_comparison(made, tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert facts["shared_configurations"] == 0
    assert all("overall" not in o and not o["configurations"] for o in facts["objectives"])
    assert [len(members) for members in facts["frontiers"].values()] == [1, 1]
    assert (tmp_path / "out" / "frontiers.png").exists()
    assert "--trials-from" in written.headline


def test_names_from_records_do_nothing(tmp_path):
    task = make_task(title=HOSTILE.replace("\ud800", ""), description=HOSTILE.replace("\ud800", ""))
    made = [
        full_run(task, trials=4).write(tmp_path / name, hardware={"name": f"{HOSTILE[:-1]}{name}", "title": "t"})
        for name in "ab"
    ]
    folder = write_comparison(made, tmp_path / "out").page.parent
    page, text = (folder / "comparison.html").read_text(), (folder / "comparison.md").read_text()
    assert "<script>alert" not in page
    assert "<script>alert" not in text
    assert "\x1b" not in page + text
    assert all(path.parent == folder for path in folder.iterdir())


def test_an_objective_that_no_number_fits(tmp_path):
    made = []
    for name, value in (("a", float("nan")), ("b", 1e308)):
        built = full_run(trials=4)
        built.add({"width": 99}, 9000, {"val_accuracy": value})
        made.append(built.write(tmp_path / name, hardware={"name": name, "title": name}))
    folder = write_comparison(made, tmp_path / "out").page.parent
    json.loads((folder / "comparison.json").read_text())
    assert "NaN" not in (folder / "comparison.json").read_text()


def test_other_schemas_are_refused_by_file(two):
    other = two[1]
    lines = other.trials_path.read_text().splitlines()
    lines[0] = lines[0].replace('"schema_version":2', '"schema_version":3')
    other.trials_path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=r"trials\.jsonl, line 1: schema version 3"):
        write_comparison([two[0], RunFolder.open(other.path)])


def test_it_says_which_frontier_was_confirmed_and_which_machine_was_busy(tmp_path):
    first = confirmed_run().write(tmp_path / "a")
    built = confirmed_run(confirmed=False)
    beside = {"other_load_cpus": 0.9}
    record = built.trials[3]
    windows = tuple(w.model_copy(update={"conditions": beside}) for w in record.windows)
    built.trials[3] = record.model_copy(update={"windows": windows})
    second = built.write(tmp_path / "b", hardware={"name": "busy", "title": "busy"})
    joined = join(read_runs([first, second]))
    assert [b.text for b in banners(joined) if b.code is Code.BUSY_MACHINE and "busy" in b.text]
    machines = json.loads(as_json(compare(joined)))["machines"]
    assert {m["label"]: m["confirmed"] for m in machines} == {"generic_cpu": True, "busy": False}
    quiet = join(read_runs([first, confirmed_run(confirmed=False).write(tmp_path / "c")]))
    assert Code.BUSY_MACHINE not in [b.code for b in banners(quiet)]


def test_what_changes_joules_by_itself_is_listed_one_a_line(tmp_path):
    made = [full_run().write(tmp_path / "a"), full_run().write(tmp_path / "b", hardware=H100, budget="quick")]
    written = files(write_comparison(made, tmp_path / "c").page.parent)
    text = written["comparison.md"].decode()
    begun = text.partition("**Not measured alike.** These differ and change joules by themselves:")[2]
    assert begun.splitlines()[1:3] == ["> - budget: standard (generic_cpu), quick (nvidia_h100)", ""]
    assert "<li>budget: standard (generic_cpu), quick (nvidia_h100)</li>" in written["comparison.html"].decode()
    assert ", 1 of which changes joules by itself." in text
    assert b'"pooled"' not in written["comparison.json"]
