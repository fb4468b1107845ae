"""The comparison of search methods: differences by hand, rivals' runs stored and read, the document's marks."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import REPOSITORY
from tests.search.study import rivals, study, tables, traces
from tests.search.study.rivals import Problem, runs
from tests.search.study.test_tables import SMALL
from tests.search.study.traces import BUDGET, INITIAL, OURS, Stored, Trace
from tests.search.study.verdicts import Contest, Curve, Difference, calibrated, contest, promised_and_realised


def trace(method: str, seed: int, tried: tuple[int, ...], promised: tuple[float | None, ...] = ()) -> Trace:
    return Trace("small", False, method, seed, tried, (0.5, 1.0), promised)


def test_paired_differences_by_hand():
    """Gaps 0.1, 0.3, 0: mean 0.1333, sd 0.1528, t(2) = 4.303: half-width 0.3795."""
    found = Difference.of([0.5, 0.8, 0.4], [0.4, 0.5, 0.4])
    assert (found.mean, found.wins, found.n) == (pytest.approx(0.4 / 3), 2.5, 3)
    assert found.high - found.mean == pytest.approx(0.3795, abs=1e-4)
    assert found.mean - found.low == pytest.approx(0.3795, abs=1e-4)


def test_curves_are_judged_by_true_values():
    """Five trials of the front's middle, then all of it: the area counts the trials after the common start."""
    tried = (0,) * 35 + (0, 2, 5, *([0] * 22))
    other = Trace("other", False, OURS, 0, (), (0, 0))
    (curve,) = contest(SMALL, False, False, [trace(OURS, 0, tried), other]).curves
    one, two = SMALL.share([0]), SMALL.share([0, 2])
    assert curve.at(20) == pytest.approx(one)
    assert curve.at(60) == pytest.approx(1.0)
    assert curve.area == pytest.approx(((36 - INITIAL) * one + two + 23 * 1.0) / (BUDGET - INITIAL))


def test_methods_are_paired_by_seed():
    def curve(method: str, seed: int, share: float) -> Curve:
        return Curve(trace(method, seed, ()), np.full(BUDGET, share))

    curves = [curve(OURS, s, 0.5 + 0.1 * s) for s in range(3)] + [curve("tpe", s, 0.4) for s in (1, 2, 7)]
    found = Contest("small", False, False, tuple(curves)).against("tpe")
    assert (found.n, found.mean) == (2, pytest.approx(0.25))
    assert Contest("small", False, False, tuple(curves)).against("ax") is None


def test_promises_are_summed_after_the_twentieth_trial():
    promised = (None,) * INITIAL + (100.0,) * 10 + (0.25,) * 39 + (None,)
    tried = (0,) * 20 + (2,) * 40
    found = promised_and_realised(SMALL, trace(OURS, 0, tried, promised))
    assert found == (pytest.approx(0.25 * 39), pytest.approx(SMALL.volume([0, 2]) - SMALL.volume([0])))


def test_what_a_trial_without_a_promise_found_kept_none():
    promised = (None,) * 20 + (0.25, None) + (0.25,) * 38
    tried = (0,) * 21 + (2,) * 39  # the gain is that of the trial that promised nothing
    assert promised_and_realised(SMALL, trace(OURS, 0, tried, promised)) == (pytest.approx(0.25 * 39), 0.0)


def test_calibration_by_hand():
    mean, seen = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])
    found = calibrated("t", False, "q", 20, mean, mean - 0.5, mean + 0.5, seen)
    assert found.covered == 0.5
    assert found.spearman == pytest.approx(0.8)  # 1 - 6 · 2 / (4 · 15)
    assert found.error == pytest.approx(math.sqrt(0.5) / seen.std())


# -- rivals ------------------------------------------------------------------------------------------------------


class Counting:
    """A fake rival: after the start, the numbers from one on; remembers what it was told."""

    told: list[tuple[int, list[float] | None]] = []

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem, self._next = problem, seed
        Counting.told = []

    def attach(self, number: int, values: list[float] | None) -> None:
        Counting.told.append((number, values))

    def ask(self) -> int:
        self._next = (self._next + 1) % len(self._problem.values)
        return self._next

    def tell(self, values: list[float] | None) -> None:
        Counting.told.append((self._next, values))


@pytest.fixture
def fake(monkeypatch):
    """One rival, of a package that is always there, and the small table under a name."""
    monkeypatch.setattr(rivals, "METHODS", {"fake": (Counting, "numpy")})
    monkeypatch.setitem(tables.OWN, "small", lambda: SMALL)


def job(noisy: bool, seeds: range) -> dict[str, object]:
    each = [{"method": "fake", "seed": s, "start": [0, 1], "draws": traces.draws(SMALL, s)} for s in seeds]
    return json.loads(json.dumps({"problem": traces.posed(SMALL, noisy), "budget": 6, "runs": each}))


def test_a_rival_is_told_what_our_search_would_be(fake):
    """Values and noise are those of `Problem.trials` for the trial of that number; None where it does not run."""
    (result,) = runs(job(True, range(3, 4)))
    assert result["tried"] == [0, 1, 4, 5, 0, 1]
    assert len(result["seconds"]) == 4
    rng, problem = np.random.default_rng([3, 1]), SMALL.problem(noisy=True)
    for number, values in Counting.told:
        record = problem.record(SMALL.params(number), rng)
        assert values == (pytest.approx(list(record.metrics.values())) if record.status == "ok" else None)


def test_numbers_and_places_are_those_of_the_table():
    problem = Problem.read(job(False, range(0))["problem"])
    for number in range(6):
        places = problem.places(number)
        values = {p.name: p.values[i] for p, i in zip(problem.parameters, places, strict=True)}
        assert values == SMALL.params(number)
        assert problem.number(places) == number
    assert problem.measured(1, []) is None
    assert problem.measured(2, []) == pytest.approx([2.0, math.e])


def test_the_script_imports_nothing_of_ours():
    source = Path(rivals.__file__).read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) (joulebench|tests)", source, re.M)


def test_runs_are_stored_and_read_back(tmp_path, monkeypatch, fake):
    """By a process of its own, replaced when made anew, and known to be out of date when the table changes."""
    script = tmp_path / "fake_rivals.py"
    script.write_text(
        "import json, sys\n"
        "job = json.load(open(sys.argv[1]))\n"
        "with open(sys.argv[2], 'w') as out:\n"
        "    for run in job['runs']:\n"
        "        tried = run['start'] + [run['seed']] * (job['budget'] - len(run['start']))\n"
        "        seconds = [0.5] * 40 + [1.0] * (job['budget'] - len(run['start']) - 40)\n"
        "        done = {'method': run['method'], 'seed': run['seed'], 'version': 'fake 1', 'tried': tried}\n"
        "        out.write(json.dumps(done | {'seconds': seconds}) + '\\n')\n"
        "sys.exit(len(job['runs']) > 2)\n"
    )
    monkeypatch.setattr(rivals, "__file__", str(script))
    monkeypatch.setattr(traces, "start", lambda *_: (0, 2))
    monkeypatch.setattr(traces, "table", lambda *_: SMALL)
    path, found = tmp_path / "rivals.csv", ("small", tmp_path)
    traces.digest.cache_clear()
    traces.run_rivals(Path(sys.executable), found, False, [("fake", 0), ("fake", 1)], path)
    stored = traces.read(path)
    assert list(stored) == [("small", False, "fake", 0), ("small", False, "fake", 1)]
    run = stored["small", False, "fake", 1]
    assert run.version == "fake 1"
    assert run.trace == Trace("small", False, "fake", 1, (0, 2, *[1] * 58), (pytest.approx(38 / 58, rel=1e-3), 1.0))
    assert traces.current(stored, ["small"], tmp_path) == ([r.trace for r in stored.values()], 0)
    assert traces.current(stored, ["other"], tmp_path) == ([], 0)
    asked = [("fake", 1), ("fake", 2), ("tpe", 0)]
    assert traces.missing(stored, found, False, asked) == [("fake", 2), ("tpe", 0)]
    # a run that fails keeps what it ended, and says so
    with pytest.raises(RuntimeError, match="exit code 1; 3 of 3 runs"):
        traces.run_rivals(Path(sys.executable), found, True, [("fake", s) for s in range(3)], path)
    assert len(traces.read(path)) == 5
    text = path.read_text()
    traces.write(traces.read(path).values(), path)
    assert path.read_text() == text
    old = {k: Stored(r.trace, r.version, "00000000") for k, r in stored.items()}
    assert traces.current(old, ["small"], tmp_path) == ([], 2)
    traces.digest.cache_clear()


def test_the_stored_runs_are_whole():
    """Every run of the repository: as many trials as the budget, and a method that exists."""
    stored = traces.read()
    assert stored
    assert traces.STORED.stat().st_size <= 400_000
    for (name, _, method, _), run in stored.items():
        assert name in tables.NAMES
        assert method in rivals.METHODS
        assert len(run.trace.tried) == BUDGET
        assert re.fullmatch(r"[\w-]+ [\d.]+", run.version)


# -- the whole ---------------------------------------------------------------------------------------------------


def test_a_small_study_end_to_end(tmp_path, monkeypatch, capsys):
    """Two of our methods on a table that is here, and the document's marks."""
    monkeypatch.setattr(study, "AT", (20,))
    monkeypatch.setattr(study, "PLANS", {m: traces.PLANS[m] for m in ("random", "sobol")})
    monkeypatch.setattr(traces, "STORED", tmp_path / "none.csv")
    document, out = tmp_path / "search.md", tmp_path / "results.json"
    document.write_text("a\n<!-- search-found: begin; x -->\nold\n<!-- search-found: end -->\nb\n")
    arguments = ["--tables", "digits_grid,zeus", "--seeds", "2", "--jobs", "1", "--noise", "no"]
    arguments += ["--out", str(out), "--data", str(tmp_path)]
    study.main(arguments)
    printed = capsys.readouterr().out
    assert f"zeus: left out, {tmp_path / 'zeus_power.csv'} is not there" in printed
    assert re.search(r"^\| digits_grid \| +\|? ?[\d./ ]+", printed, re.M)
    assert len(study.Results.read(out).traces) == 4
    with pytest.raises(ValueError, match="no marks for"):
        study.main([*arguments, "--keep", "--document", str(document)])


def test_the_document_has_a_mark_for_every_table():
    text = (REPOSITORY / "docs" / "search.md").read_text(encoding="utf-8")
    made = set(re.findall(r'^        "(search-[a-z-]+)":', Path(study.__file__).read_text(encoding="utf-8"), re.M))
    assert set(re.findall(r"<!-- (search-[\w-]+): begin", text)) == made
    assert set(re.findall(r"<!-- (search-[\w-]+): end", text)) == made


def test_some_tables_are_searched_with_noise_too():
    names = ["zeus", "cell"]
    assert study.cases(names, "both") == [("zeus", False), ("cell", False), ("cell", True)]
    assert study.cases(names, "yes") == [("zeus", True), ("cell", True)]
    assert set(study.NOISY) <= set(tables.NAMES)


def test_an_unknown_table_or_method_is_refused(capsys):
    with pytest.raises(SystemExit):
        study.main(["--tables", "zeuss"])
    assert "no 'zeuss'" in capsys.readouterr().err
