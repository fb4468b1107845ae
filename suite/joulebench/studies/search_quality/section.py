"""The report's section on searches: how near they come to the best, how soon, for how many joules. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence

from joulebench.presentation.numbers import ABSENT, number, percent, seconds, si
from joulebench.presentation.section import Section, csv_text
from joulebench.presentation.table import Cell, Column, Table
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate
from joulebench.studies.base import Study
from joulebench.studies.search_quality.analysis import BROKEN_BELOW, Paired, SearchQuality, search_quality
from joulebench.studies.search_quality.curves import LEVELS, OWN, Condition
from joulebench.studies.search_quality.curves import Cell as Group
from joulebench.studies.search_quality.figures import plots

MAX_NAMED = 6  # conditions in a sentence; the table has all


class SearchQualityStudy(Study[SearchQuality]):
    """Quality of search methods: hypervolume reached, trials and joules needed, on problems with known answers."""

    name = "search_quality"

    def analyse(self, run: Run) -> SearchQuality | None:
        return search_quality(run)

    def section(self, result: SearchQuality, run: Run) -> Section:
        return search_quality_section(result)


def search_quality_section(quality: SearchQuality) -> Section:
    """Everything the report says of a run of searches."""
    tables = (_final_table(quality), _levels_table(quality), _paired_table(quality), _cost_table(quality))
    return Section(
        name="search_quality",
        title="Quality of the search",
        answer=answer(quality),
        verdict=None,
        sentences=sentences(quality),
        plots=plots(quality),
        tables=tuple(table for table in tables if table.rows),
        csv=_csv(quality),
    )


def answer(quality: SearchQuality) -> str:
    """Where the methods end, or, where settings vary, in how many conditions each is better than the rival."""
    if quality.factors and quality.rival is not None:
        return " ".join(_robust(quality, method) for method in quality.methods if method != quality.rival)
    parts = []
    for condition in quality.base_conditions[:MAX_NAMED]:
        cells = [cell for cell in quality.cells if cell.condition == condition]
        best = sorted(cells, key=lambda cell: -cell.final.mean)
        parts.append(
            f"{quality.words(condition)}: " + ", ".join(f"{c.method} {percent(c.final.mean)}" for c in best)
        )
    return f"Median share of the best hypervolume at the end: {'; '.join(parts)}."


def sentences(quality: SearchQuality) -> tuple[str, ...]:
    """What the numbers mean: the share, the repeats, the rival, where methods break, what proposals cost."""
    parts = [
        _share(quality),
        _base(quality),
        _repeats(quality),
        _failed(quality),
        *_comparison(quality),
        *_breaks(quality),
        *_pays(quality),
        _joules(quality),
    ]
    return tuple(part for part in parts if part)


def _share(quality: SearchQuality) -> str:
    text = (
        "Hypervolume is that of everything a search tried, at its true values without noise, as a share of the "
        "best: the true front's, known by formula or from evaluating every configuration."
    )
    if not quality.best_of_runs:
        return text
    unknown = _named(quality, quality.best_of_runs)
    return f"{text} Not known is that of {unknown}: the most that a search here reached stands in."


def _repeats(quality: SearchQuality) -> str:
    counts = sorted({len(cell.searches) for cell in quality.cells})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    ends = "they have 95 % intervals by order statistics" if counts[0] >= 6 else "fewer than 6 allow no interval"
    return (
        f"Medians are over {n} searches that differ by their seed alone, with the same first trials and noise for "
        f"every method; {ends}."
    )


def _base(quality: SearchQuality) -> str | None:
    if not quality.base:
        return None
    values = ", ".join(f"{name} = {value}" for name, value in quality.base.items())
    return f"The base is {values}; other conditions are named by what differs from it."


def _failed(quality: SearchQuality) -> str | None:
    lost = Counter(s.method for c in quality.cells for s in c.searches if s.status != "ok")
    words = ", ".join(f"{count} of {method}" for method, count in lost.items())
    return f"Searches that failed count with what they had reached: {words}." if lost else None


def _comparison(quality: SearchQuality) -> list[str]:
    """Each method against the rival, over all conditions."""
    pairs: dict[str, list[Paired]] = {}
    for pair in quality.paired():
        pairs.setdefault(pair.method, []).append(pair)
    made = []
    for method, own in pairs.items():
        wins, losses = sum(p.wins for p in own), sum(p.losses for p in own)
        n = sum(p.difference.n for p in own)
        shown = sum(p.verdict == "better" for p in own)
        of = f"{len(own)} conditions" if len(own) > 1 else "1 condition"
        made.append(
            f"Seed by seed {method} ends above {quality.rival} in {wins} of {n} searches, below in {losses}; it is "
            f"shown to be better in {shown} of {of}."
        )
    return made


def _robust(quality: SearchQuality, method: str) -> str:
    cells = [cell for cell in quality.cells if cell.method == method]
    broken = [cell.condition for cell in cells if quality.no_better(cell)]
    text = f"{method} ends above {quality.rival} in {len(cells) - len(broken)} of {len(cells)} conditions"
    failed = sum(s.status != "ok" for cell in cells for s in cell.searches)
    lost = f" ({failed} of its {sum(len(c.searches) for c in cells)} searches failed)" if failed else ""
    return (
        f"{text}{lost}; it breaks at {_named(quality, broken)}." if broken else f"{text}{lost}: it breaks in none."
    )


def _breaks(quality: SearchQuality) -> list[str]:
    if not quality.factors or quality.rival is None:
        return []
    made = [
        f"A method breaks where its median share is not above the upper end of {quality.rival}'s interval "
        f"(of fewer than 6 repeats: not above {quality.rival}'s best)."
    ]
    for method in quality.methods:
        low = [c.condition for c in quality.cells if c.method == method and c.final.mean < BROKEN_BELOW]
        if method != quality.rival and low:
            made.append(f"The median share of {method} is below {percent(BROKEN_BELOW)} at {_named(quality, low)}.")
    return made


def _pays(quality: SearchQuality) -> list[str]:
    return [
        f"On {quality.words(p.condition)}, {p.method} is where {quality.rival} ends ({percent(p.level)}) after "
        f"{number(p.trials)} trials, {quality.rival} after {number(p.rival_trials)}: that saves energy if a trial "
        f"takes more than {si(p.trial_j, 'J')}."
        for p in quality.pays()
        if p.condition in quality.base_conditions
    ]


def _joules(quality: SearchQuality) -> str | None:
    if quality.kind is None:
        return None
    return (
        f"Joules of proposals are gross and {quality.kind}, of windows that hold one proposal and the reading of "
        "the meter; joules of the trials themselves are what the problem states, and nothing spent here."
    )


def _named(quality: SearchQuality, conditions: Sequence[Condition]) -> str:
    if len(conditions) == len(quality.conditions) > 1:
        return "every condition"
    labels = [quality.words(condition) for condition in conditions[:MAX_NAMED]]
    more = len(conditions) - len(labels)
    return "; ".join(labels) + (f" and {more} more" if more else "")


def _columns(*titles: str, words: tuple[str, ...] = ()) -> tuple[Column, ...]:
    return tuple(Column(t, numeric=i > 1 and t not in words) for i, t in enumerate(titles))


def _final_table(quality: SearchQuality) -> Table:
    rows = []
    for cell in quality.cells:
        flag = "no better than " + str(quality.rival) if quality.no_better(cell) else ""
        rows.append(
            (
                Cell(quality.words(cell.condition)),
                Cell(cell.method),
                _median(cell.final, percent, flag),
                Cell(str(cell.final.n)),
                Cell(number(cell.length)),
                Cell(_count(cell, "duplicates")),
                Cell(_count(cell, "fallbacks")),
                Cell(_count(cell, "infeasible")),
                Cell(str(sum(s.status != "ok" for s in cell.searches))),
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
        (Cell(quality.words(cell.condition)), Cell(cell.method), *(_level(cell, level) for level in LEVELS))
        for cell in quality.cells
    ]
    columns = _columns("Problem", "Method", *(f"To {percent(level)}" for level in LEVELS))
    caption = "Trials to a share of the best (median, 95 % interval; how many searches reached it)"
    return Table(caption, columns, tuple(rows))


def _level(cell: Group, level: float) -> Cell:
    reached = f"{cell.reached(level)} of {len(cell.searches)}"
    value = cell.trials_to(level)
    if math.isinf(value.mean):
        return Cell(f"> {cell.length}", (*_ends(value, number), reached))
    return Cell(number(value.mean), (*_ends(value, number), reached))


def _paired_table(quality: SearchQuality) -> Table:
    rows = []
    for pair in quality.paired():
        ties = pair.difference.n - pair.wins - pair.losses
        rows.append(
            (
                Cell(quality.words(pair.condition)),
                Cell(pair.method),
                _median(pair.difference, lambda v: f"{number(100 * v, 3)} points"),
                Cell(f"{pair.wins} / {ties} / {pair.losses}"),
                Cell(pair.verdict),
            )
        )
    columns = _columns("Problem", "Method", "Difference", "Above / level / below", "Verdict", words=("Verdict",))
    caption = f"Against {quality.rival}, seed by seed: difference of the final shares (median, 95 % interval)"
    return Table(caption, columns, tuple(rows))


def _cost_table(quality: SearchQuality) -> Table:
    dear = {(p.condition, p.method): p for p in quality.pays()}
    rows = []
    for cell in quality.cells:
        pays = dear.get((cell.condition, cell.method))
        rows.append(
            (
                Cell(quality.words(cell.condition)),
                Cell(cell.method),
                Cell(ABSENT if cell.proposal_s is None else seconds(cell.proposal_s)),
                Cell(ABSENT if cell.proposal_j is None else si(cell.proposal_j, "J"), (quality.kind or "",)),
                Cell(ABSENT) if pays is None else Cell(si(pays.trial_j, "J")),
            )
        )
    pays_title = f"Pays against {quality.rival} if a trial takes more than"
    columns = _columns("Problem", "Method", "Time", "Energy", pays_title)
    return Table("What a proposal takes, on average", columns, tuple(rows))


def _median(value: Estimate, words: Callable[[float], str], flag: str = "") -> Cell:
    return Cell(words(value.mean), _ends(value, words), flag)


def _ends(value: Estimate, words: Callable[[float], str]) -> tuple[str, ...]:
    return () if value.low is None or value.high is None else (f"[{words(value.low)}, {words(value.high)}]",)


def _count(cell: Group, metric: str) -> str:
    return number(cell.total(metric))


def _csv(quality: SearchQuality) -> str:
    """One line a search."""
    settings = [name for name, _ in quality.cells[0].condition.settings]
    levels = [f"trials_to_{round(100 * level)}" for level in LEVELS]
    counted = ["duplicates", "fallbacks", "infeasible", "proposing_s"]
    columns = ["problem", *settings, *OWN[1:3], "trial", "status", "trials", "share", *levels, *counted]
    rows = []
    for cell in quality.cells:
        for s in cell.searches:
            reached = [int(n) if math.isfinite(n := s.trials_to(level)) else None for level in LEVELS]
            rows.append(
                [
                    *(s.condition.problem, *(v for _, v in s.condition.settings), s.method, s.repeat, s.trial),
                    *(s.status, len(s.shares), s.final, *reached, *(s.metrics.get(name) for name in counted)),
                    *(None if j is None else j[-1] for j in (s.proposing_j, s.cost_j)),
                ]
            )
    return csv_text([*columns, "proposing_j", "trial_cost_j"], rows)
