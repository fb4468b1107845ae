"""What a search promised against what confirmation found, as a table and sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from joulebench.presentation.numbers import ABSENT, NOT_MEASURED, interval, number, percent
from joulebench.presentation.table import Cell, Table, condensed, label
from joulebench.presentation.units import hypervolume_scale, scaled
from joulebench.presentation.words import ci, plural
from joulebench.reporting.summary import Summary
from joulebench.results.confirmation import Confirmation, Confirmed
from joulebench.results.members import member
from joulebench.results.membership import DRAWS
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
            Cell(", ".join(map(str, own.trials))),
            Cell(label(own.params, summary.run.varied)),
            Cell(str(len(own.trials))),
        ]
        if task.has_frontier:
            row += [Cell(_frontier(confirmed)), Cell(_share(probability(summary, confirmed.configuration.key)))]
        for name in task.objectives:
            row.append(_confirmed(summary, confirmed, name))
        row += [_score(own.scores.get(name)) for name in scores]
        rows.append(tuple(row))
    titles = ["Trials", "Configuration", "Runs", *(("Frontier", "Probability on it") if task.has_frontier else ())]
    for name, objective in task.objectives.items():
        arrow = "↑" if objective.goal == "maximize" else "↓"
        titles.append(f"{name} {arrow}")
    caption = "Values of new runs, and what the search had promised"
    table = Table.of(caption, [*titles, *scores], rows, text=2)
    return condensed(table)


def _share(probability: float | None) -> str:
    """A share of draws, of which there are too few to call anything certain."""
    if probability is None:
        return ABSENT
    return percent(min(max(probability, 0.5 / DRAWS), 1 - 0.5 / DRAWS))


def _frontier(confirmed: Confirmed) -> str:
    now = "on it" if confirmed.on_frontier else "not on it"
    return f"{now}; the default" if confirmed.configuration.default else now


def _confirmed(summary: Summary, confirmed: Confirmed, name: str) -> Cell:
    """The confirmed value with its interval, and the promised one below."""
    objective, outcome = summary.task.objectives[name], confirmed.configuration.outcomes[name]
    factor, unit = scaled(name, outcome.value.mean, objective)
    promised = confirmed.promised.get(name)
    below = [f"promised {ABSENT if promised is None else number(promised / factor)}"]
    below += [outcome.kind] if outcome.kind else []
    after = f"{number(outcome.value.mean / factor)} {unit}".rstrip()
    return Cell(after, tuple(below), interval=interval(outcome.value, factor) or "")


def _score(score: Estimate | None) -> Cell:
    return Cell(NOT_MEASURED) if score is None else Cell(number(score.mean), interval=interval(score) or "")


def confirmation_sentences(summary: Summary) -> tuple[str, ...]:
    """The winner's curse in numbers, changes of the frontier, and the hypervolume with its interval."""
    known = summary.run.confirmation
    if known is None:
        return ()
    of_frontier = (_changes(known), *_volume(summary), *_unconfirmed(summary)) if summary.task.has_frontier else ()
    return (*_curse(summary, known), *of_frontier)


def _curse(summary: Summary, known: Confirmation) -> Iterator[str]:
    for name, difference in known.differences.items():
        relative = summary.task.objectives[name].is_relative
        yield (
            f"Winner's curse in {name}: new runs of {plural(difference.n, 'chosen configuration')} found "
            f"{_against(difference, summary.task.objectives[name].goal, relative)} than the search had promised, "
            f"on average{_ends(difference, relative)}."
        )


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
    text = (
        f"The search's frontier had {plural(known.members, 'member')}: {kept} still on the frontier, "
        f"{known.dropped} no longer, {known.not_confirmed} not confirmed."
    )
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
    held = f"{number(volume.mean)} {ends}" if ends else number(volume.mean)
    text = f"Hypervolume of the confirmed frontier: {held}{before}."
    return tuple(filter(None, [text, hypervolume_scale(summary.task)]))


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
