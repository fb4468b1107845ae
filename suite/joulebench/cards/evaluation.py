"""A result for a benchmark on the Hugging Face hub: `.eval_results/*.yaml` of a model repository. Pure.

The format holds one value of a benchmark's own metric. It has no place for an interval, a unit, a second metric or
joules: those stay in the card.
"""

from __future__ import annotations

import re

from huggingface_hub.utils import yaml_dump  # type: ignore[attr-defined]

from joulebench.cards.quality import qualities
from joulebench.cards.subject import Subject
from joulebench.cards.values import rounded
from joulebench.errors import InputError
from joulebench.text import one_line

_ASKED = re.compile(r"(?P<id>[\w.-]+/[\w.-]+):(?P<task>[\w.-]+)=(?P<metric>\w+)", re.ASCII)


def evaluation(subject: Subject, asked: str) -> tuple[str, str]:
    """Path in the repository and YAML text of `OWNER/DATASET:TASK=METRIC`.

    Only the user knows that a metric of the run is that of a benchmark: nothing is guessed.

    Raises:
        InputError: not of this form, or the configuration has no such metric.
    """
    found = _ASKED.fullmatch(asked)
    if found is None:
        raise InputError(f"--benchmark: must be OWNER/DATASET:TASK=METRIC (got '{asked}')")
    metrics = {q.name: q for q in qualities(subject)}
    quality = metrics.get(found["metric"])
    if quality is None:
        known = ", ".join(metrics) or "none"
        raise InputError(f"--benchmark: the configuration has no metric '{found['metric']}' (it has {known})")
    entry = {
        "dataset": {"id": found["id"], "task_id": found["task"]},
        "value": rounded(quality.value.mean),
        "date": subject.run.manifest.created_utc,
        "notes": one_line("; ".join((f"{quality.name}: {quality.seen}", *subject.labels.values()))),
    }
    name = f"{found['id'].replace('/', '_')}_{found['task']}.yaml"
    return f".eval_results/{name}", yaml_dump([entry])
