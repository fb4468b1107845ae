"""`joulebench compare` and `joulebench report`, and the errors that refer to another command."""

from __future__ import annotations

import pytest

from tests.commands.calling import call
from tests.run_factory import full_run


@pytest.fixture
def two(tmp_path):
    one = full_run().write(tmp_path / "digits_nas" / "generic_cpu" / "a").path
    return one, full_run(watts={"cpu": 90.0, "ram": 20.0}).write(tmp_path / "digits_nas" / "other" / "b").path


def test_two_runs_are_compared(two, monkeypatch, capsys, tmp_path):
    code, out, err = call(monkeypatch, capsys, "compare", *two)
    assert (code, err) == (0, "")
    (page,) = (tmp_path / "digits_nas" / "comparison").glob("*/comparison.html")
    assert out.splitlines()[1] == f"comparison: {page}"
    assert call(monkeypatch, capsys, "compare", *two, "--out", tmp_path / "there")[0] == 0
    assert (tmp_path / "there" / "comparison.html").read_bytes() == page.read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--against", "main"],
        ["--against=main"],
        ["--update-baseline"],
        ["a", "b", "--sessions", "2"],
        *(["base", "current", option] for option in ("--replace", "--strict", "--require-energy", "--quiet", "-q")),
        *(
            ["base", "current", option, "1"]
            for option in (
                "--rerun", "--tests", "--form", "--minutes", "--hardware", "--replay", "--threshold", "--metric",
                "--summary", "--json",
            )
        ),
        ["base.jsonl"],
        ["nowhere.json", "nowhere.json"],
        ["replicates", "replicates"],
    ],
)  # fmt: skip
def test_whoever_means_the_gate_is_told_of_it(monkeypatch, capsys, tmp_path, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "replicates").mkdir()
    (tmp_path / "replicates" / "current.jsonl").touch()
    code, out, err = call(monkeypatch, capsys, "compare", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "`joulebench gate`" in err


@pytest.mark.parametrize("more", [(), ("--out", "there"), ("--pue", "1.2")])
def test_report_of_several_runs_is_told_of_compare(two, monkeypatch, capsys, more):
    code, out, err = call(monkeypatch, capsys, "report", *two, *more)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "`joulebench compare RUN RUN…`" in err
    assert not (two[0] / "report.html").exists()


def test_report_has_no_folder_to_choose(two, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "report", two[0], "--out=there")
    assert (code, err.count("\n")) == (2, 1)
    assert "report: " in err


def test_one_run_compares_with_nothing(two, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, "compare", two[0])
    assert (code, err.count("\n")) == (2, 1)
    assert "joulebench report RUN" in err


@pytest.mark.parametrize("command", ["compare", "report"])
def test_a_misspelt_option_is_a_usage_error(two, monkeypatch, capsys, command):
    code, _, err = call(monkeypatch, capsys, command, two[0], "--ouf", "x")
    assert code == 2
    assert "No such option: --ouf" in err


def test_a_folder_that_is_no_run_is_named(two, monkeypatch, capsys, tmp_path):
    code, _, err = call(monkeypatch, capsys, "compare", two[0], tmp_path)
    assert code == 2
    assert f"{tmp_path}: not a run folder" in err


def test_a_report_as_for_another_site_and_with_another_study(two, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "report", two[0], "--pue", "1.5", "--grid-intensity", "56")
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == f"report: {two[0] / 'report.html'}"
    code, _, err = call(monkeypatch, capsys, "report", two[0], "--study", "no_such_study")
    assert (code, err.count("\n")) == (2, 1)
    assert "no_such_study" in err


def test_a_foreign_file_is_not_replaced(monkeypatch, capsys, tmp_path):
    runs = [
        full_run(trials=3).write(tmp_path / n, hardware={"name": n, "title": n}).path for n in ("left", "right")
    ]
    out = tmp_path / "out"
    out.mkdir()
    (out / "comparison.md").write_text("mine")
    code, _, err = call(monkeypatch, capsys, "compare", *runs, "--out", out)
    assert (code, err.count("\n"), (out / "comparison.md").read_text()) == (2, 1, "mine")
    (out / "comparison.md").unlink()
    for _ in range(2):  # its own files are replaced
        assert call(monkeypatch, capsys, "compare", *runs, "--out", out)[0] == 0
    result = tmp_path / "package.json"
    result.write_text('{"name": "mine"}')
    code, _, err = call(monkeypatch, capsys, "gate", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json", result)
    assert (code, "--json" in err, result.read_text()) == (2, True, '{"name": "mine"}')
