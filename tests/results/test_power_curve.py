"""The second model of the CPU's power: its curve, what it makes of a run, and where it is absent."""

from __future__ import annotations

import pytest

from joulebench.results.power_curve import curve_share, model_range, recorded_tdp_w
from tests.run_factory import ENERGY, RunBuilder, full_run, loaded, make_task

TDP_W = 60.0


def pair() -> RunBuilder:
    """Two configurations with 60 W of CPU and 20 W of RAM: 8000 and 7000 samples/s."""
    run = RunBuilder(make_task())
    run.add({}, 8000, {"val_accuracy": 0.9}, wobble=0.001)
    run.add({"width": 9}, 7000, {"val_accuracy": 0.8}, wobble=0.001)
    return run


@pytest.mark.parametrize(
    ("load", "share"),
    [
        (-0.1, 0.12),
        (0, 0.12),
        (0.05, 0.22),
        (0.1, 0.32),
        (0.3, 0.535),
        (0.5, 0.75),
        (0.75, 0.885),
        (1, 1.02),
        (2, 1.02),
    ],
)
def test_the_curve_is_linear_between_its_published_points(load: float, share: float) -> None:
    assert curve_share(load) == pytest.approx(share)


def test_joules_by_the_curve_are_tdp_times_share_times_seconds_and_other_domains_stay() -> None:
    run = loaded(pair(), 0.5).read()
    found = model_range(run)
    assert found is not None
    seconds = run.ledger.duration_s
    assert (found.tdp_w, found.recorded_share) == (TDP_W, pytest.approx(1.0))
    assert found.cpu.curve_j == pytest.approx(TDP_W * 0.75 * seconds)
    assert found.cpu.model_j == pytest.approx(run.ledger.by_family["cpu"])
    assert found.total.model_j == run.ledger.total_j
    assert found.total.curve_j == pytest.approx((TDP_W * 0.75 + 20) * seconds)
    assert (found.total.low, found.total.high) == (found.total.curve_j, found.total.model_j)
    first = found.configurations[0]
    assert (first.model.mean, first.curve.mean) == pytest.approx((80 / 8000, 65 / 8000))
    assert (first.joules.low, first.joules.high) == (first.curve.mean, first.model.mean)
    assert (first.curve.domains, first.curve.kind, first.curve.per) == (("cpu", "ram"), "estimated", "sample")


def test_a_configuration_that_looks_better_only_at_its_load_changes_place_and_frontier() -> None:
    """8000 samples/s at full load against 7000 at a tenth: by the curve, 81.2 W against 39.2 W."""
    same = model_range(loaded(pair(), 1.0).read())
    assert same is not None
    assert [(r.pairs, r.swapped, r.apart) for r in same.rankings] == [(1, 0, 0)]
    assert (same.left, same.joined) == ((), ())
    found = model_range(loaded(pair(), {0: 1.0, 1: 0.1}).read())
    assert found is not None
    assert [(r.pairs, r.swapped, r.apart) for r in found.rankings] == [(1, 1, 1)]
    assert [(c.trials, c.rank, c.curve_rank) for c in found.configurations] == [((0,), 1, 2), ((1,), 2, 1)]
    assert (found.left, found.joined) == ((), ((1,),))  # worse in accuracy, now better in energy
    assert [c.default for c in found.configurations] == [True, False]


def test_places_changed_within_the_intervals_are_not_apart() -> None:
    run = RunBuilder(make_task())
    for width, units in ((8, 8000), (9, 7990)):
        run.add({"width": width}, units, {"val_accuracy": 0.9}, wobble=0.1)
    found = model_range(loaded(run, {0: 0.51, 1: 0.5}).read())
    assert found is not None
    (ranking,) = found.rankings
    assert (ranking.swapped, ranking.apart) == (1, 0)


def test_a_net_objective_is_ranked_net_of_idle_by_the_same_model() -> None:
    objectives = {"val_accuracy": {"goal": "maximize", "reference": 0.1},
                  "j_per_sample": {"goal": "minimize", **ENERGY, "basis": "net"}}  # fmt: skip
    run = RunBuilder(make_task(objectives))
    run.add({}, 8000, {"val_accuracy": 0.9}, idle=True)
    found = model_range(loaded(run, 1.0).read())
    assert found is not None
    (row,) = found.configurations
    assert row.model.basis == row.curve.basis == "net"
    assert row.model.mean == pytest.approx(50 / 8000)
    assert row.curve.mean == pytest.approx(TDP_W * (1.02 - 0.12) / 8000)


def test_windows_without_a_load_keep_the_models_joules_and_give_no_value_by_the_curve() -> None:
    run = loaded(pair(), {0: 0.5}).read()
    found = model_range(run)
    assert found is not None
    seconds = sum(w.duration_s for w in run.trials[0].windows)
    assert found.recorded_share == pytest.approx(found.cpu.model_j / run.ledger.by_family["cpu"])
    assert found.cpu.curve_j == pytest.approx(45.0 * seconds)
    assert found.total.curve_j - found.total.model_j == pytest.approx(found.cpu.curve_j - found.cpu.model_j)
    assert [c.trials for c in found.configurations] == [(0,)]


def test_it_is_absent_where_the_cpu_was_measured_or_tdp_or_load_are_not_known() -> None:
    assert model_range(loaded(full_run(measured=True), 0.5).read()) is None
    assert model_range(loaded(pair(), 0.5).read(hardware={"name": "generic_cpu"})) is None
    assert model_range(loaded(pair(), {}).read()) is None
    assert model_range(loaded(pair(), float("nan")).read()) is None
    assert model_range(loaded(RunBuilder(make_task()), 0.5).read()) is None


def test_the_tdp_is_the_meters_own_where_recorded_and_is_never_read_from_text() -> None:
    run = pair()
    profile = loaded(pair(), 0.5).hardware
    meter = {"domain": "cpu", "source": "cpu_load_model", "kind": "estimated", "method": "TDP 85 W × load"}
    assert recorded_tdp_w(run.manifest(meters=[meter])) is None
    assert recorded_tdp_w(run.manifest(meters=[meter], hardware=profile)) == TDP_W
    assert recorded_tdp_w(run.manifest(meters=[{**meter, "tdp_w": "85.0"}], hardware=profile)) == 85.0
    for nonsense in ("much", "nan", "-3", "0"):
        assert recorded_tdp_w(run.manifest(meters=[{**meter, "tdp_w": nonsense}])) is None
