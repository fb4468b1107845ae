"""What a search promised against what confirmation found, as a table and sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench.presentation.numbers import ABSENT, interval, number, percent
from joulebench.presentation.table import Cell, Table, condensed, label, value_cell
from joulebench.presentation.units import scaled
from joulebench.presentation.words import ci, plural
from joulebench.reporting.summary import Summary
from joulebench.reporting.tables import outcome_cell
from joulebench.results.confirmed import Confirmation, Confirmed, is_relative
from joulebench.results.members import member
from joulebench.stats.estimate import Estimate


def probability(summary: Summary, key: str) -> float | None:
    """Probability that a confirmed configuration is on the frontier; None where it is not known."""
    known = summary.run.membership
    return None if known is None else known.probability.get(key)


def confirmation_table(summary: Summary) -> Table:
    """Confirmed configurations, the frontier's first; no rows where there was no confirmation."""
    known, task = summary.run.confirmation, summary.task
    of = known.configurations if known is not None else ()
    members = [member(summary.run, c.configuration) for c in of]
    scores = sorted({name for m in members for name in m.scores})
    rows = []
    for confirmed, own in zip(of, members, strict=True):
        row = [
            Cell(", ".join(map(str, own.trials)), (label(own.params, summary.run.varied),)),
            Cell(str(len(own.trials))),
            Cell(_frontier(confirmed)),
            Cell(ABSENT if (p := probability(summary, confirmed.configuration.key)) is None else percent(p)),
        ]
        for name in task.objectives:
            row += _promise(summary, confirmed, name)
        row += [value_cell(own.scores.get(name), task.protocol) for name in scores]
        rows.append(tuple(row))
    titles = ["Trials", "Runs", "Frontier", "Probability on it"]
    for name, objective in task.objectives.items():
        arrow = "↑" if objective.goal == "maximize" else "↓"
        titles += [f"{name} {arrow}, promised", f"{name} {arrow}, confirmed"]
    table = Table.of("Confirmation: what the search promised, and what new runs found", [*titles, *scores], rows)
    return condensed(table)


def _frontier(confirmed: Confirmed) -> str:
    now = "on it" if confirmed.on_frontier else "dominated"
    return f"{now}; the default" if confirmed.configuration.default else now


def _promise(summary: Summary, confirmed: Confirmed, name: str) -> list[Cell]:
    objective, outcome = summary.task.objectives[name], confirmed.configuration.outcomes[name]
    factor, unit = scaled(name, outcome.value.mean, objective)
    promised = confirmed.promised.get(name)
    before = Cell(ABSENT if promised is None else f"{number(promised / factor)} {unit}".rstrip())
    return [before, outcome_cell(name, objective, outcome, summary.task.protocol)]


def confirmation_sentences(summary: Summary) -> tuple[str, ...]:
    """The winner's curse in numbers, changes of the frontier, and the hypervolume with its interval."""
    known = summary.run.confirmation
    if known is None:
        return ()
    return (*_curse(summary, known), _changes(known), *_volume(summary), *_unconfirmed(summary))


def _curse(summary: Summary, known: Confirmation) -> Iterator[str]:
    for name, difference in known.differences.items():
        relative = is_relative(summary.task, name)
        yield (
            f"In {name}, new runs of {plural(difference.n, 'chosen configuration')} found "
            f"{_against(difference, summary.task.objectives[name].goal, relative)} than the search had promised, "
            f"on average{_ends(difference, relative)}."
        )
    if known.differences:
        yield "That is the winner's curse: what is chosen for its measured value was measured too well on average."


def _against(difference: Estimate, goal: str, relative: bool) -> str:
    size = percent(abs(difference.mean)) if relative else number(abs(difference.mean), 3)
    if difference.mean == 0:
        return "neither more nor less"
    more = difference.mean > 0
    better = "better" if more == (goal == "maximize") else "worse"
    return f"{size} {'more' if more else 'less'} ({better})"


def _ends(difference: Estimate, relative: bool) -> str:
    """The interval of a signed difference."""
    return ci(difference, (lambda v: f"{number(100 * v, 3)} %") if relative else (lambda v: number(v, 3)))


def _changes(known: Confirmation) -> str:
    kept = known.members - known.dropped - known.not_confirmed
    parts = [f"{kept} are still on it", f"{known.dropped} are now dominated"]
    if known.not_confirmed:
        parts.append(f"{known.not_confirmed} were not confirmed")
    text = f"Of {plural(known.members, 'member')} of the search's frontier, {', '.join(parts)}."
    if known.without_value:
        text += f" The new runs of {plural(known.without_value, 'configuration')} gave no value."
    return text


def _volume(summary: Summary) -> Sequence[str]:
    known = summary.run.membership
    if known is None or known.hypervolume is None:
        return ()
    volume, ends = known.hypervolume, interval(known.hypervolume)
    searched = [v for _, v in summary.searched_hypervolume]
    before = f"; the search had promised {number(searched[-1])}" if searched else ""
    return (f"Hypervolume of the confirmed frontier: {number(volume.mean)} {ends}{before}.",)


def _unconfirmed(summary: Summary) -> Sequence[str]:
    """Configurations that were not confirmed and may be better."""
    known = summary.run.membership
    if known is None:
        return ()
    text = (
        "Probabilities are the share of draws from the values' distributions in which a configuration is on the "
        "frontier of all, unconfirmed ones included."
    )
    if known.unconfirmed:
        text += f" {plural(known.unconfirmed, 'unconfirmed configuration')} would be on it with 5 % or more."
    return (text,)
