"""Joules against model size: exponents recomputed from records made by hand, and the report on them."""

from __future__ import annotations

import csv
import io
import math

import pytest

from joulebench.records.model import Costs
from joulebench.reporting import write_report
from joulebench.stats.regression import fit_line
from joulebench.studies.scaling.analysis import scaling
from joulebench.studies.scaling.section import ScalingStudy
from tests.generation_runs import NEW, add, generation_task, out_of_memory
from tests.run_factory import RunBuilder, make_task

WATTS = 80.0
LAYERS, HIDDEN, BATCHES = (2, 4, 8, 16), (64, 256, 512), (2, 4)


def size_task(**stages):
    given = {
        "layers": {"method": "points", "points": [{"layers": n} for n in LAYERS]},
        "hidden": {"method": "points", "points": [{"hidden_size": n} for n in HIDDEN]},
        "batches": {"method": "points", "points": [{"batch_size": n} for n in BATCHES]},
    }
    return generation_task(
        analyses=["scaling"],
        parameters={
            "layers": {"type": "int", "low": 1, "high": 64, "default": 4},
            "hidden_size": {"type": "int", "low": 16, "high": 4096, "default": 128},
            "batch_size": {"type": "int", "low": 1, "high": 64, "default": 1},
        },
        stages=stages or given,
    )


def parameters_of(params) -> int:
    return 12 * params["layers"] * params["hidden_size"] ** 2


def model(run: RunBuilder, stage: str, power: float = 0.8, factor: float = 1.0, **params) -> None:
    """A model whose step takes 0.5 s × (parameters / a million)^power × factor a request."""
    count = parameters_of(run.task.resolve(params))
    seconds = 0.5 * (count / 1e6) ** power * factor
    costs = Costs(
        parameters=count, phase_flops={"decode": 3.0 * count, "request": 2.0 * count, "prefill": 2.0 * count}
    )
    times = {"prefill": 0.2 * seconds, "decode": 0.8 * seconds, "request": seconds}
    add(run, params, times, stage=stage, costs=costs, wobble=0.001)


def sweeps(power: float = 0.8, **builder) -> RunBuilder:
    run = RunBuilder(size_task(), **builder)
    # a window is at least a second long only where a step is 50 ms: small models would be too fast
    run.task = run.task.model_copy(update={"protocol": run.task.protocol.model_copy(update={"window_s": 0.1})})
    for number, layers in enumerate(LAYERS):
        model(run, "layers", power, 1.05 if number % 2 else 1 / 1.05, layers=layers)
    for hidden in HIDDEN:
        model(run, "hidden", power, hidden_size=hidden)
    for batch in BATCHES:
        model(run, "batches", power, batch_size=batch)
    return run


def scaling_of(run: RunBuilder):
    return scaling(run.read())


def test_the_exponent_is_that_of_the_points():
    run = sweeps()
    result = scaling_of(run)
    fit = result.overall("parameters", "request")
    points = [(m.parameters, m.costs["request"].gross.mean) for m in result.models if m.params["batch_size"] == 1]
    expected = fit_line([math.log10(x) for x, _ in points], [math.log10(j) for _, j in points])
    assert fit.line == expected
    assert fit.line.slope.low < 0.8 < fit.line.slope.high
    assert (fit.models, fit.sizes) == (7, 6)  # layers 16 and hidden 256 are equally large
    assert (fit.low, fit.high) == (parameters_of({"layers": 4, "hidden_size": 64}), 12 * 4 * 512**2)
    assert fit.scatter == pytest.approx(10**expected.residual_sd)
    assert 1.0 < fit.scatter < 1.06


def test_energy_is_that_of_the_phase_and_flops_are_the_phases_own():
    result = scaling_of(sweeps())
    by_layers = {m.params["layers"]: m for m in result.models if "layers" in m.stages}
    smallest = by_layers[2]
    seconds = 0.5 * (smallest.parameters / 1e6) ** 0.8 / 1.05
    assert smallest.costs["request"].gross.mean == pytest.approx(WATTS * seconds / NEW)
    assert smallest.flops["decode"] == 3.0 * smallest.parameters
    decode, request = (result.overall("flops", p) for p in ("decode", "request"))
    assert decode.low == pytest.approx(1.5 * request.low)
    assert decode.line.slope.mean == pytest.approx(request.line.slope.mean)  # ∝: the same shape


def test_a_stage_that_does_not_change_the_size_is_left_out_of_the_lines():
    result = scaling_of(sweeps())
    assert result.left_out == ("batches",)
    assert {m.params["batch_size"] for m in result.sized} == {1}
    assert {m.params["batch_size"] for m in result.models} == {1, 2, 4}


def test_each_sweep_has_a_line_through_all_that_lie_on_it():
    result = scaling_of(sweeps())
    fits = {f.stage: f for f in result.fits if f.phase == "request" and f.measure == "parameters"}
    assert set(fits) == {None, "layers", "hidden"}
    assert (fits["hidden"].varies, fits["layers"].varies) == (("hidden_size",), ("layers",))
    assert fits["hidden"].models == 4  # the default was run with the layers
    assert fits["layers"].models == 4


def test_fewer_than_three_sizes_have_no_line():
    run = RunBuilder(size_task(layers={"method": "points", "points": [{"layers": 2}, {"layers": 64}]}))
    for layers in (2, 64):
        model(run, "layers", 0.0, layers=layers)
    result = scaling_of(run)
    assert {f.line for f in result.fits} == {None}
    assert {f.sizes for f in result.fits} == {2}
    assert result.main is None
    assert "2 different model sizes where at least 3" in section(run).answer


def section(run: RunBuilder):
    read = run.read()
    return ScalingStudy().section(scaling(read), read)


def test_without_sizes_there_is_no_section():
    run = RunBuilder(size_task())
    assert scaling_of(run) is None
    add(run, {"layers": 2}, stage="layers")
    out_of_memory(run, {"layers": 8}, 9, 8)
    assert scaling_of(run) is None


def test_samples_use_the_forward_pass():
    run = RunBuilder(make_task(stages={"init": {"method": "sobol", "trials": 3}}))
    for width, units in ((2, 1000), (4, 500), (8, 250)):
        costs = Costs(parameters=width * 100, flops=width * 1000)
        run.add({"width": width}, units, {"val_accuracy": 0.9}, costs=costs)
    result = scaling_of(run)
    assert result.overall("flops", "inference").line.slope.mean == pytest.approx(1.0)
    assert (result.main.phase, result.main.unit, result.main.measure) == ("inference", "sample", "parameters")
    assert result.main.line.slope.mean == pytest.approx(1.0)


@pytest.mark.parametrize(("power", "side"), [(0.8, "below"), (1.0, "around"), (1.2, "above")])
def test_the_exponents_interval_lies_below_around_or_above_one(power, side):
    main = scaling_of(sweeps(power)).main
    low, high = main.line.slope.low, main.line.slope.high
    assert (main.phase, low < power < high) == ("request", True)
    assert {"below": high < 1, "around": low <= 1 <= high, "above": low > 1}[side]


def test_the_wording_follows_the_exponents_interval():
    proportions = {power: section(sweeps(power)).sentences[1] for power in (0.8, 1.0, 1.2)}
    assert len(set(proportions.values())) == 3
    flat = scaling_of(sweeps(0.0)).main.line.slope
    assert flat.low <= 0 <= flat.high
    assert "no significant trend" in section(sweeps(0.0)).answer


def test_the_report_has_the_section_and_its_files(tmp_path):
    run = sweeps(measured=True)
    written = write_report(run.write(tmp_path / "run"))
    assert written.headline == section(run).answer
    assert scaling_of(run).kind == "measured"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "run" / "scaling.csv").read_text())))
    assert len(rows) == 9
    assert {row["parameters"] for row in rows} == {str(m.parameters) for m in scaling_of(run).models}
    result = section(run)
    assert [p.id for p in result.plots] == ["scaling-parameters", "scaling-flops"]
    dots, line = result.plots[0].series[0], result.plots[0].series[-1]
    assert len(dots.x) == 7
    assert line.dashed
    assert not line.named
    assert (min(line.x), max(line.x)) == pytest.approx((min(dots.x), max(dots.x)))
    assert (tmp_path / "run" / "scaling.svg").stat().st_size > 0
