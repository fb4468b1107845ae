"""What studies want confirmed: each configuration once, and a study that fails takes nothing from the others."""

from __future__ import annotations

from joulebench.studies.base import Study, confirmed_by_studies
from tests.run_factory import RunBuilder, full_run, make_task


class Widest(Study):
    name = "widest"

    def analyse(self, run):
        return max(t.params["width"] for t in run.trials)

    def confirms(self, result, run):
        return [{"width": result}, {"width": 9}, {"width": result}]

    def section(self, result, run):
        raise AssertionError("no report is written")


class Broken(Widest):
    name = "broken"

    def confirms(self, result, run):
        raise ValueError("no such thing")


class NotAsked(Widest):
    """A study that confirms nothing is not analysed."""

    name = "not_asked"
    confirms = Study.confirms

    def analyse(self, run):
        raise AssertionError("analysed for nothing")


def confirmed(*names: str):
    notes: list[str] = []
    run: RunBuilder = full_run(make_task(analyses=["frontier", *(f"{__name__}:{name}" for name in names)]))
    chosen = confirmed_by_studies(run.read(), notes.append)
    assert all(list(params) == list(run.task.parameters) for params in chosen)
    return [params["width"] for params in chosen], notes


def test_configurations_are_complete_and_each_is_there_once():
    assert confirmed("Widest") == ([21, 9], [])
    assert confirmed() == ([], [])


def test_a_study_that_fails_says_so_and_takes_nothing_from_the_others():
    widths, (note,) = confirmed("Broken", "NotAsked", "Widest")
    assert widths == [21, 9]
    assert "Broken" in note
    assert "no such thing" in note
