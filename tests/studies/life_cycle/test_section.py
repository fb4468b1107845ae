"""Life cycle of a run's models: every number recomputed by hand from a few windows of round joules (80 W)."""

from __future__ import annotations

import pytest

from joulebench.presentation.numbers import joules, number
from joulebench.reporting.render import render_markdown
from joulebench.reporting.summary import Summary
from joulebench.spec.registry import FITTING
from joulebench.spec.task import CONFIRM
from joulebench.studies.life_cycle.analysis import LifeCycle, life_cycle
from joulebench.studies.life_cycle.section import LifeCycleStudy
from joulebench.studies.sections import sections
from tests.run_factory import RunBuilder, full_run, make_task

#: width: accuracy, seconds of training, samples in a second of inference. At 80 W: E_tr 800, 1600 and 400 J,
#: E_in 80, 20 and 40 mJ.
MODELS = {8: (0.90, 10.0, 1000), 9: (0.92, 20.0, 4000), 10: (0.95, 5.0, 2000)}
DATA_J = 800.0
#: Three runs of each model, of five seconds of inference each, and the data.
SPENT_J = DATA_J + 3 * (800 + 400) + 3 * (1600 + 400) + 3 * (400 + 400)
GRID = {"grid_intensity_g_per_kwh": {"value": 360.0, "source": "s"}, "pue": {"value": 2.0, "source": "s"}}


def built(inferences: float | None = None, train: bool = True, data_s: float = 10.0) -> RunBuilder:
    run = RunBuilder(make_task(stopping={} if inferences is None else {"inferences": inferences}))
    run.span("start", *([run.window("data", data_s)] if data_s else []))
    for stage, scale in (("default", 1.0), (CONFIRM, 0.99), (CONFIRM, 1.01)):
        for width, (accuracy, seconds, units) in MODELS.items():
            windows = [run.window("train", seconds, 500)] if train else []
            windows += [run.window("inference", 1.0, units, scale=scale) for _ in range(5)]
            run.add({"width": width}, units, {"val_accuracy": accuracy}, stage, windows=tuple(windows))
    run.span("end")
    return run


def life_of(run: RunBuilder) -> LifeCycle:
    life = life_cycle(run.read())
    assert life is not None
    return life


def test_the_parts_sum_to_the_ledger() -> None:
    life = life_of(built())
    assert SPENT_J == 12800
    assert life.spent_j == pytest.approx(SPENT_J) == pytest.approx(life.run.ledger.total_j)
    assert life.chosen.params["width"] == 9  # the least joules of those at least as accurate as the default
    parts = life.parts(1e6)
    assert parts == pytest.approx(
        {"data": 800, "experimentation": 12800 - 800 - 1600, "training": 1600,
         "experimentation and training": 12000, "inference": 20_000}
    )  # fmt: skip
    assert sum(parts.values()) - 12000 == pytest.approx(life.total_j(1e6)) == pytest.approx(32_800)


def test_inference_is_40_and_70_percent_of_all_from_known_volumes() -> None:
    life = life_of(built())
    energy = life.chosen.inference
    assert (energy.mean, energy.n) == (pytest.approx(0.02), 2)
    for share, factor in ((0.4, 2 / 3), (0.7, 7 / 3)):
        volume = life.volume_at(share)
        assert volume.mean == pytest.approx(factor * 12800 / 0.02)
        assert volume.low == pytest.approx(factor * 12800 / energy.high)
        reached = life.inference_share(volume.mean)
        assert reached.mean == pytest.approx(share)
        inferred_j = volume.mean * energy.high
        assert reached.high == pytest.approx(inferred_j / (12800 + inferred_j))
    assert life.volumes == (life.volume_at(0.4).mean, life.volume_at(0.7).mean)


def test_totals_and_savings_at_a_stated_volume() -> None:
    life = life_of(built(1e6))
    assert life.volumes == (1e6,)
    better, best = life.members  # most accurate first
    assert life.default.alone.total_j(1e6) == pytest.approx(800 + 80_000)
    assert [life.total(m).total_j(1e6) for m in (better, best)] == pytest.approx([12800 + 40_000, 12800 + 20_000])
    saving = life.saving(best, 1e6)
    assert saving.mean == pytest.approx(80_800 - 32_800)
    difference = life.default.inference - best.inference
    assert saving.low == pytest.approx(1e6 * difference.low + 800 - 12800, rel=1e-3)
    assert life.saving(better, 1e6).mean == pytest.approx(80_800 - 52_800)
    assert [life.repaid_after(m).units for m in (better, best)] == pytest.approx([12000 / 0.04, 12000 / 0.06])
    # without the search: 400 + 0.04 N against 1600 + 0.02 N
    assert [(s.name, s.from_units) for s in life.segments] == [
        (better.name, 0.0),
        (best.name, pytest.approx(60_000)),
    ]


def test_the_answer_names_shares_volumes_n_and_kind() -> None:
    run = built(1e6).read()
    (part,) = sections(run, fitting=FITTING)
    assert part.name == "life_cycle"
    for words in (
        "With inference of 1 000 000 samples (stated) the project takes 32.8 kJ", "2.44 % data",
        "31.7 % experimentation", "4.88 % training", "61 % inference (95 % interval",
        "40 % of all from 426 667 (95 % interval", "70 % of all from 1 493 333 (95 % interval",
        "n = 2 runs of the configuration (estimated energy).",
    ):  # fmt: skip
        assert words in part.answer
    said = " ".join(part.sentences)
    assert "takes 12.8 kJ" in LifeCycleStudy().section(life_of(built()), built().read()).answer.replace(
        "took", "takes"
    )
    assert "31 % data, 29 % experimentation and training, 40 % inference" in said
    assert "No carbon is stated" in said
    assert joules(48_000) in said
    assert f"{number(60_000)} (95 % interval" in said
    (plot,) = part.plots
    assert len(plot.series) == 3
    assert any(row["row"] == "part" and row["name"] == "data" for row in part.rows)


def test_carbon_is_stated_with_a_grid_alone() -> None:
    run = built(1e6)
    run.hardware |= GRID
    part = LifeCycleStudy().section(life_of(run), run.read())
    # 48 kJ × PUE 2 × 360 g/kWh
    assert "as CO2e 9.6 g" in " ".join(part.sentences)


def test_without_training_or_data_those_parts_are_absent() -> None:
    life = life_of(built(train=False, data_s=0.0))
    parts = life.parts()
    assert (parts["data"], parts["training"], parts["inference"]) == (None, None, None)
    assert parts["experimentation"] == pytest.approx(3600.0)
    assert life.saving(life.chosen, 1e6).mean == pytest.approx(60_000 - 3600)
    part = LifeCycleStudy().section(life, life.run)
    assert "training of the chosen" not in part.answer
    assert "% training" not in part.answer
    assert any("none took place" in text for text in part.sentences)
    cells = {row[0].text: row[1].text for row in part.tables[0].rows}
    assert cells["Training"] == cells["Data"] == "—"


def test_models_that_ran_on_different_gpus_compare() -> None:
    run = built(1e6)
    for i, trial in enumerate(run.trials):
        gpu = f"gpu:{int(trial.params['width'] != 8)}"  # the default on one, all others on the other
        windows = (
            w.model_copy(
                update={
                    "readings": tuple(
                        r.model_copy(update={"domain": gpu}) if r.domain == "ram" else r for r in w.readings
                    )
                }
            )
            for w in trial.windows
        )
        run.trials[i] = trial.model_copy(update={"windows": tuple(windows)})
    life = life_of(run)
    assert set(life.families) == {"gpu", "cpu"}
    assert life.chosen.params["width"] == 9
    # as on one, less the RAM of the 10 s of data (20 W), which is no longer of a family that all have
    assert life.saving(life.chosen, 1e6).mean == pytest.approx(80_800 - 32_800 + 200)


def test_families_that_some_part_lacks_are_left_out() -> None:
    run = built()
    for i, trial in enumerate(run.trials):
        bare = tuple(
            w.model_copy(update={"readings": w.readings[:1]}) if w.phase == "train" else w for w in trial.windows
        )
        run.trials[i] = trial.model_copy(update={"windows": bare})
    life = life_of(run)
    assert (life.families, life.left_out) == (("cpu",), ("ram",))
    assert life.spent_j == pytest.approx(0.75 * SPENT_J)
    assert life.chosen.inference.mean == pytest.approx(0.75 * 0.02)


def test_reports_where_it_does_not_fit_have_no_section() -> None:
    for run in (full_run(), RunBuilder(make_task())):
        assert life_cycle(run.read()) is None
        assert sections(run.read(), fitting=FITTING) == ()
    assert "Where a project's joules go" not in render_markdown(Summary(full_run().read()))


def test_it_needs_energy_and_a_frontier() -> None:
    study = LifeCycleStudy()
    assert study.needs(make_task()) is None
    assert "frontier" in study.needs(make_task(analyses=["proxies"]))
    assert "energy" in study.needs(make_task({"val_accuracy": {"goal": "maximize"}}))


def test_a_default_that_is_itself_on_the_frontier_is_one_member() -> None:
    run = built()
    for i, trial in enumerate(run.trials):
        if trial.params["width"] == 8:
            run.trials[i] = trial.model_copy(update={"metrics": {"val_accuracy": 0.99}})
    life = life_of(run)
    assert [m.params["width"] for m in life.members] == [8, 10, 9]
    assert life.chosen is life.default is life.members[0]
    lost = life.saving(life.chosen, 1e6)  # the search, for nothing; no error of E_in, as there is no difference
    assert (lost.low, lost.mean, lost.high) == pytest.approx((800 - SPENT_J,) * 3)
    section = LifeCycleStudy().section(life, life.run)
    assert len(section.tables[1].rows) == 3
    assert not any("Saving of" in sentence for sentence in section.sentences)
