"""The gate from end to end: two commits of a user's repository, a baseline, the command and what it writes."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from joulebench.errors import InputError
from joulebench.gate import workflow
from joulebench.gate.checkout import checkout, is_unchanged, top_level
from joulebench.gate.decision import judge
from joulebench.gate.files import read_replicates, write_replicates
from joulebench.gate.model import Settings
from joulebench.gate.processes import Benchmarks, SessionPlace, run_in_turn
from joulebench.gate.report import action_json, headline, markdown
from joulebench.gate.values import TIME
from joulebench.gate.verdict import Outcome, Verdict
from joulebench.stats.paired_ratio import Shift
from tests.commands.calling import call
from tests.gate_records import CPU, measurement, pairs, replicate, spread

TEST = """
from product import work

def test_work(energy_benchmark):
    energy_benchmark(work, units=1)
"""
GIT = ("git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")


def commit(folder, seconds, message):
    (folder / "product.py").write_text(f"import time\n\n\ndef work():\n    time.sleep({seconds})\n")
    for arguments in (("add", "-A"), ("commit", "-q", "-m", message)):
        subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A product whose work took 10 ms, and takes 20 ms in the working tree."""
    folder = tmp_path / "repository"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_energy.py").write_text(TEST)
    subprocess.run([*GIT, "init", "-q", "-b", "main"], cwd=folder, check=True)
    commit(folder, 0.010, "fast")
    (folder / "product.py").write_text("import time\n\n\ndef work():\n    time.sleep(0.020)\n")
    monkeypatch.chdir(folder)
    return folder


def lay(folder, ratio, n=32, rerun=None, **fields):
    """Files of a measurement as the gate keeps them."""
    folder.mkdir()
    sides = pairs(spread(ratio, n), **fields)
    again = pairs(spread(rerun, n), rerun=True, **fields) if rerun else ([], [])
    for name, first, second in zip(("baseline", "current"), sides, again, strict=True):
        write_replicates(folder / f"{name}.jsonl", first + second)
    return folder / "baseline.jsonl", folder / "current.jsonl"


def test_two_commits_in_turn_are_each_measured_as_they_are(repository, tmp_path):
    """Fresh processes of both trees; at constant replayed power, energy follows time."""
    benchmarks = Benchmarks("tests", "quick", replay="50", keep=tmp_path / "out")
    result = workflow.against("main", benchmarks, Settings(metric="energy"), 0.001, lambda _: None)
    (verdict,) = result.verdicts
    assert verdict.outcome is Outcome.UNDECIDED  # of one pair nothing follows
    assert result.pair_s > 1
    assert 1.5 < math.exp(verdict.shift.estimate) < 2.5  # the machine may be busy
    assert 50 * 0.010 <= verdict.baseline < 50 * 0.020 <= verdict.current
    listed = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1
    assert "0.020" in (repository / "product.py").read_text()
    kept = [json.loads(line) for line in (tmp_path / "out" / "current.jsonl").read_text().splitlines()]
    assert [r["pair"] for r in kept] == [0]


@pytest.mark.slow
def test_two_commits_in_turn_find_what_takes_twice_as_long(repository, tmp_path, monkeypatch):
    """The whole gate, with its rerun; of two pairs here, as it takes a minute with twelve."""
    monkeypatch.setattr(workflow, "RERUN_PAIRS", 2)
    said = []
    benchmarks = Benchmarks("tests", "quick", replay="50", keep=tmp_path / "out")
    settings = Settings(metric="energy", false_alarms=0.5)
    result = workflow.against("main", benchmarks, settings, 1, said.append)
    (verdict,) = result.verdicts
    assert verdict.outcome is Outcome.REGRESSED
    assert verdict.ratio[0] == pytest.approx(2.0, rel=0.1)
    assert any("measuring again" in line for line in said)
    again = workflow.compare_files(
        tmp_path / "out" / "baseline.jsonl", tmp_path / "out" / "current.jsonl", result.settings
    )
    assert again.verdicts == result.verdicts


def test_a_checkout_leaves_nothing_behind_when_measuring_fails(repository):
    trees = []

    def fail():
        with checkout(top_level(repository), "main") as tree:
            trees.append(tree)
            assert "sleep(0.01)" in (tree / "product.py").read_text()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert not trees[0].exists()
    listed = subprocess.run(["git", "worktree", "list"], cwd=repository, capture_output=True, text=True, check=True)
    assert len(listed.stdout.splitlines()) == 1


def test_a_baseline_of_this_machine_is_written_and_compared_with(repository, monkeypatch, capsys):
    monkeypatch.setattr(workflow, "_processes", lambda *_: 1)
    monkeypatch.setattr(workflow, "pairs_without", lambda _: 1)
    options = ("--tests", "tests", "--form", "quick", "--replay", "50", "--quiet")
    code, out, err = call(monkeypatch, capsys, "gate", *options)
    assert code == 0, err
    assert "no baseline yet" in out
    code, out, err = call(monkeypatch, capsys, "gate", "--update-baseline", "--sessions", 2, *options)
    assert code == 0, err
    (stored,) = repository.glob("reports/baselines/*/regression.jsonl")
    assert len(stored.read_text().splitlines()) == 2
    code, out, err = call(monkeypatch, capsys, "gate", "--metric", "time", *options)
    assert code == 0, err
    assert "2 sessions; 5 needed" in out
    kept = list(repository.glob("runs/regression/*/benchmark-*.json"))
    assert kept
    assert json.loads(kept[0].read_text())["benchmarks"][0]["extra_info"]["energy"]["j_per_unit"] > 0


def test_failing_tests_are_named(repository):
    (repository / "product.py").write_text("def work():\n    raise ValueError('broken product')\n")
    with pytest.raises(Exception, match="broken product"):
        run_in_turn([repository], Benchmarks("tests", replay="50"), SessionPlace("s"))


@pytest.mark.parametrize(
    ("first", "rerun", "options", "code", "word"),
    [
        (1.05, 1.05, (), 1, "failed"),
        (1.05, None, (), 0, "undecided"),  # no rerun has confirmed it
        (1.05, None, ("--strict",), 1, "failed"),
        (1.10, 1.0, (), 0, "undecided"),
        (1.0, None, (), 0, "passed"),
        (1.02, None, (), 0, "undecided"),
        (1.02, None, ("--strict",), 1, "failed"),
        (1.05, 1.05, ("--threshold", "0.1"), 0, "passed"),
    ],
)
def test_exit_codes(tmp_path, monkeypatch, capsys, first, rerun, options, code, word):
    files = lay(tmp_path / "m", first, rerun=rerun)
    found, out, err = call(monkeypatch, capsys, "gate", *files, *options)
    assert found == code, out + err
    assert out.strip().splitlines()[-1].startswith(f"energy gate {word}: ")


def test_a_file_is_not_compared_with_itself(tmp_path, monkeypatch, capsys):
    before, after = lay(tmp_path / "m", 1.0)[:2]
    overlapping = tmp_path / "overlapping.jsonl"
    overlapping.write_text(before.read_text() + after.read_text())
    for current in (before, overlapping):
        code, _, err = call(monkeypatch, capsys, "gate", before, current)
        assert (code, str(current) in err) == (2, True)


def test_a_rerun_that_is_the_measurement_itself_confirms_nothing(tmp_path, monkeypatch, capsys):
    def session(name, level):
        return [replicate(measurement(j=level * (1 + 0.001 * n), s=0.1 * level), session=name) for n in range(10)]

    baseline, current, again = (tmp_path / f"{name}.jsonl" for name in ("baseline", "current", "again"))
    write_replicates(baseline, [r for day in range(8) for r in session(f"day {day}", 1 + 0.002 * day)])
    write_replicates(current, session("now", 1.1))
    write_replicates(again, session("later", 1.101))
    for rerun, expected in ((current, 2), (again, 1)):
        code, _, err = call(monkeypatch, capsys, "gate", baseline, current, "--rerun", rerun)
        assert (code, "same processes" in err) == (expected, expected == 2)


def test_a_rerun_of_one_side_is_none_of_pairs(tmp_path, monkeypatch, capsys):
    """It would be left aside, and what was found would never be confirmed."""
    files, other = lay(tmp_path / "m", 1.1), lay(tmp_path / "n", 1.101, base=1.1)
    code, _, err = call(monkeypatch, capsys, "gate", *files, "--rerun", other[1])
    assert (code, "confirmed by pairs" in err) == (2, True)


def test_a_process_that_is_there_twice_counts_once(tmp_path):
    """As where a gate's folder holds each by itself and all together."""
    files = lay(tmp_path / "m", 1.03, n=16, looks=[1] * 16)
    (once,) = workflow.compare_files(*files, Settings()).verdicts
    folders = [tmp_path / name for name in ("before", "after")]
    for folder, file in zip(folders, files, strict=True):
        folder.mkdir()
        write_replicates(folder / "a.jsonl", [r.model_copy(update={"look": 0}) for r in read_replicates(file)])
        (folder / "b.jsonl").write_text(file.read_text())
    (twice,) = workflow.compare_files(*folders, Settings()).verdicts
    assert twice.shift == once.shift
    assert (once.shift.n, once.shift.level) == (16, 0.025 * 0.05)


def test_one_side_is_not_both_processes_of_a_pair(tmp_path, monkeypatch, capsys):
    before, after = lay(tmp_path / "m", 1.0)[:2]
    (tmp_path / "folder").mkdir()
    both, other = tmp_path / "folder" / "both.jsonl", lay(tmp_path / "n", 1.01, base=1.1)[0]
    both.write_text(before.read_text() + after.read_text())
    code, _, err = call(monkeypatch, capsys, "gate", other, both.parent)
    assert (code, "several processes of one pair" in err) == (2, True)


@pytest.mark.parametrize(
    ("outcomes", "word"),
    [
        ("passed improved", "passed"),
        ("passed new", "passed"),
        ("new", "undecided"),
        ("", "undecided"),
        ("passed regressed", "failed"),
        *((f"passed {outcome}", "undecided") for outcome in ("undecided", "unmeasured", "missing")),
        *((outcome, "undecided") for outcome in ("undecided", "unmeasured", "incomparable")),
    ],
)
def test_only_what_was_judged_passes(outcomes, word):
    verdicts = [Verdict("b", Outcome(outcome)) for outcome in outcomes.split()]
    result = workflow.Result(verdicts, Settings(), "generic_cpu", "a against b")
    assert headline(result).startswith(f"energy gate {word}: ")


def test_an_undecided_benchmark_says_what_more_would_cost():
    shift = Shift(0.01, -0.02, 0.04, 20, 0.025)
    verdict = Verdict("b", Outcome.UNDECIDED, "so", shift=shift, total=shift, visible=0.05, needed=50, open=True)
    text = markdown(workflow.Result([verdict], Settings(), "generic_cpu", "a against b", pair_s=12.0))
    assert "below 5.1 %" in text  # exp(0.05)
    assert "about 50 pairs would decide, 6 minutes more" in text  # 30 of 12 s


def test_a_quantity_that_disagrees_is_named():
    shift, other = Shift(0.0, -0.01, 0.01, 20, 0.025), Shift(0.05, 0.04, 0.06, 20, 0.025)
    for beside, said in ((other, True), (Shift(0.05, 0.0, 0.1, 20, 0.025), False)):
        verdict = Verdict("b", Outcome.PASSED, shift=shift, total=shift, beside=((TIME, beside),))
        text = markdown(workflow.Result([verdict], Settings(), "generic_cpu", "a against b"))
        assert ("time disagrees" in text) is said


def test_energy_that_is_required_and_estimated_fails_closed(tmp_path, monkeypatch, capsys):
    files = lay(tmp_path / "m", 1.0, domains=CPU)
    assert call(monkeypatch, capsys, "gate", *files)[0] == 0
    code, out, _ = call(monkeypatch, capsys, "gate", *files, "--require-energy")
    assert code == 1
    assert "no domain has measured joules" in out


def test_summary_and_action_json(tmp_path, monkeypatch, capsys):
    files = lay(tmp_path / "m", 1.05, rerun=1.05)
    written = tmp_path / "summary.md", tmp_path / "bench.json"
    written[0].write_text("before\n")
    call(monkeypatch, capsys, "gate", *files, "--summary", written[0], "--json", written[1])
    text = written[0].read_text()
    assert text.startswith("before\n## Energy gate failed: 1 regressed")
    assert "| `b` | measured energy (gpu) |" in text
    (entry,) = json.loads(written[1].read_text())
    assert entry["unit"] == "J/sample"
    assert entry["value"] == pytest.approx(1.05, rel=0.01)
    assert entry["range"].startswith("± 0.0")


@pytest.mark.parametrize(
    ("ratio", "rerun", "word", "colour"),
    [(1.0, None, "passed", "brightgreen"), (1.05, 1.05, "failed", "red"), (1.05, None, "undecided", "lightgrey")],
)
def test_a_badge_has_the_outcome(tmp_path, monkeypatch, capsys, ratio, rerun, word, colour):
    badge = tmp_path / "badge.json"
    for _ in range(2):  # it may be replaced
        call(monkeypatch, capsys, "gate", *lay(tmp_path / f"m{_}", ratio, rerun=rerun), "--badge", badge)
        assert json.loads(badge.read_text()) == {
            "schemaVersion": 1, "label": "energy gate", "message": word, "color": colour,
        }  # fmt: skip


@pytest.mark.parametrize("option", ["--json", "--badge"])
@pytest.mark.parametrize("text", ['{"name": "somebody"}', "[1, 2]", "not JSON", '"text"'])
def test_a_file_of_somebody_else_is_not_replaced(tmp_path, monkeypatch, capsys, option, text):
    path = tmp_path / "package.json"
    path.write_text(text)
    code, _, err = call(monkeypatch, capsys, "gate", *lay(tmp_path / "m", 1.0), option, path)
    assert code == 2
    assert f"{option}: {path} exists and is no result of a gate" in err
    assert path.read_text() == text


def test_a_stored_baselines_sessions_are_charted_and_those_of_one_session_are_not():
    """Two sessions 10 % apart, and now a value in their middle."""

    def told(*costs):
        before = [replicate(measurement(j=cost), session=f"{n}") for n, cost in enumerate(costs) for _ in range(10)]
        now = [replicate(measurement(j=1.05), session="now") for _ in range(10)]
        verdicts = judge(before, now, Settings())
        return markdown(workflow.Result(verdicts, Settings(), "nvidia_h100", "now against stored"))

    (row,) = [line for line in told(1.0, 1.1).splitlines() if line.startswith("| `b` | ▁█ | ▅ |")]
    centre = math.sqrt(1.1)
    lowest, highest, now = (float(cell.strip(" %").replace("−", "-")) / 100 for cell in row.split("|")[4:7])
    assert (lowest, highest, now) == pytest.approx((1 / centre - 1, 1.1 / centre - 1, 1.05 / centre - 1), abs=5e-4)
    assert "▁" not in told(1.0)


def test_unchanged_code_is_said_to_be(repository):
    assert not is_unchanged(repository, "main")
    (repository / "product.py").write_text((repository / "product.py").read_text().replace("0.020", "0.01"))
    assert is_unchanged(repository, "main")
    (repository / "new.py").write_text("")
    assert not is_unchanged(repository, "main")
    (repository / ".git" / "info" / "exclude").write_text("new.py\n")
    assert is_unchanged(repository, "main")
    with pytest.raises(InputError, match="git diff failed"):
        is_unchanged(repository, "--no-such")


def test_estimates_are_labelled_wherever_they_show(tmp_path):
    files = lay(tmp_path / "m", 1.0, domains=CPU)
    result = workflow.compare_files(*files, Settings(metric="energy"))
    assert "estimated energy (cpu)" in markdown(result)
    assert "estimated energy (cpu)" in json.loads(action_json(result))[0]["name"]
    assert headline(result) == "energy gate passed: 1 passed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.json", "nowhere.json"], "nowhere.json: cannot be read"),
        (["--metric", "joules"], "--metric: 'joules'"),
        (["--form", "quik"], "did you mean 'quick'"),
        (["--against", "no-such-branch"], "no commit 'no-such-branch'"),
        (["--against", "main", "--update-baseline"], "--against: "),
        (["--against", "main", "--tests", "no/tests", "--replay", "5"], "no no/tests in this commit"),
        (["--require-energy", "--metric", "time"], "--require-energy: "),
        (["--update-baseline", "a.json", "b.json"], "--update-baseline: "),
    ],
)
def test_bad_input_is_one_line(repository, monkeypatch, capsys, arguments, message):
    code, _, err = call(monkeypatch, capsys, "gate", *arguments)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_the_command_line_loads_no_torch():
    modules = "joulebench.commands.main, joulebench.gate.workflow, joulebench.gate.plugin"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("hardware", "asked", "form"),
    [("nvidia_h200", None, "standard"), ("generic_cpu", None, "quick"), ("generic_cpu", "standard", "standard")],
)
def test_the_form_is_the_hardwares_unless_asked_for(hardware, asked, form):
    benchmarks, found = workflow._with_form(Benchmarks("tests", asked, hardware=hardware))
    assert found == benchmarks.form == form
