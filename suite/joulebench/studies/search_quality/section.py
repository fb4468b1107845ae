"""The report's section on searches: final hypervolume, trials to a share of it, joules of proposals. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby, product

from joulebench.presentation.numbers import ABSENT, number, percent, seconds, si
from joulebench.presentation.rows import Exact
from joulebench.presentation.section import Section
from joulebench.presentation.table import Cell, Column, Table, worded_cell
from joulebench.presentation.words import listed, plural
from joulebench.results.run import Run
from joulebench.spec.parameters import Value
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import Study
from joulebench.studies.search_quality.analysis import (
    BROKEN_BELOW,
    WORTH_HAVING,
    PairedDifference,
    SearchQuality,
    search_quality,
)
from joulebench.studies.search_quality.curves import LEVELS, ProblemVariant, Search, SearchGroup
from joulebench.studies.search_quality.figures import plots

MAX_NAMED = 6  # variants in a sentence; the table has all


class SearchQualityStudy(Study[SearchQuality]):
    """Quality of search methods: hypervolume reached, trials and joules needed, on problems with known answers."""

    name = "search_quality"

    def analyse(self, run: Run) -> SearchQuality | None:
        return search_quality(run)

    def section(self, result: SearchQuality, run: Run) -> Section:
        tables = (_final_table(result), _levels_table(result), _rival_table(result), _cost_table(result))
        return Section(
            name="search_quality",
            title="Quality of the search",
            answer=_answer(result),
            sentences=tuple(_sentences(result)),
            plots=plots(result),
            tables=tuple(table for table in tables if table.rows),
            rows=tuple(_row(search) for group in result.groups for search in group.searches),
        )


def _answer(quality: SearchQuality) -> str:
    """State each method's final share, or, where settings vary, in how many variants it beats the rival."""
    if quality.factors and quality.rival is not None:
        return " ".join(_robust(quality, method) for method in quality.methods if method != quality.rival)
    parts = []
    for variant in quality.base_variants[:MAX_NAMED]:
        groups = [group for group in quality.groups if group.variant == variant]
        best = sorted(groups, key=lambda group: -group.final.mean)
        parts.append(f"{quality.label(variant)}: " + ", ".join(f"{g.method} {percent(g.final.mean)}" for g in best))
    return f"Median share of the best hypervolume at the end: {'; '.join(parts)}."


def _robust(quality: SearchQuality, method: str) -> str:
    """`qnehvi against sobol: by noise better at 0 to 0.1, no better at 1; by jump … (…, n = 5 …).`"""
    several = len(problems := _problems(quality)) > 1
    parts, repeats = [], set()
    for problem, factor in product(problems, quality.factors):
        levels = quality.levels(method, factor, problem)
        repeats |= {level.difference.n for level in levels}
        verdicts = []
        for verdict, alike in groupby(levels, lambda level: level.verdict):
            values = [_shown(level.value) for level in alike]
            verdicts.append(f"{verdict} at {' to '.join(dict.fromkeys((values[0], values[-1])))}")
        parts.append(f"{f'{problem}, ' if several else ''}by {factor} {', '.join(verdicts)}")
    searches = [s for group in quality.groups if group.method == method for s in group.searches]
    failed = sum(s.status != "ok" for s in searches)
    lost = f"; {failed} of its {plural(len(searches), 'search', 'searches')} failed" if failed else ""
    n = " to ".join(dict.fromkeys(str(end(repeats, default=0)) for end in (min, max)))
    return (
        f"{method} against {quality.rival}: {'; '.join(parts)} (final hypervolume, n = {n} repeats, 95 % "
        f"intervals){lost}."
    )


def _shown(value: Value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _problems(quality: SearchQuality) -> tuple[str, ...]:
    return tuple(dict.fromkeys(variant.problem for variant in quality.variants))


def _sentences(quality: SearchQuality) -> Iterator[str]:
    share = (
        "The hypervolume of a search is that of all configurations it tried, at their noise-free values, as a "
        "share of that of the true Pareto front, known by formula or from evaluating every configuration."
    )
    if quality.best_of_runs:
        unknown = _named(quality, quality.best_of_runs)
        share += f" For {unknown} that is not known; the highest hypervolume reached is used instead."
    yield share
    if quality.base:
        values = ", ".join(f"{name} = {value}" for name, value in quality.base.items())
        yield f"The base is {values}; other variants are named by the settings that differ from it."
    counts = sorted({len(group.searches) for group in quality.groups})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    ends = "95 % intervals are from order statistics" if counts[0] >= 6 else "fewer than 6 give no interval"
    yield (
        f"Medians are over {n} searches that differ by their seed only, with the same first trials and noise for "
        f"every method; {ends}."
    )
    if lost := Counter(s.method for g in quality.groups for s in g.searches if s.status != "ok"):
        words = ", ".join(f"{count} of {method}" for method, count in lost.items())
        yield f"Searches that failed count with the hypervolume they had reached: {words}."
    if not (quality.factors and quality.rival is not None):
        yield from _against_rival(quality)
    else:
        yield (
            f"A method is better than {quality.rival} where the 95 % interval of the mean difference of their "
            "final shares, paired by seed, lies above 0, no better where it lies below "
            f"{percent(WORTH_HAVING)} of the best hypervolume, else undecided. The interval is Student's t "
            "over the seeds of that setting."
        )
        for method in quality.methods:
            low = [g.variant for g in quality.groups if g.method == method and g.final.mean < BROKEN_BELOW]
            if method != quality.rival and low:
                yield f"The median share of {method} is below {percent(BROKEN_BELOW)} at {_named(quality, low)}."
    for p in quality.break_evens():
        if p.variant in quality.base_variants:
            yield (
                f"On {quality.label(p.variant)}, {p.method} reaches {quality.rival}'s final share "
                f"({percent(p.level)}) after {number(p.trials)} trials, {quality.rival} after "
                f"{number(p.rival_trials)}: {p.method} saves energy if a trial takes over {si(p.trial_j, 'J')}."
            )
    if quality.kind is not None:
        yield (
            f"Joules of proposals are gross and {quality.kind}, of windows that hold one proposal and a reading "
            "of the meter; joules of the trials are those that the problem states, not spent in this run."
        )


def _against_rival(quality: SearchQuality) -> Iterator[str]:
    """Sum up each method against the rival, over all variants."""
    pairs: dict[str, list[PairedDifference]] = {}
    for pair in quality.paired_differences():
        pairs.setdefault(pair.method, []).append(pair)
    for method, every in pairs.items():
        wins, losses, n = (sum(v) for v in zip(*((p.wins, p.losses, p.difference.n) for p in every), strict=True))
        better = sum(p.verdict == "better" for p in every)
        yield (
            f"Paired by seed, {method} ends above {quality.rival} in {wins} of {plural(n, 'search', 'searches')}, "
            f"below in {losses}; it is significantly better in {better} of {plural(len(every), 'problem variant')}."
        )


def _named(quality: SearchQuality, variants: Sequence[ProblemVariant]) -> str:
    if len(variants) == len(quality.variants) > 1:
        return "every problem variant"
    return listed([quality.label(variant) for variant in variants], MAX_NAMED, joint="; ")


def _columns(*titles: str, words: tuple[str, ...] = ()) -> tuple[Column, ...]:
    return tuple(Column(t, numeric=i > 1 and t not in words) for i, t in enumerate(titles))


def _final_table(quality: SearchQuality) -> Table:
    rows = []
    for group in quality.groups:
        rows.append(
            (
                Cell(quality.label(group.variant)),
                Cell(group.method),
                _median(group.final, percent),
                Cell(str(group.final.n)),
                Cell(number(group.length)),
                Cell(number(group.total("duplicates"))),
                Cell(number(group.total("fallbacks"))),
                Cell(number(group.total("infeasible"))),
                Cell(str(sum(s.status != "ok" for s in group.searches))),
            )
        )
    columns = _columns(
        *("Problem", "Method", "Share of the best", "Searches", "Trials each"),
        *("Duplicates", "Fallbacks", "Infeasible", "Searches that failed"),
    )
    caption = "Hypervolume at the end (median, 95 % interval), and what was proposed, over all searches"
    return Table(caption, columns, tuple(rows))


def _levels_table(quality: SearchQuality) -> Table:
    rows = [
        (Cell(quality.label(group.variant)), Cell(group.method), *(_level(group, level) for level in LEVELS))
        for group in quality.groups
    ]
    columns = _columns("Problem", "Method", *(f"To {percent(level)}" for level in LEVELS))
    caption = "Trials to a share of the best (median, 95 % interval; how many searches reached it)"
    return Table(caption, columns, tuple(rows))


def _level(group: SearchGroup, level: float) -> Cell:
    reached = f"{group.reached(level)} of {len(group.searches)}"
    value = group.trials_to(level)
    shown = worded_cell(number, value.mean, value.low, value.high, (reached,))
    return replace(shown, text=f"> {group.length}") if math.isinf(value.mean) else shown


def _rival_table(quality: SearchQuality) -> Table:
    return _robustness_table(quality) if quality.factors else _paired_table(quality)


def _robustness_table(quality: SearchQuality) -> Table:
    """Where a method stops being better than the rival, one setting at a time."""
    problems, others = _problems(quality), [m for m in quality.methods if m != quality.rival]
    rows = []
    for method, problem, factor in product(others, problems, quality.factors):
        for level in quality.levels(method, factor, problem):
            setting = f"{factor} = {_shown(level.value)}"
            rows.append(
                (
                    Cell(setting if len(problems) == 1 else f"{problem}, {setting}"),
                    Cell(method),
                    Cell(percent(level.share)),
                    Cell(percent(level.rival_share)),
                    _median(level.difference, lambda v: f"{number(100 * v, 3)} points"),
                    Cell(str(level.difference.n)),
                    Cell(level.verdict),
                )
            )
    columns = _columns(
        *("Setting", "Method", "Share of the best", f"Of {quality.rival}", "Difference", "Repeats", "Verdict"),
        words=("Verdict",),
    )
    caption = (
        f"Where the search stops being better than {quality.rival}: final hypervolume, and its difference "
        "paired by seed (means, 95 % interval)"
    )
    return Table(caption, columns, tuple(rows))


def _paired_table(quality: SearchQuality) -> Table:
    rows = []
    for pair in quality.paired_differences():
        ties = pair.difference.n - pair.wins - pair.losses
        rows.append(
            (
                Cell(quality.label(pair.variant)),
                Cell(pair.method),
                _median(pair.difference, lambda v: f"{number(100 * v, 3)} points"),
                Cell(f"{pair.wins} / {ties} / {pair.losses}"),
                Cell(pair.verdict),
            )
        )
    columns = _columns("Problem", "Method", "Difference", "Above / equal / below", "Verdict", words=("Verdict",))
    caption = f"Against {quality.rival}, paired by seed: difference of the final shares (median, 95 % interval)"
    return Table(caption, columns, tuple(rows))


def _cost_table(quality: SearchQuality) -> Table:
    break_even = {(p.variant, p.method): p for p in quality.break_evens()}
    rows = []
    for group in quality.groups:
        repaid = break_even.get((group.variant, group.method))
        rows.append(
            (
                Cell(quality.label(group.variant)),
                Cell(group.method),
                Cell(ABSENT if group.proposal_s is None else seconds(group.proposal_s)),
                Cell(ABSENT if group.proposal_j is None else si(group.proposal_j, "J"), (quality.kind or "",)),
                Cell(ABSENT) if repaid is None else Cell(si(repaid.trial_j, "J")),
            )
        )
    last = f"Saves energy against {quality.rival} if a trial takes more than"
    columns = _columns("Problem", "Method", "Time", "Energy", last)
    return Table("Mean time and energy of a proposal", columns, tuple(rows))


def _median(value: Estimate, words: Callable[[float], str], flag: str = "") -> Cell:
    return worded_cell(words, value.mean, value.low, value.high, flag=flag)


def _row(search: Search) -> dict[str, object]:
    reached = {level: search.trials_to(level) for level in LEVELS}
    return {
        "problem": search.variant.problem,
        **{n: Exact(v) for n, v in search.variant.settings},
        "method": search.method,
        "repeat": search.repeat,
        "trial": search.trial,
        "status": search.status,
        "trials": len(search.shares),
        "share": search.final,
        **{f"trials_to_{round(100 * v)}": int(n) if math.isfinite(n) else None for v, n in reached.items()},
        **{name: search.metrics.get(name) for name in ("duplicates", "fallbacks", "infeasible", "proposing_s")},
        "proposing_j": search.proposing_j[-1] if search.proposing_j else None,
        "trial_cost_j": search.cost_j[-1] if search.cost_j else None,
    }
