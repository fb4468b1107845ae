"""One description of a figure, and what both drawings make of it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from joulebench.presentation import plots
from joulebench.presentation.axis import Axis
from joulebench.presentation.chart import interactive
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.still import still

HOSTILE = "</script>\n<b>&\x00 $\\frac{"
POINTS = Series("points", (1.0, 2.0, 3.0), (4.0, 6.0, 5.0), (3.0, None, 5.0), (5.0, None, 7.0))


def plot(*series: Series, **axis: Any) -> Plot:
    return Plot("id", "caption", "alt", Axis(None, "x", **axis), Axis(None, "y"), series)


def traces(drawn: Plot) -> list[dict[str, Any]]:
    return json.loads(interactive(drawn))["data"]


def svg(drawn: Plot) -> str:
    return still((drawn,), "title", "svg").decode()


def test_intervals_are_drawn_where_there_are_any() -> None:
    assert POINTS.bars == ((1.0, 0.0, 0.0), (1.0, 0.0, 2.0))
    (trace,) = traces(plot(POINTS))
    assert (trace["error_y"]["arrayminus"], trace["error_y"]["array"]) == ([1.0, 0.0, 0.0], [1.0, 0.0, 2.0])
    assert "error_x" not in trace
    both = replace(POINTS, x_low=(0.5, None, 2.0), x_high=(1.5, None, None))
    (trace,) = traces(plot(both))
    assert (trace["error_x"]["arrayminus"], trace["error_x"]["array"]) == ([0.5, 0.0, 1.0], [0.5, 0.0, 0.0])
    bars = [svg(plot(s)).count('id="LineCollection_') for s in (replace(POINTS, low=(), high=()), POINTS, both)]
    assert bars == [0, 2, 4]  # in the figure and in its legend


@pytest.mark.parametrize("line", ["hv", "vh"])
def test_a_line_in_steps_goes_horizontally_or_vertically_first(line: Any) -> None:
    ends = Series("steps", (1.0, 2.0), (4.0, 6.0), line=line)
    (trace,) = traces(plot(ends))
    assert (trace["mode"], trace["line"]["shape"]) == ("lines+markers", line)
    (path,) = re.findall(r'<path d="(M [\d. ]+\nL [\d. ]+\nL [\d. ]+\n)" clip-path', svg(plot(ends)))
    start, corner, end = (found.split() for found in re.findall(r"[\d.]+ [\d.]+", path))
    assert corner == ([end[0], start[1]] if line == "hv" else [start[0], end[1]])


def test_a_line_may_stand_without_its_points() -> None:
    (trace,) = traces(plot(replace(POINTS, line="hv", marked=False)))
    assert trace["mode"] == "lines"


def test_a_crowd_is_drawn_small_and_without_intervals_but_for_the_accent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "MAX_BARS", 5)
    best = replace(POINTS, name="best", role="accent")
    few, many = plot(POINTS, best), plot(POINTS, POINTS, best)
    assert [few.crowded(s) for s in few.series] == [False, False]
    assert [many.crowded(s) for s in many.series] == [True, True, False]
    assert ["error_y" in trace for trace in traces(many)] == [False, False, True]
    assert [trace["marker"]["size"] for trace in traces(many)] == [4, 4, 10]
    assert ("<image" in svg(few), "<image" in svg(many)) == (False, True)  # a picture of the points


def test_colours_tell_series_apart_from_one_another_and_from_the_accent() -> None:
    drawn = plot(*(replace(POINTS, name=str(i)) for i in range(6)), replace(POINTS, role="accent"))
    marks = [(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in traces(drawn)]
    assert len({colour for colour, _ in marks}) == 7
    assert len({symbol for _, symbol in marks[:6]}) == 6
    lines = re.findall(r'id="LineCollection_.*?stroke: (#\w{6})', svg(drawn), flags=re.S)
    assert len(set(lines)) == 7


def test_a_guide_and_what_is_quiet_are_of_one_colour() -> None:
    guide, quiet = traces(plot(replace(POINTS, dashed=True), replace(POINTS, role="quiet")))
    assert guide["line"]["color"] == quiet["marker"]["color"]
    assert (guide["mode"], guide["line"]["dash"], quiet["mode"]) == ("lines", "dash", "markers")


def test_hover_is_escaped_flat_and_short() -> None:
    said = ((("head", HOSTILE), ("", "x" * 200)), (("b", ""),), (("c", "d"),))
    chart = interactive(plot(replace(POINTS, name=HOSTILE, hover=said)))
    assert not set("<>&\x00") & set(chart)
    (trace,) = json.loads(chart)["data"]
    head, tail = trace["hovertext"][0].split("<br>")
    assert head == "<b>head</b> &lt;/script&gt; &lt;b&gt;&amp;\ufffd $\\frac{"
    assert tail == "x" * 80 + "…"
    assert trace["hovertext"][1:] == ["<b>b</b>", "<b>c</b> d"]
    assert trace["hovertemplate"].startswith("%{hovertext}")
    ElementTree.fromstring(svg(plot(replace(POINTS, name=HOSTILE))))


def test_few_labels_stand_beside_their_points_and_many_are_on_hover_alone() -> None:
    few = replace(POINTS, labels=("a", "b", "c"))
    (trace,) = traces(plot(few))
    assert (trace["mode"], trace["text"]) == ("markers+text", ["a", "b", "c"])
    assert trace["textposition"] == ["top right", "bottom right", "top left"]
    many = Series("m", tuple(map(float, range(21))), (1.0,) * 21, labels=("a",) * 21)
    assert traces(plot(many))[0]["mode"] == "markers"
    assert ("<!-- b -->" in svg(plot(few)), "<!-- a -->" in svg(plot(many))) == (True, False)


def test_a_series_that_is_not_named_is_in_neither_legend() -> None:
    dots, guide = Series("dots", (1.0,), (2.0,)), Series("guide", (1.0, 2.0), (2.0, 3.0), dashed=True, named=False)
    assert [trace.get("showlegend") for trace in traces(plot(dots, guide))] == [None, False]
    drawn = svg(plot(dots, guide))
    assert ("<!-- dots -->" in drawn, "guide" in drawn) == (True, False)


def test_an_axis_has_its_detail_on_a_line_of_its_own() -> None:
    axis = Axis(None, "a (b) & c", detail="d < e")
    assert axis.full_title == "a (b) & c (d < e)"
    drawn = Plot("id", "caption", "alt", axis, axis, (POINTS,))
    title = json.loads(interactive(drawn))["layout"]["xaxis"]["title"]["text"]
    assert title == "a (b) &amp; c<br>(d &lt; e)"
    assert ("<!-- a (b) &amp; c (d &lt; e) -->" in svg(drawn), "<!-- (d &lt; e) -->" in svg(drawn)) == (True, True)


def test_an_axis_ends_where_it_is_told_to() -> None:
    layout = json.loads(interactive(plot(POINTS, ends=(1.0, 100.0), log=True, ticks=(1.0, 10.0))))["layout"]
    assert (layout["xaxis"]["range"], layout["xaxis"]["ticktext"]) == ([0.0, 2.0], ["1", "10"])
    assert json.loads(interactive(plot(POINTS, ends=(0.0, 9.0))))["layout"]["xaxis"]["range"] == [0.0, 9.0]


def test_tall_and_low_plots_share_a_still() -> None:
    def height(*drawn: Plot) -> float:
        return float(ElementTree.fromstring(still(drawn, "t", "svg")).attrib["height"].removesuffix("pt")) / 72

    low = plot(POINTS)
    assert height(low) == pytest.approx(3.6)
    assert height(low, replace(low, tall=True)) == pytest.approx(3.6 + 4.8)


def test_nothing_is_drawn_of_nothing() -> None:
    empty = plot(Series("none", (), ()))
    assert not empty.drawn
    assert not plot().drawn
    assert "<!-- no valid value -->" in svg(empty)
