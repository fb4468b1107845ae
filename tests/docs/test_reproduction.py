"""The page on reproduction says what the published records say."""

from __future__ import annotations

from collections import Counter

import pytest

from joulebench.spec.catalog import task_files
from joulebench.stats.correlation import Correlation
from tests.reproduction import EXPERIMENTS, PAGE, REPORTS, all_of, inside, page, rows


def test_the_page_is_made_from_the_published_records():
    assert page(REPORTS) == PAGE.read_text()


def test_every_experiment_has_a_task_and_a_row():
    assert {e.task for e in EXPERIMENTS} <= set(task_files())
    assert list(dict.fromkeys(row.experiment.name for row in rows(REPORTS))) == [e.name for e in EXPERIMENTS]
    assert max(Counter(e.name for e in EXPERIMENTS).values()) == 1
    assert [row.experiment.name for row in rows(REPORTS) if row.judged is None] == []  # each has a published set


@pytest.mark.parametrize(
    ("tests", "verdict"),
    [
        ({"a": True}, "agrees"),
        ({"a": True, "b": None}, "undecided"),
        ({"a": None, "b": False}, "differs"),
    ],
)
def test_a_verdict_follows_from_its_tests(tests, verdict):
    assert all_of(tests, "why").verdict == verdict


def test_a_coefficient_is_judged_by_its_interval():
    assert inside(Correlation("pearson", 0.5, 0.2, 0.8, 20), 0.26) is True
    assert inside(Correlation("pearson", 0.5, 0.2, 0.8, 20), -0.12) is False
    assert inside(Correlation("pearson", 0.5, None, None, 3), 0.5) is None
    assert inside(None, 0.5) is None
