"""Every experiment of the two studies that joulebench reproduces, judged from the published records.

python -m tests.reproduction            write docs/reproduction.md
python -m tests.reproduction --check    exit code 1 where it is out of date

A sentence is the answer of the study in the published report; a verdict is computed from the same analysis of the
records, never written by hand.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from joulebench.presentation.markdown import markdown_safe
from joulebench.presentation.numbers import number, percent
from joulebench.publishing.verifying import published
from joulebench.records.folder import RunFolder
from joulebench.results.run import Run
from joulebench.stats.correlation import Correlation
from joulebench.studies.base import load_study
from tests.published_counts import PUBLISHED

REPOSITORY = Path(__file__).parents[1]
REPORTS = REPOSITORY / "reports"
PAGE = REPOSITORY / "docs" / "reproduction.md"

Verdict = Literal["agrees", "differs", "undecided", "not comparable", "nothing published"]
MEANINGS: dict[Verdict, str] = {
    "agrees": "our records show what was published, as far as they can be compared",
    "differs": "our records show something else, beyond their intervals",
    "undecided": "our intervals do not tell",
    "not comparable": "a smaller space, less training or other hardware decides the outcome; the reason is given",
    "nothing published": "no number was published to compare with; ours stands alone",
}
COMPARISON = "comparison"
#: Budgets with the published space and training.
FULL = ("standard", "paper", "script")


@dataclass(frozen=True)
class Judged:
    """Verdict on an experiment, and why."""

    verdict: Verdict
    why: str


@dataclass(frozen=True)
class Experiment:
    """Experiment, figure or check of a study: what was found there, and how published records of ours are judged.

    `study` names the analysis whose answer is what we found: the run's headline where it is empty, and the headline
    of the published comparison of the task's runs where it is `COMPARISON`.
    """

    paper: Literal["ECOpt", "CWL"]
    name: str
    theirs: str
    task: str
    study: str
    judge: Callable[[Any, Any], Judged]
    command: str = ""  # where it is not `joulebench run TASK --budget BUDGET`

    def judged(self, run: Run) -> Judged | None:
        """Judge a run; None where its study has no result."""
        if not self.study:
            return self.judge(None, run)
        result = load_study(self.study).analyse(run)
        return None if result is None else self.judge(result, run)


# --- verdicts ---------------------------------------------------------------------------------------------------


def inside(value: Correlation | None, theirs: float) -> bool | None:
    """Whether a published coefficient lies in our interval; None without one."""
    if value is None or value.low is None or value.high is None:
        return None
    return value.low <= theirs <= value.high


def all_of(tests: Mapping[str, bool | None], why: str) -> Judged:
    """Agreement where every test holds, a difference where one fails, else undecided."""
    failed = [name for name, passed in tests.items() if passed is False]
    unknown = [name for name, passed in tests.items() if passed is None]
    if failed:
        return Judged("differs", f"{why}; not so: {', '.join(failed)}")
    return Judged("undecided", f"{why}; unknown: {', '.join(unknown)}") if unknown else Judged("agrees", why)


def frontier_of_search(_: None, run: Run) -> Judged:
    n = len(run.frontier)
    if run.manifest.budget not in FULL:
        return Judged("not comparable", f"{n} members in a narrower space with seconds of training, on a CPU")
    return all_of({"several members": n > 1}, f"{n} members; theirs had 7")


def proxies_over_search(result: Any, run: Run) -> Judged:
    theirs = {"parameters": -0.12, "macs": 0.26, "runtime": 0.79}
    tests = {name: inside(result.of(name, "gross", "pearson"), r) for name, r in theirs.items()}
    within = [name for name, passed in tests.items() if passed]
    why = f"{len(within)} of 3 published coefficients lie in our intervals ({', '.join(within) or 'none'})"
    if run.manifest.budget not in FULL:
        return Judged("not comparable", f"{why}; narrower space, and joules that follow time by construction")
    return all_of(tests, why)


def small_r(result: Any, _: Run) -> Judged:
    """Whether parameters and MACs track the energy of dense networks."""
    values = {name: result.of(name, "gross", "pearson") for name in ("parameters", "macs")}
    tests = {f"r of {name} > 0.9": None if r is None else r.value > 0.9 for name, r in values.items()}
    shown = ", ".join(f"{name} {number(r.value, 3)}" for name, r in values.items() if r is not None)
    return all_of(tests, f"Pearson {shown}")


def stride(result: Any, run: Run) -> Judged:
    published_macs = (44.69e6, 16.16e6, 7.19e6, 7.16e6, 5.37e6, 5.35e6)
    macs = sorted((s.figures["macs"] for s in result.subjects), reverse=True)
    same = len(macs) == len(published_macs) and all(
        abs(a / b - 1) < 5e-3 for a, b in zip(macs, published_macs, strict=True)
    )
    energy = result.energy_j
    tests = {
        "parameters 5,315,850 throughout": result.constant.get("parameters") == 5_315_850,
        "published MACs": same,
        "energy varies": None if energy.ratio is None else energy.ratio > 1.5,
    }
    return all_of(tests, f"MACs and parameters as published, energy varies {number(energy.ratio or 1, 3)} times")


def families(result: Any, _: Run) -> Judged:
    r = {name: result.of(name, "gross", "pearson") for name in ("parameters", "macs")}
    macs, parameters = r["macs"], r["parameters"]
    if macs is None or parameters is None or parameters.high is None or macs.low is None:
        return Judged("undecided", "no interval")
    tests = {"parameters tell less than MACs": parameters.high < macs.low or None}
    return all_of(tests, "parameters say little between families, MACs more")


def batch_optimum(result: Any, _: Run) -> Judged:
    gain, best = result.gain, result.best
    if gain is None or best is None:
        return Judged("undecided", "one size only")
    times = f"best size {number(best.size)}: {number(gain.mean, 3)} times the work per joule of size 1 (theirs 38)"
    if result.shape == "interior":
        return Judged("agrees", f"the optimum lies inside of the range; {times}")
    return Judged("undecided", f"the curve is {result.shape} within its intervals; {times}")


def batch_sweep(result: Any, _: Run) -> Judged:
    gain = result.gain
    if gain is None or gain.low is None:
        return Judged("nothing published", "no number was published")
    return Judged(
        "nothing published", f"the best takes {number(1 / gain.mean, 3)} times the joules of the smallest"
    )


def scaling(result: Any, _: Run) -> Judged:
    fit = result.main
    if fit is None or fit.line is None:
        return Judged("undecided", "too few models for a line")
    slope = fit.line.slope
    if slope.low is None:
        return Judged("undecided", "no interval of the exponent")
    return all_of(
        {"joules grow with the model": True if slope.low > 0 else False if slope.high < 0 else None},
        f"joules go as size to the power {number(slope.mean, 3)} [{number(slope.low, 3)}, {number(slope.high, 3)}]",
    )


def repeatability(result: Any, _: Run) -> Judged:
    spread = result.spreads[0] if result.spreads else None
    if spread is None or spread.runs.rsd is None:
        return Judged("undecided", "too few repeats")
    return Judged("nothing published", f"relative SD of {result.repeats} runs {percent(spread.runs.rsd.value)}")


def gate(result: Any, _: Run) -> Judged:
    if result.rsd is None or result.passed is None:
        return Judged("undecided", "too few windows")
    text = f"relative SD {percent(result.rsd.value)} over {result.rsd.n} windows; asked: below 2 %"
    return Judged("agrees" if result.passed else "differs", text)


def pue_ranking(result: Any, _: Run) -> Judged:
    changed = [e.scenario.name for e in result.effects[1:] if e.changes]
    tests = {"one factor on all changes nothing": not result.constant.changes}
    return all_of(tests, f"factors by domain change it in {len(changed)} of {len(result.effects) - 1} scenarios")


def extrapolated(result: Any, _: Run) -> Judged:
    half = max(1, max(result.points) // 2)
    naive, two = (result.of("energy_j", rule, half) for rule in ("proportional", "two-term"))
    if naive is None or two is None:
        return Judged("undecided", "no prediction at half")
    text = f"at half: two-term {percent(two.median_error.mean)}, proportional {percent(naive.median_error.mean)}"
    return all_of({"two-term is better": two.median_error.mean < naive.median_error.mean}, text)


def predicted(result: Any, _: Run) -> Judged:
    best = result.best.median_error
    mean = next(s.median_error for s in result.scores if not s.rule.figures)
    text = f"median error {percent(best.mean)} on held-out models, against {percent(mean.mean)} of the mean"
    return all_of({"figures tell more than the mean": best.mean < mean.mean}, text)


def power_caps(result: Any, _: Run) -> Judged:
    best = max((c.choice(0.10).saving for c in result.affected), default=0.0)
    return Judged(
        "not comparable",
        f"at best {percent(best)} less within 10 % more time (theirs: up to 26.4 %); accuracy was not recorded",
    )


def architectures(result: Any, _: Run) -> Judged:
    tests = {
        a.name: abs(a.parameters / 1e6 / p - 1) < 0.01 and abs(a.macs / 1e6 / m - 1) < 0.01
        for a in result.architectures
        for p, m in [PUBLISHED[a.name]]
    }
    return all_of(
        tests,
        f"parameters and MACs of {len(tests)} networks within 1 % of the published; energies were not published",
    )


def known_against_found(result: Any, run: Run) -> Judged:
    """Theirs is an overlay of separate experiments; the verdict is ours alone."""
    if not result.probability:
        return Judged("undecided", "nothing to compare, or one training of each")
    n, m = result.count("dominated"), result.count("new")
    text = f"{n} of {len(result.known)} known dominated, {m} of {len(result.found)} found new"
    epochs = run.task.defaults.get("epochs")
    return Judged("nothing published", f"{text}, after {epochs} epochs each in one experiment")


def life_cycle(result: Any, _: Run) -> Judged:
    at_40, at_70 = (result.volume_at(share) for share in (0.40, 0.70))
    if at_40 is None or at_70 is None:
        return Judged("undecided", "inference takes no energy")
    volumes = f"40 % from {number(at_40.mean, 3)} {result.unit}s on, 70 % from {number(at_70.mean, 3)}"
    return Judged(
        "not comparable", f"inference is {volumes}: the split follows from the volume, which they do not state"
    )


def meters(result: Any, _: Run) -> Judged:
    ratios = {s.name: r.mean for s, r in result.total.ratios.items() if s.domain == "cpu"}
    text = ", ".join(f"{name} {number(ratio, 3)} times the primary" for name, ratio in ratios.items())
    if result.without is None:
        return Judged("not comparable", f"no RAPL here, so the models stand against one another: {text}")
    return Judged("nothing published", text)


def robustness(result: Any, _: Run) -> Judged:
    levels = [
        level
        for factor in result.factors
        for problem in {v.problem for v in result.variants}
        for level in result.levels("qnehvi", factor, problem)
    ]
    counts = Counter(level.verdict for level in levels)
    text = ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
    return Judged("nothing published", f"qNEHVI against Sobol' at {len(levels)} levels: {text}")


def between_machines(facts: Any, _: Run | None) -> Judged:
    (verdict,) = {part["verdict"] for part in facts["consistency"]} or {"undecided"}
    forms = "; two forms of one machine say nothing about other hardware"
    if verdict == "undecided":
        return Judged("undecided", f"no pair of models differs significantly on every machine{forms}")
    return Judged("agrees" if verdict == "consistent" else "differs", f"{verdict}{forms}")


# --- the experiments --------------------------------------------------------------------------------------------

EXPERIMENTS = (
    Experiment("ECOpt", "CIFAR-10 architecture search", "seven members on the frontier of 200 trials",
               "cifar10", "", frontier_of_search),
    Experiment("ECOpt", "the same with the published protocol", "test accuracy is the objective",
               "cifar10_ecopt", "", frontier_of_search),
    Experiment("ECOpt", "what tells energy, over the search's trials",
               "Pearson's r with inference energy: parameters −0.12, FLOPs 0.26, runtime 0.79 (secondary source)",
               "cifar10", "proxies", proxies_over_search),
    Experiment("ECOpt", "proxies: depth of a dense network", "parameters and FLOPs track energy (secondary source)",
               "proxies_depth", "proxies", small_r),
    Experiment("ECOpt", "proxies: stride of a CNN", "5,315,850 parameters throughout while MACs fall eightfold",
               "proxies_stride", "proxies", stride),
    Experiment("ECOpt", "check: proxies on diverse families", "parameters are no proxy",
               "proxies_families", "proxies", families),
    Experiment("ECOpt", "batch size, searched", "batch 831 is best, 38 times batch 1; break-even 4,802 tokens",
               "transformer_batch_ecopt", "batch", batch_optimum),
    Experiment("ECOpt", "check: the batch sweep before the search", "the optimum is not the largest batch",
               "transformer_batch", "batch", batch_optimum),
    Experiment("ECOpt", "joules per token by model size", "tokens/J fall log-linearly (secondary source)",
               "transformer_size", "scaling", scaling),
    Experiment("ECOpt", "consistency across hardware", "tokens/J relatively consistent (secondary source)",
               "transformer_consistency", COMPARISON, between_machines, "joulebench compare RUN_A RUN_B"),
    Experiment("ECOpt", "joules per token of four language models", "tokens/J fall log-linearly with size",
               "transformer_consistency", "scaling", scaling),
    Experiment("ECOpt", "meters: with and without RAPL", "compared; no public numbers", "meter_comparison",
               "meter_comparison", meters),
    Experiment("ECOpt", "check: how robust is the search", "noise, jumps, dimensions; where does it stop working?",
               "search_robustness", "search_quality", robustness),
    Experiment("ECOpt", "meter repeatability", "LeNet-5: 35 identical runs, batch sizes, epochs; no public numbers",
               "meter_repeatability", "repeatability", repeatability),
    Experiment("ECOpt", "check: consistency of the meter", "the same inference ten times: below 2 %",
               "meter_consistency", "consistency", gate),
    Experiment("ECOpt", "check: with and without PUE", "does the ranking change?", "cifar10", "pue", pue_ranking),
    Experiment("CWL", "fourteen CIFAR networks", "parameters and MACs of each; energies not public",
               "training_inference", "training_inference", architectures),
    Experiment("CWL", "found models against known ones", "no experiment in common (each paper shows its own)",
               "known_models", "known_models", known_against_found),
    Experiment("CWL", "where a pipeline's energy goes", "31/29/40 % (data, training, inference); 10:20:70",
               "cifar10", "life_cycle", life_cycle),
    Experiment("CWL", "short profiling tells the whole training", "the first one or two epochs predict the rest",
               "profile_extrapolation", "extrapolation", extrapolated),
    Experiment("CWL", "model figures predict energy", "asked; no public error", "energy_prediction", "prediction",
               predicted),
    Experiment("CWL", "batch sizes 4 to 256", "asked; no public numbers", "batch_sweep", "batch", batch_sweep),
    Experiment("CWL", "power caps (arXiv 2310.11131)", "up to 26.4 % saved without loss of accuracy", "power_cap",
               "power_cap", power_caps),
)  # fmt: skip


# --- the page ---------------------------------------------------------------------------------------------------

INTRODUCTION = """\
# Reproduction

Every experiment of ECOpt (arXiv 2601.08991) and Computing Within Limits (CWL, arXiv 2406.14328), what it found, and
what our published records show. `python -m tests.reproduction` makes this page from the
[published sets](../reports/README.md),
and a test fails where it is out of date. Verdicts are computed from the records:

"""


@dataclass(frozen=True)
class Row:
    """Experiment with one published set of ours; without a set, the experiment alone."""

    experiment: Experiment
    link: str = ""
    hardware: str = ""
    budget: str = ""
    found: str = ""
    judged: Judged | None = None


def rows(reports: Path) -> Iterator[Row]:
    """Judge every experiment by each published set of its task."""
    runs: dict[str, list[tuple[Path, Run]]] = {}
    comparisons: dict[str, list[Path]] = {}
    for path in published(reports):
        if (path / "trials.jsonl").is_file():
            run = Run.of(RunFolder.open(path))
            runs.setdefault(run.task.name, []).append((path, run))
        else:
            comparisons.setdefault(path.parents[1].name, []).append(path)
    for experiment in EXPERIMENTS:
        if experiment.study == COMPARISON:
            shown = [_of_comparison(experiment, path) for path in comparisons.get(experiment.task, ())]
        else:
            sets = runs.get(experiment.task, ())
            shown = [row for path, run in sets if (row := _of_run(experiment, path, run))]
        yield from shown or [Row(experiment)]


def _of_run(experiment: Experiment, path: Path, run: Run) -> Row | None:
    judged = experiment.judged(run)
    if judged is None:
        return None
    link = f"../{path.relative_to(REPOSITORY).as_posix()}/report.md"
    found = _answer(path, experiment, run)
    return Row(experiment, link, path.parent.name, run.manifest.budget or "", found, judged)


def _of_comparison(experiment: Experiment, path: Path) -> Row:
    facts = json.loads((path / "comparison.json").read_text())
    link = f"../{path.relative_to(REPOSITORY).as_posix()}/comparison.md"
    return Row(experiment, link, path.name, "", facts["headline"], experiment.judge(facts, None))


def _answer(path: Path, experiment: Experiment, run: Run) -> str:
    """The study's sentence in the published report; made anew where its task does not name the study."""
    report = json.loads((path / "report.json").read_text())
    if not experiment.study:
        return str(report["headline"])
    shown = {part["name"]: str(part["answer"]) for part in report["analyses"]}
    if experiment.study in shown:
        return shown[experiment.study]
    study = load_study(experiment.study)
    return study.section(study.analyse(run), run).answer


def page(reports: Path) -> str:
    """The page as Markdown; the same records make the same text."""
    every = list(rows(reports))
    lines = [f"- **{verdict}**: {MEANINGS[verdict]}." for verdict in get_args(Verdict)]
    lines += ["", _count(every), ""]
    for paper, title in (("ECOpt", "ECOpt"), ("CWL", "Computing Within Limits")):
        lines += [f"## {title}", "", "| Experiment | Command | They found | We found | On | Verdict |",
                  "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
        lines += [_line(row) for row in every if row.experiment.paper == paper]
        lines.append("")
    return INTRODUCTION + "\n".join(lines)


def _count(every: list[Row]) -> str:
    verdicts = [row.judged.verdict for row in every if row.judged is not None]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in get_args(Verdict) if v in verdicts)
    experiments = len({row.experiment.name for row in every})
    unseen = sum(row.judged is None for row in every)
    without = f"; {unseen} without a published set" if unseen else ""
    return f"{experiments} experiments, {len(verdicts)} judged sets: {counts}{without}."


def _line(row: Row) -> str:
    e = row.experiment
    command = e.command or f"joulebench run {e.task}" + (f" --budget {row.budget}" if row.budget else "")
    if row.judged is None:
        cells = (e.name, f"`{command}`", e.theirs, "no set is published", "", "")
    else:
        on = f"[{row.hardware}]({row.link})"
        verdict = f"**{row.judged.verdict}**: {markdown_safe(row.judged.why)}"
        cells = (e.name, f"`{command}`", e.theirs, markdown_safe(row.found), on, verdict)
    return f"| {' | '.join(cells)} |"


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    made = page(REPORTS)
    if parser.parse_args().check:
        return int(made != PAGE.read_text())
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
