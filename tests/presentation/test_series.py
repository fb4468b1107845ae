"""Axes and series made from estimates."""

from __future__ import annotations

import pytest

from joulebench.presentation.axis import Axis
from joulebench.presentation.series import along, estimates, pairs, reaching, value_axis
from joulebench.stats.estimate import Estimate, point


def test_a_doubling_is_ticked_at_its_own_sizes_and_a_crowd_at_decades() -> None:
    axis, places = along([{"b": 2**i} for i in range(6)], ["b"])
    assert (axis.name, axis.log, axis.ticks, places) == ("b", True, (1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32))
    crowd, _ = along([{"b": 1 + 3 * i} for i in range(30)], ["b"])
    assert {1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0} <= set(crowd.ticks)
    near, _ = along([{"b": 3}, {"b": 4}], ["b"])
    assert (near.log, near.ticks) == (False, ())


@pytest.mark.parametrize("names", [["kind"], ["b", "kind"], []])
def test_configurations_that_no_single_number_tells_apart_stand_in_order(names: list[str]) -> None:
    axis, places = along([{"b": 1, "kind": "x"}, {"b": 2, "kind": "y"}], names)
    assert (axis.name, places) == (None, (1.0, 2.0))


def test_an_axis_takes_the_prefix_of_the_middle_and_is_logarithmic_over_a_decade() -> None:
    axis = value_axis([1e-3, 1e-1], "J", lambda unit: f"energy, {unit}")
    assert (axis.title, axis.factor, axis.log) == ("energy, mJ", 1e-3, True)
    assert not value_axis([1.0, 2.0], "J", str).log
    assert value_axis([1.0, 2.0], "J", str, log_from=2.0).log
    assert not value_axis([-1.0, 1e-3, 1.0], "J", str).log  # a logarithm has no place for it
    assert value_axis([], "J", str, detail="gross").full_title == "J (gross)"


def test_values_that_are_not_known_are_left_out_and_an_end_below_zero_has_no_bar_on_a_logarithmic_axis() -> None:
    axis = Axis(None, "", 1e-3, log=True)
    values = [Estimate(2e-3, 5, None, -1e-3, 5e-3, ""), None, point(0.0), point(4e-3)]
    series = estimates("a", (1.0, 2.0, 3.0, 4.0), values, axis)
    assert (series.x, series.y) == ((1.0, 4.0), (2.0, 4.0))
    assert (series.low, series.high) == ((None, None), (5.0, None))


def test_an_axis_reaches_what_lies_beyond_its_points() -> None:
    low, high = reaching(Axis("b", "b", log=True), [1, 512]).ends or (0, 0)
    assert low < 1 < 512 < high < 1024
    assert reaching(Axis("b", "b"), [0, 100]).ends == (-5.0, 105.0)
    assert reaching(Axis("b", "b"), [3, 3]).ends is None


def test_pairs_have_an_interval_on_either_axis_in_its_own_unit() -> None:
    wide, bare = Estimate(2e-3, 5, None, -1e-3, 5e-3, ""), point(4.0)
    series = pairs("a", [(wide, bare), (point(6e-3), wide)], Axis(None, "", 1e-3, log=True), Axis(None, ""))
    assert (series.x, series.y) == ((2.0, 6.0), (4.0, 2e-3))
    assert (series.x_low, series.x_high) == ((None, None), (5.0, None))  # a logarithm ends above 0
    assert (series.low, series.high) == ((None, -1e-3), (None, 5e-3))
    assert series.x_bars == ((0.0, 0.0), (3.0, 0.0))
