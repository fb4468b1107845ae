"""What reports say in words, kept as one file a report: a change of wording shows there and nowhere else.

`pytest tests/test_prose.py --update-prose` writes the files anew; read the difference before committing it. Other
tests ask for data: findings by their codes, sections by their rows and results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from joulebench.comparison import page as comparison_page
from joulebench.comparison.analysis import Comparison, compare
from joulebench.comparison.join import join, labelled
from joulebench.presentation.section import Section
from joulebench.reporting.confirmation import confirmation_sentences
from joulebench.reporting.findings import findings
from joulebench.reporting.model_range import model_range_sentences
from joulebench.reporting.prose import banners, interval_note, spread
from joulebench.reporting.summary import Summary
from joulebench.results.findings import Finding
from joulebench.spec.registry import STUDIES
from joulebench.studies.sections import sections
from tests.generation_runs import batch_run, generation_task
from tests.results import test_consistency as consistency
from tests.run_factory import RunBuilder, confirmed_run, full_run, loaded, make_task
from tests.studies.batch import test_analysis as batch
from tests.studies.extrapolation import test_analysis as extrapolation
from tests.studies.known_models import test_analysis as known_models
from tests.studies.life_cycle import test_section as life_cycle
from tests.studies.meter_comparison import test_analysis as meter_comparison
from tests.studies.power_cap import test_analysis as power_cap
from tests.studies.prediction import test_analysis as prediction
from tests.studies.proxies import test_analysis as proxies
from tests.studies.pue import test_analysis as pue
from tests.studies.repeatability import test_analysis as repeatability
from tests.studies.scaling import test_analysis as scaling
from tests.studies.search_quality import test_analysis as search_quality
from tests.studies.training_inference import test_analysis as training_inference
from tests.studies.utilisation import test_analysis as utilisation
from tests.studies.variants import test_analysis as variants
from tests.studies.variants import test_section as leading

FOLDER = Path(__file__).with_name("prose")


def killed() -> RunBuilder:
    """A run with something wrong at every turn."""
    run = full_run(make_task(deviations=("It looks at the test split.",)), trials=30)
    run.add({}, 9000, {"val_accuracy": 0.9}, stopped_by="time")
    run.span("start", session=1)
    return run


def busy() -> RunBuilder:
    """A run beside other processes, with a trial and an idle baseline lost to them."""
    run = confirmed_run(confirmed=False)
    beside = {"other_load_cpus": 0.9, "steal_cpus": 0.0}
    for number in (0, 3):
        trial = run.trials[number]
        phase = "idle" if number == 0 else "inference"
        windows = (w.model_copy(update={"conditions": beside}) if w.phase == phase else w for w in trial.windows)
        run.trials[number] = trial.model_copy(update={"windows": tuple(windows)})
    return run


#: A report's name, the run it is of, and the study asked of it (none: the run's own page).
REPORTS: dict[str, tuple[Callable[[], RunBuilder], str | None]] = {
    "batch": (lambda: batch.sweep({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.0, 16: 5.0}), "batch"),
    "confirmed": (confirmed_run, None),
    "busy": (busy, None),
    "consistency": (consistency.run_of, "consistency"),
    "extrapolation": (extrapolation.study, "extrapolation"),
    "generation": (lambda: batch_run(generation_task(analyses=["generation"])), "generation"),
    "known_models": (known_models.made, "known_models"),
    "life_cycle": (lambda: life_cycle.built(1e6), "life_cycle"),
    "measured": (lambda: full_run(measured=True), None),
    "meter_comparison": (meter_comparison.measured, "meter_comparison"),
    "model_range": (lambda: loaded(full_run(), {trial: 1 - trial / 20 for trial in range(12)}), None),
    "power_cap": (power_cap.table_run, "power_cap"),
    "prediction": (prediction.study, "prediction"),
    "proxies": (proxies.full, "proxies"),
    "pue": (pue.study, "pue"),
    "repeatability": (repeatability.full, "repeatability"),
    "run": (full_run, None),
    "scaling": (scaling.sweeps, "scaling"),
    "search_quality": (search_quality.two_methods, "search_quality"),
    "search_robustness": (search_quality.robustness, "search_quality"),
    "training_inference": (training_inference.full, "training_inference"),
    "utilisation": (utilisation.full, "utilisation"),
    "variants": (variants.side_by_side, "variants"),
    "variants_means": (leading.search, "variants"),
    "wrong": (killed, None),
}


@pytest.mark.parametrize("name", REPORTS)
def test_the_wording_is_as_it_was_kept(name: str, request: pytest.FixtureRequest) -> None:
    build, study = REPORTS[name]
    _check(name, _words(build(), study), request)


def test_the_wording_of_a_comparison_is_as_it_was_kept(request: pytest.FixtureRequest) -> None:
    with_gpu = {
        "hardware": {"name": "nvidia_h100", "title": "H100"},
        "environment": {"device": "cuda:0"},
        "budget": "quick",
    }
    gpu = full_run(watts={"cpu": 60.0, "ram": 20.0, "gpu:0": 300.0}).read(**with_gpu)
    comparison = compare(join(labelled([("a", full_run().read()), ("b", gpu)])))
    _check("comparison", _comparison_words(comparison), request)


def _check(name: str, lines: Iterator[str], request: pytest.FixtureRequest) -> None:
    file = FOLDER / f"{name}.md"
    text = "\n".join(lines) + "\n"
    if request.config.getoption("--update-prose"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{file}: other words; see --update-prose"


def test_every_study_has_its_words_kept() -> None:
    assert {study for _, study in REPORTS.values()} >= set(STUDIES.shipped)


def _words(built: RunBuilder, study: str | None) -> Iterator[str]:
    run = built.read()
    if study is None:
        summary = Summary(run)
        yield summary.headline
        for finding in (*banners(summary), *findings(summary)):
            yield from ("", *_finding(finding))
        yield from (line for sentence in model_range_sentences(summary) for line in ("", sentence))
        energies = [e for m in summary.members for e in (*m.gross.values(), *m.net.values())]
        yield from ("", interval_note(energies), *spread(summary), *confirmation_sentences(summary))
        return
    (section,) = (s for s in sections(run, [study], (), ()) if s.name == study)
    yield from _section(section)


def _comparison_words(comparison: Comparison) -> Iterator[str]:
    yield comparison_page.headline(comparison)
    for finding in comparison_page.banners(comparison.joined):
        yield from ("", *_finding(finding))
    for section in comparison_page.sections_of(comparison):
        yield from ("", *_section(section))


def _finding(finding: Finding) -> Iterator[str]:
    yield f"**{finding.title}** ({finding.level}, {finding.code}) {finding.text}"
    yield from (f"- {point}" for point in finding.points)


def _section(section: Section) -> Iterator[str]:
    yield from (f"# {section.title}", "", section.answer, "")
    yield from section.sentences
    for plot in section.plots:
        yield from ("", f"Figure: {plot.caption}. {plot.alt}")
    for table in section.tables:
        yield from ("", f"Table: {table.caption}", " | ".join(column.title for column in table.columns))
        yield from (" | ".join(cell.text for cell in row) for row in table.rows[:3])
