"""Quality of a configuration: metric, split, and whether training or the search used that split. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from joulebench.cards.subject import Subject
from joulebench.spec.objectives import COSTS
from joulebench.stats.estimate import Estimate, mean_of_runs, point

SCORED_ONCE = "scored once, after the search"
SEEN = "the search saw it"

#: What the data sets that ship with joulebench are judged by, as a hub names the task.
HUB_TASKS = {
    "digits": "image-classification",
    "mnist": "image-classification",
    "cifar10": "image-classification",
    "synthetic": "image-classification",
    "grammar": "text-generation",
    "text": "text-generation",
}


@dataclass(frozen=True)
class Quality:
    """A metric without its split's prefix; `split` is None where the workload does not say."""

    name: str
    metric: str
    split: str | None
    seen: str
    value: Estimate


def qualities(subject: Subject) -> tuple[Quality, ...]:
    """Test scores first, then the objectives, then the other validation metrics; what is no number is left out."""
    first = [*_scores(subject), *_objectives(subject)]
    rest = [q for q in _metrics(subject) if q.name not in {known.name for known in first}]
    return tuple(q for q in (*first, *rest) if math.isfinite(q.value.mean))


def hub_task(subject: Subject) -> str | None:
    """The hub's name of what is done with the task's data; None where the task names none."""
    dataset = subject.run.task.dataset
    return None if dataset is None else HUB_TASKS.get(dataset.name)


def _scores(subject: Subject) -> Iterator[Quality]:
    for name, value in subject.member.scores.items():
        split, _, metric = name.partition("_")
        yield Quality(name, metric or name, split, SCORED_ONCE, value)


def _objectives(subject: Subject) -> Iterator[Quality]:
    task = subject.run.task
    for name, outcome in subject.member.outcomes.items():
        objective = task.objectives[name]
        if not objective.is_relative and name not in COSTS:
            yield _searched(subject, name, outcome.value)


def _metrics(subject: Subject) -> Iterator[Quality]:
    for name in sorted({n for t in subject.trials for n in t.metrics if n.startswith("val_")}):
        values = [point(t.metrics[name]) for t in subject.trials if name in t.metrics]
        yield _searched(subject, name, mean_of_runs(values))


def _searched(subject: Subject, name: str, value: Estimate) -> Quality:
    """`val_accuracy` is of the split that the search judges by, which a task may have set to the test data."""
    dataset = subject.run.task.dataset
    split = dataset.search_split if dataset is not None and name.startswith("val_") else None
    return Quality(name, name.removeprefix("val_"), split, SEEN, value)
