"""What selection had promised against what new runs found."""

from __future__ import annotations

import pytest

from joulebench.results.confirmation import optimum
from joulebench.results.run import Run
from tests.run_factory import RunBuilder, confirmed_run, full_run, make_task


def _widths(run: Run) -> list[int]:
    assert run.confirmation is not None
    return [int(str(c.configuration.params["width"])) for c in run.confirmation.configurations]


def test_the_winners_curse_is_the_mean_difference_without_the_default() -> None:
    run = confirmed_run().read()
    known = run.confirmation
    assert known is not None
    assert _widths(run) == [
        9,
        8,
        10,
    ]  # the frontier's, then the default and what fell off, in order of their trials
    energy, accuracy = known.differences["samples_per_j"], known.differences["val_accuracy"]
    assert (energy.n, accuracy.n) == (2, 2)
    assert energy.mean == pytest.approx(-0.05, abs=2e-4)
    assert accuracy.mean == pytest.approx(-(0.01 + 0.035) / 2)
    by_width = dict(zip(_widths(run), known.configurations, strict=True))
    assert by_width[9].promised["samples_per_j"] == pytest.approx(200, rel=1e-4)
    assert by_width[9].differences["val_accuracy"] == pytest.approx(-0.01)
    assert by_width[8].differences["val_accuracy"] == pytest.approx(0, abs=1e-12)


def test_a_member_that_confirmation_drops_is_counted() -> None:
    known = confirmed_run().read().confirmation
    assert known is not None
    on, was = ([getattr(c, name) for c in known.configurations] for name in ("on_frontier", "was_on_frontier"))
    assert (on, was) == ([True, False, False], [True, False, True])
    assert (known.members, known.dropped, known.not_confirmed, known.without_value) == (2, 1, 0, 0)


def test_members_that_were_not_confirmed_and_runs_without_value_are_counted() -> None:
    built = confirmed_run(confirmed=False)
    for _ in range(2):
        built.add({"width": 9}, 15200, {"val_accuracy": 0.94}, "confirm")
        built.fail({"width": 10}, "oom", "out of memory")
        built.trials[-1] = built.trials[-1].model_copy(update={"stage": "confirm"})
    run = built.read()
    known = run.confirmation
    assert known is not None
    assert (known.members, known.dropped, known.not_confirmed, known.without_value) == (2, 0, 1, 1)
    assert [c.params["width"] for c in run.frontier] == [9]  # confirmed configurations alone


def test_a_first_round_in_part_confirms_nothing() -> None:
    """The configuration whose turn came first would be the whole frontier."""
    built = confirmed_run(confirmed=False)
    before = [c.key for c in built.read().frontier]
    built.add({"width": 9}, 15200, {"val_accuracy": 0.94}, "confirm")
    run = built.read()
    assert (run.confirmation, run.membership) == (None, None)
    assert [c.key for c in run.frontier] == before
    assert not any(c.confirmed for c in run.configurations)


def test_what_the_search_saw_is_kept() -> None:
    run = confirmed_run().read()
    assert run.confirmation is not None
    seen = {c.params["width"]: c.outcomes["samples_per_j"].value.mean for c in run.confirmation.searched}
    plain = {
        c.params["width"]: c.outcomes["samples_per_j"].value.mean
        for c in confirmed_run(confirmed=False).read().configurations
    }
    assert seen == pytest.approx(plain)


def test_latency_and_energy_differ_relatively_and_a_promise_of_zero_by_nothing() -> None:
    run = RunBuilder(make_task())
    for stage, accuracy in (("init", 0.0), ("confirm", 0.5), ("confirm", 0.5)):
        run.add({"width": 9}, 8000, {"val_accuracy": accuracy}, stage)
    known = run.read().confirmation
    assert known is not None
    assert known.differences["val_accuracy"].mean == pytest.approx(0.5)  # absolute
    assert known.differences["samples_per_j"].mean == pytest.approx(0.0)


def test_without_confirming_runs_there_is_none() -> None:
    run = full_run().read()
    assert (run.confirmation, run.membership) == (None, None)


def test_membership_has_the_confirmed_configurations() -> None:
    run = confirmed_run().read()
    assert run.membership is not None
    by_width = {c.params["width"]: run.membership.probability.get(c.key) for c in run.configurations}
    assert by_width[11] is None
    assert by_width[9] is not None
    assert by_width[9] > 0.95
    assert by_width[8] is not None
    assert by_width[8] < 0.05


@pytest.mark.parametrize(
    ("before", "now", "apart", "chosen"),
    [
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], False, 0),
        ([1.0, 2.0, 3.0], [2.5, 2.0, 3.0], False, 0),  # the search's choice, though another seems better now
        ([1.0, 2.0, 3.0], [2.5, 2.0, 3.0], True, 1),
        ([1.0, 2.0, 3.0], [2.5, 2.0, 1.0], True, 2),
        ([1.0, 1.0, 3.0], [1.0, 1.0, 3.0], True, 0),
    ],
)
def test_an_optimum_is_the_searchs_choice_unless_another_is_significantly_better(
    before, now, apart, chosen
) -> None:
    def best(confirmed: set[int]) -> int | None:
        return optimum(
            range(3),
            confirmed=lambda i: i in confirmed,
            before=lambda i: before[i],
            now=lambda i: now[i],
            differ=lambda i, j: apart and now[i] != now[j],
        )

    assert best(set()) == best({0, 1, 2}) == chosen
    assert best({2}) == 2
    assert optimum([], confirmed=bool, before=float, now=float, differ=lambda a, b: False) is None
