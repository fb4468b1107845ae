"""Run that were damaged or changed: refused in one line, left out or flagged; no traceback, no markup."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from joulebench.errors import InputError, one_line
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report
from joulebench.reporting.export_json import report_json
from joulebench.reporting.render import headline, render_markdown
from joulebench.reporting.summary import Summary
from joulebench.results.findings import Code
from joulebench.results.run import Run
from joulebench.studies.sections import sections
from joulebench.text import visible
from tests.run_factory import RunBuilder, full_run, make_task

HUGE = (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, -0.0, 0.0, -1.0)
NASTY = (
    "<script>alert(1)</script>", "</script><img src=x onerror=alert(1)>", "![x](javascript:alert(1))",
    "# head\n## two",
    "| a | b |\n| - | - |",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07", "\u202egnp.exe", "a\u2028b", "$\\frac{", "%{x}<b>",
    "=HYPERLINK(\"http://x\")", "```\nrm\n```", "\x00\x9b31m", "{{ 7 * 7 }}",
)  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    task = make_task(analyses=("frontier", "proxies"))
    return full_run(task, trials=8).write(tmp_path_factory.mktemp("runs") / "run")


class Edited:
    """A run whose lines are changed by hand."""

    def __init__(self, source: RunFolder, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.manifest = json.loads(source.manifest_path.read_text())
        self.trials = [json.loads(line) for line in source.trials_path.read_text().splitlines()]
        self.ledger, self.scores = source.ledger_path.read_text(), source.scores_path.read_text()

    def folder(self) -> RunFolder:
        lines = "".join(json.dumps(t) + "\n" for t in self.trials)
        texts = {"manifest.json": json.dumps(self.manifest), "trials.jsonl": lines, "ledger.jsonl": self.ledger,
                 "scores.jsonl": self.scores}  # fmt: skip
        for name, text in texts.items():
            (self.path / name).write_text(text)
        return RunFolder.open(self.path)

    def summary(self) -> Summary:
        return Summary(Run.of(self.folder()))

    def alerts(self) -> str:
        return " ".join(f.text for f in self.summary().run.findings if f.level == "alert")

    def window(self, trial: int = 0, phase: str = "inference") -> dict[str, Any]:
        return next(w for w in self.trials[trial]["windows"] if w["phase"] == phase)


@pytest.fixture
def edited(source: RunFolder, tmp_path: Path) -> Edited:
    return Edited(source, tmp_path / "run")


def test_records_as_they_were_written_raise_no_doubt(edited: Edited) -> None:
    assert edited.summary().run.findings == ()


def test_another_digest_is_a_banner(edited: Edited) -> None:
    edited.manifest["digest"] = "0" * 16
    written = write_report(edited.folder())
    text = (edited.path / "report.md").read_text()
    assert "> **These records are inconsistent.**" in text
    assert "states the digest 0000000000000000" in text
    assert 'class="banner alert"' in written.page.read_text()
    assert json.loads((edited.path / "report.json").read_text())["banners"][0]["level"] == "alert"


def test_a_task_changed_in_the_manifest_is_found_by_its_digest(edited: Edited) -> None:
    edited.manifest["task"]["protocol"]["window_s"] = 0.5
    assert "the task or the digest was changed" in edited.alerts()
    edited.manifest["task"]["options"] = {"x": math.nan}
    with pytest.raises(InputError, match=r"task\.options\.x"):
        edited.alerts()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda e: e.trials[0]["params"].update(width=9999), "width = 9999 lies outside the task's space"),
        (lambda e: e.window()["readings"][0].update(energy_j=-5.0), "cpu reads -5 J in a window of inference"),
        (lambda e: e.window()["readings"][0].update(energy_j=1e308), "cpu reads 1e+308 J"),
        (
            lambda e: e.window().update(end_s=e.window()["start_s"] - 2),
            "a window of inference ends 2 s before it starts",
        ),
        (
            lambda e: e.window().update(start_s=e.window()["start_s"] - 0.5),
            "a window of inference overlaps the one before it by 0.5 s",
        ),
        (lambda e: e.trials[0]["metrics"].update(val_accuracy=math.nan), "val_accuracy = nan is no value"),
        (lambda e: e.trials[0]["metrics"].update(val_accuracy=1e308), "val_accuracy = 1e+308 is no value"),
    ],
)
def test_a_trial_that_cannot_have_happened_gives_no_value(edited: Edited, change: Any, told: str) -> None:
    before = edited.summary()
    change(edited)
    summary = edited.summary()
    assert f"trial 0: {told}" in " ".join(f.text for f in summary.run.findings)
    assert summary.statuses["invalid"] == 1
    assert summary.points[0].outcomes == {}
    assert any("not as recorded" in f.reason for f in summary.failures)
    assert summary.ledger.total_j == pytest.approx(before.ledger.total_j, rel=0.02)  # the rest of it is still there
    assert all(a.duration_s >= 0 and (a.energy_j or 0) >= 0 for a in summary.ledger.accounts)


def test_missing_trials_are_told(edited: Edited) -> None:
    del edited.trials[3]
    del edited.trials[5]
    assert "Trials are missing" in edited.alerts()
    assert ": 3; 6." in edited.alerts()


def test_trials_in_another_order_are_no_doubt(edited: Edited) -> None:
    edited.trials[2:4] = reversed(edited.trials[2:4])  # several may run at once
    assert edited.alerts() == ""


def test_an_unknown_phase_and_scores_of_nothing_are_told(edited: Edited) -> None:
    edited.window(0, "build")["phase"] = "mining"
    edited.scores += json.dumps({"trial": 99, "split": "test", "metrics": {"accuracy": 1.0}}) + "\n"
    texts = {f.code: f.text for f in edited.summary().run.findings if f.level == "alert"}
    assert "mining" in texts[Code.UNKNOWN_PHASES]
    assert "trial 99" in texts[Code.SCORES_WITHOUT_TRIAL]


def test_no_units_are_no_work(edited: Edited) -> None:
    for window in edited.trials[0]["windows"]:
        window["units"] = 0
    count = edited.summary().losses.phases["inference"]
    assert count.measured - count.valid == 5
    assert count.first_reason == "no work done"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.trials.append(copy.deepcopy(e.trials[2])), r"line 11: trial: 2 is taken by line 3"),
        (lambda e: e.trials[0]["params"].update(widht=3), r"line 1: params: .* 'widht'; did you mean 'width'"),
        (lambda e: e.trials[1]["params"].pop("pool"), r"line 2: params\.pool: missing"),
        (
            lambda e: e.trials[4].update(schema_version=3),
            r"line 5: schema version 3; .* reads 1 and 2",
        ),
        (lambda e: e.window(2).update(units=-1), r"line 3: windows\.\d+\.units: .*greater than or equal to 0"),
        (lambda e: e.window(2).update(start_s=math.nan), r"line 3: windows: start_s and end_s must be seconds"),
        (lambda e: e.window(2).update(start_utc="yesterday"), r"line 3: windows\.start_utc: must be a time"),
        (lambda e: e.window(2).update(start_utc="2026-01-02T03:04:05"), r"line 3: .* with its zone"),
        (lambda e: e.trials[0]["costs"].update(parameters=10**400), r"line 1: costs\.parameters: "),
        (lambda e: e.trials[0]["costs"].update(macs=-1), r"line 1: costs\.macs: "),
        (lambda e: e.trials[0].update(trial=-1), r"line 1: trial: "),
        (lambda e: e.trials[0].update({"\x1b[31mevil\n": 1}), r"line 1: \ufffd\[31mevil : Extra inputs"),
        (lambda e: e.manifest["task"].update(title="x" * 500), r"manifest\.json: title: "),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(edited: Edited, change: Any, message: str) -> None:
    change(edited)
    folder = edited.folder()
    with pytest.raises(InputError, match=message) as refused:
        write_report(folder)
    assert str(refused.value) == one_line(str(refused.value))
    assert not (folder.path / "report.html").exists()


def test_half_a_line_is_refused_inside_and_told_at_the_end(edited: Edited) -> None:
    folder = edited.folder()
    text = folder.trials_path.read_text()
    lines = text.splitlines(keepends=True)
    folder.trials_path.write_text("".join(lines[:3]) + lines[3][:200] + "\n" + "".join(lines[4:]))
    with pytest.raises(InputError, match=r"line 4: not a JSON object; the file is damaged"):
        write_report(folder)
    folder.trials_path.write_text(text[:-300])
    (finding,) = Run.of(folder).findings
    assert (finding.level, finding.code) == ("note", Code.TORN_LINE)
    assert "trials.jsonl" in finding.text and "(10)" in finding.text  # noqa: PT018


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_markup_and_escapes_stay_text_wherever_they_stand(tmp_path: Path) -> None:
    every = " ".join(NASTY)
    task = make_task(
        title=every[:150], description=every, deviations=(every,), analyses=("frontier", "proxies"),
        parameters={"kind": {"type": "choice", "values": [*NASTY, "b"], "default": "b"}},
    )  # fmt: skip
    run = RunBuilder(task)
    for number, name in enumerate(NASTY):
        run.add({"kind": name}, 8000 - 300 * number, {"val_accuracy": 0.5 + number / 50}, stage=every, idle=True)
        run.fail({"kind": name}, "failed", name)
    folder = run.write(
        tmp_path / "run", hardware={"name": every, "title": every}, environment={every: {every: every}},
        meters=[{"domain": "cpu", "source": "cpu_load_model", "method": every}], hardware_override=every,
    )  # fmt: skip
    written = write_report(folder)
    page, markdown = Page(written.page.read_text()), (folder.path / "report.md").read_text()
    assert {tag for tag, _ in page.tags} & {"img"} == {"img"}  # the stills for readers without scripts …
    assert all(
        (a.get("src") or "").startswith("data:image/png") for t, a in page.tags if t == "img"
    )  # … and no other
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    scripts = [a for t, a in page.tags if t == "script"]
    assert all(a.get("type") == "application/json" for a in scripts[:-2])
    for text in (markdown, (folder.path / "report.json").read_text()):
        assert visible(text) == text
    prose = re.sub(r"```.*?```", "", markdown, flags=re.S)
    assert not re.search(r"<\w|(?<!\\)\]\(javascript|^\s*# head", prose, flags=re.M)
    assert "{{ 7" in markdown  # no template is run
    for name in ("frontier.svg", "proxies.svg"):
        ElementTree.fromstring((folder.path / name).read_bytes())
    assert not re.search(r"(^|,)\"?=HYPER", (folder.path / "frontier.csv").read_text(), flags=re.M)
    assert written.headline == visible(written.headline)


def _is_one_line(refused: InputError) -> None:
    assert str(refused) == one_line(str(refused))


def _leaves(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(tree, dict):
        return [leaf for key, part in tree.items() for leaf in _leaves(part, (*path, key))] or [path]
    if isinstance(tree, list):
        return [leaf for key, part in enumerate(tree) for leaf in _leaves(part, (*path, key))] or [path]
    return [path]


def _put(tree: Any, path: tuple[Any, ...], value: Any) -> None:
    for key in path[:-1]:
        tree = tree[key]
    tree[path[-1]] = copy.deepcopy(value)


WRONG = st.one_of(
    st.sampled_from(HUGE), st.sampled_from(NASTY), st.none(), st.integers(), st.floats(), st.text(max_size=20),
    st.booleans(), st.just([]), st.just({}), st.just(10**400), st.just([[[[1]]]]),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_value_anywhere_is_reported_or_refused(
    source: RunFolder, tmp_path_factory: Any, data: st.DataObject
) -> None:
    run = Edited(source, tmp_path_factory.mktemp("any") / "run")
    for _ in range(data.draw(st.integers(1, 3))):
        tree = data.draw(st.sampled_from(["manifest", "trials"]))
        leaves = _leaves(getattr(run, tree))
        _put(getattr(run, tree), data.draw(st.sampled_from(leaves)), data.draw(WRONG))
    try:
        records = Run.of(run.folder())
    except InputError as refused:
        _is_one_line(refused)
        return
    summary, parts = Summary(records), sections(records)
    assert not [part.answer for part in parts if "failed" in part.answer and part.rows is None]
    text = render_markdown(summary, parts)
    assert visible(text) == text
    json.loads(report_json(summary, parts, headline(summary, parts)))


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_number_in_readings_metrics_and_costs_is_drawn(
    source: RunFolder, tmp_path_factory: Any, data: st.DataObject
) -> None:
    run = Edited(source, tmp_path_factory.mktemp("any") / "run")
    for trial in data.draw(st.lists(st.sampled_from(run.trials), min_size=1, max_size=4)):
        value = data.draw(st.sampled_from(HUGE))
        where = data.draw(st.sampled_from(["readings", "metrics", "costs"]))
        if where == "metrics":
            trial["metrics"]["val_accuracy"] = value
        elif where == "costs":
            trial["costs"]["phase_flops"] = {"inference": value}
        else:
            for window in trial["windows"]:
                window["readings"][0]["energy_j"] = value
    try:
        written = write_report(run.folder())
    except InputError as refused:
        _is_one_line(refused)
        return
    assert written.page.stat().st_size > 1000
    text = (run.path / "report.json").read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name))
