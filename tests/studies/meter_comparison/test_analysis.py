"""Sources of the same windows against one another, from records made by hand and through the harness."""

from __future__ import annotations

import psutil
import pytest

from joulebench.measurement.bench import Bench
from joulebench.measurement.harness import Request, run_trial
from joulebench.measurement.timeline import Timeline
from joulebench.meters import rapl
from joulebench.meters.base import MeterSet
from joulebench.meters.codecarbon import PERIOD_S, CodeCarbonMeter
from joulebench.meters.host import HostMeter
from joulebench.meters.replay import ReplayMeter, load_traces
from joulebench.records.model import Reading
from joulebench.studies.meter_comparison.analysis import meter_comparison
from joulebench.studies.meter_comparison.section import MeterComparisonStudy
from tests.meter_sources import CPUS, TickingClock, loaded, powercap_zone
from tests.run_factory import RunBuilder, make_task

TDP_W, GIB = 100.0, 2**30
FACT = {"source": "its maker", "date": "2024"}
ENVIRONMENT = {"host": {"cpu": "Example CPU", "memory_bytes": 24 * GIB, "accelerators": []}}


def read(builder, meters=(), **more):
    builder.hardware |= {"cpu_tdp_w": {"value": TDP_W, **FACT}}
    return builder.read(environment=ENVIRONMENT, **({"meters": list(meters)} if meters else {}), **more)


def with_sources(builder, watts, conditions):
    """The run, every window read by these (domain, source, kind, role) -> W under these conditions."""
    for i, trial in enumerate(builder.trials):
        windows = tuple(
            w.model_copy(
                update={
                    "readings": tuple(
                        Reading(domain=d, source=s, kind=k, role=r, energy_j=power_w * w.duration_s)
                        for (d, s, k, r), power_w in watts.items()
                    ),
                    "conditions": conditions
                    | ({"cpu_utilisation": 0.0} if conditions and w.phase == "idle" else {}),
                }
            )
            for w in trial.windows
        )
        builder.trials[i] = trial.model_copy(update={"windows": windows})
    return builder


COUNTERS = {
    ("cpu", "rapl_package", "measured", "primary"): 60.0,
    ("cpu", "cpu_load_model", "estimated", "check"): 90.0,
    ("ram", "rapl_dram", "measured", "primary"): 10.0,
    ("ram", "ram_model", "estimated", "check"): 20.0,
}
MODELS = {
    ("cpu", "cpu_load_model", "estimated", "primary"): 21.25,
    ("ram", "ram_model", "estimated", "primary"): 20.0,
}


def built(watts, conditions):
    builder = RunBuilder(make_task())
    builder.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    return with_sources(builder, watts, conditions)


def measured() -> RunBuilder:
    """Counters with their models beside them, at half load."""
    return built(COUNTERS, {"cpu_utilisation": 0.5, "rapl_read_share": 0.001, "rapl_sampling_cpus": 0.02})


def one_run(watts, conditions):
    return read(built(watts, conditions))


def test_every_source_over_the_same_windows_by_hand():
    """At half load and 100 W of TDP: TDP × load 50 W, the Teads curve 75 W; 24 GiB at 3/8 W: 9 W."""
    found = meter_comparison(one_run(COUNTERS, {"cpu_utilisation": 0.5}))
    loads = {load.name: load for load in found.loads}
    assert set(loads) == {"idle", "train", "inference"}
    inference = {s.name: e.mean for s, e in loads["inference"].ratios.items()}
    assert inference == pytest.approx(
        {
            "cpu_load_model": 1.5,
            "tdp_utilisation": 50 / 60,
            "teads_curve": 1.25,
            "ram_model": 2.0,
            "ram_by_size": 0.9,
        }
    )
    assert loads["inference"].windows == 5
    idle = {s.name: power_w for s, power_w in loads["idle"].power_w.items() if s.origin == "computed"}
    assert idle == pytest.approx({"tdp_utilisation": 0.0, "teads_curve": 12.0, "ram_by_size": 9.0})
    assert found.without.mean == pytest.approx(110 / 70)
    check = next(s for s in found.total.ratios if s.name == "cpu_load_model")
    assert (check.origin, found.total.ratios[check].mean) == ("check", pytest.approx(1.5))
    assert found.total.primary("cpu").name == "rapl_package"


def test_a_window_without_joules_or_without_the_source_takes_nothing_from_the_others():
    builder = measured()
    (trial,) = builder.trials
    windows = [*trial.windows]
    first, last = windows[0], windows[-1]
    zero = tuple(r.model_copy(update={"energy_j": 0.0}) for r in first.readings)
    windows[0] = first.model_copy(update={"readings": zero})
    windows[-1] = last.model_copy(update={"readings": tuple(r for r in last.readings if r.role == "primary")})
    builder.trials[0] = trial.model_copy(update={"windows": tuple(windows)})
    run = read(builder)
    found = meter_comparison(run)
    ratios = {s.name: e for s, e in found.total.ratios.items()}
    n = len(windows)
    assert (ratios["ram_model"].mean, ratios["ram_model"].n) == (pytest.approx(2.0), n - 1)
    assert (found.without.mean, found.without.n) == (pytest.approx(110 / 70), n - 1)
    section = MeterComparisonStudy().section(found, run)
    assert f"Over the same {n} windows" in section.answer
    assert f"the ram joules of rapl_dram (measured) in {n - 1} of the windows" in section.answer


def test_the_section_of_a_run_with_counters():
    run = read(measured())
    study = MeterComparisonStudy()
    section = study.section(study.analyse(run), run)
    assert "cpu_load_model (estimated) gives 1.5 times the cpu joules of rapl_package (measured)" in section.answer
    assert "with models in place of the counters the run's joules would be 1.57 times" in section.answer
    assert "the difference is the model's error" in section.answer
    assert "of the time: rapl 2.1 %" in section.answer
    assert "cpu_load_model (estimated), cpu, W" in [c.title for c in section.tables[0].columns]
    row = next(r for r in section.rows if r["source"] == "teads_curve" and r["load"] == "inference")
    assert (row["kind"], row["role"], row["power_w"]) == ("estimated", "computed", pytest.approx(75.0))
    assert (row["ratio"], row["ratio_n"]) == (pytest.approx(1.25), 5)


def test_without_a_counter_the_models_stand_against_one_another():
    run = one_run(MODELS, {"cpu_utilisation": 0.5})
    result = meter_comparison(run)
    assert result.without is None
    assert result.metering == ()
    assert {s.name for s in result.total.ratios} == {"tdp_utilisation", "teads_curve", "ram_by_size"}
    section = MeterComparisonStudy().section(result, run)
    assert "No counter was read" in section.answer
    assert "this run cannot say" in section.answer
    assert f"{75 / 21.25:.3g} at" in section.answer


def test_what_metering_cost_is_summed_over_windows():
    """0.1 % of the time in reads and 2 % of a CPU in samples; the host's conditions are read and not sampled."""
    conditions = {"rapl_read_share": 0.001, "rapl_sampling_cpus": 0.02, "host_read_share": 0.004}
    run = one_run(COUNTERS, conditions)
    windows, seconds = len(list(run.windows)), run.ledger.duration_s
    host, counter = meter_comparison(run).metering
    assert (counter.meter, counter.reads, counter.share) == ("rapl", windows, pytest.approx(0.021))
    assert (counter.read_s, counter.sampling_s) == pytest.approx((0.001 * seconds, 0.02 * seconds))
    assert (host.meter, host.sampling_s, host.share) == ("host", None, pytest.approx(0.004))


def test_a_run_with_one_source_alone_has_no_comparison():
    assert meter_comparison(one_run({("cpu", "rapl_package", "measured", "primary"): 60.0}, {})) is None


def simulated_task():
    return make_task(
        {
            "samples_per_j": {
                "goal": "maximize",
                "reference": 0.0,
                "phase": "inference",
                "domains": ["cpu", "ram"],
                "basis": "gross",
            }
        },
        workload="function",
        dataset=None,
        options={"function": "tests.problems:tradeoff"},
        parameters={"width": {"type": "int", "low": 1, "high": 20, "default": 3}},
        stages={"default": {"method": "default", "repeats": 1}},
        protocol={"warmup_s": 0.5, "window_s": 2.0, "repeats": 3, "idle_s": 4.0, "allow_busy": True},
    )


def trial_on(meter, clock):
    task = simulated_task()
    timeline = Timeline(meter, clock)
    timeline.start()
    try:
        bench = Bench(task, "cpu", clock, timeline)
        request = Request(0, 0, "default", "default", task.resolve({}), seed=7, idle=True)
        builder = RunBuilder(task)
        builder.trials.append(run_trial(bench, request).record)
        return read(builder, timeline.describe())
    finally:
        timeline.stop()


def test_a_synthetic_rapl_and_the_load_model_through_the_harness(monkeypatch, tmp_path):
    """60 W by the counter at half load: CodeCarbon's 100 W × (0.1 + 0.9 × 0.5³) = 21.25 W, 20 W of RAM."""
    clock = TickingClock()
    loaded(monkeypatch, [(0, 0.5)], clock.now_s)
    monkeypatch.setattr(psutil, "cpu_count", lambda *_, **__: CPUS)
    powercap_zone(tmp_path / "intel-rapl:0", "package-0")
    monkeypatch.setattr(rapl.Zone, "energy_uj", lambda _: int(5e9 + 60e6 * clock.now_s()))
    counter = rapl.RaplMeter(rapl.find_rapl(tmp_path), ["cpu"], None, clock, clock.sampler(rapl.PERIOD_S))
    models = CodeCarbonMeter(TDP_W, 20.0, ["ram"], clock, clock.sampler(PERIOD_S), checks=["cpu"])
    names = ["rapl", "codecarbon", "host"]
    run = trial_on(MeterSet([counter, models, HostMeter(clock)], clock, names), clock)
    assert run.trials[0].status == "ok"
    found = meter_comparison(run)
    inference = next(load for load in found.loads if load.name == "inference")
    assert (inference.windows, inference.utilisation) == (3, pytest.approx(0.5, abs=1e-3))
    ratios = {(s.name, s.origin): e.mean for s, e in inference.ratios.items()}
    assert ratios == pytest.approx(
        {
            ("cpu_load_model", "check"): 21.25 / 60,
            ("tdp_utilisation", "computed"): 50 / 60,
            ("teads_curve", "computed"): 75 / 60,
            ("ram_by_size", "computed"): 9 / 20,
        },
        rel=1e-3,
    )
    assert found.without.mean == pytest.approx((21.25 + 20) / 80, rel=1e-3)
    assert {m.meter for m in found.metering} == set(names)


def test_a_replayed_counter_with_its_load_is_compared_with_every_model_and_labelled(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("t_s,cpu,cpu_utilisation\n0,60,0.5\n1000,60,0.5\n")
    clock = TickingClock()
    run = trial_on(ReplayMeter(load_traces(str(path)), clock, "trace"), clock)
    found = meter_comparison(run)
    ratios = {s.name: e.mean for s, e in found.total.ratios.items()}
    assert ratios == pytest.approx({"cpu_load_model": 21.25 / 60, "tdp_utilisation": 50 / 60, "teads_curve": 1.25})
    assert found.without.mean == pytest.approx(21.25 / 60)
    answer = MeterComparisonStudy().section(found, run).answer
    assert "of replay (replayed)" in answer
    assert "not of this machine" in answer
