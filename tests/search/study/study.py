"""Comparison of search methods on named tables: the tables at the end of docs/search.md.

    python -m tests.search.study.study [--tables cell,zeus] [--seeds 8] [--jobs 2] [--data ../shared/data]
    python -m tests.search.study.study --rivals [--only tpe,nsga2] [--tables …]

The first searches by joulebench's own methods and judges them beside the stored runs of the rivals, by true values;
the second makes those runs anew, in the rivals' environment. Tables whose files are not there are left out.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from joulebench.host.files import write_whole
from joulebench.presentation.numbers import number
from joulebench.search.observations import observations
from joulebench.search.space import Space
from tests.gate.power.study import put
from tests.search.study import traces
from tests.search.study.rivals import METHODS
from tests.search.study.tables import NAMES, Table, absent, table
from tests.search.study.traces import OURS, PLANS, Trace, own, warm
from tests.search.study.verdicts import (
    AT,
    Array,
    Calibration,
    Contest,
    Difference,
    calibrated,
    contest,
    promised_and_realised,
)

HELD_OUT = 500  # rows at most that a calibration predicts
#: Searched with noise, too; all of them twice would take more than an hour.
NOISY = ("mlenergy_chat", "ecnas", "digits_grid", "cell")
GENERATIONS = ("nsga2", "pymoo")  # propose many at once
RIVALS = ("random", "sobol", *METHODS)
SHOWN = {
    "tpe": "Optuna TPE", "nsga2": "Optuna NSGA-II", "gp": "Optuna GP", "pymoo": "pymoo NSGA-II", "ax": "Ax",
    "sobol": "Sobol'",
}  # fmt: skip


# -- runs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Predicted:
    """A model's predictions of one quantity at some rows: medians and the ends of their 95 % intervals."""

    mean: Array
    low: Array
    high: Array


def predictions(
    found: Table, noisy: bool, known: Sequence[int], asked: Sequence[int], seed: int
) -> list[Predicted]:
    """Predict measurements of configurations by the search's models of others, one quantity after the other."""
    from joulebench.search import model

    problem, rng = found.problem(noisy), np.random.default_rng([seed, 1])
    records = [problem.record(found.params(n), rng, trial=i) for i, n in enumerate(known)]
    space = Space.of(found.task, found.task.stages["search"])
    predicted = []
    with model.fitted(found.task, space.encoding, observations(found.task, records), [], seed) as scorer:
        rows = scorer.tensor(space.encoding.encode([found.params(n) for n in asked]))
        for modelled in scorer.surrogate.objectives:
            posterior = modelled.gp.posterior(rows, observation_noise=True)
            mean = posterior.mean.squeeze(-1).detach().cpu().numpy()
            half = 1.959964 * posterior.variance.squeeze(-1).sqrt().detach().cpu().numpy()
            back: Callable[[Array], Array] = np.exp if modelled.log else np.asarray
            predicted.append(Predicted(back(mean), back(mean - half), back(mean + half)))
    return predicted


def calibrate(name: str, data: Path, noisy: bool, rows: int, seed: int) -> list[Calibration]:
    """Fit the search's models to random rows of a table, and predict others."""
    found = table(name, data)
    order = np.random.default_rng([seed, rows]).permutation(found.feasible).tolist()
    known, asked = order[:rows], order[rows : rows + HELD_OUT]
    problem, rng = found.problem(noisy), np.random.default_rng([seed, 2])
    drawn = [problem.record(found.params(n), rng).metrics for n in asked]
    return [
        calibrated(
            name, noisy, quantity, rows, p.mean, p.low, p.high, np.array([metrics[quantity] for metrics in drawn])
        )
        for quantity, p in zip(found.objectives, predictions(found, noisy, known, asked, seed), strict=True)
    ]


def search(name: str, data: Path, noisy: bool, method: str, seed: int) -> Trace:
    """One search by a method of joulebench, timed once the process is warm."""
    found = table(name, data)
    if method == OURS and not _warm:
        warm(found.problem(noisy))
        _warm.append(name)
    return own(found, noisy, method, seed)


_warm: list[str] = []  # of this process


@dataclass
class Results:
    """What a study found; one JSON file."""

    traces: dict[tuple[str, bool, str, int], Trace]
    calibrations: list[Calibration]

    @classmethod
    def read(cls, path: Path) -> Results:
        if not path.is_file():
            return cls({}, [])
        given = json.loads(path.read_text(encoding="utf-8"))
        made = [
            Trace(
                **{
                    **t,
                    "tried": tuple(t["tried"]),
                    "seconds": tuple(t["seconds"]),
                    "promised": tuple(t["promised"]),
                }
            )
            for t in given["traces"]
        ]
        return cls({t.key: t for t in made}, [Calibration(**c) for c in given["calibrations"]])

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {
            "traces": [asdict(t) for t in self.traces.values()],
            "calibrations": [asdict(c) for c in self.calibrations],
        }
        write_whole(path, json.dumps(kept).encode())

    def calibrated(self, name: str, noisy: bool) -> bool:
        return any((c.table, c.noisy) == (name, noisy) for c in self.calibrations)


Case = tuple[str, bool]  # the name of a table, and whether with noise


def cases(names: Sequence[str], noise: str) -> list[Case]:
    """What is searched: `no` and `yes` are all tables without and with noise, `both` those of `NOISY` with, too."""
    plain = [(name, False) for name in names if noise != "yes"]
    return plain + [(name, True) for name in names if noise == "yes" or (noise == "both" and name in NOISY)]


def run(results: Results, each: Sequence[Case], given: argparse.Namespace) -> None:
    """Add what is missing of every case's searches and calibrations, case by case."""
    with ProcessPoolExecutor(given.jobs) as pool:
        for name, noisy in each:
            begin = time.monotonic()
            seeds = range(given.seeds)
            asked = [(m, s) for m in PLANS for s in seeds if (name, noisy, m, s) not in results.traces]
            made = [pool.submit(search, name, given.data, noisy, m, s) for m, s in asked]
            fits = [(n, s) for n in AT for s in seeds if not results.calibrated(name, noisy)]
            fitted = [pool.submit(calibrate, name, given.data, noisy, n, s) for n, s in fits]
            for future in made:
                results.traces[future.result().key] = future.result()
            results.calibrations += [c for future in fitted for c in future.result()]
            results.write(given.out)
            print(f"{_label(name, noisy)}: {time.monotonic() - begin:.0f} s", flush=True)


# -- tables of the document --------------------------------------------------------------------------------------


def _label(name: str, noisy: bool) -> str:
    return f"{name}, noise" if noisy else name


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    rule = ["---"] * left + ["---:"] * (len(header) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def tables_table(names: Sequence[str], data: Path) -> str:
    """The tables, with their sizes and objectives."""
    rows = []
    for name in names:
        found = table(name, data)
        share = 1 - len(found.feasible) / len(found.values)
        objectives = "; ".join(
            f"{n} ({'least' if o.goal == 'minimize' else 'most'}, from {o.reference:g}; noise"
            f" {f'{100 * o.noise:.2g} %' if o.relative else f'{o.noise:.2g}'})"
            for n, o in found.objectives.items()
        )
        rows.append([name, found.source, f"{len(found.values):,}", f"{100 * share:.0f} %", objectives])
    return _markdown(["table", "what it is", "combinations", "do not run", "objectives"], rows, left=5)


def found_table(contests: Sequence[Contest]) -> str:
    """Median share of the hypervolume after 20, 40 and 60 trials, by table and method."""
    methods = [OURS, *(r for r in RIVALS if any(r in c.methods for c in contests))]
    rows = [[_label(c.table, c.noisy), *(_medians(c, m) for m in methods)] for c in contests]
    return _markdown(["table", *(SHOWN.get(m, m) for m in methods)], rows)


def _medians(contest: Contest, method: str) -> str:
    curves = contest.methods.get(method, {})
    if not curves:
        return ""
    few = "" if len(curves) >= len(contest.methods.get(OURS, {})) else f" ({len(curves)} seeds)"
    return " / ".join(f"{contest.median(method, n):.2f}" for n in AT) + few


def difference_table(contests: Sequence[Contest], trials: int | None) -> str:
    """Ours less each rival, paired by seed, with its interval and the seeds won."""
    rivals = [r for r in RIVALS if any(c.against(r) for c in contests)]
    rows = [
        [_label(c.table, c.noisy), *(_difference(c.against(r, trials)) for r in rivals)] for c in contests
    ]  # fmt: skip
    totals = [
        _totals([d for c in contests if (d := c.against(r, trials)) is not None]) for r in rivals
    ]  # fmt: skip
    return _markdown(["table", *(SHOWN.get(r, r) for r in rivals)], [*rows, ["better / open / worse", *totals]])


def _difference(difference: Difference | None) -> str:
    if difference is None:
        return ""
    d = difference
    return f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}] {d.wins:g}/{d.n}"


def _totals(differences: Sequence[Difference]) -> str:
    better, worse = sum(d.low > 0 for d in differences), sum(d.high < 0 for d in differences)
    return f"{better} / {len(differences) - better - worse} / {worse}"


def times_table(contests: Sequence[Contest]) -> str:
    """CPU seconds of a proposal by method: over all after the start, and over the last ten."""
    seconds: dict[str, list[tuple[float, float]]] = {}
    for c in contests:
        for method, curves in c.methods.items():
            seconds.setdefault(method, []).extend(curve.trace.seconds for curve in curves.values())
    rows = []
    for method in (m for m in (OURS, *RIVALS) if m in seconds):
        each = np.array(seconds[method])
        cells = [f"{number(float(np.median(x)), 2)} ({number(float(x.max()), 2)})" for x in each.T]
        if method in GENERATIONS:
            cells[1] = ""
        rows.append([SHOWN.get(method, method), *cells, str(len(each))])
    return _markdown(["method", "a proposal, s", "of the last ten, s", "searches"], rows)


def calibration_table(calibrations: Sequence[Calibration]) -> str:
    """Calibration by table, quantity and number of rows: means over the draws of rows."""
    groups: dict[tuple[str, bool, str], dict[int, list[Calibration]]] = {}
    for c in calibrations:
        groups.setdefault((c.table, c.noisy, c.quantity), {}).setdefault(c.rows, []).append(c)
    rows = []
    for (name, noisy, quantity), by in groups.items():
        cells = [
            f"{_mean(by[n], 'covered'):.2f}, {_mean(by[n], 'spearman'):.2f}, {_mean(by[n], 'error'):.2f}"
            if n in by
            else ""
            for n in AT
        ]
        rows.append([_label(name, noisy), quantity, *cells])
    return _markdown(["table", "quantity", *(f"{n} rows" for n in AT)], rows, left=2)


def _mean(calibrations: Sequence[Calibration], what: str) -> float:
    return float(np.mean([getattr(c, what) for c in calibrations]))


def promises_table(results: Results, each: Sequence[Case], data: Path) -> str:
    """Gains promised and realised after the twentieth trial: sums over all seeds, and their ratio."""
    sums: dict[Case, list[tuple[float, float]]] = {}
    for t in results.traces.values():
        if t.method == OURS and (t.table, t.noisy) in each:
            sums.setdefault((t.table, t.noisy), []).append(promised_and_realised(table(t.table, data), t))
    rows = []
    for (name, noisy), pairs in sums.items():
        promised, realised = (math.fsum(x) for x in zip(*pairs, strict=True))
        ratio = number(promised / realised, 3) if realised > 0 else "nothing realised"
        rows.append([_label(name, noisy), number(promised, 3), number(realised, 3), ratio])
    return _markdown(["table", "promised", "realised", "promised / realised"], rows)


def judged(results: Results, each: Sequence[Case], data: Path) -> dict[str, str]:
    """Every table of the document by its mark; our traces beside the stored ones of the rivals."""
    names = list(dict.fromkeys(name for name, _ in each))
    stored, stale = traces.current(traces.read(), names, data)
    if stale:
        print(f"{stale} stored runs rest on tables as they were before, and are left out; --rivals makes them anew")
    every = [*results.traces.values(), *stored]
    plain = [contest(table(name, data), noisy, False, every) for name, noisy in each]
    log = [contest(table(name, data), noisy, True, every) for name, noisy in each if table(name, data).has_log]
    calibrations = [c for c in results.calibrations if (c.table, c.noisy) in each]
    return {
        "search-tables": tables_table(names, data),
        "search-found": found_table(plain),
        "search-area": difference_table(plain, None),
        "search-final": difference_table(plain, AT[-1]),
        "search-found-log": found_table(log),
        "search-area-log": difference_table(log, None),
        "search-times": times_table(plain),
        "search-calibration": calibration_table(calibrations),
        "search-promises": promises_table(results, each, data),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.search.study.study", description=__doc__.splitlines()[0])
    listed: Callable[[str], list[str]] = partial(_split, allowed=NAMES)
    parser.add_argument("--tables", type=listed, default=list(NAMES), help=f"of {', '.join(NAMES)}")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the published tables")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--noise", choices=("both", "no", "yes"), default="both", help=f"both: on {', '.join(NOISY)}"
    )
    parser.add_argument("--keep", action="store_true", help="take what --out, or the rivals' store, has")
    parser.add_argument("--out", type=Path, default=Path("runs/search_study/results.json"))
    parser.add_argument("--document", type=Path, default=None, help="put the tables between its marks")
    parser.add_argument("--rivals", action="store_true", help="run the rivals, and nothing else")
    methods: Callable[[str], list[str]] = partial(_split, allowed=tuple(METHODS))
    parser.add_argument("--only", type=methods, default=list(METHODS), help="with --rivals: these of them")
    parser.add_argument("--python", type=Path, default=Path(".nox/rivals/bin/python"), help="of their environment")
    given = parser.parse_args(arguments)
    names = []
    for name in given.tables:
        if (reason := absent(name, given.data)) is None:
            names.append(name)
        else:
            print(reason)
    each = cases(names, given.noise)
    if given.rivals:
        for name, noisy in each:
            asked = [(method, seed) for method in given.only for seed in range(given.seeds)]
            if given.keep:
                asked = traces.missing(traces.read(), (name, given.data), noisy, asked)
            print(f"{_label(name, noisy)}: {len(asked)} runs", flush=True)
            traces.run_rivals(given.python, (name, given.data), noisy, asked)
        return
    results = Results.read(given.out) if given.keep else Results({}, [])
    run(results, each, given)
    made = judged(results, each, given.data)
    for name, text in made.items():
        print(f"\n{name}\n{text}")
    if given.document is not None:
        write_whole(given.document, put(given.document.read_text(encoding="utf-8"), made).encode())
        print(f"\n{given.document}: {', '.join(made)}")


def _split(text: str, allowed: Sequence[str]) -> list[str]:
    names = text.split(",")
    if unknown := [n for n in names if n not in allowed]:
        raise argparse.ArgumentTypeError(f"no '{unknown[0]}' (allowed: {', '.join(allowed)})")
    return names


if __name__ == "__main__":
    main()
