"""The table that a report begins with: which reports have it, and what it says."""

from __future__ import annotations

import csv
import json
import re
from types import MappingProxyType

import pytest

from joulebench.reporting import write_report
from joulebench.spec.registry import FITTING, LEADING
from joulebench.studies.sections import sections
from joulebench.studies.variants.section import MOST, VariantsStudy
from tests.run_factory import ENERGY, TRAINED, RunBuilder, full_run, make_task

ONE = {"j_per_sample": {"goal": "minimize", **ENERGY}}
POINTS = {"default": {"method": "default", "repeats": 2}, "rest": {"method": "points", "points": [{"width": 9}]}}


def built(widths=(8, 8, 9), objectives=ONE, stages=POINTS, trained=MappingProxyType({}), **fields):
    """Trials of these widths, 8 the default; a wider one does fewer samples a joule and is a little better."""
    run = RunBuilder(make_task(objectives, stages=stages, **fields))
    for number, width in enumerate(widths):
        metrics = {"val_accuracy": 0.5 + width / 1000, "val_loss": 0.1}
        run.add({"width": width}, 10_000 - 200 * width + 20 * number, metrics, "default", **trained)
    return run


def search():
    """A search of one objective and five configurations, one of them run twice more, and one that failed."""
    stages = {"default": {"method": "default", "repeats": 3}, "search": {"method": "qnehvi", "trials": 4}}
    run = built((8, 8, 8, 9, 12, 8, 7), objectives=None, stages=stages)
    run.fail({"width": 30}, "oom", "out of memory")
    return run


def leads(run):
    return [part.name for part in sections(run.read(), fitting=FITTING, leading=LEADING)][:1] == [LEADING]


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (built(), True),
        (built(range(8, 38)), True),  # many, of one objective
        (built((8, 8, 8)), False),  # one alone
        (built((8, 8, 9), None), True),  # few, of two objectives
        (built(range(8, 16), None, {"all": {"method": "sobol", "trials": 8}}), True),
        (built(range(8, 17), None, {"all": {"method": "sobol", "trials": 9}}), False),
        (built(range(8, 17), None), False),  # the frontier of two objectives
        (built(range(8, 17), None, analyses=["proxies"]), True),  # given, of a task without a frontier
    ],
)
def test_a_report_begins_with_few_configurations_or_those_of_one_objective(run, expected):
    assert leads(run) is expected


def test_configurations_without_a_valid_window_do_not_make_it_a_comparison():
    run = built((8, 8))
    run.fail({"width": 9}, "failed", "RuntimeError: no")
    assert not leads(run)


def test_the_report_begins_with_it_and_keeps_its_headline(tmp_path):
    folder = built((8, 8, 8, 9)).write(tmp_path / "run")
    written = write_report(folder)
    text = (folder.path / "report.md").read_text(encoding="utf-8")
    assert re.findall("^## (.*)", text, re.MULTILINE)[:3] == ["Beside each other", "The run", "Frontier"]
    assert text.index("Ratio to the default") < text.index("## Frontier")
    assert written.headline.startswith("Best of one objective")
    assert json.loads((folder.path / "report.json").read_text())["analyses"][0]["name"] == "variants"
    with (folder.path / "variants.csv").open(newline="", encoding="utf-8") as file:
        base, wide = csv.DictReader(file)
    # 8 400, 8 420 and 8 440 samples in a window of 80 J, against 8 260
    assert float(wide["energy_ratio"]) == pytest.approx(8420 / 8260, rel=1e-3)
    assert (base["default"], base["energy_ratio"], wide["ratio_of"]) == ("true", "", "means")
    assert float(wide["energy_ratio_low"]) < float(wide["energy_ratio"]) < float(wide["energy_ratio_high"])


def test_a_study_of_the_tasks_own_gives_the_headline(tmp_path):
    widths = (8, 12, 20, 30)
    written = write_report(built(widths, analyses=["proxies"]).write(tmp_path / "run"))
    parts = sections(built(widths, analyses=["proxies"]).read(), fitting=FITTING, leading=LEADING)
    assert [part.name for part in parts][:2] == ["variants", "proxies"]
    assert written.headline == parts[1].answer


def test_quality_is_an_objective_or_a_bound_else_the_accuracy_of_trained_models():
    def qualities(run):
        result = VariantsStudy().analyse(run.read())
        return {n: q.difference.mean for n, q in result.each[1].qualities.items()}

    bound = {"val_loss": {"at_most": 0.5}}
    assert qualities(built(objectives=None)) == {"val_accuracy": pytest.approx(0.001)}
    assert qualities(built(constraints=bound)) == {"val_loss": pytest.approx(0.0)}
    assert qualities(built(objectives=None, constraints=bound)) == {"val_accuracy": pytest.approx(0.001)}
    assert qualities(built(trained=TRAINED)) == {"val_accuracy": pytest.approx(0.001)}
    assert qualities(built()) == {}  # nothing was trained


def test_a_long_table_has_the_default_and_the_least_and_its_file_has_all():
    run = built((40, 39, 38, *range(9, 37), 8)).read()
    study = VariantsStudy()
    section = study.section(study.analyse(run), run)
    names = [row[0].text for row in section.tables[0].rows]
    assert (len(names), names[0], len(section.rows)) == (MOST, "8", 32)
    assert set(names) == {*map(str, range(8, 8 + MOST))}


def test_a_broken_bound_is_said_beside_the_name():
    run = built(constraints={"val_accuracy": {"at_most": 0.5085}}).read()
    study = VariantsStudy()
    (table,) = study.section(study.analyse(run), run).tables
    assert [row[0].details for row in table.rows] == [("the default",), ("breaks a constraint",)]


def test_training_has_a_table_of_its_own():
    training = {"j_per_training_sample": {"goal": "minimize", **ENERGY, "phase": "train"}}
    run = built(objectives={**ONE, **training}).read()
    study = VariantsStudy()
    result = study.analyse(run)
    section = study.section(result, run)
    assert [target.phase for target in result.targets] == ["inference", "train"]
    assert len(section.tables) == 2
    assert {(row["phase"], row["unit"]) for row in section.rows} == {
        ("inference", "sample"),
        ("train", "training_sample"),
    }
    # 3 s at 80 W for 1 200 samples, each
    assert [row["gross_j"] for row in section.rows if row["phase"] == "train"] == [pytest.approx(0.2)] * 2
    assert result.each[1].costs[result.targets[1]].energy_ratio.mean == pytest.approx(1.0)


def test_a_full_search_of_two_objectives_keeps_its_report():
    assert not leads(full_run())
