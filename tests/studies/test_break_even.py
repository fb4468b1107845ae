"""Net saving of a search at a stated volume of work."""

from __future__ import annotations

from typing import Any

import pytest

from joulebench.presentation.numbers import joules
from joulebench.reporting.render import render_markdown
from joulebench.reporting.summary import Summary
from joulebench.results.cost import BreakEven
from joulebench.studies.break_even import break_even_text, net_text
from tests.run_factory import ENERGY, OBJECTIVES, RunBuilder, make_task


def summary_of(inferences: float | None, **fields: Any) -> Summary:
    """The default at 10 mJ a sample, and a model as good at 5 mJ."""
    stopping = {} if inferences is None else {"inferences": inferences}
    run = RunBuilder(make_task(stopping=stopping, **fields))
    run.add({}, 8000, {"val_accuracy": 0.9})
    run.add({"width": 9}, 16000, {"val_accuracy": 0.9})
    return Summary(run.read())


def test_the_net_is_the_saving_over_the_volume_less_the_search() -> None:
    summary = summary_of(1e6)
    (result,) = summary.break_even
    spent = summary.ledger.total_j
    assert result.net is not None
    assert result.net.mean == pytest.approx(1e6 * 0.005 - spent)
    assert result.net.low == pytest.approx(1e6 * result.saving.low - spent)
    assert result.net.high == pytest.approx(1e6 * result.saving.high - spent)
    assert result.net.low < result.net.mean < result.net.high
    text = net_text(result)
    assert all(value in text for value in ("1 000 000 samples", joules(spent), joules(result.net.mean)))
    assert text in break_even_text(result, 0.02)
    assert text in render_markdown(summary)


def test_below_the_break_even_there_is_a_net_loss_and_near_it_the_sign_is_uncertain() -> None:
    (result,) = summary_of(100).break_even
    assert result.net.mean < 0
    assert joules(abs(result.net.mean)) in net_text(result)
    near = summary_of(result.units * 1.0001).break_even[0]
    assert near.net.low < 0 < near.net.high
    assert "sign is uncertain" in net_text(near)


def test_where_nothing_beats_the_default_the_search_is_a_cost() -> None:
    run = RunBuilder(make_task(stopping={"inferences": 1e6}))
    run.add({}, 8000, {"val_accuracy": 0.9})
    summary = Summary(run.read())
    (result,) = summary.break_even
    assert result.net.mean == pytest.approx(-summary.ledger.total_j)
    assert result.net.low is None
    assert joules(result.search_j) in net_text(result)


def test_without_a_volume_or_joules_there_is_no_net() -> None:
    assert summary_of(None).break_even[0].net is None
    assert net_text(summary_of(None).break_even[0]) is None
    assert BreakEven("a", "sample", (), None, volume=10.0).net is None
    assert BreakEven("a", "sample", (), 10.0, volume=10.0).net is None  # no default to compare with


def test_the_volume_is_in_units_of_the_first_energy_objective() -> None:
    second = {"j_per_sample": {"goal": "minimize", **ENERGY, "domains": ["cpu"]}}
    summary = summary_of(1e6, objectives={**OBJECTIVES, **second})
    assert [b.volume for b in summary.break_even] == [1e6, None]


@pytest.mark.parametrize("change", ["domains", "unit"])
def test_a_member_whose_joules_do_not_compare_with_the_defaults_is_left_out(change: str) -> None:
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9})
    if change == "domains":  # the meter of RAM dropped out
        run.watts = {"cpu": run.watts["cpu"]}
    run.add({"width": 9}, 16000, {"val_accuracy": 0.9}, unit={} if change == "unit" else {"inference": "sample"})
    summary = Summary(run.read())
    (result,) = summary.break_even
    assert (result.best, result.saving, result.units) == (None, None, None)
    assert result.reason in render_markdown(summary)
