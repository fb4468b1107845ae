"""The frontier and its hypervolume as figures: who is against whom, in which unit, and what a point says."""

from __future__ import annotations

from typing import Any

import pytest

from joulebench.presentation import plots
from joulebench.presentation.plots import Plot
from joulebench.reporting.frontier_plot import MAX_HOVER_PARAMS, frontier_plots, hypervolume_plot
from joulebench.reporting.summary import Summary
from joulebench.spec.task import Task
from tests.run_factory import ENERGY, OBJECTIVES, RunBuilder, make_task

ACCURACY = {"val_accuracy": {"goal": "maximize", "reference": 0.1}}
J_PER_SAMPLE = {"j_per_sample": {"goal": "minimize", "reference": 1.0, **ENERGY}}


def run_of(task: Task) -> RunBuilder:
    """Three trials of 4, 8 and 16 kilosamples a window, each worse than the last; the fourth has no value."""
    run = RunBuilder(task)
    for i, units in enumerate((4000, 8000, 16000)):
        run.add(
            {"width": i + 1},
            units,
            {"val_accuracy": 0.9 - i / 10, "val_loss": 0.1},
            stage="search" if i else "init",
        )
    run.fail({"width": 9}, "oom", "out of\nmemory")
    return run


def summary_of(objectives: dict[str, Any] = OBJECTIVES, **fields: Any) -> Summary:
    run = run_of(make_task(objectives, **fields))
    return Summary(run.read())


def only(found: tuple[Plot, ...]) -> Plot:
    (plot,) = found
    return plot


def test_every_stage_is_a_series_and_the_frontier_is_the_last() -> None:
    plot = only(frontier_plots(summary_of()))
    assert [(s.name, len(s.x), s.role) for s in plot.series] == [
        ("stage init", 1, "plain"), ("stage search", 2, "plain"), ("frontier", 3, "accent"),
    ]  # fmt: skip
    assert plot.series[-1].x == pytest.approx((50.0, 100.0, 200.0))  # 80 W
    assert plot.series[-1].y == pytest.approx((0.9, 0.8, 0.7))
    low, high = plot.series[-1].x_low[0], plot.series[-1].x_high[0]
    assert low is not None
    assert high is not None
    assert low < 50 < high
    assert plot.series[-1].low == (None, None, None)  # one training run has no interval
    assert plot.alt.endswith("The frontier has 3 members, from 0.9 at 50 (trial 0) to 0.7 at 200 (trial 2).")


@pytest.mark.parametrize(
    ("objectives", "x", "line"),
    [
        (OBJECTIVES, "samples/J", "vh"),
        (dict(reversed(OBJECTIVES.items())), "samples/J", "hv"),  # from right to left
        ({**ACCURACY, **J_PER_SAMPLE}, "mJ/sample", "vh"),  # from right to left
        ({**J_PER_SAMPLE, **ACCURACY}, "mJ/sample", "hv"),
    ],
)
def test_the_line_goes_round_what_the_frontier_dominates(objectives: dict[str, Any], x: str, line: str) -> None:
    plot = only(frontier_plots(summary_of(objectives)))
    assert (plot.x.title, plot.series[-1].line) == (f"inference energy, {x}", line)
    assert (plot.y.title, plot.y.detail) == ("val_accuracy", "higher is better")


def test_three_objectives_are_in_pairs_without_a_line() -> None:
    found = frontier_plots(summary_of({**OBJECTIVES, "val_loss": {"goal": "minimize"}}))
    assert [p.caption for p in found] == [
        "val_accuracy against samples_per_j", "val_loss against val_accuracy", "val_loss against samples_per_j",
    ]  # fmt: skip
    assert {p.series[-1].line for p in found} == {False}


def test_more_objectives_are_each_against_the_first() -> None:
    names = ["val_accuracy", "val_loss", "a", "b"]
    run = RunBuilder(make_task({name: {"goal": "maximize", "reference": 0.0} for name in names}))
    for i in range(4):
        run.add({"width": i + 1}, 8000, {name: float(i * k % 3 + 1) for k, name in enumerate(names)})
    summary = Summary(run.read())
    assert [p.caption for p in frontier_plots(summary)] == [f"{name} against val_accuracy" for name in names[1:]]


def test_one_objective_is_over_the_trials() -> None:
    plot = only(frontier_plots(summary_of(J_PER_SAMPLE)))
    assert (plot.caption, plot.x.title) == ("j_per_sample over trials", "trial")
    assert plot.series[1].x == (1.0, 2.0)
    assert (plot.series[-1].name, plot.series[-1].x, plot.series[-1].line) == ("best", (2.0,), False)


def test_energy_is_logarithmic_from_a_decade_on() -> None:
    assert not only(frontier_plots(summary_of())).x.log
    run = run_of(make_task())
    run.add({"width": 7}, 400000, {"val_accuracy": 0.5})
    plot = only(frontier_plots(Summary(run.read())))
    assert plot.x.log
    assert {50.0, 5000.0} <= set(plot.x.ticks)


def test_a_point_says_where_it_is_from_its_values_and_its_parameters() -> None:
    parameters = {"width": {"type": "int", "low": 1, "high": 2000, "default": 8}}
    parameters |= {f"p{i}": {"type": "fixed", "value": i} for i in range(MAX_HOVER_PARAMS + 1)}
    first = only(frontier_plots(summary_of(parameters=parameters))).series[0].hover[0]
    assert first[:2] == (("trial 0", ""), ("", "stage init, from init, ok"))
    assert first[2] == ("val_accuracy", "0.9")
    assert first[4:7] == (
        ("samples_per_j", "50 samples/J"), ("", "[49.69, 50.31]"), ("", "n = 5 windows within a run, estimated"),
    )  # fmt: skip
    assert first[-1] == ("", "… and 2 more parameters")
    assert len(first) == 7 + MAX_HOVER_PARAMS + 1


def test_a_crowd_says_that_only_the_frontier_has_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "Only the frontier's intervals are drawn."
    assert words not in only(frontier_plots(summary_of())).alt
    monkeypatch.setattr(plots, "MAX_BARS", 2)
    assert words in only(frontier_plots(summary_of())).alt


def test_hypervolume_never_falls_and_trials_without_a_value_are_at_its_foot() -> None:
    summary = summary_of()
    plot = hypervolume_plot(summary)
    assert plot is not None
    curve, lost = plot.series
    assert (curve.x, curve.y, curve.line, curve.marked) == ((0.0, 1.0, 2.0, 3.0), summary.hypervolume, "hv", False)
    assert list(curve.y) == sorted(curve.y)
    assert curve.y[0] == pytest.approx((0.9 - 0.1) * 50, rel=1e-3)
    assert (lost.x, lost.y) == ((3.0,), (0.0,))
    assert lost.hover == ((("trial 3", "oom"), ("", "out of\nmemory")),)
    low, high = plot.y.ends or (0.0, 0.0)
    assert low < 0 < curve.y[-1] < high


def test_without_a_value_nothing_is_drawn() -> None:
    run = RunBuilder(make_task())
    run.fail({}, "oom", "out of memory")
    summary = Summary(run.read())
    assert [p.drawn for p in frontier_plots(summary)] == [False]
    assert hypervolume_plot(summary) is None
    unbounded = {"val_accuracy": {"goal": "maximize"}, "samples_per_j": {"goal": "maximize", **ENERGY}}
    assert hypervolume_plot(summary_of(unbounded)) is None  # without references there is no volume
