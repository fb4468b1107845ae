"""Pages that need nothing else: the plotly.js they hold is the one vendored, whole, and fits their charts' JSON."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs_version

from joulebench.presentation.axis import Axis
from joulebench.presentation.chart import interactive
from joulebench.presentation.pages import PLOTLY_JS
from joulebench.presentation.plots import Plot, Series
from joulebench.reporting import write_report
from joulebench.reporting.frontier_plot import frontier_plots, hypervolume_plot
from joulebench.reporting.summary import summarise
from tests.run_factory import full_run

README = (PLOTLY_JS.parent / "README.md").read_text(encoding="utf-8")
LIBRARY = PLOTLY_JS.read_text(encoding="utf-8")
RENEW = f"renew it as {PLOTLY_JS.parent / 'README.md'} says"


def stated(pattern: str) -> str:
    """What the README says that the file is."""
    (found,) = re.findall(pattern, README)
    return found


def test_the_file_is_the_one_that_its_readme_names() -> None:
    assert hashlib.sha256(PLOTLY_JS.read_bytes()).hexdigest() == stated(r"\| sha256 \| `(\w+)` \|"), RENEW
    version = stated(r"\| Version \| ([\d.]+),")
    assert LIBRARY.startswith(f"/**\n* plotly.js (basic - minified) v{version}\n* Copyright "), RENEW
    assert f"plotly.js-basic-dist-min-{version}.tgz" in README


def test_its_licence_is_beside_it_and_at_its_head() -> None:
    assert "Plotly, Inc." in LIBRARY[:300]
    assert "Licensed under the MIT license" in LIBRARY[:300]
    licence = (PLOTLY_JS.parent / "LICENSE.txt").read_text(encoding="utf-8")
    assert licence.startswith("MIT License\n\nCopyright (c) ")
    assert "Plotly" in licence.splitlines()[2]


def test_it_speaks_what_the_python_package_writes() -> None:
    vendored, spoken = stated(r"\| Version \| ([\d.]+),"), get_plotlyjs_version()
    assert vendored.split(".")[0] == spoken.split(".")[0], (
        f"charts are written for plotly.js {spoken} and drawn by {vendored}: install a plotly that pyproject.toml "
        f"allows or, for a newer one, {RENEW}"
    )


@pytest.mark.parametrize("ending", ["</script", "<!--"])
def test_it_cannot_end_the_element_that_it_stands_in(ending: str) -> None:
    assert ending not in LIBRARY.lower()


def test_a_report_holds_it_and_every_charts_data_in_little_space(tmp_path: Path) -> None:
    folder = full_run().write(tmp_path / "run")
    page = write_report(folder).page
    text = page.read_text(encoding="utf-8")
    summary = summarise(folder)
    plots = (*frontier_plots(summary), hypervolume_plot(summary))
    assert [plot.id for plot in plots if plot] == ["frontier-1", "hypervolume"]
    for plot in filter(None, plots):
        assert f'<script type="application/json" id="data-{plot.id}">{interactive(plot)}</script>' in text
    assert text.count(f"<script>{LIBRARY}</script>") == 1
    assert page.stat().st_size <= 1_600_000
    assert "showSendToCloud: false" in text  # plotly.js 4 has a button that uploads a figure, unless told otherwise


def test_charts_ask_for_nothing_that_the_basic_build_lacks(tmp_path: Path) -> None:
    points = Series("a & b", (1.0, 10.0), (2.0, 3.0), (1.5, None), (2.5, None), labels=("p", "q"))
    guide = Series("guide", (1.0, 10.0), (2.0, 2.0), dashed=True, named=False)
    axes = (Axis("x", "x (J)", log=True, ticks=(1.0, 10.0)), Axis("y", "y"))
    summary = summarise(full_run().write(tmp_path / "run"))
    plots = (
        Plot("id", "caption", "alt", *axes, (points, guide)),
        *frontier_plots(summary),
        hypervolume_plot(summary),
    )
    for plot in filter(None, plots):
        text = str(interactive(plot))
        figure = json.loads(text)
        # its own package knows every name in it, and writes the same bytes
        assert go.Figure(figure).to_json(engine="json").replace("&", r"\u0026") == text
        assert {trace["type"] for trace in figure["data"]} == {"scatter"}
        assert {name for name in figure["layout"] if name.endswith("axis")} == {"xaxis", "yaxis"}
        # no defaults of plotly's own, which differ from version to version
        assert figure["layout"]["template"] == {"data": {"scatter": [{"type": "scatter"}]}}
